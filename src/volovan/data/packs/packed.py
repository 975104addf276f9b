"""A pack as a source."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from volovan.data.errors import BadImage, SourceError, printable
from volovan.data.packs import targets
from volovan.data.packs.table import ABOUT, AGAIN, About, read_about, read_index
from volovan.data.samples import UNLABELLED, EncodedPictures, Names, read_member
from volovan.data.source import Source


class PackedSource(EncodedPictures):
    """Samples of one split of a pack. kind: of its targets; "none" to leave them alone."""

    def __init__(self, folder: Path, split: str, about: About, kind: str) -> None:
        self.folder, self.split, self.kind, self.note = folder, split, kind, about.splits[split].note
        self.classes = about.classes if kind != "none" else ()
        self.palette, self.things, self.skeleton = about.palette, about.things, about.skeleton
        self.shards = [name for name, _ in about.splits[split].shards]
        index = read_index(folder / f"{split}.npz", about, split)
        self.keys = Names(())
        self.keys.text, self.keys.ends = index["keys"], index["key_ends"]
        self.shard, self.sizes = index["shard"], index["sizes"]
        self.offsets, self.lengths, self.labels = index["offsets"], index["lengths"], index["labels"]

    def __len__(self) -> int:
        return len(self.keys)

    def name(self, index: int) -> str:
        """As in a folder of that split: so label maps of the pictures that were packed are found."""
        return printable(f"{self.split}/{self.keys[index]}")

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
            raise BadImage(self.name(index), f"its target in the pack is damaged; {AGAIN}") from None

    def members(self, index: int) -> dict[str, bytes]:
        """What the shard holds of a sample besides the picture, by the ends of the names."""
        names = targets.MEMBERS[self.kind]
        return {name: self._member(index, place) for place, name in enumerate(names, 1) if self.lengths[index, place]}

    def _member(self, index: int, place: int) -> bytes:
        shard = self.folder / self.shards[self.shard[index]]
        where = int(self.offsets[index, place]), int(self.lengths[index, place])
        return read_member(shard, *where, self.name(index), since=f"packed; {AGAIN}")


def is_pack(path: Path) -> bool:
    return (path / ABOUT).is_file()


def pack_splits(folder: Path, kind: str) -> dict[str, Callable[[], Source]]:
    """The splits of a pack; SourceError if it was packed for targets of another kind.

    Pictures alone may be had of any: who asks for classes gets them without targets where it has others.
    """
    about = read_about(folder)
    own = about.kind
    if kind != own:
        if kind in ("class", "labels", "numbers"):  # one layout: source.kind says which of them it is
            kind = own if own in ("class", "labels", "numbers") else "none"
        else:
            raise SourceError(
                f"{folder} was packed with targets of the kind {own}, expected {kind}; pack the data again with --task"
            )
    return {split: partial(PackedSource, folder, split, about, kind) for split in about.splits}
