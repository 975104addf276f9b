"""Panoptic annotations that lie: each is refused in one sentence with file and place."""

import json
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.support.annotating import SIZE, picture
from tests.support.painting import CATEGORIES, ids_of, lay, panoptic, png, segments

from volovan.data.checks.check import check_data
from volovan.data.errors import BadImage, SourceError
from volovan.data.sources import open_source

open_panoptic = partial(open_source, kind="panoptic")
TABLE = segments(ids_of(), {70000: 1, 300: 7})
FINE = panoptic(["a.png"], [TABLE])


def sentence(root: Path, split: str = "train") -> str:
    with pytest.raises((SourceError, BadImage)) as caught:
        open_panoptic(root, split).target(0)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said.replace(str(root), "")) < 420
    return said


def changed(*path: Any, to: Any) -> dict[str, Any]:
    """FINE with another value at a place; ... takes it away."""
    said = deepcopy(FINE)
    place: Any = said
    for key in path[:-1]:
        place = place[key]
    if to is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return said


SEGMENT = ("annotations", 0, "segments_info", 0)
LIES: list[tuple[dict[str, Any], str]] = [
    *[(changed("categories", 0, "isthing", to=said), r"train\.json: category 1 \(cat\) has isthing .*, expected 1 of t")
      for said in (2, -1, "yes", None, [1], 0.5)],
    (changed("categories", 0, "isthing", to=...), "entry 1 of categories is .*; expected .* categories .id, name, ist"),
    (changed("categories", 1, to=CATEGORIES[1] | {"name": "cat"}), r"category 7 \(cat\) is of things and also not; gi"),
    (changed("categories", 1, "name", to=["sky"]), "category 7 has the name .*, expected text"),
    (changed("categories", to={}), "it has {} as categories"),
    (changed("annotations", 0, "segments_info", to=...), "entry 1 of annotations is .*; expected"),
    *[(changed("annotations", 0, "segments_info", to=said), r"annotation 1 of the list \(a\.png\) has .* in segments_i")
      for said in ({}, None, 7, "text", [7], [None], [{"id": 3}], [{"category_id": 1}], [[]])],
    *[(changed("annotations", 0, "image_id", to=said), "annotation 1 of the list has the image_id .*, which the file d")
      for said in (2, -1, None, [1], True, "x")],
    *[(changed("annotations", 0, "file_name", to=said), r"annotation 1 of the list \(a\.png\) has the file_name .*, ex")
      for said in (None, 3, "", [])],
    (changed("annotations", to=[*FINE["annotations"]] * 2), r"annotation 2 of the list \(a\.png\) is the second one o"),
    (changed("annotations", 0, "file_name", to="b.png"), r"b\.png, which panoptic_train\.json lists, is not there \(n"),
    (changed("annotations", 0, "file_name", to="../../outside.png"), "outside.png, which .* is not there"),
    (changed("images", 0, "file_name", to="b.jpg"), r"b\.jpg, which panoptic_train\.json lists, is not there"),
    (changed("images", 0, "file_name", to=None), "image 1 has the file_name None, expected that of a picture"),
    (changed("images", 0, "width", to="wide"), r"image 1 \(a\.png\) has the width 'wide', expected pixels"),
    (changed("images", 0, "width", to=50), r"panoptic_train/a\.png: 12 x 9, but panoptic_train\.json says that its pi"),
    *[(changed(*SEGMENT, "id", to=said), r"panoptic_train/a\.png: panoptic_train\.json has a segment with the id .*, e")
      for said in (0, -5, "70000", None, 70000.0, True, 256**3, [1], {})],
    (changed(*SEGMENT, "id", to=300), r"panoptic_train/a\.png: panoptic_train\.json has segment 300 twice in segments"),
    (changed(*SEGMENT, "id", to=5), r"a\.png: id 70000 \(48 pixels, the first in row 0, column 0\) is not in the segm"),
    (changed("annotations", 0, "segments_info", to=[]), r"id 300 \(48 pixels, .* column 6\) \(1 others as well\) is n"),
    (changed("annotations", 0, "segments_info", to=[*TABLE, {"id": 9, "category_id": 1}]), "segment 9 in segments_inf"),
    *[(changed(*SEGMENT, "category_id", to=said), r"has the category_id .* of segment 70000, which it does not list")
      for said in (2, 0, "dog", None, 1.5, [1])],
    *[(changed(*SEGMENT, "iscrowd", to=said), "has iscrowd .* of segment 70000, expected 0 or 1")
      for said in (2, -1, "yes", [0], 0.5)],
]  # fmt: skip


