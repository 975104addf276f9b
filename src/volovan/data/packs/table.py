"""What a pack says of itself, read with care: a copy may be old, cut off, or changed by hand.

pack.json  {"volovan_pack": 1, "kind", "classes", "palette", "skeleton", "things", "splits": {split: {"shards":
           [[file, bytes], ...], "pictures": N, "note"}}}, and how it was made
SPLIT.npz  of each sample: key, shard, size of the picture, offsets and lengths of its members, class number
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volovan.data.errors import SourceError
from volovan.data.objects.skeleton import Skeleton
from volovan.data.packs import targets
from volovan.data.pictures.decoding import MAX_PIXELS
from volovan.data.pictures.palettes import Colour
from volovan.data.samples import UNLABELLED
from volovan.data.source import SPLITS
from volovan.data.text import read_json

ABOUT = "pack.json"
VERSION = 1
AGAIN = "pack the data again with volovan pack"
_COLUMNS = {"keys": 1, "key_ends": 1, "shard": 1, "sizes": 2, "offsets": 2, "lengths": 2, "labels": 1}
"""name of an array in SPLIT.npz -> its axes"""


@dataclass(frozen=True)
class Split:
    """shards: [(name, bytes)]; pictures: how many there are in all."""

    shards: Sequence[tuple[str, int]]
    pictures: int
    note: str = ""


@dataclass(frozen=True)
class About:
    """See `volovan.data.source.Source` for what kinds have."""

    kind: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    things: tuple[bool, ...]
    skeleton: Skeleton | None
    splits: Mapping[str, Split]

    def text(self, made: Mapping[str, Any]) -> str:
        """For pack.json. made: how, for people."""
        return json.dumps({"volovan_pack": VERSION, **asdict(self), "made": made}, indent=1, ensure_ascii=False) + "\n"


def read_about(folder: Path) -> About:
    """What pack.json says; SourceError if it is none, or its shards have changed."""
    path = folder / ABOUT
    said = read_json(path)
    if not isinstance(said, dict) or said.get("volovan_pack") is True or said.get("volovan_pack") != VERSION:
        raise SourceError(f"{path} is no table of a pack of this version; {AGAIN}")
    try:
        about = _about(said)
    except (TypeError, ValueError, AttributeError, KeyError):
        raise SourceError(f"{path} is damaged; {AGAIN}") from None
    for split in about.splits.values():
        for name, size in split.shards:
            shard = folder / name
            found = shard.stat().st_size if shard.is_file() else None
            if found != size:
                what = "is missing" if found is None else f"has {found:,} bytes, expected {size:,}"
                raise SourceError(f"{shard} {what}; copy it again, or {AGAIN}")
    return about


def _about(said: Mapping[str, Any]) -> About:
    """ValueError, or what Python raises by itself, where it is none."""
    classes, palette, things = tuple(said["classes"]), tuple(map(tuple, said["palette"])), tuple(said["things"])
    splits = {split: _split(**own) for split, own in said["splits"].items()}
    skeleton = said["skeleton"] and Skeleton(**{key: _tuples(value) for key, value in said["skeleton"].items()})
    _expect(said["kind"] in targets.MEMBERS, isinstance(said["classes"], list), isinstance(said["things"], list))
    _expect(all(isinstance(name, str) for name in classes), len(set(classes)) == len(classes))
    _expect(all(isinstance(thing, bool) for thing in things), len(things) in (0, len(classes)))
    _expect(len(palette) in (0, len(classes)), all(len(colour) == 3 for colour in palette))
    _expect(all(isinstance(value, int) and 0 <= value < 256 for colour in palette for value in colour))
    _expect(bool(splits), set(splits) <= set(SPLITS), (skeleton is not None) == (said["kind"] == "points"))
    _expect(skeleton is None or all(isinstance(name, str) for name in skeleton.names))
    return About(said["kind"], classes, palette, things, skeleton or None, splits)


def _split(shards: Sequence[tuple[str, int]], pictures: int, note: str) -> Split:
    listed = [(name, size) for name, size in shards]
    _expect(bool(listed), all(isinstance(name, str) and Path(name).name == name for name, _ in listed))
    _expect(all(type(size) is int for _, size in listed), type(pictures) is int, isinstance(note, str))
    return Split(listed, pictures, note)


def _expect(*true: bool) -> None:
    if not all(true):
        raise ValueError


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def read_index(path: Path, about: About, split: str) -> dict[str, np.ndarray]:
    """The arrays of SPLIT.npz; SourceError if they do not fit each other and pack.json."""
    if not path.is_file():
        raise SourceError(f"{path} is missing; copy it again, or {AGAIN}")
    try:
        with np.load(path, allow_pickle=False) as kept:
            index = {name: kept[name] for name in _COLUMNS}
        _check(index, about, split)
    except Exception as error:  # whatever a damaged file makes numpy and zipfile raise
        raise SourceError(f"{path} is damaged; {AGAIN}") from error
    return index


def _check(index: Mapping[str, np.ndarray], about: About, split: str) -> None:
    """ValueError where arrays do not say what `PackedSource` will ask them."""
    own = about.splits[split]
    count, members = own.pictures, 1 + len(targets.MEMBERS[about.kind])
    for name, axes in _COLUMNS.items():
        _expect(index[name].ndim == axes, index[name].dtype == (np.uint8 if name == "keys" else np.int64))
    for name in ("shard", "sizes", "offsets", "lengths", "labels"):
        _expect(len(index[name]) == count)
    ends, shard, labels = index["key_ends"], index["shard"], index["labels"]
    _expect(len(ends) == count + 1 > 1 and ends[0] == 0, ends[-1] == len(index["keys"]))
    _expect(bool((np.diff(ends) > 0).all()), index["sizes"].shape[1] == 2)
    _expect(bool(((index["sizes"] > 0) & (index["sizes"] <= MAX_PIXELS)).all()))
    _expect(bool(((shard >= 0) & (shard < len(own.shards))).all()))
    _expect(bool(((labels >= UNLABELLED) & (labels < max(1, len(about.classes)))).all()))
    sizes = np.array([size for _, size in own.shards], np.int64)[shard][:, None]
    offsets, lengths = index["offsets"], index["lengths"]
    _expect(offsets.shape[1] == lengths.shape[1] == members, bool((lengths[:, 0] > 0).all()))
    _expect(bool(((offsets >= 0) & (lengths >= 0) & (lengths <= sizes) & (offsets <= sizes - lengths)).all()))
