"""Where finished label maps go, for a labelling that may be killed at any moment and goes on from what is there.

Pictures are taken in units of fixed size in the order of the source. A unit is made by one process as a whole, so that
its batches, and with them the last bits of its maps, do not depend on kills or on the number of processes.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from torch import Tensor

from volovan.data.samples import Names
from volovan.labels import compact, published
from volovan.labels.about import UNFINISHED, About, read_about, sweep, write_about, write_whole

UNIT = 64
"""pictures"""
_PARTS = ".parts"


def shard_pictures(bytes_each: int, shard_bytes: int) -> int:
    """Pictures of a shard whose maps take so many bytes each: whole units."""
    return UNIT * max(1, round(shard_bytes / (bytes_each * UNIT)))


class PublishedWriter:
    """One file a picture; those that are there are kept."""

    def __init__(self, folder: Path, keys: Names) -> None:
        self.folder, self.keys = folder, keys

    def files(self) -> list[str]:
        return [f"{key}{published.SUFFIX}" for key in self.keys]

    def todo(self) -> tuple[list[int], int]:
        have = set(published.files_below(self.folder))
        lacking = [number // UNIT for number, key in enumerate(self.keys) if key not in have or self._empty(key)]
        return sorted(set(lacking)), len(lacking)

    def put(self, unit: int, keys: Sequence[str], maps: Sequence[Tensor]) -> None:
        for key, one in zip(keys, maps, strict=True):
            if self._empty(key):
                write_whole(self.folder, f"{key}{published.SUFFIX}", published.serialise(one), durable=False)

    def _empty(self, key: str) -> bool:
        """Whether there is no file, or one without content, as a power cut may leave."""
        try:
            return (self.folder / f"{key}{published.SUFFIX}").stat().st_size == 0
        except FileNotFoundError:
            return True

    def advance(self) -> None:
        """Files are as they stay."""

    def finish(self) -> None:
        sweep(self.folder)


class CompactWriter:
    """A part a unit, as soon as it is made; the parts of a shard become the shard.

    A shard that is there but lacks maps, of pictures that could not be read, keeps its own and gets those of new parts.
    """

    def __init__(self, folder: Path, about: About, keys: Names) -> None:
        self.folder, self.about, self.keys = folder, about, keys
        self.per_shard = UNIT * max(1, (about.shard_pictures or UNIT) // UNIT)
        self.shards = -(-len(keys) // self.per_shard)
        self.open: dict[int, list[int]] = {}  # shards to be written, and the units that each waits for

    def files(self) -> list[str]:
        return [compact.INDEX, *map(compact.shard_name, range(self.shards))]

    def _part(self, unit: int) -> Path:
        return self.folder / _PARTS / f"{unit:08d}.safetensors"

    def todo(self) -> tuple[list[int], int]:
        self.open = {}
        lacking: Counter[int] = Counter()
        for number in range(self.shards):
            if gaps := self._gaps(number):
                self.open[number] = sorted(gaps)
                lacking += gaps
        for unit in sorted(lacking):
            names = compact.keys_in(self._part(unit))
            if names is not None and _same(names, self.keys, unit * UNIT, UNIT):
                del lacking[unit]
            else:
                self._part(unit).unlink(missing_ok=True)  # it lacks maps, or is damaged
        return sorted(lacking), lacking.total()

    def _gaps(self, number: int) -> Counter[int]:
        """Units of a shard that it does not hold as a whole, and how many maps each lacks."""
        start = number * self.per_shard
        found = compact.keys_in(self.folder / compact.shard_name(number))
        if found is not None and _same(found, self.keys, start, self.per_shard):
            return Counter()
        wanted, have = self.keys[start : start + self.per_shard], set(found or ())
        if not have.issubset(wanted):
            have = set()  # the shard of another folder
        return Counter((start + place) // UNIT for place, key in enumerate(wanted) if key not in have)

    def put(self, unit: int, keys: Sequence[str], maps: Sequence[Tensor]) -> None:
        content = compact.pack(keys, maps, self.about, str(self.folder))
        write_whole(self.folder, f"{_PARTS}/{unit:08d}.safetensors", content, durable=False)

    def advance(self) -> None:
        """Join the parts of the next shards that have them all."""
        while self.open:
            number, units = next(iter(self.open.items()))
            parts = [self._part(unit) for unit in units]
            if not all(part.is_file() for part in reversed(parts)):
                return
            self._join(number, parts)
            for part in parts:
                part.unlink(missing_ok=True)
            del self.open[number]

    def _join(self, number: int, parts: list[Path]) -> None:
        """Write a shard from parts, and from its own maps where it has some."""
        path = self.folder / compact.shard_name(number)
        wanted = self.keys[number * self.per_shard : (number + 1) * self.per_shard]
        found = compact.keys_in(path)
        kept = [path] if found is not None and set(found).issubset(wanted) else []
        before = path.read_bytes() if kept else b""
        about = read_about(self.folder) or self.about
        known = {entry.file: entry.sha256 for entry in about.shards or ()}
        if kept and known.get(path.name) not in (None, sha256(before).hexdigest()):
            raise compact.changed(path)
        content = compact.join([*parts, *kept], wanted, self.about.top)
        if content == before:
            return
        if about.shards:  # what it says will no longer hold, until all is joined
            left = tuple(entry for entry in about.shards if entry.file != path.name)
            write_about(self.folder, replace(about, pictures=None, shards=left))
        write_whole(self.folder, path.name, content)

    def finish(self) -> None:
        self.advance()
        found, index = read_about(self.folder) or self.about, self.folder / compact.INDEX
        whole = found.pictures is not None and index.is_file()
        if not whole or sha256(index.read_bytes()).hexdigest() != found.index:
            compact.write_index(self.folder, self.about, [compact.shard_name(n) for n in range(self.shards)])
        for name in (_PARTS, UNFINISHED):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def _same(found: Names, keys: Names, start: int, count: int) -> bool:
    """Whether the names found are those keys."""
    ends = keys.ends[start : start + count + 1]
    return np.array_equal(found.ends, ends - ends[0]) and np.array_equal(found.text, keys.text[ends[0] : ends[-1]])


Writer = PublishedWriter | CompactWriter
"""One of the two layouts.

files    names of all that will be there
todo     the units that are not there, by names and lengths of files, and how many of their pictures have no map
put      write the maps of a unit, in any process
advance  tidy up between two units
finish   when all units are there; it, todo and advance in the leading process
"""


def open_writer(folder: Path, about: About, keys: Names) -> Writer:
    return CompactWriter(folder, about, keys) if about.layout == "compact" else PublishedWriter(folder, keys)
