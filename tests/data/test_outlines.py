"""Outlines of YOLO and of COCO, drawn as masks."""

import json
import pickle
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from volovan.data import check_data
from volovan.data.checks.recognise import recognise
from volovan.data.errors import BadImage, SourceError
from volovan.data.objects.shapes import fill
from volovan.data.sources import list_splits, open_source

Jpeg = Callable[..., bytes]
Pictures = Callable[..., None]
SIZE = (12, 9)
OUTLINES = "Masks are drawn from the outlines of objects; --task detect reads the objects."
BOX = [3, 2, 7, 2, 7, 5, 3, 5]
INSIDE = np.zeros(SIZE[::-1], np.uint8)
INSIDE[2:5, 3:7] = 1
open_masks, list_masks = partial(open_source, kind="mask"), partial(list_splits, kind="mask")


@pytest.fixture
def pictures(tmp_path: Path, jpeg: Jpeg) -> Pictures:
    def make(*files: str) -> None:
        for number, file in enumerate(files):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_bytes(jpeg(len(file) + number, SIZE))

    return make


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def line(number: int, corners: list[float]) -> str:
    return " ".join([str(number), *(f"{value / SIZE[place % 2]:.6f}" for place, value in enumerate(corners))])


# ---------------------------------------------------------------------------------------------------------------------
# drawing


def test_a_pixel_is_inside_where_its_middle_is() -> None:
    mask = np.zeros(SIZE[::-1], np.uint8)
    fill(mask, np.array(BOX, float).reshape(-1, 2), 1)
    assert np.array_equal(mask, INSIDE)
    for corners in ([[0.4, 0.4], [2.6, 0.4], [2.6, 1.6], [0.4, 1.6]], [[-9, -9], [40, -9], [40, 40], [-9, 40]]):
        mask = np.zeros(SIZE[::-1], np.uint8)
        fill(mask, np.array(corners, float), 7)
        assert mask.sum() == 7 * (6 if corners[0][0] > 0 else mask.size)
    for nowhere in ([[0.1, 0.1], [0.2, 0.1], [0.2, 0.2]], [[20, 1], [30, 1], [30, 5]], [[1, 20], [5, 20], [5, 30]]):
        mask = np.zeros(SIZE[::-1], np.uint8)
        fill(mask, np.array(nowhere, float), 7)
        assert not mask.any()


