"""Masks that give every pixel a class: what a source of them offers, and how one mask file is read safely.

Decisions, each of them tested in tests/data/test_masks.py:
- a palette PNG holds indices, and the indices are the ids; its colours are only for people.
- where classes have colours and no ids of their own, palette and grey masks of just these colours are read as RGB is.
- RGB holds colours if the classes have colours, then always; else its three channels must be equal and are the ids.
- grey holds ids; only where all classes have grey colours (black and white), it holds those.
- 16 bits are ids like others. Values that are no id of a class are refused, never clipped.
- formats are refused that lose pixels (JPEG: along borders it holds ids nobody drew), that rescale values (PGM), or
  whose writers renumber palettes (GIF).
- EXIF: picture and mask each are what a viewer shows, upright. A mask drawn on the pixels as they lie in the file of a
  turned picture has another size than the picture and is refused for that.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from volovan.data.errors import BadImage, SourceError
from volovan.data.pictures.decoding import decode_stored
from volovan.data.pictures.palettes import Colour as Colour
from volovan.data.source import Source

IGNORE = 255
"""in masks: the pixel counts neither in losses nor in scores"""
MAX_CLASSES = 254

_UNKNOWN = 254  # in lookup tables: no class has this value
_KEPT = 20  # unknown values of one mask that a BadMask names
_LOSSLESS = ("PNG", "BMP", "TIFF", "NPY")
_COLOURED = ("RGB", "RGBA", "LA")


class BadMask(BadImage):
    """A mask that holds values of no class. unknown: (id or colour, pixels) of the most frequent ones."""

    def __init__(self, name: str, reason: str, unknown: tuple[tuple[int | Colour, int], ...] = ()) -> None:
        super().__init__(name, reason)
        self.unknown = unknown
        self.args = (name, reason, unknown)  # what pickling hands to __init__


class MaskSource(Source[np.ndarray], Protocol):
    """A source whose targets are masks of classes."""

    palette: tuple[Colour, ...]  # one colour for each class


@dataclass(frozen=True)
class Coding:
    """How the mask files of a data set write classes.

    classes  names in the order of their numbers
    palette  a colour for each class, to draw with
    ids      id in the files -> class number or IGNORE
    colours  colour in the files -> class number or IGNORE; empty where files hold ids only
    origin   file that says so, for messages
    shared   colours that several classes have, and the names of these: to draw with, but not to read
    by_colour  the colours say which class is meant, the ids are but the order of the classes
    """

    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    ids: dict[int, int]
    colours: dict[Colour, int] = field(default_factory=dict)
    origin: str = ""
    shared: dict[Colour, tuple[str, ...]] = field(default_factory=dict)
    by_colour: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= MAX_CLASSES:
            raise SourceError(
                f"{self.origin or 'the data set'} has {len(self.classes)} classes, expected 1 to {MAX_CLASSES} (a mask "
                "has 8 bits, two values are taken)"
            )


def plain_ids(count: int) -> dict[int, int]:
    """ids 0 .. count - 1 are the class numbers, 255 is ignored."""
    return {**{number: number for number in range(count)}, IGNORE: IGNORE}


def unnamed(count: int) -> tuple[str, ...]:
    """Names of classes that nobody has named."""
    return tuple(f"class {number}" for number in range(count))


def read_mask(path: Path, name: str, coding: Coding) -> np.ndarray:
    """(H, W) uint8: the class number of each pixel, IGNORE where it has none.

    name    how errors call the file
    raises  BadImage: it cannot be decoded, or holds a value that is no class
    """
    image = open_mask(path, name)
    if image.mode in _COLOURED and (coding.colours or coding.shared):
        return _from_colours(image, name, coding)
    values = mask_values(image, name)
    greys = {red: number for (red, green, blue), number in coding.colours.items() if red == green == blue}
    if image.mode == "L" and greys and len(greys) == len(coding.colours) and not coding.shared:
        return _looked_up(values, greys, name, coding)
    if coding.colours and image.mode in ("P", "L", "1"):
        shown = shown_colours(image, values)
        if coding.by_colour and coding.colours.keys() >= {*shown.values()}:
            return _looked_up(values, {value: coding.colours[shown[value]] for value in shown}, name, coding)
        if image.mode == "P":
            _refuse_contradiction(shown, name, coding)
    return _looked_up(values, coding.ids, name, coding)


def open_mask(path: Path, name: str) -> Image.Image:
    """The picture of a mask file as stored, if its format keeps every pixel."""
    image = decode_stored(path, name)
    kind = image.info["format"]
    if kind == "JPEG" or image.info["compression"] == "jpeg":
        raise BadImage(name, "a mask as JPEG, which changes ids along borders; draw it again and save it as PNG")
    if kind not in _LOSSLESS:
        raise BadImage(name, f"a mask as {kind}, which may change ids; save it as PNG")
    return image


def mask_values(image: Image.Image, name: str) -> np.ndarray:
    """(H, W) uint8 or int32: the ids of a mask, from 0 to 65535, where no class has a colour."""
    if image.mode in _COLOURED:
        return _equal_channels(image, name)
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode in ("L", "P"):
        step = image.info["step"]
        return np.asarray(image) if step == 1 else np.asarray(image) // step
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int32)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            negative = f", with {IGNORE} where nothing is labelled" if low < 0 else ""
            raise BadImage(name, f"ids from {low} to {high}, expected 0 to 65535; save it with 8 bits{negative}")
        return values
    raise BadImage(name, f"pixels of the kind {image.mode}, expected ids as 8-bit grey or palette PNG; save it so")


# ids


@lru_cache(maxsize=16)
def _id_table(ids: tuple[tuple[int, int], ...]) -> np.ndarray:
    table = np.full(65536, _UNKNOWN, np.uint8)
    for value, number in ids:
        table[value] = number
    return table


def _looked_up(values: np.ndarray, ids: dict[int, int], name: str, coding: Coding) -> np.ndarray:
    table = _id_table(tuple(ids.items()))
    if values.dtype == np.uint8:  # translate is ten times faster than indexing
        mask = np.frombuffer(bytearray(values).translate(table[:256].tobytes()), np.uint8).reshape(values.shape)
    else:
        mask = table.take(values)
    unknown = mask == _UNKNOWN
    if not unknown.any():
        return mask
    found = _most_frequent(values[unknown])
    listed = ", ".join(f"id {value} in {count:,} pixels" for value, count in found[:3])
    more = f" and {len(found) - 3} other unknown ids" if len(found) > 3 else ""
    known = ranges([value for value, number in ids.items() if number != IGNORE])
    ignored = ranges([value for value, number in ids.items() if number == IGNORE])
    besides = f" (ignored: {ignored})" if ignored else ""
    reason = f"{listed}{more}, expected {known}{besides}; mend the mask{_or_name_it('id', coding)}"
    raise BadMask(name, reason, tuple(found[:_KEPT]))


def _most_frequent(values: np.ndarray) -> list[tuple[int, int]]:
    """(value, how many) of all values, the most frequent one first."""
    found, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return list(zip(found[order].tolist(), counts[order].tolist(), strict=True))


def _or_name_it(what: str, coding: Coding) -> str:
    if not coding.origin:
        return f", or name the {what} in a classes.txt"
    is_file = "." in coding.origin
    return f", or name the {what} in {coding.origin}" if is_file else f", or fetch {coding.origin} again"


def ranges(values: list[int]) -> str:
    """ "0 to 10, 12" of [0, ..., 10, 12]."""
    ordered = enumerate(sorted(values))
    runs = [[value for _, value in run] for _, run in groupby(ordered, lambda pair: pair[1] - pair[0])]
    shown = [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return ", ".join(shown[:8]) + (f" ... {max(values)}" if len(shown) > 8 else "")


# colours


def _code(colour: Colour) -> int:
    return colour[0] | colour[1] << 8 | colour[2] << 16


@lru_cache(maxsize=4)
def _colour_table(colours: tuple[tuple[Colour, int], ...]) -> np.ndarray:
    """(2^24,) uint8: class + 1, 0 unknown. Zeros cost no memory until they are looked at."""
    table = np.zeros(1 << 24, np.uint8)
    for colour, number in colours:
        table[_code(colour)] = 255 if number == IGNORE else number + 1
    return table


_FROM_COLOUR_TABLE = bytes([_UNKNOWN, *range(MAX_CLASSES), IGNORE])


def _codes(image: Image.Image, name: str) -> np.ndarray:
    """(H, W) uint32: each colour as a number."""
    pixels = np.frombuffer(image.convert("RGBA").tobytes(), "<u4").reshape(image.height, image.width)
    if image.mode != "RGB" and (pixels >> 24 != 255).any():
        raise BadImage(name, "transparent pixels, which have no class; save the mask without an alpha channel")
    return pixels & 0xFFFFFF


def _from_colours(image: Image.Image, name: str, coding: Coding) -> np.ndarray:
    codes = _codes(image, name)
    numbers = _colour_table(tuple(coding.colours.items())).take(codes)
    mask = np.frombuffer(bytearray(numbers).translate(_FROM_COLOUR_TABLE), np.uint8).reshape(numbers.shape)
    unknown = mask == _UNKNOWN
    if not unknown.any():
        return mask
    for colour, names in coding.shared.items():  # colours of several classes say nothing, where a mask has no ids
        where = unknown & (codes == _code(colour))
        if where.any():
            raise BadImage(
                name,
                f"colour {colour} at {_place(where)}, which {_origin(coding)} gives to {' and to '.join(names)}; save "
                "ids as 8-bit PNG, or give each class a colour of its own",
            )
    found = [(_colour(code), count) for code, count in _most_frequent(codes[unknown])]
    raise BadMask(
        name,
        f"colour {_first_colour(codes, unknown)} at {_place(unknown)}, in all {unknown.sum():,} pixels of a colour "
        f"that is none of the {len(coding.colours)} in {_origin(coding)}; mend the mask{_or_name_it('colour', coding)}",
        tuple(found[:_KEPT]),
    )


def _equal_channels(image: Image.Image, name: str) -> np.ndarray:
    codes = _codes(image, name)
    ids = (codes & 255).astype(np.uint8)
    coloured = codes != ids * np.uint32(0x010101)
    if coloured.any():
        raise BadImage(
            name,
            f"colours instead of ids, the first is {_first_colour(codes, coloured)} at {_place(coloured)}; put a "
            "classes.csv with the columns name,r,g,b beside the folders, or save ids as 8-bit PNG",
        )
    return ids


def _first_colour(codes: np.ndarray, where: np.ndarray) -> Colour:
    return _colour(int(codes.flat[where.argmax()]))


def _colour(code: int) -> Colour:
    return code & 255, code >> 8 & 255, code >> 16


def _origin(coding: Coding) -> str:
    return coding.origin or "the table of classes"


def _place(where: np.ndarray) -> str:
    row, column = divmod(int(where.argmax()), where.shape[1])
    return f"row {row}, column {column}"


def shown_colours(image: Image.Image, values: np.ndarray) -> dict[int, Colour]:
    """{value: colour} of the values (H, W) that a mask of 8 bits or fewer holds, as a viewer shows them."""
    used = np.flatnonzero(np.bincount(values.ravel())).tolist()
    if image.mode != "P":
        step = 255 if image.mode == "1" else image.info["step"]
        return {value: (step * value,) * 3 for value in used}
    palette = image.getpalette("RGB") or []
    colours = {index: tuple(palette[3 * index : 3 * index + 3]) for index in used}
    return {index: (colour[0], colour[1], colour[2]) for index, colour in colours.items() if len(colour) == 3}


def _refuse_contradiction(shown: dict[int, Colour], name: str, coding: Coding) -> None:
    """A palette that shows an index in the colour of another class: nobody knows which of them is meant."""
    for value, colour in shown.items():
        meant = coding.colours.get(colour)
        if meant is not None and coding.ids.get(value) not in (None, meant):
            raise BadImage(
                name,
                f"its palette shows index {value} as {colour}, which {_origin(coding)} gives to another class; "
                "save the mask as RGB if the colours are right, else as 8-bit grey",
            )
