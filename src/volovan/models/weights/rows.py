"""The rows of a head follow the names of the classes, from a file to a network."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from volovan.files.classes import IMAGENET, ClassMatch, are_synsets, match_classes, output_names, quoted
from volovan.models.dense import Rows
from volovan.models.weights.networks import State


def follow_names(
    state: State,
    target: State,
    classifiers: Mapping[str, Rows],
    held: Sequence[str] | None,
    wanted: Sequence[str] | None,
    what: str = "head",
) -> tuple[State, list[str]]:
    """The state dict with the rows of its classifiers in the order of the network, new classes with the network's own
    random rows; and what was decided, as at most one sentence.

    target       of the network
    classifiers  beginnings of names of parameters whose first axis holds the classes, and how
    held         names of the classes of the file; None: it has none, and its rows are taken in their order, if they are
                 as many or those of ImageNet
    wanted       those of the network; None: they are not known, and all stays as it is
    """
    rows = {
        key: layout
        for key, tensor in state.items()
        for begin, layout in classifiers.items()
        if key.startswith(begin) and key in target and tensor.dim() and tensor.shape[1:] == target[key].shape[1:]
    }
    if wanted is None or not rows:
        return state, []
    counts = {key: layout.classes(len(state[key])) for key, layout in rows.items()}
    count = next(iter(counts.values()))
    if held is None or len(held) != count:
        if len(wanted) != count and not (count == IMAGENET and are_synsets(wanted)):
            return state, []
        held = output_names(count)
    match = match_classes(wanted, held)
    if match.same and not match.by_number:
        return state, []
    moved = {
        key: _moved(state[key], target[key], layout, match) for key, layout in rows.items() if counts[key] == count
    }
    return state | moved, [_said(match, what)]


def _moved(theirs: Tensor, ours: Tensor, layout: Rows, match: ClassMatch) -> Tensor:
    """Rows of the file at their places in the network; those that belong to no class too."""
    rows = ours.clone(memory_format=torch.contiguous_format)
    if layout.rest:
        rows[-layout.rest :] = theirs[-layout.rest :]
    here, there = layout.of(rows), layout.of(theirs.contiguous())
    for place, number in enumerate(match.numbers):
        if number is not None:
            here[:, place] = there[:, number]
    return rows


def _said(match: ClassMatch, what: str) -> str:
    count, new, dropped = len(match.wanted), match.unknown, [match.known[number] for number in match.unwanted]
    kept = [name for name in match.wanted if name not in set(new)]
    if match.by_number:
        first = f"{match.known[match.places[0]]!r} for {match.wanted[0]!r}"
        return (
            f"the rows of the {what} are taken by number ({first} and so on): either the file or the data have numbers "
            f"in place of names for their {count} classes"
        )
    if not kept:
        return (
            f"the {what} for {count} classes is new: none of {quoted(match.wanted)} is among the {len(match.known)} "
            f"classes of the file, {quoted(match.known)}"
        )
    parts = (("kept", kept), ("new", new), ("dropped", dropped))
    counted = ", ".join(f"{len(names)} {word} ({quoted(names)})" for word, names in parts if names)
    return f"the rows of the {what} follow the names of the {count} classes: {counted}"
