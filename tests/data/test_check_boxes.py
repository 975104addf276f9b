"""volovan check-data for pictures with objects: what it finds, what it writes, what it exits with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from annotated_files import labelme, shape
from volovan.cli import main
from volovan.data import check_data, run_check
from volovan.data.checks.recognise import recognise
from volovan.data.checks.report import render

SIZE = (120, 90)
SQUARE = [[20, 20, 60, 20, 60, 60, 20, 60]]


@pytest.fixture
def coco(tmp_path: Path, jpeg: Callable[..., bytes]) -> Callable[..., Path]:
    """coco(train=[[{...}, ...], ...], val=...): of each picture its annotations, or each a bbox alone."""

    def make(**splits: list[list[Any]]) -> Path:
        for split, pictures in splits.items():
            (tmp_path / split).mkdir(parents=True)
            annotations = []
            for number, told in enumerate(pictures):
                (tmp_path / split / f"{number}.jpg").write_bytes(jpeg(len(split) + number, SIZE))
                for one in told:
                    one = {"bbox": one} if isinstance(one, list) else one
                    annotations.append({"id": len(annotations), "image_id": number, "category_id": 1} | one)
            images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(len(pictures))]
            categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
            said = {"images": images, "annotations": annotations, "categories": categories}
            (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(said))
        return tmp_path

    return make


def test_objects_are_counted_by_class_and_size(coco: Callable[..., Path], tmp_path: Path) -> None:
    train = [
        [[10, 10, 10, 10], [10, 40, 40, 40], {"bbox": [0, 0, 100, 90], "category_id": 2}],
        [],
        [[30, 30, 50, 50], {"bbox": [0, 0, 90, 90], "iscrowd": 1, "category_id": 2}],
    ]
    root = coco(train=train, val=[[[-9, 20, 30, 30]]])
    report = check_data(str(root), "boxes", out=tmp_path / "out")
    assert report.ok
    found = report.splits["train"]
    assert (found.objects, found.pictures) == ({"cat": 3, "dog": 1}, {"cat": 2, "dog": 1})
    assert found.sizes == {"cat": [1, 2, 0], "dog": [0, 1, 0]}
    assert (found.per_picture, found.crowds, found.cut, report.splits["val"].cut) == ([3, 0, 1], 1, 0, 1)
    assert report.lonely_classes == {"dog": ["train"]}
    text = render(report)
    assert "split  objects  in a picture  pictures without  crowds  cut by the edge  with outline" in text
    assert "train        4     0 / 1 / 3                 1       1                0             0" in text
    row = next(line for line in text.splitlines() if line.startswith("cat"))
    assert row.split() == ["cat", "3", "2", "1", "1", "2", "2", "0", "11.57", "%"]
    assert [Path(file).name for file in report.files] == ["samples.png", "sizes.png", "report.json"]
    assert Image.open(tmp_path / "out" / "sizes.png").width > 1000
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["splits"]["train"]["sizes"]["cat"] == [1, 2, 0]
    assert "smaller than 8 x 8 pixels where the shorter side is scaled to 60" in render(
        check_data(str(root), "boxes", size=60)
    )


FLAWED = {
    "outside": ([130, 10, 20, 20], "outside", "annotation 1, cat: 130.0, 10.0 to 150.0, 30.0 of 120 x 90"),
    "beside": ([-30, 10, 30, 20], "outside", "annotation 1, cat: -30.0, 10.0 to 0, 30.0 of 120 x 90"),
    "cut": ([100, 10, 32, 20], "cut", "annotation 1, cat: 100.0, 10.0 to 132.0, 30.0 of 120 x 90"),
    "empty": ([30, 10, 0, 20], "empty", "annotation 1, cat: 30.0, 10.0 to 30.0, 30.0"),
    "twice": ([10, 10, 40, 40.5], "twice", "annotation 1, cat: 10.0, 10.0 to 50.0, 50.5, as annotation 0"),
    "tiny": ([60, 60, 4, 3.5], "tiny", "annotation 1, cat: 60.0, 60.0 to 64.0, 63.5"),
    "disagreeing": (
        {"bbox": [20, 20, 50, 40], "segmentation": SQUARE},
        "disagreeing",
        "annotation 1, cat: 20.0, 20.0 to 70.0, 60.0, its outline 20.0, 20.0 to 60.0, 60.0",
    ),
    "bare": ({"bbox": [20, 20, 40, 40], "segmentation": SQUARE}, "bare", "annotation 0, cat: 10.0, 10.0 to 50.0, 50.0"),
}


@pytest.mark.parametrize("name", FLAWED)
def test_each_flaw_is_named_with_its_object(coco: Callable[..., Path], name: str) -> None:
    told, kind, sentence = FLAWED[name]
    report = check_data(str(coco(train=[[[10, 10, 40, 40], told]], val=[[[10, 10, 40, 40]]])), "boxes")
    assert report.ok  # fit leaves them out or learns them
    assert [found.remark for found in report.flaws[kind] if found.split == "train"] == [sentence]
    assert {*report.flaws} - {kind} <= {"bare"}
    assert f"train train/0.jpg: {sentence}" in render(report)
    assert ("\nFound " in render(report)) == (kind not in ("tiny", "bare", "cut"))


def test_many_objects_are_compared_piece_by_piece(coco: Callable[..., Path]) -> None:
    told = [[place % 100, place // 100 * 5, 10 + place % 7, 10] for place in range(700)]
    report = check_data(str(coco(train=[[*told, told[3], told[699]]], val=[told[:9]])), "boxes")
    assert [found.remark.rpartition(", as ")[::2] for found in report.flaws["twice"]] == [
        ("annotation 700, cat: 3.0, 0 to 16.0, 10.0", "annotation 3"),
        ("annotation 701, cat: 99.0, 30.0 to 115.0, 40.0", "annotation 699"),
    ]


@pytest.mark.parametrize(
    "told",
    [
        [[10, 10, 40, 40], [20, 10, 40, 40]],
        [[10, 10, 40, 40], {"bbox": [10, 10, 40, 40], "category_id": 2}],
        [[10, 10, 40, 40], {"bbox": [10, 10, 40, 40], "iscrowd": 1}],
        [{"bbox": [19.2, 19.2, 41.5, 41.5], "segmentation": SQUARE}],
        [[-0.5, 10, 40, 40], [90, 70, 30.9, 20.9]],
    ],
    ids=["apart", "other class", "crowd", "rounded", "rounded edge"],
)
def test_what_is_fine_is_no_flaw(coco: Callable[..., Path], told: list[Any]) -> None:
    report = check_data(str(coco(train=[told], val=[told])), "boxes")
    assert report.ok
    assert not report.flaws
    assert report.splits["train"].cut == 0
    assert "Nothing" in render(report)


def test_objects_without_an_outline_are_named_only_where_some_have_one(coco: Callable[..., Path]) -> None:
    bare = [[[10, 10, 9, 9], [40, 40, 9, 9]], [], [[10, 10, 9, 9]]]
    root = coco(train=[*bare, [{"segmentation": SQUARE}]], val=bare[:1])
    report = check_data(str(root), "boxes")
    assert [str(found) for found in report.flaws["bare"]] == [
        "train train/0.jpg: annotation 0, cat: 10.0, 10.0 to 19.0, 19.0 (1 others as well)",
        "train train/2.jpg: annotation 2, cat: 10.0, 10.0 to 19.0, 19.0",
        "val val/0.jpg: annotation 0, cat: 10.0, 10.0 to 19.0, 19.0 (1 others as well)",
    ]
    assert "bare" not in check_data(str(root), "boxes", split="val").flaws


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (
            {"bbox": [10, 10, 5]},
            "annotation 1 of _annotations.coco.json has the bbox [10, 10, ...], expected x, y, width",
        ),
        ({"bbox": [10, 10, 5, float("nan")]}, "annotation 1 of _annotations.coco.json has the bbox [10, 10, ...]"),
    ],
)
def test_what_cannot_be_read_stops(coco: Callable[..., Path], tmp_path: Path, told: Any, sentence: str) -> None:
    root = coco(train=[[[10, 10, 9, 9]], [told]], val=[[[10, 10, 9, 9]]])
    report = check_data(str(root), "boxes")
    assert not report.ok
    assert sentence in report.bad_objects[0].remark
    assert "Found pictures whose annotations cannot be used (1). A run would stop there" in render(report)
    assert run_check(str(root), "boxes", out=str(tmp_path / "out")) == 1


def test_a_split_without_objects_stops(coco: Callable[..., Path]) -> None:
    report = check_data(str(coco(train=[[], [{"bbox": [1, 1, 9, 9], "iscrowd": 1}]], val=[[[10, 10, 9, 9]]])), "boxes")
    assert not report.ok
    assert len(report.stops) == 1
    assert "no picture of the train split (2) shows an object (crowds: 1)" in report.stops[0]


def test_pictures_that_exif_turns_are_named(tmp_path: Path) -> None:
    for split, orientation in (("train", 3), ("val", 1)):
        (tmp_path / split / "images").mkdir(parents=True)
        (tmp_path / split / "labels").mkdir()
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", SIZE).save(tmp_path / split / "images" / "a.jpg", exif=exif)
        (tmp_path / split / "labels" / "a.txt").write_text("0 0.2 0.2 0.3 0.3\n")
    report = check_data(str(tmp_path), "boxes")
    assert [str(found) for found in report.turned] == ["train train/images/a.jpg"]
    assert "pictures whose objects may be turned (1)" in render(report)
    assert not check_data(str(tmp_path), "boxes", drawn_on="stored").turned


def test_boxes_are_recognised(coco: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = coco(train=[[[10, 10, 40, 40]]], val=[[[10, 10, 40, 40]]])
    assert recognise(str(root)) == recognise(str(root / "train" / "_annotations.coco.json")) == ("boxes", "")
    assert main(["check-data", str(root), "--out", str(tmp_path / "out")]) == 0
    assert "2 classes of objects" in capsys.readouterr().out


def test_outlines_are_masks_unless_objects_are_asked_for(
    coco: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = coco(train=[[{"segmentation": SQUARE}]], val=[[{"segmentation": SQUARE}]])
    assert main(["check-data", str(root), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "Masks are drawn from the outlines of objects; --task detect reads the objects." in out
    assert "Nothing is wrong" in out


@pytest.mark.parametrize("kind", ["boxes", "mask"])
def test_names_of_several_lines_are_drawn(tmp_path: Path, jpeg: Callable[..., bytes], kind: str) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(ord(name), SIZE))
        told = labelme(shape("tree\nfrog"), picture=f"{name}.jpg", size=SIZE)
        (tmp_path / f"{name}.json").write_text(json.dumps(told))
    assert "tree\nfrog" in check_data(str(tmp_path), kind, out=tmp_path / "out").classes
    assert (tmp_path / "out" / "samples.png").exists()


def test_a_folder_and_a_settings_file_of_boxes_are_recognised(tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "images").mkdir(parents=True)
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "images" / "a.jpg").write_bytes(jpeg(len(split), SIZE))
        (tmp_path / split / "labels" / "a.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    settings = tmp_path / "data.yaml"
    settings.write_text("train: train/images\nval: val/images\nnames: [cat]\n")
    assert recognise(str(tmp_path)) == recognise(str(settings)) == ("boxes", "")
    for split in ("train", "val"):
        (tmp_path / split / "labels" / "a.txt").write_text("0 0.5 0.5 0.25 0.25 0.1 0.1\n")
    assert recognise(str(tmp_path))[0] == recognise(str(settings))[0] == "mask"
