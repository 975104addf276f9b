"""A saliency run without its data: drawn scenes."""

from collections.abc import Iterator
from pathlib import Path

from volovan.room.network import Example, network_of
from volovan.room.settings import pair
from volovan.saliency.network import SaliencyModel
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
    return Example(network_of(SaliencyModel, recipe, 1, size=size, weights=None).eval(), size)