def test_outlines_follow_the_even_odd_rule() -> None:
    """Against the rule written out for every pixel: how many edges a ray to the left crosses."""
    random = np.random.default_rng(3)
    hole = [[2, 2], [20, 2], [20, 20], [2, 20], [2, 2], [8, 8], [14, 8], [8, 14], [8, 8]]
    for corners in (random.uniform(-3, 33, (9, 2)), np.array(hole)):
        expected = np.zeros((24, 30), bool)
        for row, column in np.ndindex(expected.shape):
            x, y = column + 0.5, row + 0.5
            for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):
                if (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
                    expected[row, column] ^= True
        mask = np.zeros(expected.shape, np.uint8)
        fill(mask, np.asarray(corners, float), 1)
        assert np.array_equal(mask == 1, expected)


# ---------------------------------------------------------------------------------------------------------------------
# YOLO


@pytest.mark.parametrize("form", ["{1}/{0}/a.{2}", "{0}/{1}/a.{2}"], ids=["ultralytics", "roboflow"])
@pytest.mark.parametrize("said", ["", "path: ../elsewhere\ntrain: ../{0}\nval: {1}\n"], ids=["layout", "stated"])
def test_yolo(tmp_path: Path, pictures: Pictures, form: str, said: str) -> None:
    for split, number in (("train", 0), ("valid", 1)):
        pictures(form.format(split, "images", "jpg"))
        write(tmp_path / form.format(split, "labels", "txt"), line(number, BOX) + "\n\n")
    folders = [str(Path(form.format(split, "images", "jpg")).parent) for split in ("train", "valid")]
    write(tmp_path / "data.yaml", said.format(*folders) + "names:\n  0: cat\n  1: dog\n")
    assert list_masks(tmp_path) == ("train", "val")
    assert recognise(str(tmp_path)) == ("mask", OUTLINES)
    for split, number in (("train", 1), ("val", 2)):
        source = pickle.loads(pickle.dumps(open_masks(tmp_path, split)))
        assert source.classes == ("background", "cat", "dog")
        assert np.array_equal(source.target(0), number * INSIDE)
    report = check_data(str(tmp_path), "mask", out=tmp_path / "out")
    assert report.ok
    assert report.splits["train"].pixels == {"background": 96, "cat": 12, "dog": 0}


def test_yolo_without_splits_names_or_some_labels(tmp_path: Path, pictures: Pictures) -> None:
    pictures("images/a.jpg", "images/b.jpg")
    write(tmp_path / "labels/a.txt", f"{line(2, BOX)}\n{line(0, [3, 2, 4, 2, 4, 3, 3, 3])}")
    write(tmp_path / "labels/classes.txt", "one\ntwo\nthree")  # as labelImg puts it there
    source = open_masks(tmp_path)
    assert source.classes == ("background", "one", "two", "three")
    assert source.target(0)[2, 3:7].tolist() == [1, 3, 3, 3]  # the later line lies on top
    assert not source.target(1).any()
    assert "1 of 2 pictures have no .txt: nothing is marked in them." in source.note
    (tmp_path / "labels/classes.txt").unlink()
    assert open_masks(tmp_path).classes == ("background", "class 0", "class 1", "class 2")
    write(tmp_path / "classes.txt", "background\nsky")
    assert open_masks(tmp_path).classes == ("background", "sky")
    with pytest.raises(BadImage, match=r"^labels/a\.txt: line 1 has class 2, expected 0 to 1; mend the file"):
        open_masks(tmp_path).target(0)
    write(tmp_path / "labels/c.txt", "")
    with pytest.raises(SourceError, match=r"^labels/c\.txt has no picture in images; add"):
        open_masks(tmp_path)


def test_names_of_pictures_above_a_data_yaml_lead_out_of_no_folder(tmp_path: Path, pictures: Pictures) -> None:
    pictures("train/images/a.jpg", "train/images/b.jpg")
    for stem in "ab":
        write(tmp_path / f"train/labels/{stem}.txt", line(0, BOX))
    write(tmp_path / "here/data.yaml", "path: ..\ntrain: train/images\nnames: [box]\n")
    source = open_masks(tmp_path / "here", "train")
    assert [source.name(0), source.name(1)] == ["train/images/a.jpg", "train/images/b.jpg"]
    assert (source.target(0) == INSIDE).all()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0 0.5 0.5 0.1 0.1", r"SourceError.*labels holds boxes \(CLASS X Y WIDTH HEIGHT\), not outlines .* export"),
        (
            "0 0.5 0.5 0.1 0.1\n0 0 0 1 0 1 1",
            r"labels/a\.txt: line 1 has a box but no outline; export outlines",
        ),
        ("0 0 0 1 0 1", r"labels/a\.txt: line 1 has 5 numbers after the class, a box and a confidence, as pred"),
        (
            "\ncat 0 0 1 0 1 1",
            r"labels/a\.txt: line 2 is 'cat 0 0 1 0 1 1', expected CLASS X Y WIDTH HEIGHT or",
        ),
        ("0 0 0 1 0 320 1", r"labels/a\.txt: line 1 has 320, expected 0 to 1 of width or height"),
        ("0 0 0 1 0 nan 1", r"labels/a\.txt: line 1 has nan, expected 0 to 1 of width or height"),
    ],
)
def test_wrong_lines_of_yolo_are_named(tmp_path: Path, pictures: Pictures, text: str, why: str) -> None:
    pictures("images/a.jpg")
    write(tmp_path / "labels/a.txt", text)
    write(tmp_path / "classes.txt", "cat")
    with pytest.raises(ValueError) as caught:
        open_masks(tmp_path).target(0)
    assert re.search(why, f"{type(caught.value).__name__} {caught.value}")


# ---------------------------------------------------------------------------------------------------------------------
# COCO


