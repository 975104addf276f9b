"""A saliency run without its data: drawn scenes, random weights, small batches."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from volovan.engine.plan import DataSize, Rehearsal
from volovan.saliency.data import open_pairs
from volovan.saliency.network import create_saliency_model
from volovan.saliency.recipe import Recipe, size_of

# What the packaged recipes call their data, by the last part of the path: pictures to train on.
KNOWN = {"duts": 10_553, "saliency": 99}
UNKNOWN = 1_000
SCENE = 128
"""pixels of a side of the drawn scenes, which are resized like all pictures"""


def rehearse(recipe: Recipe, folder: Path, batch: int, pictures: int) -> Rehearsal:
    """The recipe as it runs without data, and what is known of the run that it stands for.

    folder    unused: scenes are drawn in memory
    batch     pictures of an optimiser step
    pictures  to train on
    """
    small = deepcopy(recipe)
    small.data.source = f"shapes:{pictures}@{SCENE}x{SCENE}"
    small.data.val = f"shapes:{10 * batch}@{SCENE}x{SCENE}"  # a tenth is val
    small.data.train_split, small.data.val_split, small.data.limit = "train", "val", None
    stand_ins = [f"drawn scenes for {recipe.data.source}"]
    if recipe.model.weights is not None:
        small.model.weights = None
        stand_ins.append(f"random weights for {recipe.model.weights}")
    return Rehearsal(small, data_size(recipe), describe_model(recipe), tuple(stand_ins))


def data_size(recipe: Recipe) -> DataSize:
    """What the real run would train on: the source counted if it is there, else known by its name, else assumed."""
    source = recipe.data.source
    name = source.rstrip("/").rpartition("/")[2].lower()
    try:
        size = DataSize(len(open_pairs(source, recipe.data.train_split)), 1, f"counted in {source}")
    except (ValueError, OSError):
        if Path(source).exists():  # then it is malformed, which a rehearsal is there to say
            raise
        count, whence = (KNOWN[name], f"known of {name}") if name in KNOWN else (UNKNOWN, f"assumed: no {source}")
        size = DataSize(count, 1, whence)
    if recipe.data.limit is not None and recipe.data.limit < size.pictures:
        size = DataSize(recipe.data.limit, 1, "data.limit")
    return size


def describe_model(recipe: Recipe) -> str:
    """Parameters and cost of the network, counted on the meta device."""
    settings, options = recipe.model, dict(recipe.model.head_options)
    height, width = size_of(recipe.data.size)
    pyramid = options.pop("pyramid", "detail")
    with torch.device("meta"):
        model = create_saliency_model(
            settings.name,
            settings.head,
            img_size=(height, width),
            trunk_options=settings.options,
            head_options=options,
            pyramid=pyramid,
        ).eval()
    image = torch.empty(1, 3, height, width, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return (
        f"{settings.name} with {settings.head} at {height} x {width}: {parameters:,} parameters, "
        f"{counter.get_total_flops() / 2e9:.2f} GMACs a picture"
    )