@pytest.mark.parametrize(("said", "why"), LIES)
def test_lies_are_named(tmp_path: Path, said: dict[str, Any], why: str) -> None:
    lay(tmp_path, **said)
    with pytest.raises(ValueError, match=why):
        raise ValueError(sentence(tmp_path))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (json.dumps(FINE)[:-9], "panoptic_train.json line 1 cannot be read as JSON"),
        (json.dumps(FINE)[:-1] + ',"images":[]}', "has the key 'images' twice"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: str, why: str) -> None:
    lay(tmp_path)
    (tmp_path / "annotations/panoptic_train.json").write_text(content)
    assert why in sentence(tmp_path)


@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16", "JPEG", "text", "gone", "folder"])
def test_pngs_that_are_none(tmp_path: Path, mode: str) -> None:
    lay(tmp_path)
    path = tmp_path / "annotations/panoptic_train/a.png"
    path.unlink()
    if mode == "text":
        path.write_text("ids")
    elif mode == "folder":
        path.mkdir()
    elif mode == "JPEG":
        Image.new("RGB", SIZE).save(path, "JPEG")
    elif mode == "I;16":
        Image.fromarray(np.full(SIZE[::-1], 300, np.uint16)).save(path)
    elif mode != "gone":
        Image.new(mode, SIZE).save(path)
    why = {"text": "text, not a picture", "gone": "is not there", "folder": "is not there"}
    said = sentence(tmp_path)
    assert why.get(mode, "expected a PNG in colours (8 bits of red, green, blue) with the ids of segments") in said
    assert "a.png" in said


def test_a_png_of_another_size(tmp_path: Path) -> None:
    lay(tmp_path)
    png(tmp_path / "annotations/panoptic_train/a.png", ids_of(size=(24, 18)))
    assert "a.png: 24 x 18, but images/train/a.png is 12 x 9; a mask needs the size of its picture" in sentence(
        tmp_path
    )


def test_splits_that_contradict_each_other(tmp_path: Path) -> None:
    lay(tmp_path)
    lay(tmp_path, "val", categories=[CATEGORIES[0] | {"isthing": 0}, CATEGORIES[1]])
    assert "panoptic_val.json has isthing 0 of cat, but" in sentence(tmp_path)
    lay(tmp_path, "val", categories=[CATEGORIES[0], CATEGORIES[1] | {"name": "sea"}])
    assert "panoptic_val.json has categories that" in sentence(tmp_path)
    (tmp_path / "annotations/panoptic_val.json").rename(tmp_path / "annotations/panoptic_train_2.json")
    assert "both describe train pictures; remove one of them" in sentence(tmp_path)


def test_check_data_lists_them_and_fit_would_stop(tmp_path: Path) -> None:
    said = lay(tmp_path)
    lay(tmp_path, "val")
    picture(tmp_path / "images/train/b.png")
    png(tmp_path / "annotations/panoptic_train/b.png", ids_of(5, 6))
    said = panoptic(["a.png", "b.png"], [TABLE, TABLE])
    said["annotations"][0]["segments_info"][0]["area"] = 40
    (tmp_path / "annotations/panoptic_train.json").write_text(json.dumps(said))
    report = check_data(str(tmp_path), "panoptic")
    assert not report.ok
    assert [found.name for found in report.bad_segments] == ["annotations/panoptic_train/b.png"]
    assert [found.remark for found in report.doubts] == ["segment 70000, cat: 48 pixels, but its area is 40"]