def described(files: list[str], *annotations: tuple[int, int, Any], **more: Any) -> str:
    """annotations: (number of the picture, category, segmentation)."""
    return json.dumps(
        {
            "images": [
                {"id": 10 + number, "file_name": file, "width": SIZE[0], "height": SIZE[1]}
                for number, file in enumerate(files)
            ],
            "annotations": [
                {"id": place, "image_id": 10 + image, "category_id": category, "segmentation": segmentation}
                for place, (image, category, segmentation) in enumerate(annotations)
            ],
            "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        }
        | more
    )


@pytest.mark.parametrize(
    ("jsons", "folder", "splits"),
    [
        ({"train": "annotations/instances_train.json", "val": "annotations/instances_val.json"}, "images", "tv"),
        (
            {"train": "annotations/instances_train2017.json", "val": "annotations/instances_val2017.json"},
            "{}2017",
            "tv",
        ),
        ({"train": "annotations/train.json", "val": "annotations/valid.json"}, "images/{}", "tv"),
        ({"train": "train/_annotations.coco.json", "val": "val/_annotations.coco.json"}, "{}", "tv"),
        ({"": "result.json"}, "images", ""),
        ({"": "annotations/instances_default.json"}, "images/default", ""),
        ({"": "labels.json"}, "data", ""),
    ],
    ids=["annotations", "coco", "below", "roboflow", "label-studio", "cvat", "fiftyone"],
)
def test_coco(tmp_path: Path, pictures: Pictures, jsons: dict[str, str], folder: str, splits: str) -> None:
    small = [[3, 2, 4, 2, 4, 3, 3, 3]]
    for split, file in jsons.items():
        pictures(f"{folder.format(split)}/{split}a.jpg", f"{folder.format(split)}/{split}b.jpg")
        write(tmp_path / file, described([f"{split}a.jpg", f"{split}b.jpg"], (0, 7, [BOX]), (0, 3, small)))
    write(tmp_path / "annotations/captions_train2017.json", described([]))
    assert list_masks(tmp_path) == (("train", "val") if splits else ())
    assert recognise(str(tmp_path)) == ("mask", OUTLINES)
    source = pickle.loads(pickle.dumps(open_masks(tmp_path, "val" if splits else None)))
    assert source.classes == ("background", "cat", "dog")
    found = [source.target(index) for index in range(2)]
    assert found[0][2, 2:8].tolist() == [0, 1, 2, 2, 2, 0]
    assert not found[1].any()


def test_coco_runs_of_pixels_as_numbers_and_as_text(tmp_path: Path, pictures: Pictures) -> None:
    pictures("images/a.jpg", "images/b.jpg", "images/c.jpg")
    numbers = {"size": [9, 12], "counts": [29, 3, 6, 3, 6, 3, 6, 3, 40, 1, 8]}
    text = {"size": [9, 12], "counts": "m03600000R1NPO"}  # from COCO's own tool
    two = [BOX, [11, 0, 12, 0, 12, 1, 11, 1]]
    write(tmp_path / "result.json", described(["a.jpg", "b.jpg", "c.jpg"], (0, 3, numbers), (1, 3, text), (2, 3, two)))
    expected = INSIDE.copy()
    expected[0, 11] = 1
    source = open_masks(tmp_path)
    assert all(np.array_equal(source.target(index), expected) for index in range(3))
    write(tmp_path / "result.json", described(["a.jpg"], (0, 3, numbers | {"size": [12, 9]})))
    with pytest.raises(BadImage, match=r"^images/a\.jpg: annotation 0 of result\.json has runs of the size \[12, 9\]"):
        open_masks(tmp_path).target(0)


def test_coco_pictures_that_are_not_there_are_named(tmp_path: Path, pictures: Pictures) -> None:
    pictures("images/deep/a.jpg")
    write(tmp_path / "result.json", described([r"deep\a.jpg", "gone.jpg"], (0, 3, [BOX])))
    with pytest.raises(SourceError, match=r"^gone\.jpg, which result\.json lists, is not there; add"):
        open_masks(tmp_path)
    pictures("images/gone.jpg")
    assert [open_masks(tmp_path).name(index) for index in range(2)] == ["images/deep/a.jpg", "images/gone.jpg"]
    Image.new("RGB", (20, 10)).save(tmp_path / "images/gone.jpg")
    with pytest.raises(
        BadImage, match=r"^images/gone\.jpg: 20 x 10, but its outlines .* in result\.json are of 12 x 9"
    ):
        open_masks(tmp_path).target(1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (described(["a.jpg"]), "has no annotations, so nothing could be learned; export it with its outlines"),
        (described(["a.jpg"], (0, 3, [])), "annotation 0 of a.jpg has no outline .* but perhaps a box; export"),
        (
            described(["a.jpg"], (0, 4, [BOX])),
            "annotation 0 of a.jpg has the category_id 4, which the file does not list; export",
        ),
        (described(["a.jpg"], (5, 3, [BOX])), "annotation 0 has the image_id 15, which the file does not list"),
        (
            described(["a.jpg"], categories=3),
            r"cannot be read as COCO's, it has 3 as categories; expected images \(id,",
        ),
        (described(["a.jpg"])[:-9], r"line 1 cannot be read as JSON \(.*\); mend it, or export it again"),
    ],
    ids=["none", "boxes", "category", "image", "form", "cut"],
)
def test_wrong_jsons_are_refused(tmp_path: Path, pictures: Pictures, text: str, why: str) -> None:
    pictures("images/a.jpg")
    write(tmp_path / "annotations/instances_train.json", text)
    with pytest.raises(SourceError, match=f"instances_train.json.*{why}"):
        open_masks(tmp_path)


