"""A panel: pictures of one size that belong together, with captions, a title and a legend."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from volovan.data.pictures.sheet import INK, PAPER, SOFT_INK, Legend, draw_legend, fitted, sheet_font

_MARGIN, _GAP = 16, 12
_NARROWEST = 320
"""pixels of a title and a legend, also where the pictures are narrower"""


def panel(pictures: Sequence[Image.Image], captions: Sequence[str], legend: Legend, title: str = "") -> Image.Image:
    """Pictures of one size side by side (wide ones one above the other), each under its caption; a legend below."""
    font, heading = sheet_font(14), sheet_font(18)
    width, height = pictures[0].size
    across = len(pictures) if width < 2 * height else 1
    down = len(pictures) // across
    top = _MARGIN + (34 if title else 0)
    caption = 24 if any(captions) else 0
    inner = max(across * width + (across - 1) * _GAP, _NARROWEST)
    below = draw_legend(legend, inner)
    pictures_end = top + down * (caption + height) + (down - 1) * _GAP
    sheet = Image.new("RGB", (inner + 2 * _MARGIN, pictures_end + _GAP + below.height + _MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_MARGIN, _MARGIN + 8), fitted(title, heading, inner), INK, heading, anchor="lm")
    for number, (picture, text) in enumerate(zip(pictures, captions, strict=True)):
        x = _MARGIN + number % across * (width + _GAP)
        y = top + number // across * (height + caption + _GAP)
        draw.text((x, y + 10), fitted(text, font, width), SOFT_INK, font, anchor="lm")
        sheet.paste(picture, (x, y + caption))
    sheet.paste(below, (_MARGIN, pictures_end + _GAP))
    return sheet
