"""Class numbers of pixels as a picture whose pixels are the numbers, and a table of what they mean."""

import csv
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from volovan.data.masks.coding import IGNORE, Colour

_VOID = (224, 224, 192)
"""of ignored pixels, as Pascal VOC has it"""


def palette_picture(mask: np.ndarray, palette: Sequence[Colour]) -> Image.Image:
    """Class numbers (H, W) uint8 -> picture of mode "P": the numbers are the pixels, the palette is for people."""
    image = Image.fromarray(np.ascontiguousarray(mask, np.uint8))
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    colours[IGNORE] = _VOID
    image.putpalette(colours.reshape(-1).tolist())  # makes it "P"
    return image


def class_table(classes: Sequence[str], palette: Sequence[Colour]) -> dict[str, str]:
    """{"classes.csv": id, name and colour of each class}, as `class_files.py` reads it."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["id", "name", "r", "g", "b"])
    for number, (name, colour) in enumerate(zip(classes, palette, strict=True)):
        table.writerow([number, name, *colour])
    return {"classes.csv": text.getvalue()}
