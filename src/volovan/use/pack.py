"""volovan.pack: pictures of any source, made small enough to be read fast, with their targets, in shards.

Training decodes a picture again in every epoch. One of a camera has sixty times the pixels that a network sees; packed
once at a bounded size it is read in a fraction of the time, and from a few large files, which network disks like.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from volovan.data.errors import BadImage, SourceError, printable
from volovan.data.loader import SampleReader, evaluation_loader
from volovan.data.packs.packed import PackedSource
from volovan.data.packs.table import ABOUT, About, Split, read_about
from volovan.data.packs.targets import encode, resized
from volovan.data.packs.writing import Rows, Sample, Shards, unused
from volovan.data.pictures.decoding import decode
from volovan.data.samples import UNLABELLED, Part, palette_of, skeleton_of, things_of
from volovan.data.source import Source
from volovan.data.sources import list_splits, open_source
from volovan.engine.evaluate import BadSamples
from volovan.engine.progress import bar
from volovan.files.folders import new_folder
from volovan.labels.keys import label_key
from volovan.room.data import Samples
from volovan.room.settings import at_least, between
from volovan.use.rooms import ROOMS

SIZES = {"classify": 512, "saliency": 512, "segment": 1024, "detect": 1024, "panoptic": 1024, "pose": 1024}
"""task -> what the shorter side of a picture is at most, unless something else is said"""
_UNIT = 8  # pictures that a process hands over at once
_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
"""format -> how a member is called that holds the bytes of the file"""
_LARGEST = 65_500  # pixels of a side that a JPEG can have
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
        between("--size", self.size, 0, _LARGEST)
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


class _Sent(NamedTuple):
    """Samples on their way from a process: contents in a row, in shared memory. A pipe that holds them would keep the
    process from ending where nobody reads it any more."""

    samples: list[Sample]  # whose members are empty
    lengths: list[list[int]]
    contents: Tensor

    def received(self) -> Iterator[Sample]:
        begin, whole = 0, self.contents.numpy().tobytes()
        for sample, lengths in zip(self.samples, self.lengths, strict=True):
            members = {}
            for name, length in zip(sample.members, lengths, strict=True):
                members[name] = whole[begin : begin + length]
                begin += length
            yield sample._replace(members=members)


class _Units(Samples):
    """Pictures and targets of a source as members of a shard."""

    def __init__(self, source: Source, settings: PackSettings) -> None:
        super().__init__(source, None)
        self.settings = settings

    def read(self, index: int) -> Sample:
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
            lossless = to == whole or max(to) > _LARGEST
            suffix, data = _written(image.resize(to, Image.Resampling.BICUBIC), lossless, settings.quality)
        target = resized(source.kind, source.target(index), whole, to)
        label = UNLABELLED if source.kind != "class" or target is None else target
        return Sample(index, to, label, {suffix: data} | encode(source.kind, target, source.classes))

    def collate(self, samples: Sequence[Sample]) -> _Sent:  # type: ignore[override]
        contents = bytearray().join(data for sample in samples for data in sample.members.values())
        lengths = [[len(data) for data in sample.members.values()] for sample in samples]
        empty = [sample._replace(members=dict.fromkeys(sample.members, b"")) for sample in samples]
        return _Sent(empty, lengths, torch.frombuffer(contents, dtype=torch.uint8))


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
              loses nothing
    settings  see `PackSettings`
    raises    SourceError, SettingsError, UnwritableError: there is nothing to pack, or `out` is no new folder;
              BadImage: a picture or target cannot be read, unless on_bad is "skip"
    """
    how = PackSettings(SIZES[task] if size is None else size, **settings)
    kind, folder, begun = ROOMS[task].kind, Path(out).expanduser(), time.perf_counter()
    splits = [split for split in list_splits(source, kind) if split] or ["train", "val"]
    opened = {split: open_source(source, split, kind, drawn_on=drawn_on) for split in splits}  # type: ignore[arg-type]
    for note in dict.fromkeys(own.note for own in opened.values() if own.note):
        say(f"note: {note}")
    opened = {split: own for split, own in opened.items() if len(own)} or opened
    first = next(iter(opened.values()))
    made = {"with": f"volovan {version('volovan')}", "of": printable(str(source)), "size": how.size}
    written: dict[str, Split] = {}
    bad = BadSamples(how.on_bad == "skip", say, "--on-bad skip")
    with new_folder(folder) as part:
        for split, own in opened.items():
            written[split] = _write_split(own, part, split, how, bad, say)
        about = About(
            first.kind, tuple(first.classes), palette_of(first), things_of(first), skeleton_of(first), written
        )
        (part / ABOUT).write_text(about.text(made), encoding="utf-8")
        if first.classes:
            lines = "".join(f"{printable(name)}\n" for name in first.classes)
            (part / "classes.txt").write_text(lines, encoding="utf-8")
        for split in opened:
            _verify(part, split, how, say)
    counts = {split: own.pictures for split, own in written.items()}
    total = sum(length for own in written.values() for _, length in own.shards)
    return Packed(folder, counts, [f"{n}: {why}" for n, why in bad.names.items()], total, time.perf_counter() - begun)


def _write_split(
    source: Source, folder: Path, split: str, how: PackSettings, bad: BadSamples, say: Callable[[str], None]
) -> Split:
    """What was written. Training samples are shuffled, for readers that take them in a row."""
    if split == "train":
        source = Part(source, np.random.default_rng(how.seed).permutation(len(source)))
    rows, keys = Rows(source.kind), set[str]()
    shards = Shards(folder, split, how.shard_mb << 20)
    with closing(shards):
        for sent in _through(_Units(source, how), f"pack {split}", how.workers, bad):
            for sample in sent.received():
                key = unused(label_key(source.name(sample.number)), keys)
                rows.add(key, sample, *shards.add(key, sample.members))
    if not rows.keys:
        raise SourceError(f"the split {split} has no pictures that could be read; nothing was packed")
    rows.save(folder / f"{split}.npz")
    return Split(shards.written, len(rows.keys), source.note)


class _Checked(Samples):
    """Samples of a pack, read as training will, and held against what was written."""

    source: PackedSource

    def read(self, index: int) -> int:
        source = self.source
        if source.load(index).size != source.picture_size(index):
            raise BadImage(source.name(index), "does not have the size that was written")
        if encode(source.kind, source.target(index), source.classes) != source.members(index):
            raise BadImage(source.name(index), "its target is not what was written")
        return index

    def collate(self, samples: Sequence[int]) -> Sequence[int]:  # type: ignore[override]
        return samples


def _verify(folder: Path, split: str, how: PackSettings, say: Callable[[str], None]) -> None:
    """Read all of a split again; BadImage for what is not as it was written."""
    about = read_about(folder)
    source = PackedSource(folder, split, about, about.kind)
    for _ in _through(_Checked(source, None), f"verify {split}", how.workers, BadSamples(False, say)):
        pass


def _through(samples: SampleReader, label: str, workers: int, bad: BadSamples) -> Iterator[Any]:
    """Units of samples, in their order, as processes have read them; `bad` decides on those that cannot be read."""
    loader = evaluation_loader(samples, batch_size=_UNIT, workers=workers)
    for batch in bar(loader, len(loader), label, f"x {_UNIT} pictures", leads=True):
        bad.check(batch)
        if batch.size:
            yield batch.data
