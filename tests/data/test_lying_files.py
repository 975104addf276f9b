"""XML of Pascal VOC and of CVAT, and JSON of labelme, that lie: one sentence each, with file and place."""

import base64
import io
import json
import re
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annotated_files import cvat, cvat_box, cvat_polygon, element, labelme, mask_shape, shape, voc, voc_object
from annotating import BOX, SIZE, picture, write
from opened import opened_files
from volovan.data import check_data
from volovan.data.errors import BadImage, SourceError
from volovan.data.sources import open_source

open_boxes = partial(open_source, kind="boxes")
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "../outside/secret.txt">]>'


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with two pictures, beside another one, which must not be opened."""
    picture(tmp_path / "outside/a.png")
    write(tmp_path / "outside/secret.txt", "secret")
    for name in "ab":
        picture(tmp_path / f"set/{name}.png")
    with opened_files() as opened:
        yield tmp_path / "set"
    assert opened
    assert not [path for path in opened if str(tmp_path / "outside") in path]


def refused(folder: Path, file: str, content: Any) -> str:
    """The sentence on the picture of a file, which check-data says too."""
    (folder / file).write_bytes(content if isinstance(content, bytes) else _text(content).encode())
    source = open_boxes(folder)
    index = next(index for index in range(len(source)) if source.name(index) == "a.png")
    with pytest.raises(BadImage) as caught:
        source.target(index)
    assert str(caught.value).isprintable()
    report = check_data(str(folder), "boxes")
    assert not report.ok
    assert [(found.name, found.remark) for found in report.bad_objects] == [(caught.value.name, caught.value.reason)]
    return str(caught.value)


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content)


FINE = voc(voc_object())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "a.xml: is empty, expected XML; mend it"),
        (FINE[:-30], "a.xml: line 5 cannot be read as XML (unclosed token); mend it, or export it again, as UTF-8"),
        (FINE.replace("</name>", "</nom>"), "a.xml: line 5 cannot be read as XML (mismatched tag); mend it"),
        (FINE.replace("cat", "c&t"), "a.xml: line 5 cannot be read as XML (not well-formed (invalid token))"),
        ("\n" * 3 + '<?xml version="1.0"?>' + FINE, "a.xml: line 4 cannot be read as XML (XML or text declaration not"),
        (FINE.replace("cat", "caf\xe9").encode("latin-1"), "a.xml: line 5 cannot be read as XML (not well-formed"),
        (
            '<?xml version="1.0" encoding="klingon"?>' + FINE,
            "a.xml: line 1 cannot be read as XML (unknown encoding: klingon); save it as UTF-8",
        ),
        (FINE * 2, "a.xml: line 7 cannot be read as XML (junk after document element)"),
        (BOMB + FINE.replace("cat", "&b;"), "a.xml: line 1 has a DOCTYPE, which can name other files or swell"),
        (OUTSIDE + FINE.replace("cat", "&a;"), "a.xml: line 1 has a DOCTYPE"),
        ("<!DOCTYPE annotation>\n" + FINE, "a.xml: line 1 has a DOCTYPE"),
        (FINE.replace("cat", "<x>" * 40 + "</x>" * 40), "a.xml: line 5 has 33 elements within each other"),
        ("<svg></svg>", "a.xml: line 1 begins with 'svg', expected annotation; mend it"),
        (voc(voc_object(""), voc_object()), "a.xml: object 1 has no name, expected that of its class; mend it"),
        (voc(voc_object(), "<object><name>cat</name></object>"), "a.xml: object 2 has no bndbox, expected xmin, ymin"),
        (FINE.replace("ymax", "y"), "a.xml: object 1 has no ymax, expected xmin, ymin, xmax, ymax; mend it"),
        (voc(voc_object(box=["", 1, 5, 5])), "a.xml: object 1 has no xmin"),
        (voc(voc_object(box=["nan", 1, 5, 5])), "a.xml: object 1 has the bndbox ['nan', '1', ...], expected xmin"),
        (voc(voc_object(box=["1e400", 1, 5, 5])), "a.xml: object 1 has the bndbox ['1e400', '1', ...], expected"),
        (voc(voc_object(box=[10**30, 1, 5, 5])), "a.xml: object 1 has the bndbox ['1000"),
        (voc(voc_object(box=["3,5", 1, 5, 5])), "a.xml: object 1 has the bndbox ['3,5', '1', ...]"),
        (voc(voc_object(box=[7, 5, 3, 2])), "a.xml: object 1 has a box from (7, 5) to (3, 2), expected the upper left"),
        (voc(voc_object(difficult="maybe")), "a.xml: object 1 has difficult 'maybe', expected 0 or 1; mend it"),
        (voc(voc_object(), size=(-12, 9)), "a.xml: size has the width and height ['-12', '9'], expected pixels"),
        (voc(voc_object(), size=("wide", 9)), "a.xml: size has the width and height ['wide', '9'], expected pixels"),
        (voc(voc_object(), size=SIZE[::-1]), "a.xml: 12 x 9 is the picture, but its objects are of 9 x 12; mend the"),
    ],
)
def test_xml_of_voc(folder: Path, content: Any, why: str) -> None:
    write(folder / "b.xml", voc(voc_object(), filename="b.png"))
    assert refused(folder, "a.xml", content).startswith(why)


@pytest.mark.parametrize(
    ("content", "boxes"),
    [
        ("\ufeff" + FINE, 1),
        (FINE.replace("cat", "é").encode("utf-16"), 1),
        ('<?xml version="1.0" encoding="windows-1252"?>' + FINE, 1),
        (voc(), 0),
        (voc(voc_object(), size=None), 1),
        (voc(voc_object(), size=(0, 0)), 1),
        (voc(voc_object(box=[" 3 ", "2.0", "7e0", 5]), database="Unknown <!-- x -->"), 1),
        (FINE.replace("<object>", "<object><part><name>head</name><bndbox/></part>"), 1),
    ],
)
def test_odd_xml_of_voc_is_read(folder: Path, content: Any, boxes: int) -> None:
    (folder / "a.xml").write_bytes(content if isinstance(content, bytes) else content.encode())
    write(folder / "b.xml", voc(voc_object(), filename="b.png"))
    assert open_boxes(folder).target(0).boxes.tolist() == [BOX] * boxes


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "a.json: line 1 cannot be read as JSON (Expecting value"),
        (_text(labelme(shape()))[:-9], "a.json: line 1 cannot be read as JSON ("),
        ("[" * 100_000, "a.json: cannot be read as JSON (maximum recursion"),
        ("[1]", "a.json: is [1], expected an object with shapes; save it again in labelme"),
        (labelme() | {"shapes": {}}, "a.json: has {} as shapes, expected a list"),
        (labelme(3), "a.json: shape 1 has 3, expected label, points and shape_type; mend it"),
        (labelme(shape(None)), "a.json: shape 1 has the label None, expected that of its class"),  # type: ignore[arg-type]
        (labelme(shape("\ud800")), "a.json: shape 1 has the label '\\ud800', expected that of its class; mend it"),
        (labelme(shape(), shape(" ")), "a.json: shape 2 has the label ' ', expected that of its class"),
        (
            labelme(shape(kind="star")),
            "a.json: shape 1 has the shape_type 'star' with 4 points, expected polygon, rect",
        ),
        (labelme(shape(kind=["x"])), "a.json: shape 1 has the shape_type ['x'] with 4 points"),  # type: ignore[arg-type]
        (labelme(shape(points=[[1, 2], [3, 4]])), "a.json: shape 1 has a polygon of 2 points, expected 3 or more"),
        (labelme(shape(points=[])), "a.json: shape 1 has the points [], expected a list of x, y"),
        (labelme(shape(points=[[1], [2]])), "a.json: shape 1 has the points [[1], [2]], expected a list of x, y"),
        (labelme(shape(points=[[1, float("nan")]] * 3)), "a.json: shape 1 has the points [1, nan, ...], expected"),
        (labelme(shape(points=[[1, True]] * 3)), "a.json: shape 1 has the points [1, True, ...], expected"),
        (labelme(shape(points=[[1, 10**400]] * 3)), "a.json: shape 1 has the points [1, 1000"),
        (labelme(shape(kind="circle", points=[[1, 2]])), "a.json: shape 1 has the shape_type 'circle' with 1 points"),
        (labelme(shape(kind="mask", points=[[1, 2], [3, 4]])), "a.json: shape 1 has the mask None, expected a PNG in"),
        (
            labelme(shape(kind="mask", points=[[1, 2], [3, 4]], mask="iVBOR")),
            "a.json: shape 1 has the mask 'iVBOR', expected a PNG in base64; draw it again",
        ),
        (
            labelme(mask_shape(np.ones((9, 14)), 0, 0)),
            "a.json: shape 1 has a mask of 14 x 9 pixels, expected no more than 12 x 9; draw it again",
        ),
        (labelme(shape(group_id=[1])), "a.json: shape 1 has the group_id [1], expected a number or null; mend it"),
        (labelme(shape(difficult="no")), "a.json: shape 1 has difficult 'no', expected true or false"),
        (labelme(shape(), size=("12", 9)), "a.json: has the imageWidth and imageHeight ['12', 9], expected pixels"),
        (labelme(shape(), size=(12, -9)), "a.json: has the imageWidth and imageHeight [12, -9], expected pixels"),
        (labelme(shape(), size=(24, 18)), "a.json: 12 x 9 is the picture, but its objects are of 24 x 18; mend the"),
    ],
)
def test_json_of_labelme(folder: Path, content: Any, why: str) -> None:
    write(folder / "b.json", labelme(shape(), picture="b.png"))
    assert refused(folder, "a.json", content).startswith(why)


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        (element("box", xtl=1, ytl=2, xbr=3), "box 1 has no ybr, expected a number"),
        (cvat_box(box=["x", 1, 2, 3]), "box 1 has the xtl ['x'], expected a number"),
        (cvat_box(box=[1, 1, "inf", 3]), "box 1 has the xbr ['inf'], expected a number"),
        (cvat_box(rotation="half"), "box 1 has the rotation ['half'], expected a number"),
        (cvat_box(z_order=""), "box 1 has the z_order [''], expected a number"),
        (cvat_box() + cvat_box(""), "box 2 has no label, expected that of its class"),
        (element("polygon", points="1,2;3"), "polygon 1 has the points '1,2;3', expected x,y;x,y;x,y"),
        (element("polygon", points=""), "polygon 1 has the points [''], expected x,y;x,y"),
        (cvat_polygon(corners=[1, 2, 3, 4]), "polygon 1 has the points '1,2;3,4', expected x,y;x,y;x,y ... of 3"),
        (element("spiral"), "spiral 1 has an unknown shape, expected box, polygon, ellipse, mask"),
        (element("mask", left=0, top=0, width=3, height=3, rle="1,1,1"), "mask 1 has runs of 3 pixels, expected 9 ("),
        (
            element("mask", left=0, top=0, width=3, height=1, rle="-1,4"),
            "mask 1 has the rle ['-1', '4'], expected whole",
        ),
        (element("mask", left=0.5, top=0, width=3, height=1, rle="3"), "mask 1 has a mask of 3 x 1 pixels from (0.5"),
        (element("mask", left=0, top=0, width=1e7, height=1e7, rle="1"), "mask 1 has runs of 1 pixels, expected 100,"),
        (
            element("mask", left=1, top=0, width=14, height=1, rle="0,14"),
            "mask 1 has a mask of 14 x 1 pixels, expected no more than 12 x 9; draw it again",
        ),
        (element("ellipse", cx=1, cy=1, rx="nan", ry=1), "ellipse 1 has the rx ['nan'], expected a number"),
        (cvat_box(box=[7, 5, 3, 2]), "box 1 has a box from (7, 5) to (3, 2), expected the upper left corner"),
    ],
)
def test_elements_of_cvat(folder: Path, inside: str, why: str) -> None:
    content = cvat({"a.png": [inside], "b.png": [cvat_box()]})
    assert refused(folder, "annotations.xml", content).startswith(f"a.png: {why}")


GOOD = cvat({"a.png": [cvat_box()], "b.png": []})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (GOOD[:-20], "line 4 cannot be read as XML (unclosed token); mend it"),
        (GOOD.replace("<annotations>", BOMB + "<annotations>"), "line 2 has a DOCTYPE, which can name other files"),
        (GOOD.replace("<annotations>", OUTSIDE + "<annotations>"), "line 2 has a DOCTYPE"),
        (GOOD.replace("</meta>", "<x>" * 40 + "</x>" * 40 + "</meta>"), "line 2 has 33 elements within each other"),
        (GOOD.replace('name="a.png"', 'name=" "'), "has no name of image 1, expected that of a picture; export it"),
        (
            GOOD.replace("<image", '<track id="1"/><image', 1),
            "has tracks, as CVAT writes videos; export it as CVAT for",
        ),
        (GOOD.replace("b.png", "a.png"), "tells twice of a.png; list each picture once"),
        (GOOD.replace("b.png", "../outside/a.png"), "tells twice of a.png"),
    ],
)
def test_xml_of_cvat(folder: Path, content: str, why: str) -> None:
    write(folder / "annotations.xml", content)
    with pytest.raises(SourceError) as caught:
        open_boxes(folder)
    assert str(caught.value).startswith(f"{folder / 'annotations.xml'} {why}")
    with pytest.raises(SourceError):
        check_data(str(folder), "boxes")


@pytest.mark.parametrize("file", ["a.xml", "a.json"])
def test_links_that_lead_nowhere_are_named(folder: Path, file: str) -> None:
    fine = FINE if file == "a.xml" else labelme(shape())
    write(folder / file.replace("a", "b"), fine)
    (folder / file).symlink_to(folder.parent / "outside" / "nothing")
    source = open_boxes(folder)
    with pytest.raises(BadImage, match=rf"^{re.escape(file)}: cannot be read \(No such file or directory\)"):
        source.target(0)


@pytest.mark.parametrize("file", ["a.json", "annotations.xml"])
def test_masks_of_any_size_take_no_memory(folder: Path, file: str) -> None:
    """30,000 x 30,000 pixels in a few bytes."""
    if file == "a.json":
        bomb = mask_shape(np.zeros((1, 1)), 0, 0)
        packed = io.BytesIO()
        Image.new("1", (13_000, 13_000)).save(packed, "PNG")
        content: Any = labelme(bomb | {"mask": base64.b64encode(packed.getvalue()).decode()})
    else:
        bomb = element("mask", left=0, top=0, width=30_000, height=30_000, rle="1,899999999")
        content = cvat({"a.png": [bomb], "b.png": []})
    tracemalloc.start()
    said = refused(folder, file, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "000 pixels, expected no more than 12 x 9; draw it again" in said
    assert peak < 30e6


@pytest.mark.parametrize("name", ["../outside/secret.png", "/etc/passwd", "C:\\pictures\\secret.png"])
def test_pictures_that_lie_elsewhere_are_missing(folder: Path, name: str) -> None:
    write(folder / "annotations.xml", GOOD.replace("b.png", name))
    with pytest.raises(SourceError, match=r"which annotations\.xml lists, is not there; add what is missing"):
        open_boxes(folder)


def test_a_size_of_cvat_is_checked(folder: Path) -> None:
    assert refused(folder, "annotations.xml", GOOD.replace('width="12"', 'width="-1"', 1)).startswith(
        "a.png: the image has the width and height ['-1', '9'], expected pixels; mend it in annotations.xml"
    )


def test_a_file_without_its_picture_and_a_picture_without_its_file(folder: Path) -> None:
    write(folder / "a.xml", FINE)
    assert "1 pictures have no .xml and are left out" in open_boxes(folder).note
    write(folder / "c.xml", voc(voc_object(), filename="c.png"))
    with pytest.raises(SourceError, match=r"^c\.xml has no picture in set; add what is missing or remove its partner"):
        open_boxes(folder)


def test_a_number_that_is_not_shown_is_named(folder: Path) -> None:
    said = refused(
        folder, "annotations.xml", cvat({"a.png": [cvat_polygon(corners=[1, 2, 3, 4, 5, float("nan")])], "b.png": []})
    )
    assert said.startswith("a.png: polygon 1 has the points ['1', '2', ...] with 'nan', expected x,y;x,y;x,y ...; mend")
