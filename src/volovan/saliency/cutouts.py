"""A picture and its saliency map -> the salient object alone, with alpha."""

import numpy as np
from PIL import Image, ImageColor

from volovan.engine.settings import SettingsError

OBJECT = 0.5
"""from this value on a pixel counts as object where a yes or no is needed, unless --threshold says otherwise"""
Box = tuple[int, int, int, int]


def cut_out(
    picture: Image.Image,
    grey: np.ndarray,
    threshold: float | None = None,
    crop: bool = False,
    background: tuple[int, int, int] | None = None,
) -> Image.Image:
    """The object of a picture.

    picture     RGB, (width, height), as `decode` gives it: what is transparent in its file stays so
    grey        (height, width) uint8, the saliency map
    threshold   alpha is the map itself, or with a threshold from 0 to 1 all or nothing
    crop        no larger than the box of the object; all of the picture where there is none
    background  colour behind it: the result is RGB then, otherwise RGBA
    """
    alpha = grey if threshold is None else np.where(grey >= 255 * threshold, np.uint8(255), np.uint8(0))
    own = picture.info.get("alpha")
    if own is not None:
        picture, alpha = _off_white(picture, own), np.minimum(alpha, np.asarray(own))
    result = picture.convert("RGBA")
    result.putalpha(Image.fromarray(alpha))
    box = object_box(np.minimum(grey, alpha), OBJECT if threshold is None else threshold) if crop else None
    if box:
        result = result.crop(box)
    if background is None:
        return result
    ground = Image.new("RGBA", result.size, (*background, 255))
    return Image.alpha_composite(ground, result).convert("RGB")


def _off_white(picture: Image.Image, alpha: Image.Image) -> Image.Image:
    """The colours of a picture that was composited on white."""
    share = np.maximum(np.asarray(alpha, np.float32)[..., None], 1) / 255
    colours = 255 - (255 - np.asarray(picture, np.float32)) / share
    return Image.fromarray(np.clip(np.round(colours), 0, 255).astype(np.uint8))


def object_box(grey: np.ndarray, threshold: float = OBJECT) -> Box | None:
    """(left, top, right, bottom), half open, around all pixels from the threshold on; None if there are none."""
    found = grey >= 255 * threshold
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def parse_background(name: str) -> tuple[int, int, int] | None:
    """A colour by name or #rrggbb; None for "transparent"."""
    if name == "transparent":
        return None
    try:
        colour = ImageColor.getrgb(name)
    except ValueError:
        raise SettingsError(
            f"--background is {name!r}; transparent, a colour's name such as white, or #rrggbb is expected"
        ) from None
    return colour[0], colour[1], colour[2]
