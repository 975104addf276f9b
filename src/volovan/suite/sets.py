"""The data sets of the suite: what they are called, where they lie, where to get them, how they are scored."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from volovan.data.folder import subfolders
from volovan.engine.settings import SettingsError
from volovan.suite.readers import Pass, read_classes, read_corruptions, read_subset, read_val
from volovan.suite.vizwiz import read_vizwiz

VARIABLE = "VOLOVAN_SUITE"
ALL_CLASSES = "1000 classes, one label"
READ_TOGETHER = ("val", "real")


@dataclass(frozen=True)
class TestSet:
    """One data set.

    folders  tried below each root, in this order; upper case and `_` for `-` do not matter
    where    a page or a repository, for people: nothing is downloaded
    pictures that count in the whole set (of ImageNet-C: of each corruption)
    read     (folder, name) -> its passes; None: read_val reads ImageNet val and ReaL together
    """

    name: str
    title: str
    folders: tuple[str, ...]
    where: str
    pictures: int
    rule: str
    read: Callable[[Path, str], Iterable[Pass]] | None = None


def _v2(*names: str) -> tuple[str, ...]:
    """What the archives unpack to, first; alone, or together in one folder."""
    folders = tuple(f"imagenetv2-{name}" for name in names)
    return (*folders, *(f"imagenetv2/{folder}" for folder in folders))


_V2 = "modestyachts/ImageNetV2 on GitHub"
_IMAGENET = ("imagenet", "imagenet-1k", "ILSVRC2012", "")

SETS: dict[str, TestSet] = {
    entry.name: entry
    for entry in (
        TestSet("val", "ImageNet val", _IMAGENET, "image-net.org, ILSVRC 2012", 50_000, ALL_CLASSES),
        TestSet(
            "real",
            "ReaL",
            _IMAGENET,
            "google-research/reassessed-imagenet on GitHub (the pictures are those of val)",
            46_837,
            "1000 classes; right if among the labels of the picture; pictures without a label do not count",
        ),
        TestSet(
            "v2-matched-frequency",
            "ImageNet-V2, matched frequency",
            _v2("matched-frequency-format-val", "matched-frequency"),
            _V2,
            10_000,
            ALL_CLASSES,
            read_classes,
        ),
        TestSet(
            "v2-threshold-0.7",
            "ImageNet-V2, threshold 0.7",
            _v2("threshold0.7-format-val", "threshold0.7"),
            _V2,
            10_000,
            ALL_CLASSES,
            read_classes,
        ),
        TestSet(
            "v2-top-images",
            "ImageNet-V2, top images",
            _v2("top-images-format-val", "top-images", "topimages"),
            _V2,
            10_000,
            ALL_CLASSES,
            read_classes,
        ),
        TestSet(
            "a",
            "ImageNet-A",
            ("imagenet-a",),
            "hendrycks/natural-adv-examples on GitHub",
            7_500,
            "the outputs of its 200 classes alone compete, one label",
            read_subset,
        ),
        TestSet(
            "r",
            "ImageNet-R",
            ("imagenet-r",),
            "hendrycks/imagenet-r on GitHub",
            30_000,
            "the outputs of its 200 classes alone compete, one label",
            read_subset,
        ),
        TestSet(
            "sketch",
            "ImageNet-Sketch",
            ("imagenet-sketch/sketch", "imagenet-sketch", "sketch"),
            "HaohanWang/ImageNet-Sketch on GitHub",
            50_889,
            ALL_CLASSES,
            read_classes,
        ),
        TestSet(
            "vizwiz",
            "VizWiz-Classification",
            ("vizwiz-classification", "vizwiz"),
            "vizwiz.org, tasks and datasets, image classification",
            8_900,
            "the outputs of its 200 classes alone compete; right if among the labels of the picture",
            read_vizwiz,
        ),
        TestSet(
            "c",
            "ImageNet-C",
            ("imagenet-c",),
            "hendrycks/robustness on GitHub",
            250_000,
            "1000 classes, one label; error of each corruption over that of AlexNet, mean of 15 (mCE)",
            read_corruptions,
        ),
    )
}
"""In the order in which they run: ImageNet-C last, since it is 95 times as large as val."""


def choose(words: str | None) -> tuple[str, ...]:
    """`val,v2,c` -> names of SETS in their order; v2 is all three variants; None is all."""
    if words is None:
        return tuple(SETS)
    chosen: set[str] = set()
    for word in words.lower().split(","):
        found = [name for name in SETS if name == word.strip() or (word.strip() == "v2" and name.startswith("v2-"))]
        if not found:
            near = get_close_matches(word, [*SETS, "v2"], n=1)
            hint = f"; did you mean {near[0]}?" if near else ";"
            raise SettingsError(f"--sets: there is no set {word.strip()!r}{hint} known are {', '.join(SETS)} and v2")
        chosen.update(found)
    return tuple(name for name in SETS if name in chosen)


def roots(given: Sequence[str] | None) -> tuple[Path, ...]:
    """The folders to look into: those of --root, else those of the variable, separated as in PATH."""
    names = list(given or filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)))
    if not names:
        raise SettingsError(
            f"--suite needs the folder that holds the data sets; name it with --root FOLDER or in {VARIABLE}. "
            f"It may hold: {expected(SETS)}"
        )
    found = tuple(Path(name).expanduser() for name in names)
    for path in found:
        if not path.is_dir():
            raise SettingsError(f"--root {path}: there is no such folder")
    return found


def locate(name: str, places: Sequence[Path]) -> Path | None:
    """The folder of a set, or None."""
    for root in places:
        for folder in SETS[name].folders:
            path = _below(root, folder)
            if path is not None and (name not in READ_TOGETHER or _holds_val(path)):
                return path
    return None


def locate_real_labels(places: Sequence[Path]) -> Path | None:
    """real.json of ReaL in a root, or in a folder called after ReaL or its repository."""
    for root in places:
        for folder in ("", "imagenet-real", "real", "reassessed-imagenet", *filter(None, _IMAGENET)):
            path = _below(root, folder)
            if path is not None and (path / "real.json").is_file():
                return path / "real.json"
    return None


def open_sets(names: Sequence[str], places: Sequence[Path]) -> dict[str, Iterable[Pass]]:
    """{set: its passes} of the sets that are there; val and real are one entry, since they share the pictures.

    Raises SourceError if one that is there cannot be read: better now than after hours.
    """
    opened: dict[str, Iterable[Pass]] = {}
    together = [name for name in names if name in READ_TOGETHER]
    for name in names:
        folder = locate(name, places)
        if folder is None or (name in READ_TOGETHER and name != together[0]):
            continue
        read = SETS[name].read
        opened[name] = read_val(folder, together, locate_real_labels(places)) if read is None else read(folder, name)
    return opened


def expected(names: Iterable[str]) -> str:
    """What folders are looked for, in one line."""
    return ", ".join(dict.fromkeys(_first_folder(name) for name in names))


def _first_folder(name: str) -> str:
    folder = SETS[name].folders[0]
    return f"{folder}/val" if name in READ_TOGETHER else folder


def _holds_val(folder: Path) -> bool:
    """Whether this may be ImageNet as handed out."""
    return any((folder / name).exists() for name in ("val", "validation", "ILSVRC2012_img_val.tar", "ILSVRC"))


def _below(root: Path, folder: str) -> Path | None:
    for part in filter(None, folder.split("/")):
        same = [path for path in subfolders(root) if _plain(path.name) == _plain(part)]
        if not same:
            return None
        root = same[0]
    return root


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
