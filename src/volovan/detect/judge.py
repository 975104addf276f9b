"""One picture: what was found against what is there, at one overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from volovan.data.objects.annotated import Annotated
from volovan.room.found import Found

IOU = 0.5
SCORE = 0.5
"""from which on an object counts as found, where a picture is judged by itself"""
NEITHER = -1
"""right nor wrong: over a crowd"""


def overlaps(boxes: np.ndarray, others: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """(N, 4) and (M, 4) corners -> (N, M) IoU; over a crowd (M,) the part of the box that lies in it, as in COCO."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    own, other = ((some[:, 2:] - some[:, :2]).clip(0).prod(axis=1) for some in (boxes, others))
    whole = np.where(crowd, own[:, None], own[:, None] + other - shared)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


@dataclass(frozen=True)
class Verdict:
    """Numbers of what was found and of what is there.

    right     (P, 2) found, there: of one class
    confused  (Q, 2) found, there: one class taken for another
    doubled   found over an object of its class that a surer one has found
    invented  found where there is nothing
    missed    there, and not found
    """

    right: tuple[tuple[int, int], ...]
    confused: tuple[tuple[int, int], ...]
    doubled: tuple[int, ...]
    invented: tuple[int, ...]
    missed: tuple[int, ...]

    @property
    def f1(self) -> float:
        """2 right / (found + there); an object that was confused is in both. nan where nothing is or was found."""
        there = len(self.right) + len(self.confused) + len(self.missed)
        found = len(self.right) + len(self.confused) + len(self.doubled) + len(self.invented)
        return 2 * len(self.right) / (there + found) if there + found else float("nan")


def verdict(found: Found, truth: Annotated, iou: float = IOU) -> Verdict:
    """The surest first, each takes the object of its class that it overlaps most, of those that are left; then what is
    left of both is confused where it overlaps. So a class beside the right one takes nothing away from it, as in AP.

    What lies over a crowd of its class, and the crowd itself, do not count.
    """
    overlap = overlaps(found.boxes, truth.boxes, truth.crowd)
    over, same = overlap >= iou, found.labels[:, None] == truth.labels
    order = np.argsort(-found.scores, kind="stable").tolist()
    right = _greedy(overlap, over & same & ~truth.crowd, order)
    taken, known = {row for row, _ in right}, {column for _, column in right}
    in_crowd = (over & same & truth.crowd).any(axis=1)
    left = [row for row in order if row not in taken and not in_crowd[row]]
    free = over & ~truth.crowd
    free[:, list(known)] = False
    confused = _greedy(overlap, free, left)
    taken |= {row for row, _ in confused}
    known |= {column for _, column in confused}
    again = (over & same & ~truth.crowd).any(axis=1)
    left = [row for row in left if row not in taken]
    return Verdict(
        tuple(right),
        tuple(confused),
        tuple(row for row in left if again[row]),
        tuple(row for row in left if not again[row]),
        tuple(column for column in np.flatnonzero(~truth.crowd).tolist() if column not in known),
    )


def _greedy(overlap: np.ndarray, allowed: np.ndarray, order: Sequence[int]) -> list[tuple[int, int]]:
    """In this order each row takes the column that it overlaps most, of those that are allowed and not taken."""
    pairs: list[tuple[int, int]] = []
    open_ones = np.where(allowed, overlap, -1.0)
    for row in order:
        if open_ones.shape[1] and (best := int(open_ones[row].argmax())) >= 0 and open_ones[row, best] >= 0:
            pairs.append((row, best))
            open_ones[:, best] = -1
    return pairs


def said_of(told: Verdict, found: Found, truth: Annotated, classes: Sequence[str]) -> str:
    """ "2 of 5 found; missed: cat, dog (2); doubled: dog; cat taken for dog; invented: bird"."""
    there = len(told.right) + len(told.confused) + len(told.missed)
    words = [f"{len(told.right)} of {there} found" if there else "nothing there"]
    of_found, of_truth = [classes[label] for label in found.labels], [classes[label] for label in truth.labels]
    if told.missed:
        words.append(f"missed: {_counted(of_truth[number] for number in told.missed)}")
    if told.doubled:
        words.append(f"doubled: {_counted(of_found[number] for number in told.doubled)}")
    if told.confused:
        words.append(_counted(f"{of_truth[there]} taken for {of_found[seen]}" for seen, there in told.confused))
    if told.invented:
        words.append(f"invented: {_counted(of_found[number] for number in told.invented)}")
    return "; ".join(words)


def _counted(names: object) -> str:
    counts = Counter(names)  # type: ignore[call-overload]
    return ", ".join(name if count == 1 else f"{name} ({count})" for name, count in counts.items())


def voc_hits(found: Found, truth: Annotated) -> np.ndarray:
    """(N,) int8, as the development kit of Pascal VOC judges each object that was found: by that of its class which it
    overlaps most. 1 right, 0 wrong, also where a surer one has it already; NEITHER where that is difficult."""
    hits = np.zeros(len(found), np.int8)
    if not len(truth) or not len(found):
        return hits
    same = found.labels[:, None] == truth.labels
    overlap = np.where(same, overlaps(found.boxes, truth.boxes, np.zeros(len(truth), bool)), -1)
    best = overlap.argmax(axis=1)
    over = overlap[np.arange(len(found)), best] >= IOU
    hits[over & truth.crowd[best]] = NEITHER
    order = np.argsort(-found.scores, kind="stable")
    order = order[(over & ~truth.crowd[best])[order]]
    _, first = np.unique(best[order], return_index=True)
    hits[order[first]] = 1
    return hits
