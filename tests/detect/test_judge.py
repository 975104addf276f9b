"""One picture judged by hand: what is right, confused, doubled, invented, missed, and how it is said."""

import numpy as np
import pytest
import torch

from volovan.data.objects.annotated import Annotated, Thing, annotated
from volovan.detect.judge import NEITHER, overlaps, said_of, verdict, voc_hits
from volovan.detect.metrics import DetectionMetric
from volovan.room.found import Found

CLASSES = ("cat", "dog", "bird")
CAT, DOG, BIRD = range(3)
A, B, C, D = (0.0, 0, 10, 10), (20.0, 0, 30, 10), (40.0, 0, 50, 10), (60.0, 0, 70, 10)


def there(*objects: tuple) -> Annotated:
    """(label, box) or (label, box, crowd)"""
    return annotated([Thing("", one[1], crowd=len(one) > 2) for one in objects], [one[0] for one in objects])


def seen(*objects: tuple) -> Found:
    """(label, box, score)"""
    return Found(
        np.array([one[1] for one in objects], float).reshape(-1, 4),
        np.array([one[2] for one in objects], float),
        np.array([one[0] for one in objects], np.int64),
    )


def moved(box: tuple, by: float) -> tuple:
    return (box[0] + by, box[1], box[2] + by, box[3])


def judged(found: Found, truth: Annotated):
    told = verdict(found, truth)
    return told, said_of(told, found, truth, CLASSES)


def test_overlap_over_a_crowd_is_the_part_within_it():
    boxes, others = np.array([A, moved(A, 5), (0, 0, 0, 0)]), np.array([A, (0, 0, 100, 100)])
    assert overlaps(boxes, others, np.array([False, False])).tolist() == [[1, 0.01], [1 / 3, 0.01], [0, 0]]
    assert overlaps(boxes, others, np.array([False, True]))[:, 1].tolist() == [1, 1, 0]
    assert overlaps(boxes[:0], others, np.zeros(2, bool)).shape == (0, 2)


def test_every_kind_of_mistake_is_told_and_said():
    truth = there((CAT, A), (CAT, B), (DOG, C), (BIRD, D))
    found = seen((CAT, A, 0.9), (CAT, moved(A, 1), 0.8), (DOG, B, 0.7), (BIRD, (80, 0, 90, 10), 0.6), (BIRD, D, 0.55))
    told, said = judged(found, truth)
    assert told.right == ((0, 0), (4, 3))
    assert told.confused == ((2, 1),)
    assert (told.doubled, told.invented, told.missed) == ((1,), (3,), (2,))
    assert said == "2 of 4 found; missed: dog; doubled: cat; cat taken for dog; invented: bird"
    assert told.f1 == pytest.approx(2 * 2 / (5 + 4))


def test_counts_are_said_where_there_are_several():
    told, said = judged(seen(), there((CAT, A), (CAT, B), (DOG, C)))
    assert said == "0 of 3 found; missed: cat (2), dog"
    assert told.f1 == 0
    told, said = judged(seen((CAT, A, 0.9), (CAT, B, 0.8)), there())
    assert said == "nothing there; invented: cat (2)"
    told, said = judged(seen(), there())
    assert said == "nothing there"
    assert np.isnan(told.f1)


def test_a_class_beside_the_right_one_takes_nothing_away():
    told, said = judged(seen((DOG, A, 0.9), (CAT, A, 0.6)), there((CAT, A)))
    assert told.right == ((1, 0),)
    assert said == "1 of 1 found; invented: dog"


def test_the_surest_takes_the_object_that_it_overlaps_most():
    truth = there((CAT, A), (CAT, moved(A, 3)))
    told, _ = judged(seen((CAT, moved(A, 3), 0.6), (CAT, moved(A, 2), 0.9)), truth)
    assert set(told.right) == {(1, 1), (0, 0)}


def test_a_crowd_is_neither_missed_nor_wrongly_found():
    truth = there((CAT, (0, 0, 100, 100), "crowd"), (CAT, A))
    told, said = judged(seen((CAT, A, 0.9), (CAT, B, 0.8), (CAT, C, 0.7), (DOG, D, 0.6)), truth)
    assert said == "1 of 1 found; invented: dog"
    assert told.f1 == pytest.approx(2 / 3)


def test_confusion_matrix_and_threshold():
    truth = there((CAT, A), (CAT, B), (DOG, C), (BIRD, D))
    found = seen((CAT, A, 0.9), (CAT, moved(A, 1), 0.8), (DOG, B, 0.7), (BIRD, (80, 0, 90, 10), 0.6), (DOG, C, 0.3))
    expected = {0.5: [[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 1, 0]]}
    expected[0.2] = [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 1, 0]]
    expected[0.75] = [[1, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 0]]
    for score, table in expected.items():
        metric = DetectionMetric(CLASSES, None, masks=False, score=score)
        row = metric.add(5, found, truth, (100, 100))
        assert metric.confusion().tolist() == table
        assert row.index == 5
    strict = DetectionMetric(CLASSES, None, masks=False, iou=0.85)
    strict.add(0, seen((CAT, moved(A, 1), 0.8)), there((CAT, A)), (100, 100))
    assert torch.equal(strict.confusion().nonzero(), torch.tensor([[0, 3], [3, 0]]))


def test_voc_judges_by_the_object_that_is_overlapped_most():
    truth = there((CAT, A), (CAT, B, "difficult"), (DOG, C))
    found = seen((CAT, moved(A, 1), 0.7), (CAT, A, 0.9), (CAT, B, 0.8), (CAT, moved(B, 1), 0.6), (CAT, C, 0.5))
    assert voc_hits(found, truth).tolist() == [0, 1, NEITHER, NEITHER, 0]
    assert voc_hits(found, there()).tolist() == [0] * 5
    assert voc_hits(seen(), truth).tolist() == []
