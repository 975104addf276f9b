"""Data sets in their original layouts -> pictures, and for each picture the classes that are right."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from volovan.classify.transforms import EvalTransform
from volovan.data import Source, open_source
from volovan.data.errors import SourceError
from volovan.data.folder import pictures_below, subfolders
from volovan.data.samples import Chain, FileSource, load_reduced, spread_indices
from volovan.data.text import read_json
from volovan.files.classes import wnids
from volovan.room.data import collated
from volovan.suite.classes import COUNT, number_of, real_labels, subset
from volovan.suite.scoring import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES


class LabelSets:
    """The classes accepted for each picture, in two arrays: a list of lists would be copied into every worker."""

    def __init__(self, labels: Iterable[Iterable[int]]) -> None:
        lists = [list(numbers) for numbers in labels]
        self.ends = np.cumsum([0, *map(len, lists)])
        self.values = np.array([number for numbers in lists for number in numbers], dtype=np.int64)
        if len(self.values) and not 0 <= self.values.min() <= self.values.max() < COUNT:
            raise SourceError(
                f"the labels go from {self.values.min()} to {self.values.max()}, expected 0 to {COUNT - 1}"
            )

    def __getitem__(self, index: int) -> np.ndarray:
        return self.values[self.ends[index] : self.ends[index + 1]]


@dataclass(frozen=True)
class Row:
    """One figure of a pass: what is accepted for each picture, and which pictures count."""

    name: str
    labels: LabelSets
    counts: np.ndarray  # (N,) bool


@dataclass(frozen=True)
class Pass:
    """Pictures that are shown to the network once.

    subset  classes that compete; None for all 1000
    cut     the pictures come cut to the size of a network's input, as in ImageNet-C: they are shown whole
    parts   subsets that --limit counts apart: the severities of ImageNet-C
    upload  whether the labels are not public: the predictions are kept for the server of the data set
    """

    name: str
    source: Source
    rows: tuple[Row, ...]
    subset: tuple[int, ...] | None = None
    cut: bool = False
    parts: int = 1
    upload: bool = False


class SuiteSamples:
    """The pictures of a pass as {"image", "accepted" (G, K), "counts" (G,), "index"}; all, or so many of each part.

    A part of them is spread evenly over the set, whose files are in the order of their classes.
    """

    def __init__(self, work: Pass, transform: EvalTransform, limit: int | None = None) -> None:
        self.work, self.transform = work, transform
        self.indices = np.array(spread_indices(len(work.source), limit and limit * work.parts), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return self.work.source.name(int(self.indices[index]))

    def read(self, index: int) -> dict[str, Any]:
        place = int(self.indices[index])
        rows = self.work.rows
        accepted = torch.zeros(len(rows), COUNT, dtype=torch.bool)
        for number, row in enumerate(rows):
            accepted[number, row.labels[place]] = True
        counts = torch.tensor([bool(row.counts[place]) for row in rows], dtype=torch.bool)
        image = self.transform.read(partial(load_reduced, self.work.source, place))
        return {"image": image, "accepted": accepted, "counts": counts, "index": torch.tensor(place)}

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """{"image": `Pixels`, "accepted": (B, G, K) bool, "counts": (B, G) bool, "index": (B,)}."""
        return collated(samples)


def read_classes(folder: Path, name: str, known: tuple[int, ...] | None = None) -> list[Pass]:
    """One folder per class, called by its wnid; ImageNet-V2's are called 0 to 999. known: the classes that compete."""
    source = class_folders(folder)
    labels = LabelSets([number] for number in source.labels.tolist())
    return [Pass(name, source, (Row(name, labels, np.ones(len(source), bool)),), known)]


def read_subset(folder: Path, name: str) -> list[Pass]:
    """ImageNet-A or -R: folders of 200 classes, which alone compete (logits restricted to them)."""
    (work,) = read_classes(folder, name, subset(name))
    strange = sorted(set(work.rows[0].labels.values.tolist()) - set(subset(name)))
    if strange:
        raise SourceError(
            f"{folder} has pictures of {wnids()[strange[0]]}, which is not one of the 200 classes of "
            f"ImageNet-{name.upper()}"
        )
    return [work]


def class_folders(folder: Path) -> FileSource:
    """The pictures of folder/<class>/; labels are ImageNet's class numbers.

    Raises SourceError if a folder is called neither by a wnid nor by a number, or if there is no picture.
    """
    names = [path.name for path in subfolders(folder)]
    numbers = class_numbers(names, folder)
    files = [
        (path, number) for name, number in zip(names, numbers, strict=True) for path in pictures_below(folder / name)
    ]
    if not files:
        raise SourceError(f"{folder} holds no pictures; expected {folder.name}/<class>/<picture>")
    paths = [path.relative_to(folder).as_posix() for path, _ in files]
    return FileSource(folder, paths, [number for _, number in files], wnids())


