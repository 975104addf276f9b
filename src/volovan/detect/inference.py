"""From pictures to objects in their own pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from volovan.data.objects.shapes import Affine
from volovan.detect.found import found_in
from volovan.detect.network import Detector
from volovan.detect.objects import Size
from volovan.detect.recipe import TestSettings
from volovan.detect.tiles import merge_tiles, windows
from volovan.room.found import Found
from volovan.room.settings import pair
from volovan.room.views import Fitted, alike, pixels


def seen_by(model: Detector, test: TestSettings) -> Callable[[Image.Image], Tensor]:
    """How a picture comes to `find_each`: of tiles that are made of it later, as it is."""
    return pixels if test.tile is not None else fitted(model, test)


def fitted(model: Detector, test: TestSettings) -> Fitted:
    """How a picture, or a tile of one, comes to the network."""
    return Fitted(test.size, model.preprocessing.mean, model.preprocessing.std)


def find(model: Detector, batch: dict[str, Any], test: TestSettings) -> list[Found]:
    """What is found in the pictures of a batch, see `EvalSamples`."""
    return find_each(model, batch["image"], batch["picture_size"], test)


def find_each(model: Detector, images: Sequence[Tensor], sizes: Sequence[Size], test: TestSettings) -> list[Found]:
    """Pictures as `seen_by` gives them, and the (height, width) of each -> what is found in it, in its own pixels."""
    if test.tile is None:
        return find_scaled(model, images, sizes, test)
    return [find_in_tiles(model, image, test) for image in images]


def find_in_tiles(model: Detector, picture: Tensor, test: TestSettings) -> Found:
    """The same of a picture (H, W, 3) uint8 that the network sees in tiles; objects across tiles come out once."""
    assert test.tile is not None
    pixels = Image.fromarray(picture.cpu().numpy())
    tiles = windows((pixels.height, pixels.width), pair(test.tile), test.tile_overlap)
    look = fitted(model, test)
    device = next(model.parameters()).device
    found: list[Found] = []
    for first in range(0, len(tiles), test.batch):
        parts = [pixels.crop(tile) for tile in tiles[first : first + test.batch]]
        images = [look(part).to(device) for part in parts]
        found += find_scaled(model, images, [(part.height, part.width) for part in parts], test)
    merged = merge_tiles(found, tiles, (pixels.height, pixels.width))
    most = model.choose(most=test.most).most
    return merged.only(np.arange(min(len(merged), most)))


def find_scaled(model: Detector, images: Sequence[Tensor], sizes: Sequence[Size], test: TestSettings) -> list[Found]:
    """The same of pictures (3, h, w) that were scaled and normalised.

    Pictures of one shape go through the network together, so that none is padded for another: its answer is its own.
    """
    choice = model.choose(least=test.score, overlap=test.overlap, most=test.most)
    found: list[Found | None] = [None] * len(images)
    for numbers in alike(images, test.batch):
        together = torch.stack([images[number] for number in numbers])
        answers: Any = model(together, choice=choice)
        seen = (together.shape[-2], together.shape[-1])
        for number, answer in zip(numbers, answers, strict=True):
            height, width = sizes[number]
            found[number] = found_in(answer, Affine(seen[1] / width, seen[0] / height), sizes[number])
    return [one for one in found if one is not None]
