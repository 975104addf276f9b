"""The data sets of the suite: what they are called, where they lie, where to get them, how they are read."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from volovan.data.folder import subfolders
from volovan.engine.settings import SettingsError
from volovan.files.nearest import nearest
from volovan.suite.readers import Pass, read_classes, read_corruptions, read_subset, read_val
from volovan.suite.vizwiz import read_vizwiz

VARIABLE = "VOLOVAN_SUITE"
READ_TOGETHER = ("val", "real")


@dataclass(frozen=True)
class TestSet:
    """One data set. The rules by which sets are scored are in docs/evaluation.md.

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
    read: Callable[[Path, str], Iterable[Pass]] | None = None

    def shown(self) -> list[str]:
        """The folders, for people."""
        return [f"{folder}/val" if self.read is None else folder for folder in self.folders if folder]


def _v2(name: str, title: str, *folders: str) -> TestSet:
    """A variant of ImageNet-V2. Its folder is called as the archive unpacks, or otherwise; alone, or in imagenetv2/."""
    alone = tuple(f"imagenetv2-{folder}" for folder in folders)
    places = (*alone, *(f"imagenetv2/{folder}" for folder in alone))
    return TestSet(name, f"ImageNet-V2, {title}", places, "modestyachts/ImageNetV2 on GitHub", 10_000, read_classes)


_IMAGENET = ("imagenet", "imagenet-1k", "ILSVRC2012", "")
_HOLD_VAL = ("val", "validation", "ILSVRC2012_img_val.tar", "ILSVRC")  # one of these is in ImageNet as handed out
_REAL = "google-research/reassessed-imagenet on GitHub (the pictures are those of val)"
_SKETCH = ("imagenet-sketch/sketch", "imagenet-sketch", "sketch")
_VIZWIZ = "vizwiz.org, tasks and datasets, image classification"

SETS: dict[str, TestSet] = {
    entry.name: entry
    for entry in (
        TestSet("val", "ImageNet val", _IMAGENET, "image-net.org, ILSVRC 2012", 50_000),
        TestSet("real", "ReaL", _IMAGENET, _REAL, 46_837),
        _v2("v2-matched-frequency", "matched frequency", "matched-frequency-format-val", "matched-frequency"),
        _v2("v2-threshold-0.7", "threshold 0.7", "threshold0.7-format-val", "threshold0.7"),
        _v2("v2-top-images", "top images", "top-images-format-val", "top-images", "topimages"),
        TestSet("a", "ImageNet-A", ("imagenet-a",), "hendrycks/natural-adv-examples on GitHub", 7_500, read_subset),
        TestSet("r", "ImageNet-R", ("imagenet-r",), "hendrycks/imagenet-r on GitHub", 30_000, read_subset),
        TestSet("sketch", "ImageNet-Sketch", _SKETCH, "HaohanWang/ImageNet-Sketch on GitHub", 50_889, read_classes),
        TestSet("vizwiz", "VizWiz-Classification", ("vizwiz-classification", "vizwiz"), _VIZWIZ, 8_900, read_vizwiz),
        TestSet("c", "ImageNet-C", ("imagenet-c",), "hendrycks/robustness on GitHub", 250_000, read_corruptions),
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
            hint = nearest(word, [*SETS, "v2"], otherwise=";")
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
            if path is None:
                continue
            if name not in READ_TOGETHER or any((path / entry).exists() for entry in _HOLD_VAL):
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
    return ", ".join(dict.fromkeys(SETS[name].shown()[0] for name in names))


def _below(root: Path, folder: str) -> Path | None:
    for part in filter(None, folder.split("/")):
        same = [path for path in subfolders(root) if _plain(path.name) == _plain(part)]
        if not same:
            return None
        root = same[0]
    return root


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
