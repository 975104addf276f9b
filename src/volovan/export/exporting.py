"""A network in use, written into a file and compared with it; what deviates is not kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from volovan.export.about import About, ExportError
from volovan.export.formats import FORMATS, Format, format_of
from volovan.export.graph import part_of
from volovan.export.opened import in_use
from volovan.export.verify import Check, verify
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
        open_ = [word for word, fixed in (("batch", about.batch), ("height and width", about.size)) if fixed is None]
        takes = f"any {' and any '.join(open_)}" if open_ else "one size"
        return f"{self.path}: {self.bytes / 2**20:.1f} MiB, {about.precision}, {takes}\n{self.check.said()}"


def about_of(
    ready: Ready[Any], *, raw: bool = False, size: Size | None = None, batch: int | None = None, precision: str = "fp32"
) -> About:
    """What a file of this network will say."""
    return About(ready.name, ready.describe(), ready.cut.outputs, raw, size, batch, precision)


def choose_format(to: str, precision: str) -> Format:
    """ExportError for what there is not, or what cannot be done here."""
    found = FORMATS[to]
    if precision not in found.precisions:
        able = [one.name for one in FORMATS.values() if precision in one.precisions]
        raise ExportError(
            f"{to} is written in {', '.join(found.precisions)}, not in {precision}; for that take --to "
            f"{' or '.join(able)}"
        )
    found.require()
    return found


def export(ready: Ready[Any], how: Format, path: Path, about: About, pictures: Sequence[Image.Image]) -> Exported:
    """Write, open, compare; the file appears when all is well.

    pictures  to compare by
    """
    if path.suffix != how.suffix:
        raise ExportError(f"--out is {path}; a file of {how.name} ends in {how.suffix}")
    refuse_others(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        made = Path(folder) / path.name
        how.write(part_of(ready, about.raw), made, about)
        check = verify(ready, opened(type(ready), made), about, pictures)
        return Exported(moved(made, path), about, check)


def opened(kind: type[Ready[Any]], path: Path) -> Ready[Any]:
    """The network of a file, in use."""
    about, run = format_of(path).open_file(path)
    return in_use(kind, replace(about, name=str(path)), run)


def refuse_others(path: Path) -> None:
    """ExportError where a file is in the way that is no export."""
    if not path.exists():
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
