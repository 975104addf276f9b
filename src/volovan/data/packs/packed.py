"""A pack as a source: `pack.json` says what it is, SPLIT.npz where in the shards each member lies.

pack.json  {"volovan_pack": 1, "kind", "classes", "palette", "skeleton", "things", "splits": {split: {"shards":
           [[file, bytes], ...], "pictures": N}}}, and how it was made
SPLIT.npz  of each sample: key, shard, size of the picture, offsets and lengths of its members, class number
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from volovan.data.errors import BadImage, SourceError, printable
from volovan.data.objects.skeleton import Skeleton
from volovan.data.packs import targets
from volovan.data.pictures.decoding import Least, decode
from volovan.data.samples import UNLABELLED, Names
from volovan.data.source import SPLITS, Source
from volovan.data.text import read_json

ABOUT = "pack.json"
VERSION = 1
_COLUMNS = ("keys", "key_ends", "shard", "sizes", "offsets", "lengths", "labels")
_AGAIN = "pack the data again with volovan pack"


class PackedSource:
    """Samples of one split of a pack. kind: of its targets; "none" to leave them alone."""

    note = ""

    def __init__(self, folder: Path, split: str, about: Mapping[str, Any], kind: str) -> None:
        self.folder, self.split, self.kind = folder, split, kind
        self.classes: tuple[str, ...] = tuple(about["classes"]) if kind != "none" else ()
        self.palette = tuple(tuple(colour) for colour in about["palette"])
        self.things = tuple(about["things"])
        skeleton = about["skeleton"]
        self.skeleton = Skeleton(**{key: _tuples(value) for key, value in skeleton.items()}) if skeleton else None
        self.shards = [Path(name).name for name, _ in about["splits"][split]["shards"]]
        index = _index(folder / f"{split}.npz")
        self.keys = Names(())
        self.keys.text, self.keys.ends = index["keys"], index["key_ends"]
        self.shard, self.sizes = index["shard"], index["sizes"]
        self.offsets, self.lengths, self.labels = index["offsets"], index["lengths"], index["labels"]

    def __len__(self) -> int:
        return len(self.keys)

    def name(self, index: int) -> str:
        """As in a folder of that split: so label maps of the pictures that were packed are found."""
        return printable(f"{self.split}/{self.keys[index]}")

    def load(self, index: int) -> Image.Image:
        return decode(self.raw(index), name=self.name(index))

    def load_reduced(self, index: int, least: Least) -> Image.Image:
        return decode(self.raw(index), name=self.name(index), least=least)

    def raw(self, index: int) -> bytes:
        return self._member(index, 0)

    def picture_size(self, index: int) -> tuple[int, int]:
        width, height = self.sizes[index].tolist()
        return width, height

    def target(self, index: int) -> Any:
        if self.kind == "none":
            return None
        if self.kind == "class":
            number = int(self.labels[index])
            return None if number == UNLABELLED else number
        try:
            joints = len(self.skeleton) if self.skeleton else None
            return targets.decode(self.kind, self.members(index), self.classes, joints)
        except (ValueError, KeyError, TypeError, OSError):
            raise BadImage(self.name(index), f"its target in the pack is damaged; {_AGAIN}") from None

    def members(self, index: int) -> dict[str, bytes]:
        """What the shard holds of a sample besides the picture, by the ends of the names."""
        names = targets.MEMBERS[self.kind]
        return {name: self._member(index, place) for place, name in enumerate(names, 1) if self.lengths[index, place]}

    def _member(self, index: int, place: int) -> bytes:
        length = int(self.lengths[index, place])
        path = self.folder / self.shards[self.shard[index]]
        try:  # opened anew each time: processes that share an open file also share its position
            with open(path, "rb", buffering=0) as file:
                file.seek(int(self.offsets[index, place]))
                data = file.read(length)
        except OSError as error:
            raise BadImage(self.name(index), f"the shard cannot be read ({error.strerror})") from None
        if len(data) < length:
            raise BadImage(self.name(index), f"the shard has become shorter since it was packed; {_AGAIN}")
        return data


def is_pack(path: Path) -> bool:
    return (path / ABOUT).is_file()


def read_about(folder: Path) -> dict[str, Any]:
    """What pack.json says; SourceError if it is none, or its shards have changed."""
    path = folder / ABOUT
    about = read_json(path)
    if not isinstance(about, dict) or about.get("volovan_pack") != VERSION:
        raise SourceError(f"{path} is no table of a pack of this version; {_AGAIN}")
    try:
        shards = [(name, size) for split in about["splits"].values() for name, size in split["shards"]]
        known = about["kind"] in targets.MEMBERS and {"classes", "palette", "things", "skeleton"} <= about.keys()
        known = known and set(about["splits"]) <= set(SPLITS) and all(isinstance(name, str) for name, _ in shards)
    except (TypeError, ValueError, AttributeError, KeyError):
        known = False
    if not known:
        raise SourceError(f"{path} is damaged; {_AGAIN}")
    for name, size in shards:
        shard = folder / Path(name).name
        found = shard.stat().st_size if shard.is_file() else None
        if found != size:
            what = "is missing" if found is None else f"has {found:,} bytes, expected {size:,}"
            raise SourceError(f"{shard} {what}; copy it again, or {_AGAIN}")
    return about


def pack_splits(folder: Path, kind: str) -> dict[str, Callable[[], Source]]:
    """The splits of a pack; SourceError if it was packed for targets of another kind.

    Pictures alone may be had of any: who asks for classes gets them without targets where it has others.
    """
    about = read_about(folder)
    own = about["kind"]
    if kind != own:
        if kind in ("class", "labels", "numbers"):  # one layout: source.kind says which of them it is
            kind = own if own in ("class", "labels", "numbers") else "none"
        else:
            raise SourceError(
                f"{folder} was packed with targets of the kind {own}, expected {kind}; pack the data again with --task"
            )
    return {split: partial(PackedSource, folder, split, about, kind) for split in about["splits"]}


def _index(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {name: kept[name] for name in _COLUMNS}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise SourceError(f"{path} cannot be read ({error}); {_AGAIN}") from None


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def about_text(about: Mapping[str, Any]) -> str:
    return json.dumps(about, indent=1, ensure_ascii=False) + "\n"
