"""Objects and classes that a run finds besides its segments: figures and files as other tools come to them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import volovan
from commands import rows_of, run
from detections import coco_json, pycocotools_figures
from segments import CLASSES, THINGS, Painted, write_segments
from volovan.data.panoptic.segments import Panoptic, Segment, objects_in
from volovan.data.sources import open_source
from volovan.panoptic.inference import find_each
from volovan.room.found import coco_results


def judged(capsys: Any, learned: Any, out: Path, *words: object) -> dict[str, Any]:
    run(capsys, "validate", learned.run, "--workers", 0, "--pictures", 0, "--out", out, *words)
    figures: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return figures


def test_validate_comes_to_the_ap_of_pycocotools(learned: Any, capsys: Any, tmp_path: Path) -> None:
    """Of all objects, those that predict does not show too."""
    figures = judged(capsys, learned, tmp_path / "judged", "--also", "instance")
    ready: Any = volovan.load(learned.run, device="cpu")
    pictures = [learned.source.load(index) for index in range(3)]
    images = [ready.transform()(picture) for picture in pictures]
    with torch.no_grad():
        found = find_each(ready.model, images, [(64, 64)] * 3, THINGS, ready.test, ("instance",))
    results = [
        entry
        for index, one in enumerate(found)
        if one.objects is not None
        for entry in coco_results(one.objects, index, range(3), (64, 64))
    ]
    assert len(results) > sum(len(ready.using(also=("instance",)).predict(one).objects) for one in pictures)
    truths = [(objects_in(learned.source.target(index), THINGS), (64, 64)) for index in range(3)]
    expected = pycocotools_figures(coco_json(truths, 3), results, "segm")
    for name in ("ap", "ap50", "ap75", "ap_small", "ar1", "ar100"):
        assert figures[f"mask_{name}"] == pytest.approx(expected[name], abs=1e-9), name
    assert 0.1 < figures["mask_ap"] <= 1


def test_objects_and_classes_know_no_score_of_segments(learned: Any, capsys: Any, tmp_path: Path) -> None:
    usual = judged(capsys, learned, tmp_path / "usual")
    none = judged(capsys, learned, tmp_path / "none", "--score", 1)
    assert usual["pq"] > 0.5
    assert none["pq"] == 0
    assert (none["mask_ap"], none["miou"]) == (usual["mask_ap"], usual["miou"])
    small = judged(capsys, learned, tmp_path / "small", "--size", 32, 32)
    assert small["miou"] < usual["miou"]
    native = judged(capsys, learned, tmp_path / "native", "--size", "native")
    assert all(native[name] == usual[name] for name in ("pq", "mask_ap", "miou"))  # they are 64 x 64


def test_a_json_of_coco_has_the_pixels_of_each_object(learned: Any, capsys: Any, tmp_path: Path) -> None:
    shutil.copytree(learned.data / "images" / "val", tmp_path / "data")
    words = ["--also", "instance", "--workers", 0, "--out", tmp_path / "found"]
    run(capsys, "predict", learned.run, tmp_path / "data", *words)
    shutil.copy(tmp_path / "found" / "coco.json", tmp_path / "data")
    source: Any = open_source(tmp_path / "data", None, kind="boxes")
    ready = volovan.load(learned.run, device="cpu").using(also=("instance",))
    seen = 0
    for index in range(3):
        there, objects = source.target(index), ready.predict(source.load(index)).objects
        assert there.labels.tolist() == objects.labels.tolist()
        assert there.boxes == pytest.approx(objects.boxes)
        for shape, mask in zip(there.shapes, objects.masks, strict=True):
            both = np.zeros((2, 64, 64), bool)
            shape.paint(both[0], True)
            mask.paint(both[1], True)
            assert np.array_equal(*both)
            seen += 1
    assert seen >= 3


def test_where_nothing_is_counted_there_are_no_objects(recipe: Path, capsys: Any, tmp_path: Path) -> None:
    ids = np.ones((64, 64), np.int32)
    ids[:, 32:] = 2
    told = [Panoptic(ids, (Segment(1, a), Segment(2, b))) for a, b in ((0, 1), (1, 2))]
    for split in ("train", "val"):
        write_segments(tmp_path / "data", Painted(told, CLASSES, (False,) * 3), split=split)
    made = tmp_path / "run"
    run(capsys, "fit", recipe, "--data.source", tmp_path / "data", "--train.max_steps", 1, "--out", made)
    words = ["--workers", 0, "--also", "instance", "--out"]
    out, err = run(capsys, "validate", made, *words, tmp_path / "judged")
    assert "mask_ap" in out + err
    assert "cannot be told" in out + err
    assert json.loads((tmp_path / "judged" / "metrics.json").read_text())["mask_ap"] is None
    run(capsys, "predict", made, tmp_path / "data" / "images" / "val", *words, tmp_path / "found")
    assert rows_of(tmp_path / "found" / "objects.csv") == []
    said = json.loads((tmp_path / "found" / "coco.json").read_text())
    assert said["annotations"] == []
    assert [one["name"] for one in said["categories"]] == list(CLASSES)
    ready: Any = volovan.load(made, device="cpu")  # of what is not sure enough to be shown there is none either
    image = ready.transform()(Painted(told, CLASSES).load(0))
    counts = []
    for things in ((False,) * 3, THINGS):
        with torch.no_grad():
            (answer,) = find_each(ready.model, [image], [(64, 64)], things, ready.test, ("instance",))
        assert answer.objects is not None
        counts.append(len(answer.objects))
    assert counts[0] == 0 < counts[1]
