"""COCO's figures against pycocotools, VOC's against a plain reading, and what has no figure."""

import json
import multiprocessing
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from detections import (
    CLASSES,
    FIGURES,
    as_found,
    coco_json,
    jittered,
    metric_of,
    pycocotools_figures,
    scenes,
)  # fmt: skip
from volovan.data.objects.annotated import Annotated, Thing, annotated
from volovan.data.objects.shapes import Raster
from volovan.data.sources import open_source
from volovan.detect.metrics import DetectionMetric, voc_ap
from volovan.room.found import Found, coco_results

PACKS = os.environ.get("VOLOVAN_DATA", "")
NOTHING = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), ())


@pytest.fixture(scope="module")
def drawn():
    return scenes(12)


def require_equal(pictures, founds, said, image_ids, category_ids, classes):
    """All 24 figures, to the last bit."""
    metric = metric_of(pictures, founds, classes)
    ours = metric.finish()
    results = []
    for found, (_, size), image in zip(founds, pictures, image_ids, strict=True):
        results += coco_results(found, image, category_ids, size)
    for kind, prefix in (("bbox", ""), ("segm", "mask_")):
        theirs = pycocotools_figures(said, results, kind)
        assert {name: ours[prefix + name] for name in FIGURES} == pytest.approx(
            {name: value if value >= 0 else float("nan") for name, value in theirs.items()}, abs=1e-15, nan_ok=True
        )
    return ours


def test_figures_of_drawn_scenes_are_those_of_pycocotools(drawn):
    founds = [jittered(truth, size, seed) for seed, (truth, size) in enumerate(drawn)]
    ours = require_equal(drawn, founds, coco_json(drawn), range(len(drawn)), range(len(CLASSES)), CLASSES)
    assert 0.05 < ours["ap"] < 0.9
    assert ours["mask_ap"] != ours["ap"]


@pytest.mark.skipif(not PACKS, reason="VOLOVAN_DATA does not name the folder of data packs")
def test_figures_of_photographs_are_those_of_pycocotools_on_the_original_file():
    pack = Path(PACKS, "coco_tiny")
    said = json.loads((pack / "annotations/instances_val.json").read_text())
    source = open_source(pack, "val", kind="boxes")
    images = {image["file_name"]: image for image in said["images"]}
    listed = [images[source.name(index).removeprefix("images/")] for index in range(len(source))]
    pictures = [(source.target(index), (one["height"], one["width"])) for index, one in enumerate(listed)]
    founds = [jittered(*picture, seed, classes=len(source.classes)) for seed, picture in enumerate(pictures)]
    ids = {category["name"]: category["id"] for category in said["categories"]}
    numbers = [image["id"] for image in listed]
    ours = require_equal(pictures, founds, said, numbers, [ids[name] for name in source.classes], source.classes)
    assert len(pictures) > 100
    assert 0.05 < ours["mask_ap"] < 0.9


def test_an_annotation_scored_against_itself_is_perfect(drawn):
    metric = metric_of(drawn, [as_found(truth, size) for truth, size in drawn])
    figures = metric.finish()
    for name in ("ap", "ap50", "ap75", "ar100", "voc_ap50", "mask_ap", "mask_ap75", "mask_ar100"):
        assert figures[name] == pytest.approx(1.0)
    assert {row.score for row in metric.rows.values()} == {1.0}
    confusion = metric.confusion()
    assert confusion.diagonal().sum() == confusion.sum() == sum(metric.objects())


def test_boxes_alone_give_half_of_the_figures(drawn):
    bare = [Found(one.boxes, one.scores, one.labels) for one in (as_found(*picture) for picture in drawn)]
    figures = metric_of(drawn, bare, masks=False).finish()
    assert set(figures) == {*FIGURES, "voc_ap50"}
    with pytest.raises(ValueError, match="has none"):
        metric_of(drawn, bare, masks=True)


def test_rows_are_small_and_travel_between_processes(drawn):
    founds = [jittered(truth, size, seed) for seed, (truth, size) in enumerate(drawn)]
    whole = metric_of(drawn, founds)
    parts = [DetectionMetric(CLASSES, whole.found, True) for _ in range(2)]
    for number, ((truth, size), found) in enumerate(zip(drawn, founds, strict=True)):
        parts[number % 2].add(number, found, truth, size)
    sent = pickle.dumps([part.rows for part in parts])
    assert len(sent) < 5000 * len(drawn)
    parts[0].rows = dict(sorted((number, row) for rows in pickle.loads(sent) for number, row in rows.items()))
    assert parts[0].finish() == pytest.approx(whole.finish(), abs=0, nan_ok=True)
    assert torch.equal(parts[0].confusion(), whole.confusion())


# Where there is nothing


def crowd_only() -> Annotated:
    return annotated([Thing("", (10, 10, 60, 60), Raster(np.ones((50, 50), bool), 10, 10), crowd=True)], [2])


