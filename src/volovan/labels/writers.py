"""Where finished label maps go, for a labelling that may be killed at any moment and goes on from what is there.

Pictures are taken in units of fixed size in the order of the source. A unit is made by one process as a whole, so that
its batches, and with them the last bits of its maps, do not depend on kills or on the number of processes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from volovan.data.samples import Names
from volovan.labels import compact, published
from volovan.labels.about import UNFINISHED, About, read_about, sweep, write_whole

UNIT = 64
"""pictures"""
_PARTS = ".parts"


class Writer(Protocol):
    """One of the two layouts."""

    def todo(self) -> list[int]:
        """Units that are not there as a whole."""
        ...

    def put(self, unit: int, keys: Sequence[str], maps: Sequence[Tensor]) -> None:
        """Write the maps of a unit, in any process."""
        ...

    def advance(self) -> None:
        """Tidy up between two units, in the leading process."""
        ...

    def finish(self) -> None:
        """When all units are there, in the leading process."""
        ...


def open_writer(folder: Path, about: About, keys: Names) -> Writer:
    return CompactWriter(folder, about, keys) if about.layout == "compact" else PublishedWriter(folder, keys)


class PublishedWriter:
    """One file a picture; those that are there are kept."""

    def __init__(self, folder: Path, keys: Names) -> None:
        self.folder, self.keys = folder, keys

    def todo(self) -> list[int]:
        have = set(published.files_below(self.folder))
        lacking = {number // UNIT for number, key in enumerate(self.keys) if key not in have}
        return sorted(lacking)

    def put(self, unit: int, keys: Sequence[str], maps: Sequence[Tensor]) -> None:
        for key, one in zip(keys, maps, strict=True):
            name = f"{key}{published.SUFFIX}"
            if not (self.folder / name).is_file():
                write_whole(self.folder, name, published.serialise(one), durable=False)

    def advance(self) -> None:
        """Files are as they stay."""

    def finish(self) -> None:
        sweep(self.folder)


class CompactWriter:
    """A part a unit, as soon as it is made; the parts of a shard become the shard."""

    def __init__(self, folder: Path, about: About, keys: Names) -> None:
        self.folder, self.about = folder, about
        self.units = -(-len(keys) // UNIT)
        self.per_shard = max(1, (about.shard_pictures or UNIT) // UNIT)
        self.shards = -(-self.units // self.per_shard)
        self.waiting = 0  # the first shard that is not joined

    def _part(self, unit: int) -> Path:
        return self.folder / _PARTS / f"{unit:08d}.safetensors"

    def _shard(self, number: int) -> Path:
        return self.folder / compact.shard_name(number)

    def todo(self) -> list[int]:
        found = read_about(self.folder)
        if found is not None and found.shards is not None:
            return []
        joined = [self._shard(number).is_file() for number in range(self.shards)]
        units = (unit for unit in range(self.units) if not joined[unit // self.per_shard])
        return [unit for unit in units if not self._part(unit).is_file()]

    def put(self, unit: int, keys: Sequence[str], maps: Sequence[Tensor]) -> None:
        content = compact.pack(keys, maps, self.about, str(self.folder))
        write_whole(self.folder, f"{_PARTS}/{unit:08d}.safetensors", content, durable=False)

    def advance(self) -> None:
        """Join the parts of the next shards that have them all."""
        while self.waiting < self.shards:
            first = self.waiting * self.per_shard
            parts = [self._part(unit) for unit in range(first, min(first + self.per_shard, self.units))]
            if not self._shard(self.waiting).is_file():
                if not all(part.is_file() for part in reversed(parts)):
                    return
                write_whole(self.folder, compact.shard_name(self.waiting), compact.join(parts))
            for part in parts:
                part.unlink(missing_ok=True)
            self.waiting += 1

    def finish(self) -> None:
        found = read_about(self.folder)
        if found is None or found.shards is None:
            self.advance()
            compact.write_index(self.folder, self.about, [compact.shard_name(n) for n in range(self.shards)])
        for name in (_PARTS, UNFINISHED):
            shutil.rmtree(self.folder / name, ignore_errors=True)
