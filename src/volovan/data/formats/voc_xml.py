"""Pascal VOC's annotations: an XML for each picture, as VOC itself, labelImg and many other tools write it.

The pixels of VOC count from 1, and the last one belongs to the box: xmin - 1 to xmax. So a file is read that says to be
of a VOC database (<database>The VOC2007 Database</database>) and has no 0 among its corners, as copied heads may have.
Other tools write the corners of the box on the picture, from 0 to its width: xmin to xmax. Objects that are difficult
are crowds: neither learned nor missed.
"""

from pathlib import Path
from xml.etree.ElementTree import Element

from volovan.data.errors import shortened
from volovan.data.formats.beside import Format, beside_splits
from volovan.data.formats.plain_xml import begins_with, elements
from volovan.data.objects.files import Tellings
from volovan.data.objects.kept import Kept
from volovan.data.objects.numbers import numbers_of

_LARGEST = 1 << 26  # bytes of a file
_ROOT = "annotation"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_SAID = {"": False, "0": False, "false": False, "unspecified": False, "1": True, "true": True}


def voc_xml_splits(root: Path) -> Tellings | None:
    """{split: opener} of pictures with XML of Pascal VOC, None if there is none."""
    return beside_splits(root, _FORMAT)


def _knows(path: Path) -> bool:
    return begins_with(path, _ROOT)


def _read(path: Path) -> Kept:
    """ValueError: why it cannot be used."""
    found, objects, of_voc = Kept(), list[Element](), False
    for element in elements(path, _ROOT, _LARGEST):
        if element.tag == "filename":
            found.picture = _text(element)
        elif element.tag == "size":
            found.size = _size(element)
        elif element.tag == "source":
            of_voc = "VOC" in _text(element.find("database")).upper()
        elif element.tag == "object":
            objects.append(element)
    for number, element in enumerate(objects, 1):
        place = f"object {number}"
        try:
            _add(found, place, element)
        except ValueError as error:
            raise ValueError(f"{place} has {error}; mend it") from None
    if of_voc and all(min(x1, y1) >= 1 for _, _, _, (x1, y1, _, _), *_ in found.things):
        for thing in found.things:
            x1, y1, x2, y2 = thing[3]
            thing[3] = (x1 - 1, y1 - 1, x2, y2)
    return found


def _add(found: Kept, place: str, element: Element) -> None:
    """ValueError: a reason that goes on after "has"."""
    name, box = _text(element.find("name")), element.find("bndbox")
    if not name:
        raise ValueError("no name, expected that of its class")
    if box is None:
        raise ValueError(f"no bndbox, expected {', '.join(_CORNERS)}")
    said = [_text(box.find(corner)) for corner in _CORNERS]
    if "" in said:
        raise ValueError(f"no {_CORNERS[said.index('')]}, expected {', '.join(_CORNERS)}")
    x1, y1, x2, y2 = numbers_of(said, "the bndbox", f"{', '.join(_CORNERS)} in pixels").tolist()
    difficult = _text(element.find("difficult"))
    if difficult.lower() not in _SAID:
        raise ValueError(f"difficult {shortened(difficult)}, expected 0 or 1")
    found.add(name, place, (x1, y1, x2, y2), crowd=_SAID[difficult.lower()])


def _size(element: Element) -> list[int] | None:
    """[width, height]; None where nothing, or 0, is said, as labelImg does of a picture that it could not open."""
    said = [_text(element.find(side)) for side in ("width", "height")]
    if {*said} <= {"", "0"}:
        return None
    try:
        sides = numbers_of(said, "", "").tolist()
    except ValueError:
        sides = [0.0]
    if min(sides) < 1 or any(side % 1 for side in sides):
        raise ValueError(f"size has the width and height {shortened(said)}, expected pixels; mend it")
    return [int(side) for side in sides]


def _text(element: Element | None) -> str:
    return "" if element is None else (element.text or "").strip()


_FORMAT = Format("Pascal VOC", ".xml", _knows, _read)
