"""Objects with points as a JSON of COCO."""

import json
from pathlib import Path
from typing import Any

from volovan.data.source import Source
from volovan.data.synthetic.shapes_classes import SHAPE_CLASSES
from volovan.pose.written import categories_of

FIGURE = next(about for about in SHAPE_CLASSES if about.name == "figure")
YOLO_LINE = "0 0.5 0.5 0.6 0.4" + "".join(f" {0.4 + 0.03 * k:.2f} {0.5 - 0.02 * k:.2f} 2" for k in range(7))
"""a figure with its seven points, anywhere"""


def write_yolo_settings(root: Path) -> None:
    """A data.yaml of YOLO with the points of figures; labels are YOLO_LINE."""
    said = {"names": [FIGURE.name], "kpt_shape": [7, 3], "flip_idx": list(FIGURE.flips)}
    root.mkdir(parents=True, exist_ok=True)
    (root / "data.yaml").write_text(json.dumps(said | {"kpt_names": list(FIGURE.keypoints)}))


def write_points(folder: Path, source: Source, count: int) -> None:
    """The first pictures of a source, and the points of their objects: images/val, annotations/...val.json."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "images" / "val").mkdir(parents=True)
    said: dict[str, list[Any]] = {"images": [], "annotations": []}
    said["categories"] = categories_of(source.classes, source.skeleton)  # type: ignore[attr-defined]
    for index in range(count):
        picture, there = source.load(index), source.target(index)
        picture.save(folder / "images" / "val" / f"{index}.png")
        said["images"].append(
            {"id": index, "file_name": f"{index}.png", "width": picture.width, "height": picture.height}
        )
        for row, points in enumerate(there.points):
            x1, y1, x2, y2 = there.boxes[row].tolist()
            said["annotations"].append(
                {
                    "id": len(said["annotations"]) + 1,
                    "image_id": index,
                    "category_id": int(there.labels[row]) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(there.areas[row]),
                    "iscrowd": int(there.crowd[row]),
                    "keypoints": points.ravel().tolist(),
                    "num_keypoints": int((points[:, 2] > 0).sum()),
                }
            )
    (folder / "annotations" / "person_keypoints_val.json").write_text(json.dumps(said))
