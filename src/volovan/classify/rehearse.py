"""A classification run without its data: generated pictures, generated label maps, random weights, small batches."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch

from volovan.classify.data import open_labelled
from volovan.classify.recipe import Recipe, size_of
from volovan.data.generated import GeneratedSource, generated_splits
from volovan.engine.plan import DataSize, Rehearsal
from volovan.engine.settings import SettingsError
from volovan.labels.keys import label_key
from volovan.labels.published import SUFFIX, serialise
from volovan.models.cost import measure_cost

# What the packaged recipes call their data: classes, pictures to train on.
KNOWN = {
    "imagenet": (1000, 1_281_167),
    "imagenet22k": (21_841, 14_197_122),
    "cub200": (200, 5_994),
    "flowers102": (102, 1_020),
    "vizwiz": (200, 8_900),
    "cifar10": (10, 50_000),
    "digits": (10, 1_433),
}
UNKNOWN = (10, 1_000)
MAP_SIZE, MAP_TOP = 18, 5  # of the published label maps (volo.md 6.1)


def rehearse(recipe: Recipe, folder: Path, batch: int, pictures: int) -> Rehearsal:
    """The recipe as it runs without data, and what is known of the run that it stands for.

    folder    where generated label maps may be written
    batch     pictures of an optimiser step
    pictures  to train on
    raises    SettingsError: the recipe learns something else than classes, which generated pictures do not have
    """
    if recipe.loss.target != "class":
        raise SettingsError(
            f"loss.target is {recipe.loss.target}, and generated pictures have classes only; try the recipe on its own "
            "data with --train.max_steps 2"
        )
    data = data_size(recipe)
    small = deepcopy(recipe)
    small.data.source = f"generated:{data.classes}x{pictures}"
    small.data.val, small.data.limit = f"generated:{data.classes}x{batch}", None
    small.data.train_split, small.data.val_split = "train", "val"
    if isinstance(small.loss.class_weights, tuple) and len(small.loss.class_weights) != data.classes:
        small.loss.class_weights = (1.0,) * data.classes
    stand_ins = [f"generated pictures of {data.classes:,} classes for {recipe.data.source}"]
    if recipe.labels.source is not None:
        train = generated_splits(small.data.source)["train"]()
        write_maps(train, folder, data.classes)
        small.labels.source = str(folder)
        stand_ins.append(f"generated label maps for {recipe.labels.source}")
    if recipe.model.weights is not None:
        small.model.weights = None
        stand_ins.append(f"random weights for {recipe.model.weights}")
    model = recipe.model
    cost = measure_cost(model.name, size_of(recipe.data.size), num_classes=data.classes, **model.options)
    height, width = cost.size
    about = (
        f"{model.name} at {height} x {width}, {data.classes:,} classes: {cost.parameters:,} parameters, "
        f"{cost.gmacs:.2f} GMACs a picture"
    )
    return Rehearsal(small, data, about, tuple(stand_ins))


def data_size(recipe: Recipe) -> DataSize:
    """What the real run would train on: the source counted if it is there, else known by its name, else assumed."""
    source = recipe.data.source
    name = source.rstrip("/").rpartition("/")[2]
    try:
        found = open_labelled(source, recipe.data.train_split)
        size = DataSize(len(found), len(found.classes), f"counted in {source}")
    except (ValueError, OSError):
        if Path(source).exists():  # then it is malformed, which a rehearsal is there to say
            raise
        if name in KNOWN:
            classes, count = KNOWN[name]
            size = DataSize(count, classes, f"known of {name}")
        else:
            size = DataSize(UNKNOWN[1], UNKNOWN[0], f"assumed: there is no {source}")
    if size.classes < 2:
        raise SettingsError(f"{source} has one class only; at least two are needed")
    if recipe.data.limit is not None and recipe.data.limit < size.pictures:
        size = DataSize(recipe.data.limit, size.classes, "data.limit")
    return size


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
