"""A contact sheet: pictures in a grid, each with a caption, to be looked at by people."""

import importlib.util
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import ceil
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from volovan.data.masks.coding import Colour

PAPER, INK, SOFT_INK, FRAME = "#ffffff", "#1c1e21", "#6b7075", "#d5d8dc"
Legend = Sequence[tuple[str, Colour, str]]
"""what colours mean: name, colour, and what stands to the right of it"""
_MARGIN, _GAP, _PADDING = 20, 14, 6  # around the sheet, between cells, between picture and caption
_SWATCH, _LINE, _NARROWEST, _END = 14, 24, 408, 16  # of the legend; _END: under it


def counted(names: Iterable[str], nothing: str) -> str:
    """ "cat 3, dog 2, bird 1, +4": the most frequent three, and how many other names there are; for a caption."""
    counts = Counter(names).most_common()
    said = [f"{name} {count}" for name, count in counts[:3]]
    return ", ".join(said + [f"+{len(counts) - 3}"] * (len(counts) > 3)) or nothing


def share_text(share: float) -> str:
    """ "12.3 %" of 0 to 1, for a legend; what is there is never "0.0 %"."""
    return f"{100 * share:.1f} %" if share >= 0.0005 or not share else "< 0.1 %"


def contact_sheet(
    images: Sequence[Image.Image],
    captions: Sequence[str | Sequence[str]],
    columns: int | None = None,
    cell: int = 160,
    title: str = "",
    font_size: int = 14,
    legend: Legend = (),
) -> Image.Image:
    """Pictures in reading order on white.

    images    any sizes; larger ones than the cell are shrunk, smaller ones enlarged without smoothing, so that what a
              network sees of 8 x 8 pixels stays visible
    captions  one per picture: a line, or several; lines that are too long end in an ellipsis
    columns   default: a sheet that is a little wider than high
    cell      pixels of the square that each picture is fitted into
    legend    is written under the pictures
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

    sheet = Image.new("RGB", (width, top + rows * row_height - _GAP + _MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_MARGIN, _MARGIN - 4), fitted(title, heading, width - 2 * _MARGIN), fill=INK, font=heading)
    for place, (image, texts) in enumerate(zip(images, lines, strict=True)):
        x, y = _MARGIN + place % columns * (cell + _GAP), top + place // columns * row_height
        picture = _scaled(image, cell)
        draw.rectangle((x - 1, y - 1, x + cell, y + cell), outline=FRAME)
        sheet.paste(picture, (x + (cell - picture.width) // 2, y + (cell - picture.height) // 2))
        for number, text in enumerate(texts):
            below = y + cell + _PADDING + number * line_height
            draw.text((x, below), fitted(text, font, cell), fill=SOFT_INK if number else INK, font=font)
    if not legend:
        return sheet
    drawn = draw_legend(legend, max(width - 2 * _MARGIN, _NARROWEST))
    page = Image.new("RGB", (drawn.width + 2 * _MARGIN, sheet.height + drawn.height + _END), PAPER)
    page.paste(sheet, (0, 0))
    page.paste(drawn, (_MARGIN, sheet.height))
    return page


def draw_legend(entries: Legend, width: int) -> Image.Image:
    """Colours and names in as many columns as fit into `width`."""
    entries = [(_one_line(name), colour, said) for name, colour, said in entries]
    font, gap = sheet_font(_SWATCH), _LINE
    said_width = ceil(max((font.getlength(said) for _, _, said in entries), default=0))
    wanted = ceil(max((font.getlength(name) for name, _, _ in entries), default=0))
    column = min(_SWATCH + 8 + wanted + 10 + said_width, width)
    columns = max(1, (width + gap) // (column + gap))
    rows = -(-len(entries) // columns)
    sheet = Image.new("RGB", (width, max(1, rows) * _LINE), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (name, colour, said) in enumerate(entries):
        x, y = place // rows * (column + gap), place % rows * _LINE
        top = y + (_LINE - _SWATCH) // 2
        draw.rectangle((x, top, x + _SWATCH - 1, top + _SWATCH - 1), fill=colour, outline=FRAME)
        shown = fitted(name, font, column - _SWATCH - 18 - said_width)
        draw.text((x + _SWATCH + 8, y + _LINE / 2), shown, fill=INK, font=font, anchor="lm")
        draw.text((x + column, y + _LINE / 2), said, fill=SOFT_INK, font=font, anchor="rm")
    return sheet


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
    text = _one_line(text)
    if font.getlength(text) <= width:
        return text
    longest = bisect(range(len(text) + 1), float(width), key=lambda count: font.getlength(f"{text[:count]}…")) - 1
    return f"{text[: max(longest, 0)].rstrip()}…"


def _one_line(text: str) -> str:
    """text with a space for what cannot be drawn."""
    return "".join(char if char.isprintable() else " " for char in text).encode("utf-8", "replace").decode()


@lru_cache
def sheet_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans (Latin, Greek, Cyrillic, Arabic, symbols) as matplotlib ships it; else the font inside Pillow."""
    spec = importlib.util.find_spec("matplotlib")  # found, not imported: that takes half a second
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
        if path.is_file():
            return ImageFont.truetype(path, size)
    return ImageFont.load_default(size)
