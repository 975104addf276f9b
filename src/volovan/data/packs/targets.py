"""Targets as members of a shard, beside the picture KEY.jpg, and as they are in a smaller picture.

class     KEY.cls            number of the class, as WebDataset has it; none where there is no label
labels    KEY.json           {"labels": [names]}
numbers   KEY.json           {"numbers": {name: value}}
mask      KEY.mask.png       class numbers, 255 where nothing is known
map       KEY.map.png        0 to 255
boxes     KEY.objects.json   a list of {"box": [x1, y1, x2, y2], "label", "crowd", "area", "polygons" or "pixels"}
points    KEY.objects.json   the same, with "points": [[x, y, v], ...]
panoptic  KEY.panoptic.png   the id of each pixel as red + 256 green + 65,536 blue, as COCO has it
          KEY.segments.json  a list of {"id", "label", "crowd"}
"""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from volovan.data.objects.annotated import Annotated
from volovan.data.objects.shapes import Affine, Polygons, Raster, Shape
from volovan.data.panoptic.segments import Panoptic, Segment, pixels_of

MEMBERS = {
    "none": (),
    "class": ("cls",),
    "labels": ("json",),
    "numbers": ("json",),
    "mask": ("mask.png",),
    "map": ("map.png",),
    "boxes": ("objects.json",),
    "points": ("objects.json",),
    "panoptic": ("panoptic.png", "segments.json"),
}
"""kind of target -> what its members are called, behind the key"""


def resized(kind: str, target: Any, size: tuple[int, int], to: tuple[int, int]) -> Any:
    """A target of a picture of (width, height) in one of another size."""
    if size == to:
        return target
    if kind == "mask":
        return _stretched(target, to, Image.Resampling.NEAREST)
    if kind == "map":
        return _stretched(target, to, Image.Resampling.BILINEAR)
    if kind == "panoptic":
        ids = _stretched(target.ids, to, Image.Resampling.NEAREST)
        there = pixels_of(ids)
        return Panoptic(ids, tuple(segment for segment in target.segments if segment.id in there))
    if kind in ("boxes", "points"):
        scale = Affine(to[0] / size[0], to[1] / size[1])
        return _scaled(target, scale, to)
    return target


def _stretched(values: np.ndarray, to: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    return np.array(Image.fromarray(values).resize(to, how))


def _scaled(target: Annotated, scale: Affine, to: tuple[int, int]) -> Annotated:
    """`Annotated.drawn` draws the pixels of outlines; here they stay outlines, which lose nothing."""
    width, height = to
    drawn = target.drawn(scale, height, width)
    shapes = tuple(
        Polygons(tuple(map(scale.points, own.parts))) if isinstance(own, Polygons) else new
        for own, new in zip(target.shapes, drawn.shapes, strict=True)
    )
    return Annotated(drawn.boxes, drawn.labels, drawn.crowd, drawn.areas, shapes, (), drawn.points)


def encode(kind: str, target: Any, names: Sequence[str]) -> dict[str, bytes]:
    """{member: content} of a target. names: of the classes."""
    if kind == "class":
        return {} if target is None else {"cls": str(target).encode()}
    if kind == "labels":
        return {"json": _json({"labels": [name for name, applies in zip(names, target, strict=True) if applies]})}
    if kind == "numbers":
        return {"json": _json({"numbers": dict(zip(names, target.tolist(), strict=True))})}
    if kind in ("mask", "map"):
        return {MEMBERS[kind][0]: _png(target)}
    if kind in ("boxes", "points"):
        return {"objects.json": _json([_object(target, row) for row in range(len(target))])}
    if kind == "panoptic":
        ids = target.ids
        colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)
        segments = [{"id": own.id, "label": own.label, "crowd": own.crowd} for own in target.segments]
        return {"panoptic.png": _png(colours), "segments.json": _json(segments)}
    return {}


def decode(kind: str, members: Mapping[str, bytes], names: Sequence[str], joints: int | None = None) -> Any:
    """The target that `encode` made members of, but for a class, which the table of a pack has too.

    joints  how many points each object has
    """
    if kind == "labels":
        said = set(json.loads(members["json"])["labels"])
        return np.array([name in said for name in names], np.uint8)
    if kind == "numbers":
        values = json.loads(members["json"])["numbers"]
        return np.array([values[name] for name in names], np.float64)
    if kind in ("mask", "map"):
        return _pixels(members[MEMBERS[kind][0]])
    if kind in ("boxes", "points"):
        return _objects(json.loads(members["objects.json"]), joints)
    if kind == "panoptic":
        red, green, blue = np.moveaxis(_pixels(members["panoptic.png"]).astype(np.int32), -1, 0)
        return Panoptic(
            red + (green << 8) + (blue << 16), tuple(Segment(**own) for own in json.loads(members["segments.json"]))
        )
    return None


def _object(target: Annotated, row: int) -> dict[str, Any]:
    said: dict[str, Any] = {
        "box": target.boxes[row].tolist(),
        "label": int(target.labels[row]),
        "crowd": bool(target.crowd[row]),
        "area": float(target.areas[row]),
    }
    shape = target.shapes[row]
    if isinstance(shape, Polygons):
        said["polygons"] = [part.tolist() for part in shape.parts]
    elif shape is not None:
        said["pixels"] = {"x": shape.x, "y": shape.y, "size": list(shape.mask.shape), "counts": _runs(shape.mask)}
    if target.points is not None:
        said["points"] = target.points[row].tolist()
    return said


def _objects(said: Sequence[Mapping[str, Any]], joints: int | None) -> Annotated:
    points = None if joints is None else np.array([own["points"] for own in said], float).reshape(-1, joints, 3)
    return Annotated(
        np.array([own["box"] for own in said], float).reshape(-1, 4),
        np.array([own["label"] for own in said], np.int64),
        np.array([own["crowd"] for own in said], bool),
        np.array([own["area"] for own in said], float),
        tuple(map(_shape, said)),
        points=points,
    )


def _shape(said: Mapping[str, Any]) -> Shape | None:
    if "polygons" in said:
        return Polygons(tuple(np.array(part, float) for part in said["polygons"]))
    if "pixels" not in said:
        return None
    pixels = said["pixels"]
    rows, columns = pixels["size"]
    runs = np.array(pixels["counts"], np.int64)
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return Raster(inside.reshape(columns, rows).T, pixels["x"], pixels["y"])


def _runs(mask: np.ndarray) -> list[int]:
    """Lengths of runs down the columns: outside, inside, outside ..., as COCO counts them."""
    flat = mask.T.reshape(-1)
    if not flat.size:
        return []
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths: list[int] = np.diff(changes, prepend=0, append=flat.size).tolist()
    return [0, *lengths] if flat[0] else lengths


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _png(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG", compress_level=4)
    return file.getvalue()


def _pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return np.array(image)
