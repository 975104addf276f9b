"""A saliency run without its data: drawn scenes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from volovan.room.network import dense_of
from volovan.room.rehearsal import Example
from volovan.room.settings import pair
from volovan.saliency.network import create_saliency_model
from volovan.saliency.recipe import Recipe

SCENE = 128
"""pixels of a side of the drawn scenes, which are resized like all pictures"""


def stand_in(recipe: Recipe, folder: Path, classes: int, batch: int, pictures: int) -> Iterator[str]:
    """Give a recipe data that are not needed from anywhere, in place; what stands for what. Scenes are in memory."""
    yield f"drawn scenes for {recipe.data.source}"
    recipe.data.source = f"shapes:{pictures}@{SCENE}x{SCENE}"
    recipe.data.val = f"shapes:{10 * batch}@{SCENE}x{SCENE}"  # a tenth is val


def example(recipe: Recipe, classes: int) -> Example:
    """The network of a recipe with random weights."""
    size = pair(recipe.data.size)
    return Example(dense_of(create_saliency_model, replace(recipe.model, weights=None), 1, size).eval(), size)
