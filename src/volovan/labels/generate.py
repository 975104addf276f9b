"""Label maps for every picture of a source: restartable, by one process or many."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from volovan.data.errors import BadImage
from volovan.data.loader import evaluation_loader
from volovan.data.samples import Names
from volovan.data.source import Source
from volovan.engine.distributed import Place, gather, share, wait_for_all
from volovan.engine.progress import Pace, bar, on_terminal
from volovan.labels.about import EXACT, About, Coverage, Layout, begin, claim, write_about
from volovan.labels.compact import SHARD_BYTES
from volovan.labels.errors import LabelError
from volovan.labels.keys import keys_digest, unique_keys
from volovan.labels.teacher import Teacher
from volovan.labels.view import TeacherView
from volovan.labels.writers import UNIT, Writer, open_writer, shard_pictures

DTYPES = {"float16": torch.float16, "float32": torch.float32}
_SECONDS_BETWEEN_LINES = 30.0


@dataclass(frozen=True)
class Plan:
    """How labels are made.

    size        pixels of the square that the teacher sees, or of the shorter side with coverage "image"
    top         classes kept at every position; fewer if the teacher has fewer
    batch_size  pictures that go through the teacher at once, `UNIT` at most
    skip_bad    leave out pictures that cannot be read, instead of stopping at the first
    split       of the source, to refuse another one; None if not known
    """

    size: int
    coverage: Coverage = "centre"
    top: int = 5
    dtype: Literal["float16", "float32"] = "float16"
    layout: Layout = "compact"
    precision: str = "fp32"
    batch_size: int = 32
    workers: int = 2
    skip_bad: bool = False
    shard_bytes: int = SHARD_BYTES
    split: str | None = None


@dataclass(frozen=True)
class Made:
    """What a call has done, over all processes."""

    made: int
    kept: int
    skipped: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Unit:
    """Pictures of a unit that could be read: keys, (3, H, W) of each, all pixels (uint8) in one row; and the others.

    One tensor, since each that comes from a worker process takes an open file.
    """

    number: int
    keys: list[str]
    sizes: list[torch.Size]
    pixels: Tensor
    bad: list[BadImage]


class Units:
    """Units of pictures for the loader."""

    def __init__(self, source: Source, keys: Names, view: TeacherView, units: list[int]) -> None:
        self.source, self.keys, self.view, self.units = source, keys, view, units

    def __len__(self) -> int:
        return len(self.units)

    def name(self, index: int) -> str:
        return self.source.name(self.units[index] * UNIT)

    def read(self, index: int) -> Unit:
        number = self.units[index]
        read: dict[str, Tensor] = {}
        bad: list[BadImage] = []
        for i in range(number * UNIT, min((number + 1) * UNIT, len(self.source))):
            try:
                read[self.keys[i]] = self.view.pixels(self.source.load(i), self.source.name(i))
            except BadImage as error:
                bad.append(error)
        pixels = torch.cat([torch.empty(0, dtype=torch.uint8), *(one.flatten() for one in read.values())])
        return Unit(number, list(read), [one.shape for one in read.values()], pixels, bad)

    def collate(self, samples: list[Unit]) -> Unit:
        """A batch is one unit."""
        return samples[0]


def generate(
    teacher: Teacher, source: Source, out: Path, plan: Plan, place: Place, say: Callable[[str], None] = print
) -> Made:
    """Write a label map for each picture of the source into the folder `out`.

    What is there is kept. The result does not depend on how often it was interrupted, nor on the number of processes
    (all of them call this); it may differ in the last bits with another batch size or device.

    raises  LabelError: whole pictures at a size of no whole cells; the folder was begun with other settings;
            pictures share a key; values are not finite;
            BadImage: a picture cannot be read (unless plan.skip_bad)
    """
    if plan.coverage == "image" and plan.size % teacher.stride:
        lower = plan.size // teacher.stride * teacher.stride
        near = f"{lower} or {lower + teacher.stride}" if lower else str(teacher.stride)
        raise LabelError(
            f"--size is {plan.size}, but with --crop image it must be a multiple of {teacher.stride}, the pixels "
            f"of a cell of {teacher.name}; take {near}"
        )
    keys = unique_keys(Names(map(source.name, range(len(source)))))
    about = describe(teacher, keys, plan)
    begin(out, about)
    wait_for_all(place)  # all have looked before anything is written
    writer = open_writer(out, about, keys)
    if place.leads:
        if begin(out, about) is None:
            write_about(out, about)
        claim(out, writer.files())
    before: tuple[list[int], int] = share(writer.todo() if place.leads else None, place)  # type: ignore[assignment]
    todo, lacking = before
    kept = len(keys) - lacking
    say(f"{len(keys):,} pictures, {kept:,} of them labelled already")
    view = TeacherView(teacher.preprocessing, plan.size, plan.coverage, teacher.stride)
    units = Units(source, keys, view, todo)
    start = time.perf_counter()
    skipped = _make(teacher, units, writer, plan, place, say)
    wait_for_all(place)
    if place.leads:
        writer.finish()
    after: tuple[list[int], int] = share(writer.todo() if place.leads else None, place)  # type: ignore[assignment]
    every = tuple(line for lines in gather(skipped, place) for line in lines)
    return Made(lacking - after[1], kept, every, time.perf_counter() - start)


def describe(teacher: Teacher, keys: Names, plan: Plan) -> About:
    """What labels.json will say before the work begins."""
    top = min(plan.top, teacher.num_classes)
    about = About(
        layout=plan.layout,
        teacher=teacher.name,
        digest=teacher.digest,
        num_classes=teacher.num_classes,
        classes=teacher.classes,
        size=plan.size,
        coverage=plan.coverage,
        top=top,
        dtype=plan.dtype,
        precision=plan.precision,
        preprocessing={
            "mean": list(teacher.preprocessing.mean),
            "std": list(teacher.preprocessing.std),
            "interpolation": "bicubic",
        },
        made_with=f"volovan {version('volovan')}",
        keys=keys_digest(keys),
        split=plan.split,
    )
    if plan.layout == "published":
        if about.tensor_dtype != plan.dtype:
            raise LabelError(
                f"the teacher has {teacher.num_classes:,} classes, and float16 holds whole numbers up to {EXACT:,} "
                "exactly; use --dtype float32 or --layout compact, which keeps class indices as integers"
            )
        return about
    cells = max(1, plan.size // teacher.stride) ** 2
    bytes_each = top * cells * (DTYPES[plan.dtype].itemsize + 2)
    return replace(about, shard_pictures=shard_pictures(bytes_each, plan.shard_bytes))


def _make(
    teacher: Teacher, units: Units, writer: Writer, plan: Plan, place: Place, say: Callable[[str], None]
) -> list[str]:
    """Label this process's share of the units; returns a line for each picture left out."""
    loader = evaluation_loader(
        units, batch_size=1, rank=place.rank, world=place.world, workers=min(plan.workers, len(units))
    )
    skipped: list[str] = []
    pace, spoken = Pace(len(loader), 0, UNIT * place.world), time.perf_counter()
    for step, batch in enumerate(bar(loader, len(loader), "label", f"x {UNIT} pictures", place.leads), 1):
        if batch.failed:
            raise batch.failed
        unit: Unit = batch.data
        if unit.bad and not plan.skip_bad:
            raise LabelError(
                f"{unit.bad[0]}; remove or mend the file (volovan check-data finds all of them), or use --on-bad skip"
            )
        skipped += map(str, unit.bad)
        writer.put(unit.number, unit.keys, list(_maps(teacher, units.view, unit, plan, place.device)))
        if place.leads:
            writer.advance()
            if not on_terminal() and time.perf_counter() - spoken > _SECONDS_BETWEEN_LINES:
                spoken = time.perf_counter()
                say(f"{step:,} of {len(loader):,} x {UNIT} pictures, {pace.rate(step):.1f}/s, {pace.left(step)} left")
    return skipped


