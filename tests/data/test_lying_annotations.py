"""Annotations of COCO that lie: each is refused in one sentence with file and place, or read right, and nothing outside
of the folder is read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.annotating import BOX, CORNERS, bbox, coco, picture, write
from tests.support.opened import opened_files

from volovan.data.errors import BadImage, SourceError
from volovan.data.sources import open_source

ONE = {"bbox": bbox(BOX)}
RUNS = {"size": [9, 12], "counts": [29, 3, 76]}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with images/a.png, beside another one with pictures, which must not be opened."""
    for name in ("a", "b", "passwd"):
        picture(tmp_path / f"outside/{name}.png")
    picture(tmp_path / "set/images/a.png")
    (tmp_path / "set/images/folder.png").mkdir()
    with opened_files() as opened:
        yield tmp_path / "set"
    assert opened
    assert not [path for path in opened if str(tmp_path / "outside") in path]


def answer(folder: Path) -> str | list[list[float]]:
    """What is said of the folder, or the boxes of all of its pictures."""
    try:
        source = open_source(folder, kind="boxes")
        return [box for index in range(len(source)) for box in source.target(index).boxes.tolist()]
    except (SourceError, BadImage) as error:
        return str(error)


def sentence(folder: Path) -> str:
    said = answer(folder)
    assert isinstance(said, str), said
    assert said.isprintable()
    assert len(said.replace(str(folder), "")) < 600
    assert "r.json" in said
    return said


def with_image(**change: Any) -> dict[str, Any]:
    return coco([{"id": 1, "file_name": "a.png"} | change], [ONE])


def with_annotation(**change: Any) -> dict[str, Any]:
    return coco(["a.png"], [ONE | change])


def without(key: str, of: str) -> dict[str, Any]:
    said = coco(["a.png"], [ONE])
    del said[of][0][key]
    return said