def class_numbers(names: Sequence[str], folder: Path) -> list[int]:
    """What folders are called -> class numbers.

    ImageNet-V2 calls them 0 to 999: the number itself, and not its place in the order of names (0, 1, 10, 100, ...).
    """
    if names and all(name.isdecimal() for name in names):
        numbers = [int(name) for name in names]
    else:
        unknown = [name for name in names if name not in number_of()]
        if unknown:
            raise SourceError(
                f"{folder} has a folder {unknown[0]!r}; expected ImageNet's wnids, such as n01440764, or numbers "
                f"from 0 to {COUNT - 1}"
            )
        numbers = [number_of()[name] for name in names]
    if any(number >= COUNT for number in numbers):
        raise SourceError(f"{folder} has a folder {max(numbers)}; expected 0 to {COUNT - 1}")
    return numbers


def read_val(folder: Path, names: Sequence[str], real: Path | None = None) -> list[Pass]:
    """ImageNet val, with ReaL's labels for the same pictures beside: names holds "val", "real" or both.

    folder  ImageNet as handed out, in any layout that `volovan.data.open_source` reads
    real    ReaL's real.json; None takes timm's copy
    """
    source = open_source(folder, "val")
    numbers = class_numbers(source.classes, folder / "val")
    if not len(source) or not source.classes:
        raise SourceError(f"{folder} holds no labelled pictures of val; expected {folder.name}/val/<wnid>/<picture>")
    rows = []
    if "val" in names:
        labels = [source.target(index) for index in range(len(source))]
        if None in labels:
            raise SourceError(f"{source.name(labels.index(None))} has no label; every picture of val needs one")
        accepted = LabelSets([numbers[label]] for label in labels)
        rows.append(Row("val", accepted, np.ones(len(source), bool)))
    if "real" in names:
        rows.append(_real_row(source, real))
    return [Pass(" and ".join(row.name for row in rows), source, tuple(rows))]


def _real_row(source: Source, path: Path | None) -> Row:
    """ReaL by the number in ILSVRC2012_val_00000001; pictures without a label do not count (arXiv 2006.07159)."""
    lists = real_labels() if path is None else _read_real(path)
    picked = []
    for index in range(len(source)):
        match = re.search(r"ILSVRC2012_val_(\d{8})", source.name(index))
        number = int(match[1]) if match else 0
        if not 1 <= number <= len(lists):
            raise SourceError(
                f"{source.name(index)}: ReaL's labels go by the original names ILSVRC2012_val_00000001 to "
                f"{len(lists):08}; keep these names, or leave real out of --sets"
            )
        picked.append(lists[number - 1])
    labels = LabelSets(picked)
    return Row("real", labels, np.diff(labels.ends) > 0)


def _read_real(path: Path) -> list[list[int]]:
    """real.json, with every entry looked at; picture 1 is the first."""
    lists = read_json(path)
    if not isinstance(lists, list):
        raise SourceError(f"{path} is no real.json; expected a list of lists of class numbers")
    for picture, numbers in enumerate(lists, start=1):
        # type(), since True is an int
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < COUNT for n in numbers):
            found = json.dumps(numbers)
            shown = found if len(found) <= 40 else f"{found[:40]}..."
            raise SourceError(
                f"{path}: the entry of picture {picture} is {shown}; expected a list of whole class numbers from 0 to "
                f"{COUNT - 1}, empty where there is none; mend it or fetch it again"
            )
    return lists


def read_corruptions(folder: Path, name: str) -> Iterator[Pass]:
    """<corruption>/<severity>/<wnid>/*.JPEG, or the same below noise/, blur/, weather/, digital/ and extra/.

    A generator: listing the 4.75 million files of all corruptions at once would take minutes before the first figure.
    """
    found = corruption_folders(folder)
    if not found:
        raise SourceError(f"{folder} holds none of the corruptions; expected {folder.name}/{CORRUPTIONS[0]}/1/<wnid>/")
    return (_corruption(f"{name}-{corruption}", path) for corruption, path in found.items())


def corruption_folders(folder: Path) -> dict[str, Path]:
    """{corruption: folder} of those that are there, in the order of the paper's tables."""
    places = [folder, *subfolders(folder)]
    every = {
        corruption: [place / corruption for place in places if (place / corruption).is_dir()]
        for corruption in (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
    }
    return {corruption: paths[0] for corruption, paths in every.items() if paths}


def _corruption(name: str, folder: Path) -> Pass:
    present = [severity for severity in SEVERITIES if (folder / str(severity)).is_dir()]
    if not present:
        raise SourceError(f"{folder} has no folder of a severity; expected 1 to {SEVERITIES[-1]}")
    sources = [class_folders(folder / str(severity)) for severity in present]
    whole = Chain(sources)
    labels = LabelSets([number] for source in sources for number in source.labels.tolist())
    severity_of = np.repeat(present, [len(source) for source in sources])
    rows = tuple(Row(f"{name}-{severity}", labels, severity_of == severity) for severity in present)
    return Pass(name, whole, rows, cut=True, parts=len(present))
