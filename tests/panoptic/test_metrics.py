"""PQ: against the rule as panopticapi has it, by loops; against hotcoco; and by hand where they end."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hotcoco.panoptic import PanopticEval
from PIL import Image

from volovan.data.panoptic.segments import VOID, Panoptic, Segment
from volovan.data.samples import things_of
from volovan.data.sources import open_source
from volovan.panoptic.inference import Answers, FoundSegments
from volovan.panoptic.metrics import PanopticMetric, compare
from volovan.panoptic.written import ids_picture, segments_info

PACKS = os.environ.get("VOLOVAN_DATA", "")
CLASSES = ("person", "car", "dog", "sky", "road")
THINGS = (True, True, True, False, False)


def metric() -> PanopticMetric:
    return PanopticMetric(CLASSES, THINGS, lambda model, batch: batch["found"])


def said(found: Panoptic) -> Answers:
    return Answers(FoundSegments(found, np.ones(len(found.segments), np.float32)))


def scene(random: np.random.Generator, crowds: bool, side: int = 12) -> Panoptic:
    """Rectangles over each other on void; at most one crowd of each class."""
    ids = np.zeros((side, side), np.int32)
    numbers = random.permutation(np.arange(1, 300))[: random.integers(0, 9)]
    for number in numbers:
        top, left = random.integers(0, side, 2)
        ids[top : top + random.integers(1, side), left : left + random.integers(1, side)] = number
    segments, crowded = [], set()
    for number in numbers.tolist():
        if number in ids:
            label = int(random.integers(0, len(CLASSES) - 1))  # the last class is never there
            crowd = crowds and THINGS[label] and label not in crowded and random.random() < 0.4
            crowded |= {label} if crowd else set()
            segments.append(Segment(number, label, crowd))
    return Panoptic(ids, tuple(segments))


def blurred(random: np.random.Generator, truth: Panoptic) -> Panoptic:
    """The truth as a network might find it: moved, some labels changed, and no crowds."""
    ids = np.roll(truth.ids, tuple(random.integers(-1, 2, 2)), (0, 1))
    ids = np.where(random.random(ids.shape) < 0.1, 0, ids)
    segments = tuple(
        Segment(one.id, one.label if random.random() < 0.8 else int(random.integers(0, len(CLASSES) - 1)))
        for one in truth.segments
        if one.id in ids
    )
    return Panoptic(ids, segments)


def pairs(count: int) -> list[tuple[Panoptic, Panoptic]]:
    """(found, there)"""
    random = np.random.default_rng(0)
    found = []
    for number in range(count):
        truth = scene(random, crowds=True)
        found.append((blurred(random, truth) if number % 3 else scene(random, crowds=False), truth))
    return found


def by_loops(found: Panoptic, truth: Panoptic, classes: int = len(CLASSES)) -> dict[int, list[float]]:
    """Class -> [iou, tp, fp, fn], pixel by pixel, in the order of panopticapi."""
    sums: dict[int, list[float]] = {label: [0.0, 0, 0, 0] for label in range(classes)}
    both = Counter(zip(truth.ids.ravel().tolist(), found.ids.ravel().tolist(), strict=True))
    real, own = {s.id: s for s in truth.segments}, {s.id: s for s in found.segments}
    area_real = {id: sum(n for (a, _), n in both.items() if a == id) for id in real}
    area_own = {id: sum(n for (_, b), n in both.items() if b == id) for id in own}
    matched_real, matched_own = set(), set()
    for (a, b), overlap in both.items():
        if a not in real or b not in own or real[a].crowd or real[a].label != own[b].label:
            continue
        iou = overlap / (area_real[a] + area_own[b] - overlap - both.get((0, b), 0))
        if iou > 0.5:
            sums[real[a].label][0] += iou
            sums[real[a].label][1] += 1
            matched_real.add(a)
            matched_own.add(b)
    crowds = {}
    for a, segment in real.items():
        if segment.crowd:
            crowds[segment.label] = a
        elif a not in matched_real:
            sums[segment.label][3] += 1
    for b, segment in own.items():
        if b in matched_own:
            continue
        ignored = both.get((0, b), 0)
        if segment.label in crowds:
            ignored += both.get((crowds[segment.label], b), 0)
        if ignored / area_own[b] <= 0.5:
            sums[segment.label][2] += 1
    return sums


def test_it_is_panopticapis_rule() -> None:
    told = metric()
    total = np.zeros((len(CLASSES), 4))
    crowds = matches = 0
    for index, (found, truth) in enumerate(pairs(400)):
        expected = np.array(list(by_loops(found, truth).values()))
        own = compare(found, truth, len(CLASSES))
        np.testing.assert_allclose(np.stack([own.iou, own.tp, own.fp, own.fn], axis=1), expected, atol=1e-12)
        told.add(index, said(found), truth)
        total += expected
        crowds += sum(segment.crowd for segment in truth.segments)
        matches += int(own.tp.sum())
    assert crowds > 100
    assert matches > 100
    seen = [row for row in total if row[1:].sum()]
    assert len(seen) == 4  # of the last class there is nothing
    figures = told.finish()
    quality = [row[0] / (row[1] + row[2] / 2 + row[3] / 2) for row in seen]
    assert figures["pq"] == pytest.approx(np.mean(quality))
    assert figures["pq_things"] == pytest.approx(np.mean(quality[:3]))
    assert figures["pq_stuff"] == pytest.approx(quality[3])
    assert figures["sq"] == pytest.approx(np.mean([row[0] / row[1] for row in seen]))
    assert figures["rq"] == pytest.approx(np.mean([row[1] / (row[1] + row[2] / 2 + row[3] / 2) for row in seen]))
    table = told.per_class()
    assert table["pq"][:4] == pytest.approx(quality)
    assert np.isnan(table["pq"][4])
    assert table["segments"] == (total[:, 1] + total[:, 3]).tolist()


def write(folder: Path, name: str, scenes: list[Panoptic]) -> Path:
    """As COCO has it."""
    (folder / name).mkdir()
    annotations = []
    for number, one in enumerate(scenes):
        rgb = np.stack([one.ids % 256, one.ids // 256 % 256, one.ids // 65536], axis=-1).astype(np.uint8)
        Image.fromarray(rgb).save(folder / name / f"{number}.png")
        segments: list[dict[str, Any]] = [
            {
                "id": segment.id,
                "category_id": segment.label + 1,
                "iscrowd": int(segment.crowd),
                "area": int((one.ids == segment.id).sum()),
                "bbox": [0, 0, 1, 1],
            }
            for segment in one.segments
        ]
        annotations.append({"image_id": number, "file_name": f"{number}.png", "segments_info": segments})
    images = [
        {"id": n, "file_name": f"{n}.jpg", "width": one.ids.shape[1], "height": one.ids.shape[0]}
        for n, one in enumerate(scenes)
    ]
    categories = [
        {"id": n + 1, "name": label, "isthing": int(thing)}
        for n, (label, thing) in enumerate(zip(CLASSES, THINGS, strict=True))
    ]
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def test_it_is_that_of_hotcoco(tmp_path: Path) -> None:
    both, told = pairs(60), metric()
    for index, (found, truth) in enumerate(both):
        told.add(index, said(found), truth)
    there, seen = (write(tmp_path, name, [pair[at] for pair in both]) for name, at in (("there", 1), ("seen", 0)))
    scorer = PanopticEval(str(there), str(seen))
    scorer.evaluate()
    expected, figures = scorer.results(), told.finish()
    for group, name in (("All", ""), ("Things", "_things"), ("Stuff", "_stuff")):
        for figure in ("pq", "sq", "rq"):
            assert figures[figure + name] == pytest.approx(expected[group][figure], abs=1e-9), group


@pytest.mark.skipif(not PACKS, reason="VOLOVAN_DATA does not name the folder of data packs")
def test_figures_of_photographs_are_those_of_both(tmp_path: Path) -> None:
    """What is found is the annotation, moved, with holes and some other labels; against the original files."""
    pack, random = Path(PACKS, "coco_tiny", "annotations"), np.random.default_rng(0)
    told = json.loads((pack / "panoptic_val.json").read_text())
    source = open_source(pack.parent, "val", kind="panoptic")
    names = {one["file_name"]: one["id"] for one in told["images"]}
    ids = {category["name"]: category["id"] for category in told["categories"]}
    metric = PanopticMetric(source.classes, things_of(source), lambda model, batch: batch["found"])
    total = np.zeros((len(source.classes), 4))
    annotations = []
    (tmp_path / "seen").mkdir()
    for index in range(len(source)):
        truth = source.target(index)
        ids_ = np.roll(truth.ids, tuple(random.integers(-9, 10, 2)), (0, 1))
        ids_ = np.where(random.random(ids_.shape) < 0.1, 0, ids_)
        classes = random.integers(0, len(source.classes), len(truth.segments)).tolist()
        segments = [
            Segment(one.id, one.label if random.random() < 0.9 else other)
            for one, other in zip(truth.segments, classes, strict=True)
            if not one.crowd and (ids_ == one.id).any()
        ]
        known = [VOID, *(one.id for one in segments)]
        found = Panoptic(np.where(np.isin(ids_, known), ids_, VOID), tuple(segments))
        metric.add(index, said(found), truth)
        total += np.array(list(by_loops(found, truth, len(source.classes)).values()))
        ids_picture(found.ids).save(tmp_path / "seen" / f"{index}.png")
        info = segments_info(FoundSegments(found, np.ones(len(segments))), [ids[name] for name in source.classes])
        image_id = names[source.name(index).removeprefix("images/")]
        annotations.append({"image_id": image_id, "file_name": f"{index}.png", "segments_info": info})
    (tmp_path / "seen.json").write_text(json.dumps(told | {"annotations": annotations}))
    figures = metric.finish()
    quality = [row[0] / (row[1] + row[2] / 2 + row[3] / 2) for row in total if row[1:].sum()]
    assert figures["pq"] == pytest.approx(np.mean(quality), abs=1e-12)
    scorer = PanopticEval(str(pack / "panoptic_val.json"), str(tmp_path / "seen.json"))
    scorer.evaluate()
    expected = scorer.results()
    for group, name in (("All", ""), ("Things", "_things"), ("Stuff", "_stuff")):
        for figure in ("pq", "sq", "rq"):
            assert figures[figure + name] == pytest.approx(expected[group][figure], abs=1e-9), group
    assert len(source) > 80
    assert 0.2 < figures["pq"] < 0.9


def test_the_truth_against_itself_is_one() -> None:
    random, told = np.random.default_rng(1), metric()
    for index in range(50):
        truth = scene(random, crowds=False)
        told.add(index, said(truth), truth)
    assert set(told.finish().values()) == {1.0}
    assert {row.score for row in told.rows.values() if not np.isnan(row.score)} == {1.0}


# By hand: one row of ten pixels


def row(*ids: int) -> np.ndarray:
    return np.array([ids], np.int32)


def counts(found: Panoptic, truth: Panoptic) -> tuple[float, float, float]:
    """tp, fp, fn of the first class."""
    own = compare(found, truth, len(CLASSES))
    return own.tp[0], own.fp[0], own.fn[0]


def test_half_is_no_match() -> None:
    truth = Panoptic(row(1, 1, 1, 1, 2, 2, 2, 2, 2, 2), (Segment(1, 0), Segment(2, 3)))
    half = Panoptic(row(1, 1, 0, 0, 0, 0, 0, 0, 0, 0), (Segment(1, 0),))
    assert counts(half, truth) == (0, 1, 1)
    more = Panoptic(row(1, 1, 1, 0, 0, 0, 0, 0, 0, 0), (Segment(1, 0),))
    assert counts(more, truth) == (1, 0, 0)
    assert compare(more, truth, 5).iou[0] == 0.75
    other = Panoptic(more.ids, (Segment(1, 1),))
    assert counts(other, truth) == (0, 0, 1)


def test_void_is_no_part_of_the_union() -> None:
    truth = Panoptic(row(1, 1, 1, 0, 0, 0, 0, 2, 2, 2), (Segment(1, 0), Segment(2, 3)))
    found = Panoptic(row(7, 7, 7, 7, 7, 7, 7, 0, 0, 0), (Segment(7, 0),))
    assert compare(found, truth, 5).iou[0] == 1.0


def test_what_is_mostly_void_is_not_wrong() -> None:
    truth = Panoptic(row(0, 0, 0, 2, 2, 2, 2, 2, 2, 2), (Segment(2, 3),))
    assert counts(Panoptic(row(7, 7, 7, 7, 7, 0, 0, 0, 0, 0), (Segment(7, 0),)), truth) == (0, 0, 0)
    assert counts(Panoptic(row(7, 7, 7, 7, 7, 7, 0, 0, 0, 0), (Segment(7, 0),)), truth) == (0, 1, 0)  # just half


def test_crowds_of_the_class_excuse_and_are_not_missed() -> None:
    truth = Panoptic(row(1, 1, 1, 1, 2, 2, 2, 2, 2, 2), (Segment(1, 0, crowd=True), Segment(2, 3)))
    assert counts(Panoptic(truth.ids * 0, ()), truth) == (0, 0, 0)
    assert counts(Panoptic(truth.ids, (Segment(1, 0), Segment(2, 3))), truth) == (0, 0, 0)  # neither matched
    other = compare(Panoptic(truth.ids, (Segment(1, 1), Segment(2, 3))), truth, 5)
    assert other.fp[1] == 1  # a crowd of another class


def test_all_crowds_of_a_class_excuse() -> None:
    segments = (Segment(1, 0, crowd=True), Segment(3, 0, crowd=True), Segment(2, 3))
    truth = Panoptic(row(1, 1, 1, 3, 3, 3, 2, 2, 2, 2), segments)
    found = Panoptic(row(7, 7, 7, 7, 7, 7, 7, 7, 0, 0), (Segment(7, 0),))
    assert counts(found, truth) == (0, 0, 0)


def test_sums_of_processes_are_those_of_one() -> None:
    both, whole, parts = pairs(40), metric(), (metric(), metric())
    for index, (found, truth) in enumerate(both):
        whole.add(index, said(found), truth)
        parts[index % 2].add(index, said(found), truth)
    for name in parts[0].totals:
        parts[0].totals[name] += parts[1].totals[name]
    assert parts[0].finish() == pytest.approx(whole.finish())
    assert float(whole.totals["count"]) == 40


def test_a_batch_is_judged_picture_by_picture() -> None:
    told = metric()
    truth = Panoptic(row(1, 1, 1, 1, 2, 2, 2, 2, 2, 2), (Segment(1, 0), Segment(2, 3)))
    nothing, empty = Panoptic(truth.ids * 0, ()), Panoptic(truth.ids * 0, ())
    found = [said(one) for one in (truth, nothing, nothing)]
    batch = {"index": torch.tensor([4, 2, 9]), "panoptic": [truth, truth, empty], "found": found}
    told.update(torch.nn.Identity(), batch)
    assert [told.rows[index].score for index in (4, 2)] == [1.0, 0.0]
    assert told.rows[4].said == "PQ 1.00: 2 right, 0 wrongly found, 0 missed"
    assert np.isnan(told.rows[9].score)
    assert told.rows[9].said == "no segment"
    assert told.finish()["pq"] == pytest.approx(2 / 3)  # 1 / (1 + 0 + 1 / 2), of both classes


def test_without_a_segment_there_is_no_figure() -> None:
    assert all(np.isnan(value) for value in metric().finish().values())


def test_maps_that_do_not_fit_are_refused() -> None:
    truth = Panoptic(row(1, 1), (Segment(1, 0),))
    with pytest.raises(ValueError, match=r"\(1, 3\).*\(1, 2\)"):
        compare(Panoptic(row(1, 1, 1), (Segment(1, 0),)), truth, 5)
    with pytest.raises(ValueError, match="id 6 is not among the segments"):
        compare(Panoptic(row(6, 1), (Segment(1, 0),)), truth, 5)
