"""A picture of samples with their masks over them, to be looked at by people."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from volovan.data.masks import Colour
from volovan.data.overlay import shown_picture
from volovan.data.sheet import contact_sheet, sheet_font

_MARGIN, _SWATCH, _LINE, _COLUMN = 20, 14, 22, 190  # of the legend, pixels


def salient_overlay(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """What is salient keeps its colours, the rest is dark and grey; soft values lie between. mask (H, W) uint8."""
    shown = shown_picture(picture)
    values = np.asarray(Image.fromarray(mask).resize(shown.size, Image.Resampling.NEAREST))
    share = values[..., None].astype(np.float32) / 255
    colours = np.asarray(shown, np.float32)
    rest = 0.3 * np.asarray(shown.convert("L"), np.float32)[..., None] + np.array([10, 10, 40], np.float32)
    return Image.fromarray((share * colours + (1 - share) * rest).round().clip(0, 255).astype(np.uint8))


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
