"""Segments of a source as COCO has them on the disk."""

from pathlib import Path

import numpy as np

from volovan.data.samples import palette_of, things_of
from volovan.data.source import Source
from volovan.panoptic.inference import FoundSegments
from volovan.panoptic.written import ids_picture, ledger


def write_segments(folder: Path, source: Source, count: int, split: str = "val") -> None:
    """The first pictures of a source: images/SPLIT/N.png, annotations/panoptic_SPLIT.json and its folder of PNGs."""
    home = folder / "annotations" / f"panoptic_{split}"
    home.mkdir(parents=True)
    (folder / "images" / split).mkdir(parents=True)
    with ledger(folder / "annotations", source.classes, things_of(source), palette_of(source)) as book:
        for index in range(count):
            picture, told = source.load(index), source.target(index)
            picture.save(folder / "images" / split / f"{index}.png")
            ids_picture(told.ids).save(home / f"{index}.png")
            found = FoundSegments(told, np.ones(len(told.segments), np.float32))
            book.add(f"{index}.png", (picture.height, picture.width), found, f"panoptic/{index}.png")
    (folder / "annotations" / "panoptic.json").rename(home.with_suffix(".json"))
    (folder / "annotations" / "segments.csv").unlink()
