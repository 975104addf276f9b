"""A picture of samples with their masks over them, to be looked at by people."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from volovan.data.masks import IGNORE, Colour
from volovan.data.sheet import contact_sheet, sheet_font

_OPACITY = 0.55
_MARGIN, _SWATCH, _LINE, _COLUMN = 20, 14, 22, 190  # of the legend, pixels
_LONGEST = 640  # pixels, of an overlay


def class_overlay(picture: Image.Image, mask: np.ndarray, palette: Sequence[Colour]) -> Image.Image:
    """The picture in grey under the colours of its classes; ignored pixels keep their own colours.

    mask     (H, W) uint8, class numbers or IGNORE
    returns  RGB, at most 640 pixels wide or high
    """
    shown, numbers = _shrunk(picture, mask)
    colours = np.zeros((256, 3), np.float32)
    colours[: len(palette)] = palette
    grey = np.asarray(shown.convert("L"), np.float32)[..., None]
    mixed = grey + _OPACITY * (colours[numbers] - grey)
    mixed = np.where((numbers == IGNORE)[..., None], np.asarray(shown, np.float32), mixed)
    return Image.fromarray(mixed.round().astype(np.uint8))


def salient_overlay(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """What is salient keeps its colours, the rest is dark and grey; soft values lie between. mask (H, W) uint8."""
    shown, values = _shrunk(picture, mask)
    share = values[..., None].astype(np.float32) / 255
    colours = np.asarray(shown, np.float32)
    rest = 0.3 * np.asarray(shown.convert("L"), np.float32)[..., None] + np.array([10, 10, 40], np.float32)
    return Image.fromarray((share * colours + (1 - share) * rest).round().clip(0, 255).astype(np.uint8))


def _shrunk(picture: Image.Image, mask: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    scale = min(1.0, _LONGEST / max(picture.size))
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    small = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)
    return picture.resize(size, Image.Resampling.LANCZOS), np.asarray(small)


def mask_sheet(
    images: Sequence[Image.Image], captions: Sequence[str], legend: Sequence[tuple[str, Colour]], title: str
) -> Image.Image:
    """Overlays in reading order, under them what the colours mean."""
    sheet = contact_sheet(images, captions, columns=min(6, len(images)), cell=220, title=title)
    if not legend:
        return sheet
    columns = max(1, (sheet.width - 2 * _MARGIN) // _COLUMN)
    rows = -(-len(legend) // columns)
    page = Image.new("RGB", (sheet.width, sheet.height + rows * _LINE + _MARGIN), "white")
    page.paste(sheet, (0, 0))
    draw, font = ImageDraw.Draw(page), sheet_font(14)
    for place, (name, colour) in enumerate(legend):
        x, y = _MARGIN + place // rows * _COLUMN, sheet.height + place % rows * _LINE
        draw.rectangle((x, y, x + _SWATCH, y + _SWATCH), fill=colour, outline="#6b7075")
        draw.text((x + _SWATCH + 6, y - 2), name, fill="#1c1e21", font=font)
    return page
