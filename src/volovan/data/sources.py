"""open_source: from what a user writes to samples with targets of the kind that is asked for."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

from volovan.data.errors import SourceError as SourceError
from volovan.data.folder import listed_names
from volovan.data.held_out import hold_out
from volovan.data.layouts.classes import class_splits
from volovan.data.layouts.masks import mask_splits, masks_drawn_on
from volovan.data.layouts.objects import object_splits
from volovan.data.layouts.segments import panoptic_splits
from volovan.data.masks.coding import MaskSource
from volovan.data.masks.files import DrawnOn
from volovan.data.packs.packed import is_pack, pack_splits
from volovan.data.refusals import refused_samples
from volovan.data.samples import Chain, join_notes
from volovan.data.source import SPLITS as SPLITS
from volovan.data.source import Source as Source
from volovan.data.source import Splits

_FIND_SPLITS: dict[str, Callable[[str], Splits]] = {  # kind of target -> how its layouts are told apart
    "class": class_splits,
    "labels": partial(class_splits, kind="labels"),
    "numbers": partial(class_splits, kind="numbers"),
    "mask": mask_splits,
    "map": partial(mask_splits, kind="map"),
    "boxes": object_splits,
    "points": partial(object_splits, points=True),
    "panoptic": panoptic_splits,
}


@overload
def open_source(
    spec: str | Path,
    split: str | None = None,
    *,
    kind: Literal["mask"],
    beside: str | Path | None = None,
    drawn_on: DrawnOn | None = None,
) -> MaskSource: ...
@overload
def open_source(
    spec: str | Path,
    split: str | None = None,
    kind: str = "class",
    beside: str | Path | None = None,
    drawn_on: DrawnOn | None = None,
) -> Source[Any]: ...
def open_source(
    spec: str | Path,
    split: str | None = None,
    kind: str = "class",
    beside: str | Path | None = None,
    drawn_on: DrawnOn | None = None,
) -> Source[Any]:
    """Open a source of pictures; docs/data.md lists the layouts.

    split   "train", "val", "test", or None for all of it. A source without splits holds out a tenth as val, one with
            train and test only gives test as val; source.note says so.
    kind    what is read as the target of a picture: "mask" (a class for every pixel), "map" (how salient every pixel
            is, 0 to 255), "boxes" (objects in boxes, perhaps with outlines), "points" (objects with named points),
            "panoptic" (a segment for every pixel), else what there is, as source.kind says; of a list with classes and
            "labels" or "numbers" too the one that is named
    beside  the source of the other split, where that is said too; if it is another than spec ("": unknown, but another)
            nothing is held out
    drawn_on  what masks and boxes were drawn on, where EXIF turns pictures: as they are "shown", the default, or
            "stored"
    raises  SourceError: there is no such thing or split, or a label without a class, or one that is unreadable, or a
            picture without its mask, or a mask without its picture
    """
    if split is not None and split not in SPLITS:
        raise SourceError(f"split {split!r} is unknown; expected train, val or test")
    source = open_unchecked(spec, split, kind, beside, drawn_on)
    for sentence in refused_samples(spec, source):
        raise SourceError(sentence)
    return source


def refuse_missing(spec: str, kind: str) -> None:
    """SourceError for a file or folder that is not there: the answer of `open_source`, without a look at what is."""
    if not spec.startswith("hf:") and not Path(spec).expanduser().exists():
        find_splits(spec, kind)


def list_splits(spec: str | Path, kind: str = "class") -> tuple[str, ...]:
    """The splits that a source has, () if it is not split."""
    found = find_splits(spec, kind)
    return tuple(split for split in SPLITS if split in found)


def open_unchecked(
    spec: str | Path,
    split: str | None,
    kind: str = "class",
    beside: str | Path | None = None,
    drawn_on: DrawnOn | None = None,
) -> Source:
    """open_source without a complaint about labels and missing partners: check-data wants to see them all."""
    return open_split(find_splits(spec, kind, drawn_on), spec, split, beside)


def open_split(splits: Splits, spec: str | Path, split: str | None, beside: str | Path | None = None) -> Source:
    """The samples of a split, or of what is used in its place, of those that spec has."""
    if split is None:
        ordered = sorted(splits, key=lambda name: SPLITS.index(name) if name in SPLITS else len(SPLITS))
        sources = [splits[name]() for name in ordered]
        return sources[0] if len(sources) == 1 else Chain(sources)
    if split in splits:
        source = splits[split]()
        if others := [name for name in splits if name not in ("", *SPLITS)]:
            source.note = join_notes(source.note, f"Not used: the splits {listed_names(others)}.")
        return source
    if split == "val" and "test" in splits:
        source = splits["test"]()
        source.note = join_notes(source.note, "There is no val split: test is used in its place.")
        return source
    apart = beside is not None and not _same(spec, beside)
    if "" in splits and split in ("train", "val"):
        whole = splits[""]()
        return whole if apart else hold_out(whole, split)
    if apart and len(splits) == 1 and split in ("train", "val") and Path(spec).expanduser().is_file():
        (own,) = splits
        source = splits[own]()
        said = f"{Path(spec).name} has the split {own} only, which is taken for {split}, as it is named for that."
        source.note = join_notes(source.note, said)
        return source
    has = ", ".join(splits) if "" not in splits else "no splits, of which train and val can be made"
    other = ", or name other data (fit --data.val, validate --data)" if split == "val" else ""
    raise SourceError(f"{spec} has no {split} split, it has {has}; ask for one of these or add it{other}")


def _same(one: str | Path, other: str | Path) -> bool:
    """Whether two specs name the same source; "" is none."""
    here, there = Path(one).expanduser(), Path(other).expanduser()
    return str(one) == str(other) or (bool(other) and here.exists() and there.exists() and here.samefile(there))


def find_splits(spec: str | Path, kind: str, drawn_on: DrawnOn | None = None) -> Splits:
    """The splits of a source of any kind, not opened."""
    if kind not in _FIND_SPLITS:
        raise ValueError(f"kind {kind!r} is unknown; expected one of {', '.join(_FIND_SPLITS)}")
    refuse_empty(str(spec))
    if is_pack(folder := Path(spec).expanduser()):
        return pack_splits(folder, kind)
    splits = _FIND_SPLITS[kind](str(spec))
    return splits if drawn_on is None else masks_drawn_on(splits, drawn_on)


def refuse_empty(spec: str) -> None:
    """SourceError for a source without a name."""
    if not spec.strip():  # Path("") is the current folder, which nobody asked for
        raise SourceError("the source is empty; give a folder, a list or another source that docs/data.md lists")
