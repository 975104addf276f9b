"""A contact sheet: pictures in a grid, each with a caption, to be looked at by people."""

import importlib.util
from bisect import bisect
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from volovan.data.masks.coding import Colour

_PAPER, _INK, _SOFT_INK, _FRAME = "#ffffff", "#1c1e21", "#6b7075", "#d5d8dc"
_MARGIN, _GAP, _PADDING = 20, 14, 6  # around the sheet, between cells, between picture and caption
_SWATCH, _LINE, _COLUMN = 14, 22, 190  # of the legend


def contact_sheet(
    images: Sequence[Image.Image],
    captions: Sequence[str | Sequence[str]],
    columns: int | None = None,
    cell: int = 160,
    title: str = "",
    font_size: int = 14,
    legend: Sequence[tuple[str, Colour]] = (),
) -> Image.Image:
    """Pictures in reading order on white.

    images    any sizes; larger ones than the cell are shrunk, smaller ones enlarged without smoothing, so that what a
              network sees of 8 x 8 pixels stays visible
    captions  one per picture: a line, or several; lines that are too long end in an ellipsis
    columns   default: a sheet that is a little wider than high
    cell      pixels of the square that each picture is fitted into
    legend    what colours mean, written under the pictures
    returns   PIL image, mode "RGB"
    raises    ValueError: no pictures, or not one caption each
    """
    if not images or len(images) != len(captions):
        raise ValueError(
            f"contact_sheet got {len(images)} pictures and {len(captions)} captions; expected one caption each"
        )
    columns = min(columns or max(1, round((1.6 * len(images)) ** 0.5)), len(images))
    rows = -(-len(images) // columns)
    lines = [[caption] if isinstance(caption, str) else list(caption) for caption in captions]
    font, heading = sheet_font(font_size), sheet_font(round(1.4 * font_size))
    line_height = round(1.35 * font_size)
    row_height = cell + _PADDING + max(map(len, lines)) * line_height + _GAP
    top = _MARGIN + (round(2.4 * font_size) if title else 0)
    width = 2 * _MARGIN + columns * cell + (columns - 1) * _GAP

    sheet = Image.new("RGB", (width, top + rows * row_height - _GAP + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_MARGIN, _MARGIN - 4), fitted(title, heading, width - 2 * _MARGIN), fill=_INK, font=heading)
    for place, (image, texts) in enumerate(zip(images, lines, strict=True)):
        x, y = _MARGIN + place % columns * (cell + _GAP), top + place // columns * row_height
        picture = _scaled(image, cell)
        draw.rectangle((x - 1, y - 1, x + cell, y + cell), outline=_FRAME)
        sheet.paste(picture, (x + (cell - picture.width) // 2, y + (cell - picture.height) // 2))
        for number, text in enumerate(texts):
            below = y + cell + _PADDING + number * line_height
            draw.text((x, below), fitted(text, font, cell), fill=_SOFT_INK if number else _INK, font=font)
    return _with_legend(sheet, legend) if legend else sheet


def _with_legend(sheet: Image.Image, legend: Sequence[tuple[str, Colour]]) -> Image.Image:
    columns = max(1, (sheet.width - 2 * _MARGIN) // _COLUMN)
    rows = -(-len(legend) // columns)
    page = Image.new("RGB", (sheet.width, sheet.height + rows * _LINE + _MARGIN), _PAPER)
    page.paste(sheet, (0, 0))
    draw, font = ImageDraw.Draw(page), sheet_font(14)
    for place, (name, colour) in enumerate(legend):
        x, y = _MARGIN + place // rows * _COLUMN, sheet.height + place % rows * _LINE
        draw.rectangle((x, y, x + _SWATCH, y + _SWATCH), fill=colour, outline=_SOFT_INK)
        draw.text((x + _SWATCH + 6, y - 2), name, fill=_INK, font=font)
    return page


def _scaled(image: Image.Image, cell: int) -> Image.Image:
    """Fitted into the cell; an enlargement by a whole number, so that all its pixels have the same size."""
    scale = cell / max(image.size)
    if scale >= 1:
        scale = int(scale)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    how = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    return image.convert("RGB").resize(size, how)


def fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """text on one line, cut where it is wider than width, with an ellipsis for what is missing."""
    text = "".join(char if char.isprintable() else " " for char in text).encode("utf-8", "replace").decode()
    if font.getlength(text) <= width:
        return text
    longest = bisect(range(len(text) + 1), float(width), key=lambda count: font.getlength(f"{text[:count]}…")) - 1
    return f"{text[: max(longest, 0)].rstrip()}…"


@lru_cache
def sheet_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans (Latin, Greek, Cyrillic, Arabic, symbols) as matplotlib ships it; else the font inside Pillow."""
    spec = importlib.util.find_spec("matplotlib")  # found, not imported: that takes half a second
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
        if path.is_file():
            return ImageFont.truetype(path, size)
    return ImageFont.load_default(size)
