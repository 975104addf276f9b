"""Shards of a pack, and the table of where each sample lies."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from volovan.data.packs.targets import MEMBERS
from volovan.data.samples import Names

_BLOCK = 512  # of a tar


class Sample(NamedTuple):
    """number, size: of the picture; label: its class number, UNLABELLED where there is none; members: its content by
    the ends of their names, first the picture."""

    number: int
    size: tuple[int, int]
    label: int
    members: dict[str, bytes]


def unused(key: str, used: set[str]) -> str:
    """A key that no other picture has, which is added to those that are used: a.jpg and a.png may lie together."""
    found, number = key, 1
    while found in used:
        number += 1
        found = f"{key}~{number}"
    used.add(found)
    return found


class Shards:
    """Tar archives of a bounded size, one after the other. written: [(name, bytes)] of those that are whole."""

    def __init__(self, folder: Path, split: str, most: int) -> None:
        self.folder, self.split, self.most = folder, split, most
        self.written: list[tuple[str, int]] = []
        self._archive: tarfile.TarFile | None = None
        self._count = 0

    def add(self, key: str, members: Mapping[str, bytes]) -> tuple[int, dict[str, tuple[int, int]]]:
        """(number of the shard, {end of the name: (offset, length)})."""
        if self._archive is not None and self._archive.offset + sum(map(len, members.values())) > self.most:
            self.close()
        if self._archive is None:
            path = self.folder / f"{self.split}-{self._count:06d}.tar"
            self._archive = tarfile.open(path, "w")  # noqa: SIM115 - closed by `close`
            self._count += 1
        places = {}
        for name, data in members.items():
            about = tarfile.TarInfo(f"{key}.{name}")
            about.size = len(data)
            self._archive.addfile(about, io.BytesIO(data))
            places[name] = self._archive.offset - -(-len(data) // _BLOCK) * _BLOCK, len(data)
        return self._count - 1, places

    def close(self) -> None:
        if self._archive is None:
            return
        path = Path(str(self._archive.name))
        self._archive.close()
        self._archive = None
        self.written.append((path.name, path.stat().st_size))


class Rows:
    """The table of a split, see `volovan.data.packs.packed`."""

    def __init__(self, kind: str) -> None:
        self.names = MEMBERS[kind]
        self.keys: list[str] = []
        self.shard: list[int] = []
        self.sizes: list[tuple[int, int]] = []
        self.places: list[list[tuple[int, int]]] = []
        self.labels: list[int] = []

    def add(self, key: str, sample: Sample, shard: int, places: Mapping[str, tuple[int, int]]) -> None:
        suffix = next(iter(sample.members))
        self.keys.append(f"{key}.{suffix}")
        self.shard.append(shard)
        self.sizes.append(sample.size)
        self.places.append([places[suffix], *(places.get(name, (0, 0)) for name in self.names)])
        self.labels.append(sample.label)

    def save(self, path: Path) -> None:
        keys, places = Names(self.keys), np.array(self.places, np.int64)
        np.savez(
            path, keys=keys.text, key_ends=keys.ends, shard=np.array(self.shard, np.int64),
            sizes=np.array(self.sizes, np.int64), offsets=places[..., 0], lengths=places[..., 1],
            labels=np.array(self.labels, np.int64),
        )  # fmt: skip
