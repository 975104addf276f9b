"""A picture under its mask or its map, at a size to look at."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from volovan.data.masks.coding import IGNORE, Colour

OPACITY = 0.6
_SMALLEST, _LARGEST = 384, 1600
"""pixels of the longer side of a picture that people look at; smaller ones are enlarged by a whole number"""


def overlay(picture: Image.Image, mask: np.ndarray, palette: Sequence[Colour], opacity: float = OPACITY) -> Image.Image:
    """The picture in grey under the colours of its classes, each region with an outline; ignored pixels keep their own.

    At a size to look at: the longer side has at most 1600 pixels, small pictures are enlarged by a whole number.
    """
    image, size = shown_picture(picture), shown_size(picture)
    # Lightened: on black all colours would be black.
    grey = 48 + 0.8 * np.asarray(image.convert("L"), np.float32)[..., None]
    numbers = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    colours = np.zeros((256, 3), np.float32)
    colours[: len(palette)] = palette
    mixed = grey + opacity * (colours[numbers] - grey)
    mixed = np.where((numbers == IGNORE)[..., None], np.asarray(image), mixed)
    edge = _outline(numbers, max(1, round(max(size) / 600)))[..., None]
    mixed = np.where(edge, 0.35 * mixed + 0.65 * 255, mixed)
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def salient_overlay(picture: Image.Image, found: np.ndarray) -> Image.Image:
    """What is salient keeps its colours, the rest is dark and grey; soft values lie between. found (H, W) uint8."""
    shown = shown_picture(picture)
    values = np.asarray(Image.fromarray(found).resize(shown.size, Image.Resampling.NEAREST))
    share = values[..., None].astype(np.float32) / 255
    colours = np.asarray(shown, np.float32)
    rest = 0.3 * np.asarray(shown.convert("L"), np.float32)[..., None] + np.array([10, 10, 40], np.float32)
    return Image.fromarray((share * colours + (1 - share) * rest).round().clip(0, 255).astype(np.uint8))


def shown_picture(picture: Image.Image) -> Image.Image:
    """RGB at the size at which it is shown; enlarged without smoothing, so that what a network sees stays visible."""
    size = shown_size(picture)
    how = Image.Resampling.NEAREST if size[0] >= picture.width else Image.Resampling.LANCZOS
    return picture.convert("RGB").resize(size, how)


def shown_size(picture: Image.Image) -> tuple[int, int]:
    """(width, height) at which a picture is shown."""
    longer = max(picture.size)
    scale = min(1.0, _LARGEST / longer) if longer >= _SMALLEST else float(-(-_SMALLEST // longer))
    return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))


def _outline(numbers: np.ndarray, width: int) -> np.ndarray:
    """Pixels whose neighbour to the right or below is of another class, `width` pixels wide."""
    edge = np.zeros(numbers.shape, bool)
    edge[:, :-1] |= numbers[:, :-1] != numbers[:, 1:]
    edge[:-1] |= numbers[:-1] != numbers[1:]
    for _ in range(width - 1):
        edge[:, 1:] |= edge[:, :-1].copy()
        edge[1:] |= edge[:-1].copy()
    return edge
