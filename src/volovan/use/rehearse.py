"""A run without its data: how large it would be, what its network costs, and the recipe with stand-ins."""

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from volovan.data.published.known import KNOWN
from volovan.data.refusals import refused_data
from volovan.data.samples import skeleton_of
from volovan.data.sources import open_source
from volovan.engine.plan import DataSize, Rehearsal
from volovan.engine.settings import SettingsError, expand_variables
from volovan.models.cost import Cost, cost_of
from volovan.use.rooms import ROOMS

ASSUMED_CLASSES, ASSUMED_PICTURES = 10, 1_000


def rehearse(settings: Any, folder: Path, batch: int, pictures: int) -> Rehearsal:
    """The recipe as it runs without data, and what is known of the run that it stands for.

    folder    where stand-ins may be written
    batch     pictures of an optimiser step
    pictures  to train on
    raises    SettingsError: the recipe learns something that no stand-in has
    """
    settings.check()
    room = ROOMS[settings.task].rehearsal()
    data = data_size(settings)
    small = deepcopy(settings)
    small.data.val, small.data.limit = None, None
    small.data.train_split, small.data.val_split = "train", "val"
    stand_ins = list(room.stand_in(small, folder, data.classes, batch, pictures))
    if settings.model.weights is not None:
        small.model.weights = None
        stand_ins.append(f"random weights for {settings.model.weights}")
    found, model = cost(settings, data.classes), settings.model
    height, width = found.size
    head = f" with {model.head}" if hasattr(model, "head") else ""
    outputs = f"{found.outputs:,} output{'s' if found.outputs > 1 else ''}"
    about = (
        f"{model.name}{head} at {height} x {width}, {outputs}: {found.parameters:,} parameters, "
        f"{found.gmacs:.2f} GMACs a picture"
    )
    return Rehearsal(small, data, about, tuple(stand_ins))


def data_size(settings: Any) -> DataSize:
    """What the real run would train on: the source counted if it is there, else known by its name, else assumed."""
    source = os.path.expandvars(settings.data.source)  # a variable that is not set leaves the name to go by
    name = source.rstrip("/").rpartition("/")[2].lower()
    kind = ROOMS[settings.task].kind
    try:
        beside = settings.data.val and os.path.expandvars(settings.data.val)
        found = open_source(source, settings.data.train_split, kind, beside)
    except (ValueError, OSError):
        if Path(source).exists():  # then it is malformed, which a rehearsal is there to say
            raise
        if known := KNOWN.get(f"{name} {kind}") or KNOWN.get(name):
            size = DataSize(known[1], known[0], f"known of {name}")
        else:
            classes = 1 if kind == "map" else ASSUMED_CLASSES
            size = DataSize(ASSUMED_PICTURES, classes, f"assumed: there is no {source}")
    else:
        for sentence in refused_data([(settings.data.train_split, source, found)]):
            raise SettingsError(sentence)
        size = DataSize(_samples(found), _outputs(found), f"counted in {source}")
    if settings.data.limit is not None and settings.data.limit < size.pictures:
        size = DataSize(settings.data.limit, size.classes, "data.limit")
    return size


def data_classes(settings: Any) -> int:
    """How many classes the data of a recipe have; ValueError or OSError if they are not there."""
    kind = ROOMS[settings.task].kind
    if kind == "map":  # salient or not, whatever the data are
        return 1
    found = open_source(expand_variables(settings.data.source), settings.data.train_split, kind)
    return _outputs(found)


def _outputs(source: Any) -> int:
    """What a network says of it: points of a skeleton, else classes."""
    skeleton = skeleton_of(source)
    return max(1, len(source.classes if skeleton is None else skeleton.names))


def _samples(source: Any) -> int:
    """What a network is shown of it: objects that have points, else pictures."""
    if skeleton_of(source) is None:
        return len(source)
    return sum(int((source.target(index).points[:, :, 2] > 0).any(axis=1).sum()) for index in range(len(source)))


def cost(settings: Any, classes: int) -> Cost:
    """Parameters and multiply-accumulates of a picture, of the network of a recipe, counted on the meta device."""
    with torch.device("meta"):
        example = ROOMS[settings.task].rehearsal().example(settings, classes)
        images = torch.empty(example.pictures, 3, *example.size)
    return cost_of(example.model, images, **example.forward)
