"""A segmentation run without its data: drawn scenes with as many classes, random weights, small batches."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from volovan.data.shapes import draw_scene
from volovan.data.sources import open_source
from volovan.engine.plan import DataSize, Rehearsal
from volovan.segment.network import create_segmenter
from volovan.segment.recipe import Recipe, pair_of

# What the packaged recipes call their data, by the last part of the path: classes, pictures to train on.
KNOWN = {"ade20k": (150, 20_210), "cityscapes": (19, 2_975), "camvid": (11, 367), "graz02": (4, 549)}
UNKNOWN = (10, 1_000)
SCENE = (192, 256)
"""(height, width) of the drawn scenes, which are resized and cropped like all pictures"""
WHOLE = (512, 512)
"""size that cost is told at where whole pictures are trained on"""


def rehearse(recipe: Recipe, folder: Path, batch: int, pictures: int) -> Rehearsal:
    """The recipe as it runs without data, and what is known of the run that it stands for.

    folder    where scenes and their masks are written
    batch     pictures of an optimiser step
    pictures  to train on
    """
    data = data_size(recipe)
    write_scenes(folder, {"train": pictures, "val": batch}, data.classes)
    small = deepcopy(recipe)
    small.data.source, small.data.val, small.data.limit = str(folder), None, None
    small.data.train_split, small.data.val_split = "train", "val"
    if isinstance(small.loss.class_weights, tuple) and len(small.loss.class_weights) != data.classes:
        small.loss.class_weights = (1.0,) * data.classes
    stand_ins = [f"drawn scenes of {data.classes} classes for {recipe.data.source}"]
    if recipe.model.weights is not None:
        small.model.weights = None
        stand_ins.append(f"random weights for {recipe.model.weights}")
    return Rehearsal(small, data, describe_model(recipe, data.classes), tuple(stand_ins))


def data_size(recipe: Recipe) -> DataSize:
    """What the real run would train on: the source counted if it is there, else known by its name, else assumed."""
    source = os.path.expandvars(recipe.data.source)  # one that is not set leaves the name to go by
    name = source.rstrip("/").rpartition("/")[2].lower()
    try:
        found = open_source(source, recipe.data.train_split, kind="mask")
        size = DataSize(len(found), len(found.classes), f"counted in {source}")
    except (ValueError, OSError):
        if Path(source).exists():  # then it is malformed, which a rehearsal is there to say
            raise
        if name in KNOWN:
            classes, count = KNOWN[name]
            size = DataSize(count, classes, f"known of {name}")
        else:
            size = DataSize(UNKNOWN[1], UNKNOWN[0], f"assumed: there is no {source}")
    if recipe.data.limit is not None and recipe.data.limit < size.pictures:
        size = DataSize(recipe.data.limit, size.classes, "data.limit")
    return size


def write_scenes(folder: Path, splits: dict[str, int], classes: int) -> None:
    """images/SPLIT/N.png, masks/SPLIT/N.png and classes.txt; the classes of a scene are shifted from scene to scene."""
    for split, count in splits.items():
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(count):
            scene = draw_scene("train", index, *SCENE)
            mask = (scene.labels.astype(np.int64) + 10 * index) % classes
            Image.fromarray(scene.image).save(folder / "images" / split / f"{index}.png")
            Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / split / f"{index}.png")
    (folder / "classes.txt").write_text("".join(f"kind {number}\n" for number in range(classes)), encoding="utf-8")


def describe_model(recipe: Recipe, classes: int) -> str:
    """Parameters and cost of the network in training, its auxiliary head included, counted on the meta device."""
    settings, options = recipe.model, dict(recipe.model.head_options)
    pyramid = options.pop("pyramid", "detail")
    height, width = pair_of(recipe.augment.crop) if recipe.augment.crop is not None else WHOLE
    with torch.device("meta"):
        model = create_segmenter(
            settings.name,
            settings.head,
            classes,
            img_size=(height, width),
            trunk_options=settings.options,
            head_options=options,
            pyramid=pyramid,
        )
    pictures = 2  # in training BatchNorm of a map pooled to 1 x 1 needs two
    image = torch.empty(pictures, model.trunk.config.in_chans, height, width, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image, deep=True)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return (
        f"{settings.name} with {settings.head} at {height} x {width}, {classes} classes: {parameters:,} parameters, "
        f"{counter.get_total_flops() / (pictures * 2e9):.2f} GMACs a picture"
    )