WHOLE = json.dumps(coco(["a.png"], [ONE]))
FILES: dict[str, tuple[str | bytes, str]] = {  # not JSON, or not COCO's
    "cut": (WHOLE[:-20], r" line 1 cannot be read as JSON \(.*\); mend it, or export it again"),
    "cut_in_a_word": (WHOLE[: WHOLE.index("bbox") + 2], r"line 1 cannot be read as JSON"),
    "two": (WHOLE + WHOLE, r"line 1 cannot be read as JSON \(Extra data"),
    "comma": (WHOLE[:-1] + ",}", "line 1 cannot be read as JSON"),
    "comment": ("// by hand\n" + WHOLE, "is no source of pictures with objects"),
    "deep": ('{"images": ' + "[" * 100_000, "cannot be read as JSON .*nest|recursion"),
    "deep_objects": ('{"images": ' + '{"a":' * 100_000, "cannot be read as JSON .*nest|recursion"),
    "not_utf8": (WHOLE.replace("a.png", "\xe4.png").encode("latin-1"), "cannot be read as JSON .*utf-8.*decode"),
    "nul": (WHOLE.encode().replace(b"a.png", b"a\0.png"), "cannot be read as JSON .*control character"),
    "digits": (WHOLE.replace('"bbox": [3.0', '"bbox": [' + "9" * 5000), r"cannot be read as JSON \(.*4300"),
    "key_twice": (WHOLE[:-1] + ', "annotations": []}', r"has the key 'annotations' twice"),
    "key_of_an_annotation_twice": (WHOLE.replace('"bbox"', '"bbox": [1, 1, 1, 1], "bbox"'), r"the key 'bbox' twice"),
    "no_images": ('{"annotations": [], "categories": []}', r"it has no images; expected images \(id, file_name\), ann"),
    "no_annotations": ('{"images": [], "categories": []}', "it has no annotations; expected images"),
    "no_categories": ('{"images": [], "annotations": []}', "it has no categories; expected images"),
}  # fmt: skip
TYPES: list[tuple[str, Any, str]] = [
    *[(key, value, f"it has .* as {key}; expected") for key in ("images", "annotations", "categories")
      for value in ({}, None, 3, "text", True)],
    *[(key, [value], f"entry 1 of {key} is .*; expected images")
      for key in ("images", "annotations", "categories") for value in ([], None, 3, "text", {})],
]  # fmt: skip
LIES: list[tuple[dict[str, Any], str]] = [  # COCO's, but not true
    *[(without(key, of), rf"entry 1 of {of} is .*; expected images \(id") for key, of in (
        ("id", "images"), ("file_name", "images"), ("id", "categories"), ("name", "categories"),
        ("image_id", "annotations"), ("category_id", "annotations"))],
    # images
    *[(with_image(id=id), "image 1 of the list has the id .*, expected a number or text; mend it")
      for id in (None, True, [1], {"a": 1}, float("nan"), float("inf"))],
    *[(with_image(file_name=name), "image 1 has the file_name .*, expected that of a picture")
      for name in (None, 3, True, ["a.png"], "", "  ", "\ud800.png")],
    *[(with_image(file_name=name), r"which r.json lists, is not there \(no picture of it is in .*\); add what")
      for name in ("folder.png", "images", "..", ".", "/", "../../outside/passwd.png", "/etc/passwd", "a\0.png",
                   "x" * 5000, "~/a.png", "$HOME/a.png", "file:///etc/passwd", "C:\\outside\\passwd.png")],
    *[(with_image(width=side), r"image 1 \(a\.png\) has the width .*, expected pixels")
      for side in (-12, "wide", 12.5, True, [12], float("nan"), float("inf"))],
    (with_image(width=30, height=40), r"a\.png: 12 x 9, but its outlines and boxes in r\.json are of 30 x 40; export"),
    (with_image(width=10**30, height=1), r"a\.png: 12 x 9, but its outlines and boxes in r\.json are of 1000.* x 1"),
    (coco([{"id": 1, "file_name": "a.png"}, {"id": "1", "file_name": "b.png"}]), r"image 1 stands twice \(1 and 2 of"),
    # categories
    *[(coco(["a.png"], [], {1: name}), "category 1 has the name .*, expected text")
      for name in (None, True, ["cat"], {"en": "cat"}, "", " ", "\ud800")],
    # annotations
    (with_annotation(image_id=2), r"annotation 1 has the image_id 2, which the file does not list; export it again"),
    (with_annotation(image_id=-1), "annotation 1 has the image_id -1, which the file does not list"),
    (with_annotation(image_id=None), "annotation 1 has the image_id None, which the file does not list"),
    (with_annotation(image_id=True), "annotation 1 has the image_id True, which the file does not list"),
    (with_annotation(image_id=[1]), r"annotation 1 has the image_id \[1\], which the file does not list"),
    (with_annotation(category_id=0), r"annotation 1 of a\.png has the category_id 0, which the file does not list"),
    (with_annotation(category_id="cat"), r"annotation 1 of a\.png has the category_id 'cat', which the file does not"),
    (with_annotation(category_id=1.5), "annotation 1 .* has the category_id 1.5, which the file does not list"),
    (with_annotation(id=[5]), r"annotation 1 of the list has the id \[5\], expected a number or text"),
    *[(with_annotation(bbox=box), r"a\.png: annotation 1 of r\.json has the bbox .*, expected x, y, width, h")
      for box in ([1, 2, 3], [1, 2, 3, 4, 5], [1, 2, -3, 4], [1, 2, 3, "x"], [1, 2, 3, None], [1, 2, 3, True],
                  "1,2,3,4", {"x": 1}, 7, [[1, 2, 3, 4]], [1, 2, float("nan"), 4], [float("-inf"), 2, 3, 4],
                  [1e300, 1, 1, 1], [10**400, 1, 1, 1], [1, 2, "nan", 4], False)],
    (with_annotation(bbox=None), r"neither a bbox nor a segmentation, expected one of them; export it again"),
    (with_annotation(bbox=[], segmentation=[]), "annotation 1 of r.json has neither a bbox nor a segmentation"),
    *[(with_annotation(segmentation=[part]), "annotation 1 of r.json has an outline of . numbers, expected x, y of 3")
      for part in ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], [], [1])],
    *[(with_annotation(segmentation=said), "annotation 1 of r.json has the outline .*, expected a list of numbers")
      for said in ([[1, 2, "x", 4, 5, 6]], [[1, 2, None, 4, 5, 6]], "polygon", 7, True, [CORNERS, None],
                   [[1, 2, float("nan"), 4, 5, 6]], [[1e300, 2, 3, 4, 5, 6]], [[[1, 2], [3, 4], [5, 6]]])],
    *[(with_annotation(segmentation=RUNS | change), "annotation 1 of r.json has (counts of )?runs .*, expected ")
      for change in ({"counts": [108, 1]}, {"counts": [-1, 109]}, {"counts": []}, {"counts": [107.5, 0.5]},
                     {"counts": None}, {"counts": "\u00e4"}, {"counts": "o" * 100_000}, {"counts": "0" * 1000},
                     {"counts": [True] * 108}, {"counts": [10**30]}, {"counts": [[108]]}, {"counts": ""},
                     {"size": [12, 9]}, {"size": None}, {"size": [9]}, {"size": "9 x 12"}, {"size": [10**9, 10**9]})],
    *[(with_annotation(iscrowd=crowd), "annotation 1 of r.json has iscrowd .*, expected 0 or 1")
      for crowd in (2, -1, "yes", [1], {}, 0.5, float("nan"))],
    *[(with_annotation(area=area), "annotation 1 of r.json has the area .*, expected a number of pixels")
      for area in (-5, "large", [5], True, float("nan"), float("inf"), 1e300)],
]  # fmt: skip
TRUE: list[tuple[dict[str, Any], int]] = [  # odd, but right: how many boxes there are
    (with_annotation(id=-7), 1),
    (with_annotation(id=None), 1),
    (with_annotation(segmentation=[]), 1),
    (with_annotation(segmentation={}), 1),
    (with_annotation(iscrowd=None, area=None), 1),
    (with_annotation(bbox=[-1e6, -1e6, 3e6, 3e6]), 1),
    (with_annotation(segmentation={"counts": [108]}), 1),
    (with_annotation(extra={"deep": [[[[1]]]]}), 1),
    (with_image(file_name="a.png/"), 1),
    (with_image(file_name="./a.png"), 1),
    (with_image(width=None, height=None), 1),
    (with_image(width=0, height=0), 1),
    (with_image(width="12", height=9.0), 1),
    (with_image(id=-1) | {"annotations": []}, 0),
    (coco(["a.png"], [ONE] * 500), 500),
    (coco(["a.png"], [], {}), 0),
    (coco([], []), 0),
]


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_json_of_coco(folder: Path, name: str) -> None:
    content, why = FILES[name]
    (folder / "r.json").write_bytes(content.encode() if isinstance(content, str) else content)
    said = answer(folder)
    assert isinstance(said, str)
    assert said.isprintable()
    with pytest.raises(SourceError, match=why):
        open_source(folder, kind="boxes")
    with pytest.raises(SourceError, match=rf"r\.json.*({why})"):
        open_source(folder / "r.json", kind="boxes")