@pytest.mark.parametrize("found", [NOTHING, None], ids=["nothing found", "found"])
@pytest.mark.parametrize("there", ["nothing", "crowd", "objects", "no pictures"])
def test_nothing_there_or_nothing_found_gives_nan_or_zero_without_a_warning(drawn, there, found):
    truth, size = drawn[0]
    if there != "objects":
        truth = crowd_only() if there == "crowd" else truth.only(np.zeros(len(truth), bool))
    seen = Found(
        np.array([[20.0, 20, 40, 40]]), np.array([0.9]), np.array([2]), (Raster(np.ones((20, 20), bool), 20, 20),)
    )
    count = 0 if there == "no pictures" else 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric = metric_of([(truth, size)] * count, [seen if found is None else found] * count)
        figures = metric.finish()
        table = metric.per_class()
        assert metric.confusion().shape == (len(CLASSES) + 1,) * 2
    assert set(table) == {"objects", "ap", "ap50", "voc_ap50", "mask_ap", "mask_ap50"}
    for name in ("ap", "mask_ap", "voc_ap50", "ar100"):
        assert figures[name] == 0.0 if there == "objects" else np.isnan(figures[name])
    if there == "nothing":
        assert all(np.isnan(row.score) if found is not None else row.score == 0 for row in metric.rows.values())
    if there == "crowd":
        assert metric.confusion().sum() == 0  # what lies in it is neither right nor wrong


def test_an_object_without_outline_counts_as_its_box(drawn):
    truth, size = drawn[0]
    bare = Annotated(truth.boxes, truth.labels, truth.crowd, truth.areas, (None,) * len(truth))
    boxes = [
        Raster(np.ones((int(y2) - int(y1), int(x2) - int(x1)), bool), int(x1), int(y1)) for x1, y1, x2, y2 in bare.boxes
    ]
    found = Found(bare.boxes, np.ones(len(bare)), bare.labels, tuple(boxes)).only(~bare.crowd)
    assert metric_of([(bare, size)], [found]).finish()["mask_ap50"] == pytest.approx(1.0)


def test_at_most_100_objects_of_a_picture_count(drawn):
    truth, size = drawn[0]
    chosen = truth.only(np.arange(len(truth)) == 0)
    many = Found(
        np.concatenate((np.tile([[0.0, 0, 3, 3]], (100, 1)), chosen.boxes)),
        np.linspace(1, 0.5, 101),
        np.full(101, chosen.labels[0]),
    )
    assert metric_of([(chosen, size)], [many], masks=False).finish()["ap"] == 0.0
    assert metric_of([(chosen, size)], [many.only(np.arange(101) > 0)], masks=False).finish()["ap"] > 0


# Pascal VOC


def devkit(founds, truths, label) -> float:
    """VOCevaldet.m and VOCap.m, read line by line, with continuous coordinates."""
    wanted = sum(int(((truth.labels == label) & ~truth.crowd).sum()) for truth in truths)
    listed = [
        (float(found.scores[row]), picture, found.boxes[row].tolist())
        for picture, found in enumerate(founds)
        for row in range(len(found))
        if found.labels[row] == label
    ]
    listed.sort(key=lambda one: -one[0])
    taken, tp, fp = set(), [], []
    for _, picture, box in listed:
        best, of = -1.0, -1
        truth = truths[picture]
        for row in np.flatnonzero(truth.labels == label).tolist():
            other = truth.boxes[row].tolist()
            across, down = (min(box[k + 2], other[k + 2]) - max(box[k], other[k]) for k in (0, 1))
            if across > 0 and down > 0:
                own, its = ((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
                share = across * down / (own + its - across * down)
                if share > best:
                    best, of = share, row
        hit = best >= 0.5 and not truth.crowd[of] and (picture, of) not in taken
        ignored = best >= 0.5 and truth.crowd[of]
        taken |= {(picture, of)} if hit else set()
        tp.append(int(hit))
        fp.append(int(not hit and not ignored))
    recall, precision, right, wrong = [0.0], [0.0], 0, 0
    for hit, miss in zip(tp, fp, strict=True):
        right, wrong = right + hit, wrong + miss
        recall.append(right / wanted)
        precision.append(right / max(right + wrong, 1))
    recall.append(1.0)
    precision.append(0.0)
    for place in range(len(precision) - 2, -1, -1):
        precision[place] = max(precision[place], precision[place + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


def test_voc_ap_is_that_of_the_development_kit(drawn):
    draw = np.random.default_rng(0)
    founds = [jittered(truth, size, seed) for seed, (truth, size) in enumerate(drawn)]
    founds = [Found(one.boxes, draw.random(len(one)), one.labels) for one in founds]
    truths = [truth for truth, _ in drawn]
    metric = metric_of(drawn, founds, masks=False)
    expected = [devkit(founds, truths, k) if metric.objects()[k] else np.nan for k in range(len(CLASSES))]
    assert metric.voc_ap50().tolist() == pytest.approx(expected, nan_ok=True, abs=1e-12)
    assert metric.finish()["voc_ap50"] == pytest.approx(np.nanmean(expected))
    assert any(truth.crowd.any() for truth in truths)


def test_voc_ap_by_hand():
    # Right, wrong, right, of 4: recalls 1/4 and 2/4 at precisions 1 and 2/3.
    assert voc_ap(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1]), 4) == pytest.approx(1 / 4 + 2 / 3 / 4)
    assert voc_ap(np.array([0.9, 0.8, 0.7]), np.array([1, -1, 1]), 2) == 1.0  # difficult: as if it were not there
    assert np.isnan(voc_ap(np.zeros(0), np.zeros(0), 0))


def test_a_forked_process_scores_too(child, drawn):
    """hotcoco's threads stay behind in the parent."""
    found = [as_found(truth, size) for truth, size in drawn]
    here = metric_of(drawn, found).finish()
    there = multiprocessing.get_context("fork").Queue()
    process = child(lambda: there.put(metric_of(drawn, found).finish()))
    assert there.get(timeout=100) == pytest.approx(here, nan_ok=True)
    process.join(60)
    assert process.exitcode == 0
