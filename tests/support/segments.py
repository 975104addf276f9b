"""Segments of a source as COCO has them on the disk, and a source whose segments a test paints."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from volovan.data.panoptic.segments import Panoptic
from volovan.data.pictures.palettes import spread
from volovan.data.samples import palette_of, things_of
from volovan.data.source import Source
from volovan.panoptic.written import ids_picture

CLASSES, THINGS = ("cat", "sky", "road"), (True, False, False)


@dataclass(frozen=True)
class Painted:
    """A source of segments; its pictures show each class in a colour of its own, void in black."""

    told: Sequence[Panoptic]
    classes: tuple[str, ...] = CLASSES
    things: tuple[bool, ...] = THINGS
    kind, note = "panoptic", ""

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(spread(len(self.classes)))

    def __len__(self) -> int:
        return len(self.told)

    def name(self, index: int) -> str:
        return f"{index}.png"

    def load(self, index: int) -> Image.Image:
        one, order = self.told[index], sorted(self.classes)  # colours go with names, not with numbers
        pixels = np.zeros((*one.ids.shape, 3), np.uint8)
        for segment in one.segments:
            pixels[one.ids == segment.id] = self.palette[order.index(self.classes[segment.label])]
        return Image.fromarray(pixels)

    def target(self, index: int) -> Panoptic:
        return self.told[index]


def write_segments(folder: Path, source: Source, count: int | None = None, split: str = "val") -> Path:
    """The first pictures of a source, all by default: images/SPLIT/N.png, annotations/panoptic_SPLIT.json and its
    folder of PNGs. Returns the folder."""
    home = folder / "annotations" / f"panoptic_{split}"
    home.mkdir(parents=True)
    (folder / "images" / split).mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(len(source) if count is None else count):
        picture, told, name = source.load(index), source.target(index), f"{index}.png"
        picture.save(folder / "images" / split / name)
        ids_picture(told.ids).save(home / name)
        info = [
            {"id": one.id, "category_id": one.label + 1, "iscrowd": int(one.crowd), "area": area, "bbox": [0, 0, 1, 1]}
            for one, area in zip(told.segments, told.areas().tolist(), strict=True)
        ]
        images.append({"id": index, "file_name": name, "width": picture.width, "height": picture.height})
        annotations.append({"image_id": index, "file_name": name, "segments_info": info})
    categories = [
        {"id": number, "name": name, "isthing": int(thing), "color": list(colour)}
        for number, (name, thing, colour) in enumerate(
            zip(source.classes, things_of(source), palette_of(source), strict=True), 1
        )
    ]
    said = {"images": images, "annotations": annotations, "categories": categories}
    home.with_suffix(".json").write_text(json.dumps(said))
    return folder