@pytest.mark.parametrize(("key", "value", "why"), TYPES)
def test_entries_that_are_none(folder: Path, key: str, value: Any, why: str) -> None:
    write(folder / "r.json", coco(["a.png"], [ONE]) | {key: value})
    with pytest.raises(SourceError, match=rf"r\.json cannot be read as COCO's, {why}"):
        open_source(folder, kind="boxes")
    sentence(folder)


@pytest.mark.parametrize(("said", "why"), LIES)
def test_lies_are_named(folder: Path, said: dict[str, Any], why: str) -> None:
    write(folder / "r.json", said)
    with pytest.raises(ValueError, match=why):
        raise ValueError(sentence(folder))


@pytest.mark.parametrize(("said", "count"), TRUE)
def test_what_is_odd_but_right_is_read(folder: Path, said: dict[str, Any], count: int) -> None:
    write(folder / "r.json", said)
    found = answer(folder)
    assert isinstance(found, list), found
    assert len(found) == count


@pytest.mark.slow
@pytest.mark.parametrize("begin", ["[", '{"a":'])
def test_a_hundred_megabytes_of_nesting(folder: Path, begin: str) -> None:
    (folder / "r.json").write_text('{"images": ' + begin * (100_000_000 // len(begin)))
    assert "cannot be read as JSON" in sentence(folder)


def test_a_picture_that_is_none_is_named(folder: Path) -> None:
    write(folder / "images/a.png", "text")
    write(folder / "r.json", coco(["a.png"], [ONE]))
    assert answer(folder) == "images/a.png: text, not a picture"
