"""A classification run without its data: generated pictures, generated label maps."""

from collections.abc import Iterator
from pathlib import Path

import torch

from volovan.classify.recipe import Recipe
from volovan.data.synthetic.generated import GeneratedSource, generated_splits
from volovan.engine.settings import SettingsError
from volovan.labels.keys import label_key
from volovan.labels.published import SUFFIX, serialise
from volovan.room.network import Example, network_of
from volovan.room.settings import pair

MAP_SIZE, MAP_TOP = 18, 5  # of the published label maps (volo.md 6.1)


def stand_in(recipe: Recipe, folder: Path, classes: int, batch: int, pictures: int) -> Iterator[str]:
    """Give a recipe data that are not needed from anywhere, in place; what stands for what."""
    if recipe.loss.target != "class":
        raise SettingsError(
            f"loss.target is {recipe.loss.target}, and generated pictures have classes only; try the recipe on its own "
            "data with --train.max_steps 2"
        )
    yield f"generated pictures of {classes:,} classes for {recipe.data.source}"
    recipe.data.source = f"generated:{classes}x{pictures}"
    recipe.data.val = f"generated:{classes}x{batch}"
    if isinstance(recipe.loss.class_weights, tuple) and len(recipe.loss.class_weights) != classes:
        recipe.loss.class_weights = (1.0,) * classes
    if recipe.labels.source is not None:
        yield f"generated label maps for {recipe.labels.source}"
        write_maps(generated_splits(recipe.data.source)["train"](), folder, classes)
        recipe.labels.source = str(folder)


def example(recipe: Recipe, classes: int) -> Example:
    """The network of a recipe with random weights."""
    size = pair(recipe.data.size)
    return Example(network_of(None, recipe, classes, size=size, weights=None).eval(), size)


def write_maps(source: GeneratedSource, folder: Path, classes: int) -> None:
    """Label maps in the published layout for every picture of the source; the first class is the true one."""
    top = min(MAP_TOP, classes)
    dtype = torch.float16 if classes <= 2048 else torch.float32
    for index in range(len(source)):
        generator = torch.Generator().manual_seed(index)
        logits = 8 * torch.rand(top, MAP_SIZE, MAP_SIZE, generator=generator)
        others = (source.target(index) + torch.arange(top)) % classes
        maps = torch.stack([logits.sort(0, descending=True).values, others.view(-1, 1, 1).expand_as(logits)])
        path = folder / f"{label_key(source.name(index))}{SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(serialise(maps.to(dtype)))
