"""Panoptic annotations as COCO's tools write them: PNGs of ids, and a JSON that lists segments."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from annotating import SIZE, picture

CATEGORIES = [
    {"id": 1, "name": "cat", "isthing": 1, "color": [10, 20, 30]},
    {"id": 7, "name": "sky", "isthing": 0, "color": [40, 50, 60]},
]


def png(path: Path, ids: np.ndarray, mode: str = "RGB") -> None:
    """R + 256 G + 65,536 B."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = ids.astype(int)
    pixels = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def ids_of(left: int = 70000, right: int = 300, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Half a picture each, void in the lowest row."""
    ids = np.full(size[::-1], left)
    ids[:, size[0] // 2 :] = right
    ids[-1] = 0
    return ids


def segments(ids: np.ndarray, categories: Mapping[int, int], **more: Any) -> list[dict[str, Any]]:
    """The table of a PNG: {id: category id}."""
    return [
        {"id": id, "category_id": category, "iscrowd": 0, "area": int((ids == id).sum()), "bbox": [0, 0, 1, 1]} | more
        for id, category in categories.items()
    ]


def panoptic(names: Sequence[str], tables: Sequence[Any], size: tuple[int, int] = SIZE) -> dict[str, Any]:
    """A JSON; PNGs are called as the pictures."""
    images = [
        {"id": number, "file_name": name, "width": size[0], "height": size[1]} for number, name in enumerate(names, 1)
    ]
    annotations = [
        {"image_id": number, "file_name": f"{Path(name).stem}.png", "segments_info": table}
        for number, (name, table) in enumerate(zip(names, tables, strict=True), 1)
    ]
    return {"images": images, "annotations": annotations, "categories": [dict(one) for one in CATEGORIES]}


def lay(root: Path, split: str = "train", **change: Any) -> dict[str, Any]:
    """root/annotations/panoptic_SPLIT.json of one picture, a.png, and its PNG; change: of the JSON."""
    ids = ids_of()
    picture(root / f"images/{split}/a.png")
    png(root / f"annotations/panoptic_{split}/a.png", ids)
    said = panoptic(["a.png"], [segments(ids, {70000: 1, 300: 7})]) | change
    (root / f"annotations/panoptic_{split}.json").write_text(json.dumps(said))
    return said
