"""volovan.pack: pictures of any source, made small enough to be read fast, with their targets, in shards.

Training decodes a picture again in every epoch. One of a camera has sixty times the pixels that a network sees; packed
once at a bounded size it is read in a fraction of the time, and from a few large files, which network disks like.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from volovan.data.errors import BadImage, SourceError
from volovan.data.loader import evaluation_loader
from volovan.data.packs.packed import ABOUT, VERSION, PackedSource, about_text, read_about
from volovan.data.packs.targets import MEMBERS, encode, resized
from volovan.data.pictures.decoding import decode
from volovan.data.samples import UNLABELLED, Names, palette_of, skeleton_of, things_of
from volovan.data.source import Source
from volovan.data.sources import list_splits, open_source
from volovan.engine.evaluate import BadSamples
from volovan.engine.progress import bar
from volovan.engine.settings import SettingsError
from volovan.labels.keys import label_key
from volovan.room.settings import at_least, between
from volovan.use.rooms import ROOMS

SIZES = {"classify": 512, "saliency": 512, "segment": 1024, "detect": 1024, "panoptic": 1024, "pose": 1024}
"""task -> what the shorter side of a picture is at most, unless something else is said"""
_UNIT = 8  # pictures that a process hands over at once
_BLOCK = 512  # of a tar
_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
_FREE = 1.05  # a picture that would shrink by less goes in as it is


@dataclass(frozen=True)
class PackSettings:
    """size: what the shorter side is at most, 0: pictures as they are; quality: of JPEG; shard_mb: of a shard."""

    size: int
    quality: int = 95
    shard_mb: int = 256
    workers: int = 2
    on_bad: str = "stop"
    seed: int = 0

    def __post_init__(self) -> None:
        at_least("--size", self.size, 0)
        between("--quality", self.quality, 1, 100)
        at_least("--shard-mb", self.shard_mb, 1)
        at_least("--workers", self.workers, 0)


class Packed(NamedTuple):
    """What was written: pictures by split, those that could not be read, and bytes of all shards."""

    folder: Path
    pictures: dict[str, int]
    left_out: list[str]
    bytes: int
    seconds: float


class _Sample(NamedTuple):
    number: int
    size: tuple[int, int]
    suffix: str
    picture: bytes
    members: dict[str, bytes]


class _Units:
    """Pictures and targets of a source as members of a shard."""

    def __init__(self, source: Source, settings: PackSettings) -> None:
        self.source, self.settings = source, settings

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def read(self, index: int) -> _Sample:
        source, settings, raw = self.source, self.settings, self.source.raw(index)
        asked: list[tuple[int, int]] = []

        def least(width: int, height: int) -> tuple[float, float]:
            asked.append((width, height))
            to = shrunk((width, height), settings.size)
            # Twice as large as it will be: what a reduced decoding leaves out cannot be seen then.
            return (width, height) if to == (width, height) else (2 * to[0], 2 * to[1])

        image = source.load(index) if raw is None else decode(raw, source.name(index), least=least)
        whole = asked[0] if asked else image.size
        to = shrunk(whole, settings.size)
        if to == whole and raw is not None and image.info["format"] in _SUFFIXES:
            suffix, data = _SUFFIXES[image.info["format"]], raw
        else:
            small = image.resize(to, Image.Resampling.BICUBIC)
            suffix, data = _written(small, raw is None and to == whole, settings.quality)
        target = resized(source.kind, source.target(index), whole, to)
        return _Sample(index, to, suffix, data, encode(source.kind, target, source.classes))

    def collate(self, samples: list[_Sample]) -> list[_Sample]:
        return samples


def shrunk(size: tuple[int, int], least: int) -> tuple[int, int]:
    """(width, height) whose shorter side is `least`, of one that is larger; 0: of none."""
    scale = least / min(size) if least else 1
    if scale * _FREE >= 1:
        return size
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _written(image: Image.Image, lossless: bool, quality: int) -> tuple[str, bytes]:
    file = io.BytesIO()
    if lossless:
        image.save(file, "PNG")
    else:
        image.save(file, "JPEG", quality=quality)
    return ("png" if lossless else "jpg"), file.getvalue()


def pack(
    source: str | Path,
    out: str | Path,
    *,
    task: str = "classify",
    size: int | None = None,
    drawn_on: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> Packed:
    """Pack the pictures of a source with their targets; the folder that is written is a source of the same splits.

    task      what the data are for, which decides the targets that go along
    size      what the shorter side of a picture is at most (`SIZES`); 0: nothing is made smaller. What is small enough
              goes in byte for byte
    settings  see `PackSettings`
    raises    SourceError, SettingsError: there is nothing to pack, or `out` is not a new folder; BadImage: a picture or
              target cannot be read, unless on_bad is "skip"
    """
    how = PackSettings(SIZES[task] if size is None else size, **settings)
    kind, folder, begun = ROOMS[task].kind, Path(out).expanduser(), time.perf_counter()
    splits = [split for split in list_splits(source, kind) if split] or ["train", "val"]
    opened = {split: open_source(source, split, kind, drawn_on=drawn_on) for split in splits}  # type: ignore[arg-type]
    for opening in {one.note: one for one in opened.values() if one.note}:
        say(f"note: {opening}")
    first = opened[splits[0]]
    about = {
        "volovan_pack": VERSION,
        "kind": first.kind,
        "classes": list(first.classes),
        "palette": palette_of(first),
        "things": things_of(first),
        "skeleton": vars(skeleton) if (skeleton := skeleton_of(first)) else None,
        "made": {"with": f"volovan {version('volovan')}", "of": str(source), "size": how.size, "quality": how.quality},
        "splits": {},
    }
    bad = BadSamples(how.on_bad == "skip", say, "--on-bad skip")
    with _new_folder(folder) as part:
        for split, own in opened.items():
            shards, count = _write_split(own, part, split, how, bad, say)
            about["splits"][split] = {"shards": shards, "pictures": count}  # type: ignore[index]
        (part / ABOUT).write_text(about_text(about), encoding="utf-8")
        if about["classes"]:
            (part / "classes.txt").write_text("".join(f"{name}\n" for name in first.classes), encoding="utf-8")
        for split in opened:
            _verify(part, split, how, say)
    written = about["splits"]
    assert isinstance(written, dict)
    counts = {split: own["pictures"] for split, own in written.items()}
    total = sum(length for own in written.values() for _, length in own["shards"])
    return Packed(folder, counts, [f"{n}: {why}" for n, why in bad.names.items()], total, time.perf_counter() - begun)


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder beside it, which takes its name in the end; after an error nothing is left."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} is there already; name a new folder with --out")
    part = folder.parent / f".{folder.name}.{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        if folder.is_dir():
            folder.rmdir()
        os.replace(part, folder)
    except OSError as error:
        if isinstance(error.filename, str) and Path(error.filename).name.startswith("."):
            raise SettingsError(f"{folder} could not be written ({error.strerror}); name another folder") from error
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_split(
    source: Source, folder: Path, split: str, how: PackSettings, bad: BadSamples, say: Callable[[str], None]
) -> tuple[list[tuple[str, int]], int]:
    """([(shard, bytes)], pictures). Training samples are shuffled, for readers that take them in a row."""
    units: Any = _Units(source, how)
    order = np.arange(len(source))
    if split == "train":
        order = np.random.default_rng(how.seed).permutation(len(source))
    rows = _Rows(source.kind)
    shards = _Shards(folder, split, how.shard_mb << 20)
    keys: set[str] = set()
    with closing(shards):
        loader = evaluation_loader(_Ordered(units, order), batch_size=_UNIT, workers=how.workers)
        for batch in bar(loader, len(loader), f"pack {split}", f"x {_UNIT} pictures", leads=True):
            bad.check(batch)
            for sample in batch.data or ():
                key = _unused(label_key(source.name(sample.number)), keys)
                number, places = shards.add(
                    {f"{key}.{sample.suffix}": sample.picture}
                    | {f"{key}.{name}": data for name, data in sample.members.items()}
                )
                label = source.target(sample.number) if source.kind == "class" else None
                rows.add(f"{key}.{sample.suffix}", number, sample, places, UNLABELLED if label is None else label)
    if not rows.keys:
        raise SourceError(f"the split {split} has no pictures that could be read; nothing was packed")
    rows.save(folder / f"{split}.npz")
    return shards.written, len(rows.keys)


class _Ordered:
    """Samples of a reader in another order."""

    def __init__(self, reader: Any, order: np.ndarray) -> None:
        self.reader, self.order = reader, order

    def __len__(self) -> int:
        return len(self.order)

    def name(self, index: int) -> str:
        return str(self.reader.name(int(self.order[index])))

    def read(self, index: int) -> Any:
        return self.reader.read(int(self.order[index]))

    def collate(self, samples: list[Any]) -> Any:
        return self.reader.collate(samples)


def _unused(key: str, used: set[str]) -> str:
    """A key that no other picture has: a.jpg and a.png may lie in one folder."""
    found, number = key, 1
    while found in used:
        number += 1
        found = f"{key}~{number}"
    used.add(found)
    return found


class _Shards:
    """Tar archives of a bounded size, one after the other. written: [(name, bytes)] of those that are whole."""

    def __init__(self, folder: Path, split: str, most: int) -> None:
        self.folder, self.split, self.most = folder, split, most
        self.written: list[tuple[str, int]] = []
        self._archive: tarfile.TarFile | None = None
        self._count = 0

    def add(self, members: Mapping[str, bytes]) -> tuple[int, dict[str, tuple[int, int]]]:
        """(number of the shard, {member: (offset, length)})."""
        if self._archive is not None and self._archive.offset + sum(map(len, members.values())) > self.most:
            self.close()
        if self._archive is None:
            path = self.folder / f"{self.split}-{self._count:06d}.tar"
            self._archive = tarfile.open(path, "w")  # noqa: SIM115 - closed by `close`
            self._count += 1
        places = {}
        for name, data in members.items():
            about = tarfile.TarInfo(name)
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


class _Rows:
    """The table of a split, see `volovan.data.packs.packed`."""

    def __init__(self, kind: str) -> None:
        self.names = MEMBERS[kind]
        self.keys: list[str] = []
        self.shard: list[int] = []
        self.sizes: list[tuple[int, int]] = []
        self.places: list[list[tuple[int, int]]] = []
        self.labels: list[int] = []

    def add(self, picture: str, shard: int, sample: _Sample, places: Mapping[str, tuple[int, int]], label: int) -> None:
        key = picture.removesuffix(f".{sample.suffix}")
        self.keys.append(picture)
        self.shard.append(shard)
        self.sizes.append(sample.size)
        self.places.append([places[picture], *(places.get(f"{key}.{name}", (0, 0)) for name in self.names)])
        self.labels.append(label)

    def save(self, path: Path) -> None:
        keys, places = Names(self.keys), np.array(self.places, np.int64)
        np.savez(
            path, keys=keys.text, key_ends=keys.ends, shard=np.array(self.shard, np.int32),
            sizes=np.array(self.sizes, np.int32), offsets=places[..., 0], lengths=places[..., 1],
            labels=np.array(self.labels, np.int64),
        )  # fmt: skip


class _Checked:
    """Samples of a pack, read as training will, and held against what was written."""

    def __init__(self, source: PackedSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def read(self, index: int) -> int:
        source = self.source
        if source.load(index).size != source.picture_size(index):
            raise BadImage(source.name(index), "does not have the size that was written")
        if source.kind not in ("class", "none"):
            members = source.members(index)
            if encode(source.kind, source.target(index), source.classes) != members:
                raise BadImage(source.name(index), "its target is not what was written")
        return index

    def collate(self, samples: list[int]) -> list[int]:
        return samples


def _verify(folder: Path, split: str, how: PackSettings, say: Callable[[str], None]) -> None:
    """Read all of a split again; BadImage for what is not as it was written."""
    about = read_about(folder)
    source = PackedSource(folder, split, about, about["kind"])
    loader = evaluation_loader(_Checked(source), batch_size=_UNIT, workers=how.workers)
    bad = BadSamples(False, say)
    for batch in bar(loader, len(loader), f"verify {split}", f"x {_UNIT} pictures", leads=True):
        bad.check(batch)
