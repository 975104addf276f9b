"""Pictures with objects, and what tools write of them: COCO's JSON, YOLO's texts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (12, 9)
BOX = [3, 2, 7, 5]
CORNERS = [3, 2, 7, 2, 7, 5, 3, 5]


def picture(path: Path, size: tuple[int, int] = SIZE, orientation: int = 1) -> None:
    """A picture that differs from others, with a corner of its own colour; orientation: of its EXIF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(len(str(path))).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    pixels[:2, :2] = sum(map(ord, path.name)) % 256
    Image.fromarray(pixels).save(path, exif=exif)


def coco(
    images: Sequence[str] | Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]] = (),
    categories: Sequence[str] | Mapping[Any, str] = ("cat", "dog"),
    size: tuple[int, int] = SIZE,
) -> dict[str, Any]:
    """A JSON of COCO. Ids count from 1; what an annotation leaves out is a cat in the first picture."""
    names = categories if isinstance(categories, Mapping) else dict(enumerate(categories, 1))
    return {
        "images": [
            {"id": number, "file_name": image, "width": size[0], "height": size[1]} if isinstance(image, str) else image
            for number, image in enumerate(images, 1)
        ],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": next(iter(names)), **annotation}
            for number, annotation in enumerate(annotations, 1)
        ],
        "categories": [{"id": id, "name": name} for id, name in names.items()],
    }


def write(path: Path, content: Any) -> Path:
    """Text as it is, anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def bbox(box: Sequence[float]) -> list[float]:
    """x, y, width, height."""
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def yolo_box(number: int, box: Sequence[float], width: int, height: int) -> str:
    x, y, across, down = bbox(box)
    values = ((x + across / 2) / width, (y + down / 2) / height, across / width, down / height)
    return " ".join([str(number), *(f"{value:.7f}" for value in values)])


def yolo_outline(number: int, corners: np.ndarray, width: int, height: int) -> str:
    return " ".join([str(number), *(f"{value:.7f}" for value in (corners / (width, height)).reshape(-1))])


def counts_of(mask: np.ndarray) -> list[int]:
    """Runs outside, inside ... down the columns of a mask (H, W)."""
    runs, inside = [0], False
    for value in mask.T.reshape(-1).tolist():
        if value != inside:
            runs.append(0)
            inside = value
        runs[-1] += 1
    return runs
