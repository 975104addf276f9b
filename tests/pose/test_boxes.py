"""Where objects are: a detector, a file, the picture; and files that lie."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from volovan.engine.settings import SettingsError
from volovan.pose.boxes import boxes_of_detector, boxes_of_file, whole_picture
from volovan.pose.ready import Options

PICTURE = Image.new("RGB", (80, 60))
BOX = {"image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5}


def detector(*names: str, room: str = "detect") -> Any:
    """What a network in use offers, with two boxes of the first two of its classes."""
    found = SimpleNamespace(
        boxes=np.array([[0.0, 0, 9, 9], [5, 5, 20, 20]]), scores=np.array([0.9, 0.4]), names=names[:2]
    )
    return SimpleNamespace(room=room, name="runs/net", classes=names, predict=lambda picture: found)


def test_a_picture_is_one_object() -> None:
    assert whole_picture(PICTURE, "a.png").boxes.tolist() == [[0, 0, 80, 60]]


def test_classes_of_the_same_name_are_taken() -> None:
    boxes = boxes_of_detector(detector("cat", "Person"), ("person",), None, None)(PICTURE, "a.png")
    assert boxes.boxes.tolist() == [[5, 5, 20, 20]]
    assert (boxes.scores.tolist(), boxes.labels.tolist()) == ([0.4], [0])


def test_another_class_can_be_named() -> None:
    boxes = boxes_of_detector(detector("cat", "dog"), ("animal",), "CAT", None)(PICTURE, "a.png")
    assert boxes.boxes.tolist() == [[0, 0, 9, 9]]


@pytest.mark.parametrize(
    ("network", "objects", "of", "why"),
    [
        (detector("cat", room="segment"), ("person",), None, "is of the task segment; name a run of detection"),
        (detector("cat"), ("person",), None, "finds 'cat', but the points are of 'person'; name the class"),
        (detector("cat", "dog"), ("person",), "cow", "--detector-class cow: the detector finds 'cat', 'dog'"),
        (detector("cat", "dog"), ("cat", "dog"), "cat", "says one class, but the points are of 'cat', 'dog'; leave it"),
    ],
)
def test_detectors_that_do_not_fit_are_refused(
    network: Any, objects: tuple[str, ...], of: str | None, why: str
) -> None:
    with pytest.raises(SettingsError, match=why):
        boxes_of_detector(network, objects, of, None)


def written(path: Path, said: Any) -> str:
    path.write_text(json.dumps(said))
    return str(path)


def data_set(**more: Any) -> dict[str, Any]:
    images = [{"id": 7, "file_name": "new\\a.png"}, {"id": 8, "file_name": "b.png"}]
    return {"images": images, "annotations": [BOX], "categories": [{"id": 1, "name": "Person"}], **more}


@pytest.mark.parametrize("name", ["new/a.png", "/home/me/new/a.png"])
def test_boxes_of_a_data_set_follow_the_names_of_pictures(tmp_path: Path, name: str) -> None:
    finder = boxes_of_file(written(tmp_path / "r.json", data_set()), ("person",))
    found = finder(PICTURE, name)
    assert (found.boxes.tolist(), found.scores.tolist()) == ([[10, 20, 40, 60]], [0.5])
    for other in ("b.png", "a.png", "c.png"):  # without objects, in another folder, not listed
        assert len(finder(PICTURE, other)) == 0


@pytest.mark.parametrize("name", ["x/000000000007.jpg", "7.png"])
def test_results_follow_the_ids_that_pictures_are_called_by(tmp_path: Path, name: str) -> None:
    finder = boxes_of_file(written(tmp_path / "r.json", [BOX, BOX | {"image_id": 9}]), ("person",))
    assert finder(PICTURE, name).boxes.tolist() == [[10, 20, 40, 60]]


def test_objects_of_other_categories_are_left_out(tmp_path: Path) -> None:
    kinds = [{"id": 1, "name": "cat"}, {"id": 2, "name": "person"}]
    said = data_set(categories=kinds, annotations=[BOX, BOX | {"category_id": 2, "score": 0.25}])
    assert boxes_of_file(written(tmp_path / "r.json", said), ("person",))(PICTURE, "new/a.png").scores.tolist() == [
        0.25
    ]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("text", "is no JSON of COCO; a data set with images and annotations, or a list of results"),
        ({"images": []}, "is no JSON of COCO"),
        (data_set(images=[{"id": 7}]), "has an image without id and file_name"),
        (data_set(images=[3]), "has an image without id and file_name"),
        (data_set(categories=None), "has no list of categories with id and name"),
        (
            data_set(categories=[{"id": 1, "name": "cat"}]),
            "has boxes of 'cat', but the points are of 'person'; give them",
        ),
        (data_set(annotations=[BOX | {"image_id": 3}]), "entry 0 has the image_id 3, which the file does not list"),
        ([BOX, BOX | {"category_id": 2}], "a list of results of 2 categories without names"),
        *[
            (
                [BOX | {"bbox": box}],
                r"entry 0 of the list has the bbox .*; \[x, y, width, height\] and a number are exp",
            )
            for box in (
                None,
                [1, 2, 3],
                "1 2 3 4",
                [1, 2, 3, "4"],
                [1, 2, 3, True],
                [1, 2, 3, float("nan")],
                [1, 2, 3, 1e30],
            )
        ],
        *[([BOX | {"score": score}], "and the score") for score in ("high", [1], float("inf"), True)],
        ([3], "entry 0 of the list has the bbox None"),
        ([], "has no box of 'person'; write it again, or leave it out"),
        (data_set(annotations=[]), "has no box of 'person'"),
        *[
            ([BOX | {key: id}], f"entry 0 of the list has the {key} .*; a number or text is expected")
            for key in ("image_id", "category_id")
            for id in ([7], {"a": 7}, 7.5)
        ],
        (data_set(annotations=[BOX | {"image_id": [7]}]), "entry 0 of the list has the image_id .*; a number or text"),
        (data_set(images=[{"id": [7], "file_name": "a.png"}]), "has an image without id and file_name"),
    ],
)
def test_files_that_lie_are_named(tmp_path: Path, said: Any, why: str) -> None:
    with pytest.raises(SettingsError, match=rf"--boxes .*r\.json.*{why}"):
        boxes_of_file(written(tmp_path / "r.json", said), ("person",))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{", b"[" * 100_000])
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(SettingsError, match=r"--boxes .*r\.json cannot be read as JSON"):
        boxes_of_file(str(tmp_path / "r.json"), ("person",))
    with pytest.raises(SettingsError, match=r"gone\.json cannot be read as JSON"):
        boxes_of_file(str(tmp_path / "gone.json"), ("person",))


@pytest.mark.parametrize("said", [{"detector_class": "cat"}, {"detector_score": 0.5}])
def test_what_is_said_of_no_detector_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="belongs to --detector; name a run of detection with it"):
        Options(**said)
