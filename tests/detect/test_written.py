"""What was found as other tools read it."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as oracle

from detections import CLASSES, coco_json, jittered, metric_of, pycocotools_figures, scenes, whole
from volovan.data import check_data
from volovan.data.checks.report import render
from volovan.detect.written import as_supervision, yolo_lines
from volovan.room.found import Found, coco_results, table_rows
from volovan.room.ledger import below
from volovan.room.objects_ledger import ledger

NOTHING = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), ())


@pytest.fixture(scope="module")
def scene():
    (picture,) = scenes(1)
    return jittered(*picture, seed=3), picture[1]


def test_results_of_coco_survive_their_file_to_the_last_figure(scene):
    pictures = scenes(6)
    founds = [jittered(*picture, seed) for seed, picture in enumerate(pictures)]
    entries = []
    for number, (found, (_, size)) in enumerate(zip(founds, pictures, strict=True)):
        entries += coco_results(found, number, range(7), size)
    read = json.loads(json.dumps(entries))
    ours = metric_of(pictures, founds).finish()
    for kind, name in (("bbox", "ap"), ("segm", "mask_ap")):
        assert pycocotools_figures(coco_json(pictures), read, kind)["ap"] == ours[name]


def test_results_of_coco_hold_ids_and_pixels(scene):
    found, size = scene
    entries = coco_results(found, "a7", [f"c{k}" for k in range(len(CLASSES))], size)
    assert [set(one) for one in entries] == [{"image_id", "category_id", "bbox", "score", "segmentation"}] * len(found)
    x, y, width, height = entries[0]["bbox"]
    assert [x, y, x + width, y + height] == pytest.approx(found.boxes[0].tolist())
    assert entries[0]["category_id"] == f"c{found.labels[0]}"
    assert np.array_equal(oracle.decode(entries[0]["segmentation"]), whole(found.masks[0], size))
    bare = coco_results(Found(found.boxes, found.scores, found.labels), 1, range(9), size)
    assert "segmentation" not in bare[0]
    assert coco_results(NOTHING, 1, range(9), size) == []


def test_lines_of_yolo_are_parts_of_the_picture(scene):
    found = Found(np.array([[10.0, 20, 50, 40]]), np.array([0.75]), np.array([3]))
    assert yolo_lines(found, (100, 200)) == ["3 0.150000 0.300000 0.200000 0.200000 0.750000"]
    assert yolo_lines(NOTHING, (100, 200)) == []


def test_rows_name_classes(scene):
    found = Found(np.array([[10.0, 20, 50.126, 40]]), np.array([0.75]), np.array([3]))
    (row,) = table_rows(found, CLASSES)
    assert row == {"class": CLASSES[3], "score": 0.75, "x1": 10.0, "y1": 20.0, "x2": 50.13, "y2": 40.0}
    masked, _ = scene
    assert table_rows(masked, CLASSES)[0]["pixels"] == masked.masks[0].mask.sum()


def test_layout_of_supervision(scene):
    found, size = scene
    said = as_supervision(found, size)
    assert said["xyxy"].dtype == np.float32
    assert said["mask"].shape == (len(found), *size)
    assert said["mask"].dtype == bool
    assert said["class_id"].tolist() == found.labels.tolist()
    assert as_supervision(NOTHING, size)["mask"].shape == (0, *size)
    assert as_supervision(Found(found.boxes, found.scores, found.labels), size)["mask"] is None


@pytest.mark.parametrize("names", [["new/a.png"], ["new/a.png", "new/b.png"], ["new/a.png", "new/deep/b.png"]])
def test_coco_json_opens_as_a_data_set_in_the_folder_of_the_pictures(names, scene, tmp_path):
    found, size = scene
    with ledger(tmp_path, CLASSES) as made:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size[::-1], "white").save(tmp_path / name)
            made.add(name, size, found)
    shutil.copy(tmp_path / "coco.json", tmp_path / "new")
    report = check_data(str(tmp_path / "new"), "boxes")
    assert sum(split.samples for split in report.splits.values()) == len(names)


def test_names_of_coco_json_begin_below_what_they_share():
    assert below([]) == []
    assert below(["a.png"]) == ["a.png"]
    assert below(["a.png", "b/c.png"]) == ["a.png", "b/c.png"]
    assert below(["../x/a.png", "../x/y/b.png"]) == ["a.png", "y/b.png"]
    assert below(["/x/a.png", "/x/y/b.png"]) == ["a.png", "y/b.png"]
    assert below([os.path.abspath("a.png"), "b/c.png"]) == ["a.png", "b/c.png"]


def test_data_of_which_every_picture_is_missing_blame_no_class(scene, tmp_path):
    with ledger(tmp_path, CLASSES) as made:
        made.add("gone/a.png", scene[1], scene[0])
    text = render(check_data(str(tmp_path / "coco.json"), "boxes"))
    assert "a.png, which coco.json lists, is not there" in text
    assert "No picture has" not in text
    assert "on_bad" not in text
