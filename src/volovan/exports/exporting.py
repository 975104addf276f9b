"""A network in use, written into a file and compared with it; what deviates is not kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from volovan.exports import PRECISIONS
from volovan.exports.about import About, ExportError
from volovan.exports.formats import FORMATS, Format, format_of
from volovan.exports.graph import part_of
from volovan.exports.opened import as_bytes, in_use
from volovan.exports.sensitive import NONE, Calibration, costly
from volovan.exports.verify import Check, prepared, usual_size, verify, verify_answers
from volovan.files.folders import workshop
from volovan.files.nearest import nearest_or_all
from volovan.room.ready import Ready
from volovan.room.settings import Size


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    files    all that belong to it, the one that is opened first
    about    what it says of itself
    check    how it was compared with the network
    figures  of int8 and the like, where there are labelled pictures: (before, after) of each figure of a validation
    """

    files: tuple[Path, ...]
    about: About
    check: Check
    figures: dict[str, tuple[float, float]] | None = None

    @property
    def path(self) -> Path:
        return self.files[0]

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)

    def said(self) -> str:
        about = self.about
        batch = "any batch" if about.batch is None else f"batch {about.batch}"
        size = "any height and width" if about.size is None else f"{about.size[0]} x {about.size[1]} pixels"
        lines = [f"{self.path}: {self.bytes / 2**20:.1f} MiB, {about.precision}, {batch} and {size}", self.check.said()]
        if self.figures:
            figures = [f"{name} {old:.3f} -> {new:.3f}" for name, (old, new) in self.figures.items()]
            lines.append(f"validated, before and after: {', '.join(figures)}")
        elif about.precision != "fp32":
            lines.append("not validated: labelled pictures are not at hand; name some with --data")
        return "\n".join(lines)


def about_of(
    ready: Ready[Any],
    *,
    raw: bool = False,
    size: Size | None = None,
    batch: int | None = None,
    answers: bool = False,
    precision: str = "fp32",
) -> About:
    """What a file of this network will say."""
    outputs = (ready.answering() if answers else ready.cut).outputs
    return About(ready.name, ready.describe(), outputs, raw, size, batch, answers, precision)


def choose_format(to: str, precision: str) -> Format:
    """ExportError for what there is not, or what cannot be done here."""
    found = FORMATS[to]
    if precision not in PRECISIONS:
        raise ExportError(f"--precision is {precision!r}; {nearest_or_all(precision, PRECISIONS)}")
    if precision not in found.precisions:
        able = [one.name for one in FORMATS.values() if precision in one.precisions]
        raise ExportError(
            f"{to} is written in {', '.join(found.precisions)}, not in {precision}; for that take --to "
            f"{' or '.join(able)}"
        )
    found.require()
    return found


@dataclass(frozen=True)
class Judge:
    """What says how good a network in use is: validation on labelled pictures.

    figures  network -> name -> value
    goal     the figure that counts, with a minus before it where less is better
    lost     how much of it may be lost; None: as much as there is
    """

    figures: Callable[[Ready[Any]], dict[str, float]]
    goal: str
    lost: float | None = None

    def compare(self, ready: Ready[Any], made: Ready[Any]) -> dict[str, tuple[float, float]]:
        """(before, after) of each; ExportError where too much is lost."""
        before, after = self.figures(ready), self.figures(made)
        name = self.goal.removeprefix("-")
        loss = (before[name] - after[name]) * (-1 if self.goal.startswith("-") else 1)
        if self.lost is not None and not loss <= self.lost:
            raise ExportError(
                f"{name} goes from {before[name]:.3f} to {after[name]:.3f}, more than --most-lost {self.lost:g} "
                "allows, and the file was not kept; give another --precision or other pictures to --calibrate"
            )
        return {name: (value, after[name]) for name, value in before.items()}


def export(
    ready: Ready[Any],
    how: Format,
    path: Path,
    about: About,
    pictures: Sequence[Image.Image],
    calibration: Sequence[Image.Image] = (),
    judge: Judge | None = None,
) -> Exported:
    """Write, open, compare; the file appears when all is well.

    pictures     to compare by
    calibration  by which the ranges of int8 are found
    judge        by which it is validated, before and after
    """
    if path.suffix != how.suffix:
        raise ExportError(f"--out is {path}; a file of {how.name} ends in {how.suffix}")
    refuse_others(path, how)
    ranges = calibration_by(ready, about, calibration) if calibration else NONE
    with workshop(path) as folder:
        made = folder / path.name
        if not about.answers:
            how.write(part_of(ready, about.raw), made, about, ranges)
            file = opened(type(ready), made)
            check = verify(ready, file, about, pictures)
            figures = judge.compare(ready, file) if judge else None
            return Exported(moved(made, path), about, check, figures)
        figures = None
        if judge:  # what is validated is the same network without them
            with tempfile.TemporaryDirectory() as aside:
                plain = Path(aside) / path.name
                how.write(part_of(ready, about.raw), plain, without_answers(ready, about), ranges)
                figures = judge.compare(ready, opened(type(ready), plain))
        part = part_of(ready, about.raw, answers=True)
        how.write(part, made, about, ranges)
        check = verify_answers(ready, part, how.open_file(made)[1], about, pictures)
        return Exported(moved(made, path), about, check, figures)


def without_answers(ready: Ready[Any], about: About) -> About:
    return replace(about, answers=False, outputs=ready.cut.outputs)


def calibration_by(ready: Ready[Any], about: About, pictures: Sequence[Image.Image]) -> Calibration:
    """What int8 is made by: pictures as the file takes them, and the layers that cost most."""
    inputs = [as_taken(ready, picture, about) for picture in pictures]
    spared = costly(part_of(ready, about.raw), inputs)
    count = about.batch or 1
    batches = [torch.cat(inputs[first : first + count]) for first in range(0, len(inputs), count)]
    missing = count - len(batches[-1])
    batches[-1] = torch.cat([batches[-1], *[batches[-1][-1:]] * missing])
    return Calibration(batches, spared)


def as_taken(ready: Ready[Any], picture: Image.Image, about: About) -> Tensor:
    """A picture as the file takes one: (1, 3, H, W), or (1, H, W, 3) bytes; of the size of the network."""
    image = prepared(ready, [picture], about.size or usual_size(ready))
    return as_bytes(image, about) if about.raw else image


def opened(kind: type[Ready[Any]], path: Path) -> Ready[Any]:
    """The network of a file, in use."""
    about, run = format_of(path).open_file(path)
    return in_use(kind, replace(about, name=str(path)), run)


def refuse_others(path: Path, how: Format) -> None:
    """ExportError where a file is in the way that is no export, nor belongs to one."""
    if not path.exists():
        for other in map(path.with_suffix, how.beside):
            if os.path.lexists(other):
                raise ExportError(f"{other} is there, and would be written too; name another file with --out")
        return
    try:
        format_of(path).read_about(path)
    except Exception:
        raise ExportError(f"{path} is there, and no file of volovan export; name another one with --out") from None


def moved(made: Path, path: Path) -> tuple[Path, ...]:
    """All files of a folder to where one of them shall be, that one last; returns them, that one first."""
    others = [file for file in sorted(made.parent.iterdir()) if file != made]
    found = [path.parent / file.name for file in others]
    for file, place in zip((*others, made), (*found, path), strict=True):
        os.replace(file, place)
    return (path, *found)