def _maps(teacher: Teacher, view: TeacherView, unit: Unit, plan: Plan, device: torch.device) -> Iterator[Tensor]:
    """The map of each picture, (2, top, h, w), in their order. Pictures of one size make a batch.

    Logits are rounded to the type that was asked for; with more classes than float16 can count, they stay in float32.
    """
    dtype, parts = DTYPES[plan.dtype], unit.pixels.split([size.numel() for size in unit.sizes])
    pictures = [part.view(size) for part, size in zip(parts, unit.sizes, strict=True)]
    by_size: dict[torch.Size, list[int]] = {}
    for number, size in enumerate(unit.sizes):
        by_size.setdefault(size, []).append(number)
    maps: dict[int, Tensor] = {}
    for numbers in by_size.values():
        for start in range(0, len(numbers), plan.batch_size):
            chosen = numbers[start : start + plan.batch_size]
            images = view.normalise(torch.stack([pictures[number] for number in chosen]).to(device))
            found = teacher.top(images, min(plan.top, teacher.num_classes), plan.precision).cpu()
            found[:, 0] = found[:, 0].to(dtype)
            maps.update(zip(chosen, found if teacher.num_classes - 1 > EXACT else found.to(dtype), strict=True))
    for number, key in enumerate(unit.keys):
        if not maps[number].isfinite().all():
            raise LabelError(
                f"the teacher gives values for the picture {key} that {plan.dtype} cannot hold, or that are no "
                "numbers; use --precision fp32 and --dtype float32"
            )
        yield maps[number]
