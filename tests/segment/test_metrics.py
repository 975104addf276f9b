"""mIoU and its family against torchmetrics and against loops written out here."""

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from volovan.data.masks.coding import IGNORE
from volovan.data.sources import open_source
from volovan.room.confusion import confusion_of
from volovan.segment.metrics import SegmentationMetric

CPU = torch.device("cpu")


def smooth(classes, height, width, seed, cell=6):
    """Regions instead of noise: what a prediction looks like."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(1, classes, -(-height // cell), -(-width // cell), generator=generator)
    return nn.functional.interpolate(values, (height, width), mode="bilinear")[0].argmax(0).byte()


def nearly_right(mask, share, seed):
    """The mask, moved by two pixels and wrong in some places: what a good prediction looks like."""
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(mask.shape, generator=generator) < share
    return torch.where(wrong, mask.flip(0), mask.roll((2, -1), (0, 1)))


def ignoring(mask, share=0.1, seed=9):
    generator = torch.Generator().manual_seed(seed)
    return torch.where(torch.rand(mask.shape, generator=generator) < share, IGNORE, mask.int()).byte()


def pairs(kind):
    """(prediction, label) of several pictures of different sizes."""
    sizes = [(31, 44), (50, 27), (16, 16)]
    labels = [smooth(6, *size, seed) for seed, size in enumerate(sizes)]
    noise = [smooth(6, *size, seed + 20, cell=1) for seed, size in enumerate(sizes)]
    if kind == "random":
        return list(zip(noise, (mask.flip(1) for mask in noise), strict=True))
    if kind == "good":
        return [(nearly_right(label, 0.05, seed), label) for seed, label in enumerate(labels)]
    if kind == "ignored":
        return [(nearly_right(label, 0.2, seed), ignoring(label)) for seed, label in enumerate(labels)]
    if kind == "one class":
        return [(torch.full_like(label, 2), torch.full_like(label, 2)) for label in labels]
    if kind == "all wrong":
        return [(torch.full_like(label, 3), torch.full_like(label, 2)) for label in labels]
    assert kind == "absent"  # 4 is only labelled, 5 only predicted, 1 neither
    of = torch.tensor([0, 0, 2, 3, 4, 0]).byte(), torch.tensor([0, 0, 2, 3, 5, 5]).byte()
    return [(of[1][label.long()], of[0][label.long()]) for label in labels]


def loops(found, classes):
    """miou, macc, aacc, IoUs, accuracies by counting pixel after pixel."""
    both, labelled, predicted = ([0] * classes for _ in range(3))
    for guess, label in found:
        for row, column in product(*map(range, label.shape)):
            truth, answer = int(label[row, column]), int(guess[row, column])
            if truth == IGNORE:
                continue
            labelled[truth] += 1
            predicted[answer] += 1
            both[truth] += truth == answer
    ious = [100 * b / (n + p - b) if n + p else None for b, n, p in zip(both, labelled, predicted, strict=True)]
    accuracies = [100 * b / n if n else None for b, n in zip(both, labelled, strict=True)]
    known, seen = ([v for v in values if v is not None] for values in (ious, accuracies))
    return sum(known) / len(known), sum(seen) / len(seen), 100 * sum(both) / sum(labelled), ious, accuracies


def same(values, want):
    assert [None if np.isnan(value) else pytest.approx(value, abs=1e-9) for value in values] == want


KINDS = ["random", "good", "ignored", "one class", "all wrong", "absent"]


@pytest.mark.parametrize("kind", KINDS)
def test_segmentation_metric_equals_written_out_loops(kind):
    metric, found = SegmentationMetric(6, CPU, predict=None), pairs(kind)
    for guess, label in found:
        metric.add(guess, label)
    miou, macc, aacc, ious, accuracies = loops(found, 6)
    assert metric.finish() == pytest.approx({"miou": miou, "macc": macc, "aacc": aacc}, abs=1e-9)
    table = metric.per_class()
    same(table["iou"], ious)
    same(table["accuracy"], accuracies)
    assert sum(table["share"]) == pytest.approx(100)


@pytest.mark.parametrize("kind", ["random", "good", "ignored"])
def test_segmentation_metric_equals_torchmetrics(kind):
    from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

    options = {"num_classes": 6, "ignore_index": IGNORE}
    theirs = {
        "miou": MulticlassJaccardIndex(average="macro", **options),
        "macc": MulticlassAccuracy(average="macro", **options),
        "aacc": MulticlassAccuracy(average="micro", **options),
    }
    metric = SegmentationMetric(6, CPU, predict=None)
    for guess, label in pairs(kind):
        metric.add(guess, label)
        for other in theirs.values():
            other.update(guess.reshape(-1).long(), label.reshape(-1).long())
    want = {name: 100 * float(other.compute()) for name, other in theirs.items()}
    assert metric.finish() == pytest.approx(want, abs=1e-4)  # theirs is in single precision


@pytest.mark.slow
@pytest.mark.skipif("VOLOVAN_DATA" not in os.environ, reason="VOLOVAN_DATA does not name the data packs")
def test_scores_of_camvid_equal_torchmetrics_where_the_next_frame_is_the_prediction():
    """Real masks with ignored pixels and rare classes; neighbouring frames differ as a good prediction would."""
    from torchmetrics.classification import MulticlassJaccardIndex

    source = open_source(Path(os.environ["VOLOVAN_DATA"]) / "camvid", "test", kind="mask")
    masks = [torch.from_numpy(source.target(index)) for index in range(40)]
    count = len(source.classes)
    theirs = MulticlassJaccardIndex(num_classes=count, ignore_index=IGNORE, average="none")
    metric = SegmentationMetric(count, CPU, predict=None)
    for guess, label in zip(masks[1:], masks, strict=False):
        guess = torch.where(guess == IGNORE, 0, guess)
        metric.add(guess, label)
        theirs.update(guess.reshape(-1).long(), label.reshape(-1).long())
    assert 20 < metric.finish()["miou"] < 95
    known = [(a, 100 * float(b)) for a, b in zip(metric.per_class()["iou"], theirs.compute(), strict=True) if a == a]
    assert [a for a, _ in known] == pytest.approx([b for _, b in known], abs=1e-3)


def test_a_picture_that_is_ignored_altogether_adds_nothing():
    metric = SegmentationMetric(3, CPU, predict=None)
    metric.add(torch.zeros(4, 5).byte(), torch.full((4, 5), IGNORE).byte())
    assert np.isnan(list(metric.finish().values())).all()
    metric.add(torch.ones(4, 5).byte(), torch.ones(4, 5).byte())
    assert metric.finish() == {"miou": 100, "macc": 100, "aacc": 100}


def test_update_asks_for_each_picture_at_the_size_of_its_label():
    asked = []

    def predict(model, image, size):
        asked.append((tuple(image.shape), size))
        return torch.zeros(size).byte()

    images = [torch.zeros(3, 8, 9), torch.zeros(3, 20, 10)]
    masks = [torch.zeros(16, 18).byte(), torch.ones(20, 10).byte()]
    metric = SegmentationMetric(2, CPU, predict, pictures=True)
    metric.update(nn.Identity(), {"index": [7, 3], "image": images, "mask": masks})
    stacked = {"image": torch.zeros(2, 3, 8, 8), "mask": torch.zeros(2, 8, 8).byte()}
    metric.update(nn.Identity(), {"index": [0, 1], **stacked})
    assert asked == [((3, 8, 9), (16, 18)), ((3, 20, 10), (20, 10)), *[((3, 8, 8), (8, 8))] * 2]
    assert metric.totals["confusion"].tolist() == [[16 * 18 + 128, 0], [200, 0]]
    assert int(metric.totals["count"]) == 4
    assert {number: row.score for number, row in metric.rows.items()} == {7: 100, 3: 0, 0: 100, 1: 100}
    assert metric.rows[3].said == "mIoU 0.0 %, 0.0 % of the pixels right"


def test_sums_of_processes_are_the_sums_of_all_pictures():
    whole, first, second = (SegmentationMetric(6, CPU, None, boundary=True) for _ in range(3))
    for number, (guess, label) in enumerate(pairs("ignored")):
        whole.add(guess, label)
        (first, second)[number % 2].add(guess, label)
    for name, total in first.totals.items():
        total += second.totals[name]  # as the engine sums them, in place
    assert first.finish() == whole.finish()


@pytest.mark.parametrize(("guess", "label"), [(0, 3), (3, 0), (IGNORE, 1)], ids=["label", "prediction", "255"])
def test_numbers_beyond_the_classes_are_refused(guess, label):
    with pytest.raises(ValueError, match="beyond the 3 classes"):
        confusion_of(torch.full((2, 2), guess).byte(), torch.full((2, 2), label).byte(), 3)
