"""Pictures with their label maps laid over them: the likeliest class of every cell, by colour."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from volovan.data.errors import BadImage
from volovan.data.pictures.sheet import contact_sheet
from volovan.data.samples import class_of
from volovan.data.source import Source
from volovan.files.classes import IMAGENET, are_synsets, output_names, wnids
from volovan.files.pictures import save_picture
from volovan.labels.keys import label_key
from volovan.labels.store import LabelStore
from volovan.labels.view import TeacherView

COLOURS = (
    (230, 25, 75), (67, 99, 216), (60, 180, 75), (255, 225, 25), (145, 30, 180), (66, 212, 244), (245, 130, 49),
    (240, 50, 230), (70, 153, 144), (191, 239, 69), (154, 99, 36), (0, 0, 117), (250, 190, 212), (128, 128, 0),
)  # fmt: skip
"""of the most frequent classes, the first the most frequent; the other classes are grey"""
_GREY = (128, 128, 128)
_OPACITY = 0.5
_CELL = 224  # pixels


def write_pictures(path: Path, store: LabelStore, source: Source, view: TeacherView, count: int) -> bool:
    """Write a sheet of `count` samples, evenly spread over the source, with a legend.

    Returns whether any of them can be read and has a map; otherwise there is no sheet.
    """
    shown: list[tuple[int, Image.Image, np.ndarray]] = []
    for index in np.unique(np.linspace(0, len(source) - 1, count).round().astype(int)).tolist():
        key = label_key(source.name(index))
        try:
            picture = view.picture(source.load(index), source.name(index))
        except BadImage:
            continue
        if key in store:
            shown.append((index, picture, store.read(key)[1, 0].numpy().astype(np.int64)))
    if not shown:
        return False
    shares = _shares([classes for _, _, classes in shown])
    colours = dict(zip(shares, COLOURS, strict=False))
    names = _names(store.classes, shares)
    images = [overlay(picture, classes, colours) for _, picture, classes in shown]
    captions = []
    for index, _, classes in shown:
        label = class_of(source, index)
        truth = "" if label is None else f", {source.classes[label]}"
        best = [f"{names[number]} {share:.0%}" for number, share in list(_shares([classes]).items())[:3]]
        captions.append([re.split("[/!]", source.name(index))[-1] + truth, *best])
    legend = [(names[number], colours[number], f"{shares[number]:.1%}") for number in colours]
    if len(shares) > len(colours):
        rest = sum(share for number, share in shares.items() if number not in colours)
        legend.append((f"{len(shares) - len(colours)} others", _GREY, f"{rest:.1%}"))
    title = "The likeliest class of each cell, and its share of all cells"
    save_picture(path, contact_sheet(images, captions, cell=_CELL, title=title, legend=legend))
    return True


def overlay(picture: Image.Image, classes: np.ndarray, colours: dict[int, tuple[int, int, int]]) -> Image.Image:
    """The grey picture under the colours of the classes (h, w) of its cells, at the size of a cell of the sheet."""
    scale = _CELL / max(picture.size)
    how = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    table = np.array([[colours.get(number, _GREY) for number in row] for row in classes.tolist()], np.uint8)
    mask = Image.fromarray(table).resize(size, Image.Resampling.NEAREST)
    return Image.blend(picture.convert("L").convert("RGB").resize(size, how), mask, _OPACITY)


def _shares(maps: Sequence[np.ndarray]) -> dict[int, float]:
    """Class -> its share of all cells, the largest first."""
    numbers, counts = np.unique(np.concatenate([classes.reshape(-1) for classes in maps]), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {int(numbers[place]): float(counts[place] / counts.sum()) for place in order}


def _names(classes: tuple[str, ...] | None, numbers: Iterable[int]) -> dict[int, str]:
    """What classes are called on the sheet: synsets of ImageNet by their first word, by number where none is known."""
    words = dict(zip(wnids(), output_names(IMAGENET), strict=True)) if are_synsets((classes or ())[:10]) else {}
    known = dict(enumerate(words.get(name, name).partition(",")[0] for name in classes or ()))
    return {number: known.get(number, f"class {number}") for number in numbers}
