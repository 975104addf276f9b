"""labels.json: what a folder of label maps says of itself, in both layouts."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from volovan.files.hidden import is_hidden
from volovan.files.results import mark
from volovan.files.whole import write_bytes
from volovan.labels.errors import LabelError

FORMAT = "volovan-labels-1"
FILE = "labels.json"
UNFINISHED = ".unfinished"  # folder of what is being written
EXACT = 2048
"""the largest class index that float16 holds exactly"""

Dtype = Literal["float16", "float32"]
Layout = Literal["compact", "published"]
Coverage = Literal["centre", "image"]


@dataclass(frozen=True)
class ShardEntry:
    """One file of the compact layout."""

    file: str
    pictures: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class About:
    """The settings that label maps were made with.

    teacher, digest     the name as it was given; SHA-256 of its weights
    num_classes         outputs of the teacher; class indices are below it; None if unknown
    classes             their names, None if unknown
    size                pixels of the square that the teacher saw; of the shorter side with coverage "image"
    coverage            what of a picture a map covers: the centre square, or all of it
    top                 classes kept at every position
    dtype               of the maps, float16 or float32
    preprocessing       of the pictures: mean, std, interpolation
    keys, split         digest of the keys of all pictures in the order of the source; its split, None if not known
    shard_pictures      compact layout: pictures for each shard
    index               compact layout: SHA-256 of the index
    pictures, shards    compact layout: number of maps, None until all are there; the files that are known

    What is not known of published maps is None.
    """

    layout: Layout
    teacher: str | None = None
    digest: str | None = None
    num_classes: int | None = None
    classes: tuple[str, ...] | None = None
    size: int | None = None
    coverage: Coverage | None = None
    top: int
    dtype: Dtype
    precision: str | None = None
    preprocessing: dict[str, Any] | None = None
    made_with: str
    keys: str | None = None
    split: str | None = None
    shard_pictures: int | None = None
    index: str | None = None
    pictures: int | None = None
    shards: tuple[ShardEntry, ...] | None = None

    @property
    def tensor_dtype(self) -> Dtype:
        """Type of a map that is one tensor of logits and class indices, for which float16 may be too small."""
        return "float32" if self.num_classes is not None and self.num_classes - 1 > EXACT else self.dtype


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
        return replace(about, shards=shards, classes=classes)
    except TypeError as error:
        raise LabelError(f"{path} is damaged ({error}); make the labels anew, or convert them again") from None


def write_about(folder: Path, about: About) -> None:
    state = {"format": FORMAT, **asdict(about)}
    write_whole(folder, FILE, (json.dumps(state, indent=1, ensure_ascii=False) + "\n").encode())


# field -> how the user sets it
_COMPARED = {
    "layout": "--layout", "digest": "the teacher", "size": "--size", "coverage": "--crop", "top": "--top",
    "dtype": "--dtype", "precision": "--precision", "preprocessing": "the preprocessing",
    "shard_pictures": "the size of the shards", "keys": "the pictures of the source",
    "split": "--split",
}  # fmt: skip
_MAYBE_UNKNOWN = ("keys", "split")  # None fits anything
_FOLLOWING = ("preprocessing", "shard_pictures", "keys")  # these may differ because another one does


def begin(folder: Path, about: About) -> About | None:
    """Make sure that `about` may be written into the folder; returns what is there, None if nothing is.

    raises  LabelError: label maps with other settings are there, each difference named, or other files
    """
    found = read_about(folder)
    if found is None:
        others = sorted(path.name for path in folder.iterdir() if not is_hidden(path.name)) if folder.is_dir() else []
        if others:
            raise LabelError(f"{folder} holds {others[0]} but no {FILE}; name a new or empty folder with --out")
        return None
    values = {key: (getattr(found, key), getattr(about, key)) for key in _COMPARED}
    unknown = {key for key in _MAYBE_UNKNOWN if None in values[key]}
    differences = [key for key, (was, now) in values.items() if was != now and key not in unknown]
    if differences:
        own = [key for key in differences if key not in _FOLLOWING] or differences
        said = "; ".join(_difference(key, found, about) for key in own)
        raise LabelError(
            f"{folder} was begun with other settings: {said}; give the same ones to go on, or name "
            "another folder with --out"
        )
    return found


def _difference(key: str, found: About, about: About) -> str:
    if key == "digest":
        was, now = (f"{one.teacher} with weights {(one.digest or 'unknown')[:12]}" for one in (found, about))
        return f"the teacher was {was}, now {now}"
    if key == "keys":
        return "the pictures of the source (or --limit) have changed, or their order"
    return f"{_COMPARED[key]} was {getattr(found, key)}, now {getattr(about, key)}"


def claim(folder: Path, files: Iterable[str]) -> None:
    """Say that these are label maps, or what folders they begin with: no classes, no pictures of the user."""
    mark(
        folder,
        "label maps",
        [FILE, *dict.fromkeys(f"{file.partition('/')[0]}/" if "/" in file else file for file in files)],
    )


def write_whole(folder: Path, name: str, content: bytes, durable: bool = True) -> None:
    """Write folder/name so that it appears whole or not at all, also if the process is killed.

    durable: flush it to the disk before it appears, so that a power cut cannot leave an empty file.
    """
    remedy = " and call volovan label again to go on; what is there stays"
    write_bytes(folder / name, content, durable=durable, below=folder / UNFINISHED, remedy=remedy, error=LabelError)


def sweep(folder: Path) -> None:
    """Remove what killed processes have left half written."""
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
