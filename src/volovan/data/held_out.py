"""The part of a source without splits that is validated on."""

import hashlib
from typing import TypeVar

import numpy as np

from volovan.data.samples import UNLABELLED, Part, class_of, classes_in
from volovan.data.source import OBJECTS, Source

T = TypeVar("T")


def hold_out(source: Source[T], split: str, share: float = 0.1) -> Part[T]:
    """The "train" or the "val" part of a source that has no splits of its own.

    val gets a share of each class, rounded, or of all where targets are no classes: at least one of two samples or
    more, and never the last one that is left to train on. The hashes of names decide which, on every machine alike. Of
    pictures with objects and of those without val gets that share too; those are left to train on that alone have a
    class, as far as there are others.
    """
    names = (source.name(index).encode() for index in range(len(source)))
    draws = np.array([hashlib.blake2b(name, digest_size=8).digest() for name in names], dtype="S8").view(">u8").ravel()
    groups, rare = _strata(source, draws)
    order = np.lexsort((draws, rare, groups))
    _, counts = np.unique(groups, return_counts=True)
    held = np.minimum(np.maximum(1, np.floor(share * counts + 0.5)), counts - 1)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)  # of a sample in its group
    in_val = np.zeros(len(order), bool)
    in_val[order] = place < np.repeat(held, counts)
    objects = f"{100 * share:g}% of those with objects and of those without, so that classes stay to train on; "
    each = f"{100 * share:g}% of each class, rounded; " if source.kind == "class" else ""
    each = objects if source.kind in OBJECTS else each
    note = (
        f"No splits found: {in_val.sum():,} of {len(source):,} samples ({each}chosen by the hash of their names) are "
        "held out as val."
    )
    return Part(source, np.flatnonzero(in_val if split == "val" else ~in_val), note)


def _strata(source: Source, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(groups to hold out of, which samples are held out last in their group), (N,) each.

    The last ones are pictures that, in the order of draws from behind, have a class that none before has.
    """
    last, seen = np.zeros(len(source), bool), set[int]()
    if source.kind in OBJECTS:
        present = [classes_in(source, index) for index in range(len(source))]
        for index in np.argsort(draws, kind="stable")[::-1].tolist():
            last[index] = not present[index] <= seen
            seen |= present[index]
        return np.array([bool(classes) for classes in present], bool), last
    known: np.ndarray | None = getattr(source, "strata", None)
    if known is not None:
        return known, last
    labels = (class_of(source, index) for index in range(len(source)))
    return np.array([UNLABELLED if label is None else label for label in labels]), last
