"""What tools write of objects in pictures: Pascal VOC's XML, labelme's JSON, CVAT's XML."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from annotating import BOX, CORNERS, SIZE


def voc_object(name: str = "cat", box: Sequence[Any] = BOX, **more: Any) -> str:
    corners = "".join(f"<{key}>{at}</{key}>" for key, at in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    said = "".join(f"<{key}>{value}</{key}>" for key, value in more.items())
    return f"<object><name>{name}</name>{said}<bndbox>{corners}</bndbox></object>"


def voc(*objects: str, filename: str = "a.png", size: Sequence[Any] | None = SIZE, database: str = "Unknown") -> str:
    """An XML for one picture."""
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    return (
        f"<annotation>\n<folder>x</folder><filename>{filename}</filename>\n"
        f"<source><database>{database}</database></source>\n{sides}\n{''.join(objects)}\n</annotation>\n"
    )


def shape(label: str = "cat", kind: str = "polygon", points: Any = None, **more: Any) -> dict[str, Any]:
    """One of labelme's."""
    corners = [CORNERS[at : at + 2] for at in range(0, len(CORNERS), 2)] if points is None else points
    return {"label": label, "points": corners, "group_id": None, "shape_type": kind, "flags": {}} | more


def mask_shape(mask: np.ndarray, x: int, y: int, label: str = "cat") -> dict[str, Any]:
    """labelme's mask (H, W); its second point lies on the last pixel."""
    file = io.BytesIO()
    Image.fromarray(mask.astype(bool)).save(file, "PNG")
    points = [[x, y], [x + mask.shape[1] - 1, y + mask.shape[0] - 1]]
    return shape(label, "mask", points, mask=base64.b64encode(file.getvalue()).decode())


def labelme(*shapes: Any, picture: str = "a.png", size: Sequence[Any] = SIZE) -> dict[str, Any]:
    """A JSON for one picture."""
    head = {"version": "5.5.0", "flags": {}, "shapes": list(shapes)}
    return head | {"imagePath": picture, "imageData": None, "imageHeight": size[1], "imageWidth": size[0]}


def element(tag: str, label: str = "cat", **attributes: Any) -> str:
    """One of CVAT's."""
    said = "".join(f' {key}="{value}"' for key, value in ({"label": label, "occluded": 0} | attributes).items())
    return f"<{tag}{said}></{tag}>"


def cvat_box(label: str = "cat", box: Sequence[Any] = BOX, **more: Any) -> str:
    return element("box", label, **dict(zip(("xtl", "ytl", "xbr", "ybr"), box, strict=True)), **more)


def cvat_polygon(label: str = "cat", corners: Sequence[float] = CORNERS, **more: Any) -> str:
    points = ";".join(f"{corners[at]},{corners[at + 1]}" for at in range(0, len(corners), 2))
    return element("polygon", label, points=points, **more)


def cvat_skeleton(label: str = "cat", **points: Any) -> str:
    """points: {name: (x, y)}, or (x, y, attributes)."""
    inside = "".join(
        element("points", name, points=f"{place[0]},{place[1]}", **(place[2] if len(place) > 2 else {}))
        for name, place in points.items()
    )
    return f'<skeleton label="{label}" source="manual" z_order="0">{inside}</skeleton>'


def cvat_skeleton_label(label: str, *names: str, lines: Sequence[tuple[int, int]] = ()) -> str:
    """What meta says of a label; lines: pairs of node numbers, from 1."""
    edges = "".join(f'<line data-type="edge" data-node-from="{a}" data-node-to="{b}"></line>' for a, b in lines)
    nodes = "".join(
        f'<circle data-type="element node" data-node-id="{at}" data-label-name="{name}"></circle>'
        for at, name in enumerate(names, 1)
    )
    svg = (edges + nodes).replace("<", "&lt;").replace(">", "&gt;")
    below = "".join(f"<label><name>{name}</name><type>points</type><parent>{label}</parent></label>" for name in names)
    return f"<label><name>{label}</name><type>skeleton</type><svg>{svg}</svg></label>{below}"


def cvat(images: Mapping[str, Sequence[str]], labels: Sequence[str] = ("dog", "cat"), **subsets: str) -> str:
    """An XML for all pictures: {name: elements}; subsets: of pictures, by their names without suffix."""
    said = "".join(f"<label><name>{label}</name><type>any</type></label>" for label in labels)
    meta = f"<version>1.1</version><meta><task><labels>{said}</labels></task></meta>"
    pictures = ""
    for number, (name, inside) in enumerate(images.items()):
        stem = name.rpartition("/")[2].rpartition(".")[0]
        subset = f' subset="{subsets[stem]}"' if stem in subsets else ""
        sides = f'width="{SIZE[0]}" height="{SIZE[1]}"'
        pictures += f'<image id="{number}" name="{name}"{subset} {sides}>{"".join(inside)}</image>\n'
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{meta}\n{pictures}</annotations>\n'
