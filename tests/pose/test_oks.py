"""OKS and what follows from it: by hand, by loops, and equal to pycocotools."""

import contextlib
import io
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from volovan.data.objects.annotated import Annotated
from volovan.data.objects.skeleton import COCO_NAMES, Skeleton
from volovan.data.sources import open_source
from volovan.pose.found import Poses
from volovan.pose.metrics import PoseMetric
from volovan.pose.oks import Kept, distinct, oks_scores, similarity

PACKS = os.environ.get("VOLOVAN_DATA", "")
PERSON = Skeleton(COCO_NAMES)
SIZE = (480, 640)


def annotated(boxes: np.ndarray, points: np.ndarray, labels: np.ndarray, crowd: np.ndarray | None = None) -> Annotated:
    sides = boxes[:, 2:] - boxes[:, :2]
    crowd = np.zeros(len(boxes), bool) if crowd is None else crowd
    return Annotated(boxes, labels, crowd, 0.6 * sides.prod(axis=1), (None,) * len(boxes), points=points)


def scene(draw: np.random.Generator, count: int, classes: int = 1) -> tuple[Poses, Annotated]:
    """Objects with points, some unknown, and what is found of them: near, doubled, invented, of another class."""
    corners = draw.uniform((0, 0), (500, 300), (count, 2))
    boxes = np.concatenate((corners, corners + draw.uniform(10, 180, (count, 2))), axis=1)
    sides = boxes[:, 2:] - boxes[:, :2]
    places = boxes[:, None, :2] + draw.uniform(0, 1, (count, 17, 2)) * sides[:, None]
    flags = draw.choice([0, 1, 2], (count, 17), p=[0.3, 0.2, 0.5])
    flags[draw.random(count) < 0.2] = 0
    points = np.concatenate((places * (flags > 0)[..., None], flags[..., None]), axis=2)
    labels = draw.integers(0, classes, count)
    truth = annotated(boxes, points, labels, draw.random(count) < 0.1)
    rows = np.concatenate((np.arange(count), draw.integers(0, count, count // 2)))
    near = places[rows] + draw.normal(0, 0.05, (len(rows), 17, 2)) * sides[rows][:, None]
    kinds = np.where(draw.random(len(rows)) < 0.9, labels[rows], draw.integers(0, classes, len(rows)))
    found = Poses(
        np.concatenate((near, draw.random((len(rows), 17, 1))), axis=2),
        draw.random(len(rows)).round(2),
        boxes[rows],
        kinds,
        sides[rows].prod(axis=1),
    )
    return found, truth


def test_similarity_by_hand() -> None:
    """exp(-d^2 / (2 area k^2)) with k = 2 sigma: at a distance of k sqrt(area) it is exp(-1/2)."""
    points = np.zeros((1, 17, 3))
    points[0, 0] = 100, 100, 2  # the nose alone
    truth = annotated(np.array([[50.0, 50, 150, 150]]), points, np.zeros(1, np.int64))
    found = np.zeros((1, 17, 2))
    found[0, 0] = 100 + 2 * 0.026 * math.sqrt(truth.areas[0]), 100
    assert similarity(found, truth, PERSON.sigmas)[0, 0] == pytest.approx(math.exp(-0.5))
    found[0, 0] = 100, 100
    assert similarity(found, truth, PERSON.sigmas)[0, 0] == 1


def test_similarity_by_loops() -> None:
    found, truth = scene(np.random.default_rng(0), 9)
    values = similarity(found.points[:, :, :2], truth, PERSON.sigmas)
    assert truth.points is not None
    for row in range(len(found)):
        for number in range(len(truth)):
            x1, y1, x2, y2 = truth.boxes[number]
            known = [k for k in range(17) if truth.points[number, k, 2] > 0]
            total = 0.0
            for k in known or range(17):
                x, y = found.points[row, k, :2]
                if known:
                    dx, dy = x - truth.points[number, k, 0], y - truth.points[number, k, 1]
                else:
                    dx = max(0, x1 - (x2 - x1) - x) + max(0, x - x2 - (x2 - x1))
                    dy = max(0, y1 - (y2 - y1) - y) + max(0, y - y2 - (y2 - y1))
                k2 = (2 * PERSON.sigmas[k]) ** 2
                total += math.exp(-(dx * dx + dy * dy) / (2 * (truth.areas[number] + np.spacing(1)) * k2))
            assert values[row, number] == pytest.approx(total / len(known or range(17)), abs=1e-12)


def theirs(scenes: list[tuple[Poses, Annotated]], classes: int) -> list[float]:
    """The ten figures of pycocotools."""
    said: dict = {
        "images": [],
        "annotations": [],
        "categories": [{"id": k + 1, "name": str(k)} for k in range(classes)],
    }
    results = []
    for number, (found, truth) in enumerate(scenes, 1):
        said["images"].append({"id": number, "height": SIZE[0], "width": SIZE[1]})
        assert truth.points is not None
        for row, points in enumerate(truth.points):
            x1, y1, x2, y2 = truth.boxes[row].tolist()
            own = {"id": len(said["annotations"]) + 1, "image_id": number, "category_id": int(truth.labels[row]) + 1}
            own |= {
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": float(truth.areas[row]),
                "iscrowd": int(truth.crowd[row]),
            }
            own |= {"keypoints": points.ravel().tolist(), "num_keypoints": int((points[:, 2] > 0).sum())}
            said["annotations"].append(own)
        for points, score, label in zip(found.points, found.scores, found.labels, strict=True):
            places = np.concatenate((points[:, :2], np.ones((17, 1))), axis=1).ravel().tolist()
            own = {"image_id": number, "category_id": int(label) + 1, "keypoints": places, "score": float(score)}
            results.append(own)
    return figures_of(said, results)


def figures_of(said: dict, results: list[dict]) -> list[float]:
    """The ten figures of pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        there = COCO()
        there.dataset = said
        there.createIndex()
        scorer = COCOeval(there, there.loadRes(results), "keypoints")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return scorer.stats.tolist()


@pytest.mark.skipif(not PACKS, reason="VOLOVAN_DATA does not name the folder of data packs")
def test_figures_of_photographs_are_those_of_pycocotools_on_the_original_file() -> None:
    """What is found is the annotation, moved, doubled and shuffled; the file's pixels are half a pixel off ours."""
    pack = Path(PACKS, "coco_tiny")
    said = json.loads((pack / "annotations/person_keypoints_val.json").read_text())
    source = open_source(pack, "val", kind="points")
    numbers = {image["file_name"]: image["id"] for image in said["images"]}
    draw, kept, results = np.random.default_rng(0), [], []
    for index in range(len(source)):
        truth = source.target(index)
        rows = np.flatnonzero((truth.points[:, :, 2] > 0).any(axis=1))
        rows = np.concatenate((rows, rows[draw.random(len(rows)) < 0.4]))
        sides = (truth.boxes[rows, 2:] - truth.boxes[rows, :2])[:, None]
        points = truth.points[rows] + np.pad(draw.normal(0, 0.04, (len(rows), 17, 2)) * sides, ((0, 0), (0, 0), (0, 1)))
        scores = draw.random(len(rows)).round(3)
        found = Poses(points, scores, truth.boxes[rows], truth.labels[rows], truth.areas[rows])
        kept.append(Kept(SIZE, found, truth))
        for own, score in zip(points, scores.tolist(), strict=True):
            places = np.column_stack((own[:, :2] - 0.5, np.ones(17))).ravel().tolist()
            image_id = numbers[source.name(index).removeprefix("images/")]
            results.append({"image_id": image_id, "category_id": 1, "keypoints": places, "score": score})
    figures = oks_scores(kept, 1, PERSON.sigmas).figures()
    assert list(figures.values()) == pytest.approx(figures_of(said, results), abs=1e-12)
    assert len(kept) > 30
    assert 0.1 < figures["ap"] < 0.95


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_pycocotools(classes: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    scenes = [scene(draw, int(draw.integers(1, 12)), classes) for _ in range(20)]
    scores = oks_scores([Kept(SIZE, found, truth) for found, truth in scenes], classes, PERSON.sigmas)
    assert list(scores.figures().values()) == pytest.approx(theirs(scenes, classes), abs=1e-12)


def test_annotation_against_itself_is_one() -> None:
    draw = np.random.default_rng(3)
    scenes = []
    for _ in range(10):
        _, truth = scene(draw, 6)
        assert truth.points is not None
        itself = Poses(truth.points * (1, 1, 0.5), np.ones(6), truth.boxes, truth.labels, truth.areas)
        known = (truth.points[:, :, 2] > 0).any(axis=1) & ~truth.crowd  # of others COCO asks for nothing
        scenes.append(Kept(SIZE, itself.only(known), truth))
    figures = oks_scores(scenes, 1, PERSON.sigmas).figures()
    assert figures["ap"] == figures["ar"] == 1


def test_other_sigmas_are_taken() -> None:
    """hotcoco is told those of the skeleton: wider ones forgive more."""
    draw = np.random.default_rng(4)
    scenes = [Kept(SIZE, *scene(draw, 6)) for _ in range(10)]
    narrow, wide = (oks_scores(scenes, 1, (sigma,) * 17).figures()["ap"] for sigma in (0.02, 0.2))
    assert narrow < 0.5 * wide


def test_suppression_by_hand() -> None:
    points = np.zeros((4, 17, 2))
    points[1] += 1  # nearly the first
    points[2] += 50
    points[3] += 51
    areas, scores = np.full(4, 100.0**2), np.array([0.5, 0.9, 0.3, 0.2])
    assert distinct(points, scores, areas, PERSON.sigmas, 0.9) == [1, 2]
    assert distinct(points, scores, areas, PERSON.sigmas, 1.0) == [1, 0, 2, 3]
    assert distinct(points[:0], scores[:0], areas[:0], PERSON.sigmas, 0.9) == []


def test_pck_and_the_judgement_of_a_picture_by_hand() -> None:
    """Two people of 100 pixels, five known points each: all of one are right, three of the other."""
    points = np.zeros((2, 17, 3))
    points[:, :5, 2] = 2
    points[0, :5, :2] = [[10 * k, 50] for k in range(5)]
    points[1, :5, :2] = [[300 + 10 * k, 50] for k in range(5)]
    truth = annotated(np.array([[0.0, 0, 50, 100], [300, 0, 350, 100]]), points, np.zeros(2, np.int64))
    places = points.copy()
    places[1, 3:5, 0] += 20.5  # further than 0.2 of 100
    places[1, 0, 0] += 19.5
    found = Poses(places, np.array([0.9, 0.8]), truth.boxes, truth.labels, truth.areas)
    metric = PoseMetric(["person"], PERSON, lambda model, batch: [])
    row = metric.add(0, found, truth, SIZE)
    assert metric.finish()["pck"] == pytest.approx(8 / 10)
    assert metric.per_point()["known"] == [2] * 5 + [0] * 12
    assert metric.per_point()["pck"][:5] == [1, 1, 1, 0.5, 0.5]
    assert row.said.startswith("1 of 2 right")
    nothing = Poses(places[:0], np.zeros(0), truth.boxes[:0], truth.labels[:0], truth.areas[:0])
    assert metric.add(1, nothing, truth, SIZE).score == 0
    assert metric.finish()["pck"] == pytest.approx(8 / 20)