@pytest.mark.parametrize(
    "outline",
    [
        [[1, 2, "x", 4, 5, 6]],
        [[1, 2, None, 4, 5, float("nan")]],
        [[[1, 2], [3, 4], [5, 6]]],
        [[1, 2], 3],
        ["1,2,3,4,5,6"],
        {"size": list(SIZE[::-1])},
        {"size": 9, "counts": [SIZE[0] * SIZE[1]]},
        {"size": list(SIZE[::-1]), "counts": [1, "x"]},
        {"size": list(SIZE[::-1]), "counts": [[108]]},
        {"size": list(SIZE[::-1]), "counts": [-1, 109]},
    ],
)
def test_an_outline_that_is_none_is_a_mask_that_cannot_be_used(
    tmp_path: Path, pictures: Pictures, outline: Any
) -> None:
    pictures("images/a.jpg")
    write(tmp_path / "annotations" / "all.json", described(["a.jpg"], (0, 3, outline)))
    source = open_masks(tmp_path)
    with pytest.raises(
        BadImage, match=r"images/a\.jpg: annotation 0 of all\.json has (an|the) outline|(counts of )?runs"
    ):
        source.target(0)
    assert check_data(str(tmp_path), "mask").bad_masks


def test_splits_with_other_categories_are_refused(tmp_path: Path, pictures: Pictures) -> None:
    pictures("images/a.jpg", "images/b.jpg")
    write(tmp_path / "annotations/train.json", described(["a.jpg"], (0, 3, [BOX])))
    write(tmp_path / "annotations/val.json", described(["b.jpg"], (0, 3, [BOX]), categories=[{"id": 3, "name": "hat"}]))
    with pytest.raises(SourceError, match=r"val\.json has categories that .*train\.json lacks: hat; export them with"):
        open_masks(tmp_path, "train")
    write(tmp_path / "annotations/old_val.json", described(["b.jpg"], (0, 3, [BOX])))
    with pytest.raises(SourceError, match=r"old_val\.json and .*val\.json both describe val pictures; remove one"):
        open_masks(tmp_path, "train")


def test_a_category_above_the_others_is_no_class(tmp_path: Path, pictures: Pictures) -> None:
    pictures("train/a.jpg")
    named = [("pets", "none"), ("cat", "pets"), ("dog", "pets")]
    categories = [{"id": id, "name": name, "supercategory": above} for id, (name, above) in enumerate(named)]
    write(tmp_path / "train/_annotations.coco.json", described(["a.jpg"], (0, 2, [BOX]), categories=categories))
    assert open_masks(tmp_path, "train").classes == ("background", "cat", "dog")
    write(tmp_path / "train/_annotations.coco.json", described(["a.jpg"], (0, 0, [BOX]), categories=categories))
    assert open_masks(tmp_path, "train").classes == ("background", "pets", "cat", "dog")
    own = [{"id": id, "name": name, "supercategory": name} for id, name in enumerate(("cat", "dog"))]
    write(tmp_path / "train/_annotations.coco.json", described(["a.jpg"], (0, 1, [BOX]), categories=own))
    assert open_masks(tmp_path, "train").classes == ("background", "cat", "dog")  # none is above another one


def test_masks_in_files_come_before_a_json_and_that_is_said(tmp_path: Path, pictures: Pictures) -> None:
    pictures("images/a.jpg")
    write(tmp_path / "result.json", described(["a.jpg"], (0, 3, [BOX])))
    (tmp_path / "masks").mkdir()
    Image.fromarray(INSIDE * 2).save(tmp_path / "masks/a.png")
    source = open_masks(tmp_path)
    assert source.classes == ("class 0", "class 1", "class 2")
    assert "so annotations of COCO are not read" in source.note
