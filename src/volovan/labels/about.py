"""labels.json: what a folder of label maps says of itself, in both layouts."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from volovan.labels.errors import LabelError

FORMAT = "volovan-labels-1"
FILE = "labels.json"
UNFINISHED = ".unfinished"  # folder of what is being written
EXACT = 2048
"""the largest class index that float16 holds exactly"""

Layout = Literal["compact", "published"]
Coverage = Literal["centre", "image"]


@dataclass(frozen=True)
class ShardEntry:
    """One file of the compact layout."""

    file: str
    pictures: int
    sha256: str


@dataclass(frozen=True)
class About:
    """The settings that label maps were made with.

    teacher, digest     the name as it was given; SHA-256 of its weights
    num_classes         outputs of the teacher; class indices are below it
    classes             their names, None if unknown
    size                (height, width) in pixels that the teacher saw; with coverage "image" its smaller number is the
                        length of the shorter side
    coverage            what of a picture a map covers: the centre square, or all of it
    top                 classes kept at every position
    dtype               of the maps, float16 or float32
    preprocessing       mean, std, interpolation, crop_pct
    pictures, keys      compact layout: number of maps, and a digest of their keys in the order they were made
    shards              compact layout: its files, once all are there
    """

    layout: Layout
    teacher: str
    digest: str
    num_classes: int
    classes: tuple[str, ...] | None
    size: tuple[int, int]
    coverage: Coverage
    top: int
    dtype: Literal["float16", "float32"]
    precision: str
    preprocessing: dict[str, Any]
    made_with: str
    pictures: int | None = None
    keys: str | None = None
    shards: tuple[ShardEntry, ...] | None = None


def read_about(folder: Path) -> About | None:
    """What labels.json says; None without one, LabelError if it cannot be read."""
    path = folder / FILE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise LabelError(f"{path} cannot be read ({error}); make the labels anew, or convert them again") from None
    if not isinstance(state, dict) or state.pop("format", None) != FORMAT:
        raise LabelError(f"{path} is not of the format {FORMAT}; another version of volovan may have written it")
    try:
        about = About(**state)
        shards = None if about.shards is None else tuple(ShardEntry(**entry) for entry in about.shards)  # type: ignore[arg-type]
        classes = None if about.classes is None else tuple(about.classes)
        return replace(about, shards=shards, classes=classes, size=(about.size[0], about.size[1]))
    except (TypeError, IndexError) as error:
        raise LabelError(f"{path} is damaged ({error}); make the labels anew, or convert them again") from None


def write_about(folder: Path, about: About) -> None:
    state = {"format": FORMAT, **{key: value for key, value in asdict(about).items() if value is not None}}
    for field in fields(About):
        state.setdefault(field.name, None)
    write_whole(folder, FILE, (json.dumps(state, indent=1, ensure_ascii=False) + "\n").encode())


def write_whole(folder: Path, name: str, content: bytes, durable: bool = True) -> None:
    """Write folder/name so that it appears whole or not at all, also if the process is killed.

    durable: flush it to the disk before it appears, so that a power cut cannot leave an empty file.
    """
    part = folder / UNFINISHED / f"{name.replace('/', '%')}.{os.getpid()}"
    path = folder / name
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, path)
    except OSError as error:
        raise LabelError(
            f"{path} could not be written ({error.strerror or error}); what is there stays: free some space and call "
            "volovan label again to go on"
        ) from error


def sweep(folder: Path) -> None:
    """Remove what killed processes have left half written."""
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
