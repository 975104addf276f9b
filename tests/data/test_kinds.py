"""What sources of every kind of target have in common."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from volovan.data import Source, SourceError, check_data, list_splits, open_source
from volovan.data.checks.kinds import REPORTS
from volovan.data.held_out import hold_out
from volovan.data.samples import Chain, Part, class_of, take

SHAPES = "shapes:10@64x48"


@pytest.fixture
def source(kind: str, tmp_path: Path, jpeg: Callable[..., bytes]) -> Source:
    """Ten samples or more of a kind."""
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
    if kind in ("mask", "map", "boxes", "points", "panoptic"):
        return open_source(SHAPES, "train", kind=kind)
    cells = {
        "class": ("label", "cat"),
        "labels": ("labels", "cat|dog"),
        "numbers": ("value", "3"),
        "none": ("label", ""),
    }
    heading, cell = cells[kind]
    lines = [f"path,{heading}", *(f"{number}.jpg,{cell}" for number in range(10))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    return open_source(tmp_path / "list.csv")


@pytest.mark.parametrize("kind", list(REPORTS))
def test_parts_and_chains_offer_what_their_sources_do(kind: str, source: Source) -> None:
    assert source.kind == kind
    for whole in (Part(source, range(3, 9)), Chain([Part(source, [3, 4]), Part(source, [5])]), take(source, 5)):
        assert (whole.kind, whole.classes) == (kind, source.classes)
        assert whole.palette == getattr(source, "palette", ())
        assert whole.things == getattr(source, "things", ())
        assert whole.skeleton == getattr(source, "skeleton", None)
    part = hold_out(source, "val")
    places = [next(i for i in range(len(source)) if source.name(i) == part.name(j)) for j in range(len(part))]
    assert places
    for inner, place in enumerate(places):
        one, other = part.target(inner), source.target(place)
        if kind in ("boxes", "points"):
            assert np.array_equal(one.boxes, other.boxes)
            assert np.array_equal(one.points, other.points)
        elif kind == "panoptic":
            assert one.segments == other.segments
            assert np.array_equal(one.ids, other.ids)
        else:
            assert np.array_equal(one, other)
        assert part.load(inner).tobytes() == source.load(place).tobytes()
        assert part.raw(inner) == source.raw(place)


def test_a_chain_of_two_kinds_has_no_targets() -> None:
    parts = [open_source(SHAPES, "val", kind=kind) for kind in ("mask", "map")]
    chain = Chain([*parts, open_source("digits", "val")])
    assert (chain.kind, chain.classes, chain.palette) == ("none", (), ())
    assert chain.target(0) is chain.target(5) is None


def test_a_chain_of_other_things_has_no_targets() -> None:
    """Segments of the same classes: of one source things are told apart, of the other nothing is."""
    one, other = (open_source(SHAPES, "val", kind="panoptic") for _ in range(2))
    other.things = (False,) * len(other.classes)  # type: ignore[attr-defined]
    assert (Chain([one, one]).kind, Chain([one, other]).kind) == ("panoptic", "none")


def test_the_class_of_a_sample_is_known_without_reading_a_mask() -> None:
    class Unread:
        kind = "mask"

    assert class_of(Unread(), 0) is None
    digits = open_source("digits", "val")
    assert class_of(digits, 3) == digits.target(3)


def test_a_kind_that_is_unknown_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match="kind 'poses' is unknown; expected one of class, labels, numbers, mask, map, boxes, points, panoptic",
    ):
        list_splits("shapes", "poses")


def test_check_refuses_a_split_that_nothing_makes(class_tree: Callable[..., Path]) -> None:
    with pytest.raises(SourceError, match="has no foo split, it has no splits, of which train and val can be made"):
        check_data(str(class_tree({"cat": 3, "dog": 3})), split="foo")
