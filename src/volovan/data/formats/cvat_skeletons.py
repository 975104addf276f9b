"""Skeletons in an XML of CVAT: what their labels say of points and lines, and the points of an object."""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

from volovan.data.errors import SourceError, printable, shortened
from volovan.data.folder import listed_names
from volovan.data.objects.numbers import numbers_of
from volovan.data.objects.skeleton import Skeleton

_NODE = re.compile(r"<circle\b[^>]*>")
_EDGE = re.compile(r"<line\b[^>]*>")
_SAID = {"0": False, "1": True, "false": False, "true": True}


def read_skeletons(meta: Element) -> dict[str, Skeleton]:
    """That of each label, of its sublabels and of its drawing (svg). ValueError: a name stands twice."""
    found: dict[str, Skeleton] = {}
    parents = [(label, (label.findtext("parent") or "").strip()) for label in meta.iter("label")]
    for label, parent in parents:
        name = (label.findtext("name") or "").strip()
        if parent or (label.findtext("type") or "").strip() != "skeleton":
            continue
        names = tuple((one.findtext("name") or "").strip() for one, above in parents if above == name)
        if names:
            try:
                found[name] = Skeleton(names, _lines(label.findtext("svg") or "", names))
            except ValueError as error:
                raise ValueError(f"has among the points of the label {printable(name)} {error}; mend it") from None
    return found


def _lines(svg: str, names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """None where the drawing does not tell: they only show what belongs together."""
    nodes = {_said(node, "data-node-id"): _said(node, "data-label-name") for node in _NODE.findall(svg)}
    edges = [[nodes.get(_said(edge, f"data-node-{end}"), "") for end in ("from", "to")] for edge in _EDGE.findall(svg)]
    return tuple((names.index(one), names.index(other)) for one, other in edges if one in names and other in names)


def _said(tag: str, key: str) -> str:
    found = re.search(rf'\b{key}="([^"]*)"', tag)
    return html.unescape(found[1]) if found else ""


def one_skeleton(found: Mapping[str, tuple[Path, Skeleton]]) -> Skeleton | None:
    """Of the labels that objects have; None where none says anything. SourceError: they differ."""
    each = [*found.items()]
    for label, (path, skeleton) in each[1:]:
        first, (_, other) = each[0]
        if {*skeleton.names} != {*other.names}:
            raise SourceError(
                f"{path}: the label {printable(label)} has the points {listed_names(skeleton.names)}, but "
                f"{printable(first)} has {listed_names(other.names)}; one skeleton is expected, so export the objects "
                "of one of them alone"
            )
    return each[0][1][1] if each else None


def points_of(skeleton: Element) -> dict[str, list[float]]:
    """{name: [x, y, v]} of a skeleton element. ValueError: a reason that goes on after "has"."""
    found: dict[str, list[float]] = {}
    for point in skeleton.iter("points"):
        name, said = point.get("label", "").strip(), point.get("points", "")
        if not name:
            raise ValueError("a point without label, expected its name")
        if name in found:
            raise ValueError(f"the point {printable(name)} twice, expected each once")
        x_y: list[float] = numbers_of(said.split(","), f"the points of {printable(name)}", "x,y").tolist()
        if len(x_y) != 2:
            raise ValueError(f"the points {shortened(said)} of {printable(name)}, expected x,y")
        outside, hidden = (_SAID.get(point.get(key, "0").lower()) for key in ("outside", "occluded"))
        if outside is None or hidden is None:
            raise ValueError(f"outside or occluded of {printable(name)} that is neither 0 nor 1")
        found[name] = [*x_y, 0.0 if outside else 1.0 if hidden else 2.0]
    if not any(v for *_, v in found.values()):
        raise ValueError("no point in the picture, expected one at least")
    return found
