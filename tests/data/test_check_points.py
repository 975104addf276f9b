"""volovan check-data for objects with named points: what it counts, what it names, what it draws."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from volovan.data import check_data, run_check
from volovan.data.checks.recognise import recognise
from volovan.data.checks.report import render
from volovan.data.objects.joints import FIRST, MIDDLE, SECOND, draw_points
from volovan.data.objects.shapes import Affine
from volovan.data.objects.skeleton import Skeleton

SIZE = (120, 90)
BOX = [10, 10, 40, 40]
FINE = [20, 20, 2, 40, 20, 1, 0, 0, 0]


@pytest.fixture
def coco(tmp_path: Path, jpeg: Callable[..., bytes]) -> Callable[..., Path]:
    """coco(train=[[keypoints or {...}, ...], ...], val=...): of each picture its annotations."""

    def make(**splits: list[list[Any]]) -> Path:
        for split, pictures in splits.items():
            (tmp_path / split).mkdir(parents=True)
            annotations: list[dict[str, Any]] = []
            for number, told in enumerate(pictures):
                (tmp_path / split / f"{number}.jpg").write_bytes(jpeg(len(split) + number, SIZE))
                for one in told:
                    one = {"keypoints": one} if isinstance(one, list) else one
                    place = {"id": len(annotations), "image_id": number, "category_id": 1, "bbox": BOX}
                    annotations.append(place | one)
            images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(len(pictures))]
            cat = {"id": 1, "name": "cat", "keypoints": ["left_eye", "right_eye", "tail"], "skeleton": [[1, 2]]}
            said = {"images": images, "annotations": annotations, "categories": [cat]}
            (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(said))
        return tmp_path

    return make


def test_points_are_counted_by_their_names(coco: Callable[..., Path], tmp_path: Path) -> None:
    apart = {"keypoints": [], "bbox": [70, 50, 30, 30]}
    root = coco(train=[[FINE, apart], [FINE]], val=[[[0, 0, 0, 30, 30, 2, 0, 0, 0]]])
    report = check_data(str(root), "points", out=tmp_path / "out")
    assert report.ok
    train = report.splits["train"]
    assert train.labelled == {"left_eye": 2, "right_eye": 2, "tail": 0}
    assert train.visible == {"left_eye": 2, "right_eye": 0, "tail": 0}
    assert (train.pointless, report.splits["val"].pointless) == (1, 0)
    assert train.objects == {"cat": 3}
    text = render(report)
    assert "1 classes of objects with 3 points" in text
    row = next(line for line in text.splitlines() if line.startswith("right_eye"))
    assert row.split() == ["right_eye", "2", "0", "1", "1"]
    assert "1 of 4 objects have no labelled point: none of them is learned." in text
    assert {Path(file).name for file in report.files} == {"samples.png", "sizes.png", "report.json"}
    assert json.loads((tmp_path / "out/report.json").read_text())["splits"]["train"]["labelled"]["left_eye"] == 2


FLAWED = {
    "point_outside": ([20, 20, 2, 130, 20, 2, 0, 0, 0], "annotation 0, cat: right_eye at 130.5, 20.5 of 120 x 90"),
    "point_far": (
        [20, 20, 2, 66, 20, 1, 67, 21, 2],
        "annotation 0, cat: right_eye at 66.5, 20.5, its box 10.0, 10.0 to 50.0, 50.0 (1 others as well)",
    ),
    "together": ([20, 20, 2, 40, 20, 1, 20, 20.2, 2], "annotation 0, cat: left_eye and tail at 20.0, 20.0"),
}


@pytest.mark.parametrize("kind", FLAWED)
def test_each_flaw_of_points_is_named_with_its_object(coco: Callable[..., Path], kind: str) -> None:
    keypoints, sentence = FLAWED[kind]
    report = check_data(str(coco(train=[[keypoints]], val=[[FINE]])), "points")
    assert report.ok
    assert {name: [found.remark for found in some] for name, some in report.flaws.items()} == {kind: [sentence]}
    assert f"train train/0.jpg: {sentence}" in render(report)
    assert ("\nFound objects with" in render(report)) == (kind != "point_far")  # it is so in COCO too


@pytest.mark.parametrize(
    "keypoints",
    [
        FINE,
        [9.2, 20, 2, 58, 53, 2, 0, 0, 0],  # near the box
        [20, 20, 2, 0, 0, 0, 0, 0, 0],
        [20, 20, 2, 500, -500, 0, 20, 20, 0],  # what is not labelled is nowhere
    ],
)
def test_points_that_are_fine_are_no_flaw(coco: Callable[..., Path], keypoints: list[float]) -> None:
    report = check_data(str(coco(train=[[keypoints]], val=[[FINE]])), "points")
    assert report.ok
    assert not report.flaws


def test_what_has_no_labelled_point_stops_a_run(coco: Callable[..., Path], tmp_path: Path, capsys: Any) -> None:
    root = coco(train=[[{"keypoints": []}]], val=[[FINE]])
    assert run_check(str(root), "points", out=str(tmp_path / "out")) == 1
    assert "no picture of the train split (1) shows an object with a labelled point" in capsys.readouterr().out


def test_annotations_that_cannot_be_used_are_listed(coco: Callable[..., Path]) -> None:
    report = check_data(str(coco(train=[[[1, 2]], [FINE]], val=[[FINE]])), "points")
    assert not report.ok
    assert [found.name for found in report.bad_objects] == ["train/0.jpg"]
    assert "2 numbers as keypoints, expected 9" in report.bad_objects[0].remark


def test_samples_show_points_and_lines(coco: Callable[..., Path], tmp_path: Path) -> None:
    check_data(str(coco(train=[[FINE]], val=[[FINE]])), "points", out=tmp_path / "with")
    check_data(str(tmp_path), "boxes", out=tmp_path / "without")
    one, other = (np.asarray(Image.open(tmp_path / name / "samples.png")) for name in ("with", "without"))
    for colour in (FIRST, SECOND):
        assert (one == colour).all(axis=-1).any()
        assert not (other == colour).all(axis=-1).any()


def test_points_are_painted_where_they_are() -> None:
    skeleton = Skeleton(("left_eye", "right_eye", "tail", "back"), ((0, 1), (1, 3)))
    sheet = Image.new("RGB", (80, 60))
    points = np.array([[5, 10, 2], [35, 10, 1], [20, 25, 2], [5, 25, 0]])
    draw_points(ImageDraw.Draw(sheet), points, skeleton, Affine(2, 2), (1, 2, 3), 80)
    assert sheet.getpixel((10, 20)) == FIRST
    assert sheet.getpixel((70, 20)) != SECOND  # hollow
    assert SECOND in [sheet.getpixel((x, 20)) for x in range(64, 77)]
    assert sheet.getpixel((40, 50)) == MIDDLE
    assert sheet.getpixel((40, 20)) == (1, 2, 3)  # a line to a hidden point
    assert sheet.getpixel((10, 50)) == (0, 0, 0)  # not labelled
    assert sheet.getpixel((40, 35)) == (0, 0, 0)


def test_points_are_recognised_by_names_and_settings(tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    for name in ("images/train/0.jpg", "yolo/images/train/0.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(jpeg(0, SIZE))
    cat = {"id": 1, "name": "cat", "keypoints": ["left_eye", "right_eye", "tail"]}
    one = {"id": 1, "image_id": 1, "category_id": 1, "bbox": BOX, "keypoints": FINE}
    said = {"images": [{"id": 1, "file_name": "0.jpg"}], "annotations": [one], "categories": [cat]}
    (tmp_path / "annotations").mkdir()
    named = tmp_path / "annotations/person_keypoints_train.json"
    named.write_text(json.dumps(said))
    assert recognise(str(tmp_path))[0] == recognise(str(named))[0] == "points"
    (tmp_path / "annotations/instances_train.json").write_text(json.dumps(said))
    assert recognise(str(tmp_path))[0] == "boxes"
    settings = tmp_path / "yolo/data.yaml"
    (tmp_path / "yolo/labels/train").mkdir(parents=True)
    (tmp_path / "yolo/labels/train/0.txt").write_text("0 0.5 0.5 0.2 0.2 0.5 0.5 2")
    for shape, kind in (("kpt_shape: [1, 3]\n", "points"), ("", "boxes")):
        settings.write_text(f"train: images/train\nnames: [cat]\n{shape}")
        (tmp_path / "yolo/labels/train/0.txt").write_text("0 0.5 0.5 0.2 0.2" + " 0.5 0.5 2" * bool(shape))
        assert recognise(str(settings))[0] == recognise(str(settings.parent))[0] == kind
