"""The sources that hold samples: files, array, a part of another source, several in a row. Formats build one of these.

All are picklable and hold no open files, so a worker process can have a copy of its own for the price of its arrays.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from volovan.data.decoding import decode
from volovan.data.errors import BadImage, printable
from volovan.data.targets import Targets, joined

if TYPE_CHECKING:
    from PIL import Image

    from volovan.data.source import Source

UNLABELLED = -1  # in the label arrays


class Names(Sequence[str]):
    """Immutable strings in two arrays: reference counts would copy a list of a million into every worker."""

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]  # file names need not be valid UTF-8
        self.ends = np.cumsum([0] + [len(name) for name in encoded], dtype=np.int64)
        self.text = np.frombuffer(b"".join(encoded), np.uint8)

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} names")
        return self.text[self.ends[index] : self.ends[index + 1]].tobytes().decode("utf-8", "surrogateescape")


class FileSource:
    """Pictures that are files. Paths are relative to root; labels are class numbers, None for a set without them."""

    def __init__(
        self,
        root: Path,
        files: Iterable[str],
        labels: Sequence[int] | np.ndarray | None = None,
        classes: Sequence[str] = (),
        note: str = "",
        targets: Targets | None = None,
    ) -> None:
        self.root, self.files, self.classes, self.note = root, Names(files), tuple(classes), note
        self.targets = targets
        self.labels = np.full(len(self.files), UNLABELLED) if labels is None else np.asarray(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return printable(self.files[index])

    def label(self, index: int) -> int | None:
        return _label(self.labels, index)

    def load(self, index: int) -> "Image.Image":
        return decode(self.root / self.files[index], name=self.name(index))

    def raw(self, index: int) -> bytes | None:
        try:
            return (self.root / self.files[index]).read_bytes()
        except OSError as error:
            raise BadImage(self.name(index), f"the file cannot be read ({error.strerror})") from None


class ArraySource:
    """Pictures that are pixels: images (N, H, W) grey or (N, H, W, 3), uint8."""

    def __init__(
        self, title: str, images: np.ndarray, labels: np.ndarray, classes: Sequence[str], note: str = ""
    ) -> None:
        self.title, self.images, self.classes, self.note = title, images, tuple(classes), note
        self.labels = np.asarray(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return f"{self.title}[{index}]"

    def label(self, index: int) -> int | None:
        return _label(self.labels, index)

    def load(self, index: int) -> "Image.Image":
        from PIL import Image

        return Image.fromarray(self.images[index]).convert("RGB")

    def raw(self, index: int) -> bytes | None:
        return None


class Part:
    """Some samples of another source, in the order of indices."""

    def __init__(self, whole: "Source", indices: Sequence[int] | np.ndarray, note: str = "") -> None:
        self.whole, self.indices, self.note = whole, np.asarray(indices, dtype=np.int64), note or whole.note
        self.classes = whole.classes

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return self.whole.name(int(self.indices[index]))

    def label(self, index: int) -> int | None:
        return self.whole.label(int(self.indices[index]))

    def label_problem(self, index: int) -> str:
        return label_problem(self.whole, int(self.indices[index]))

    @property
    def targets(self) -> Targets | None:
        targets = targets_of(self.whole)
        return targets.part(self.indices) if targets else None

    def load(self, index: int) -> "Image.Image":
        return self.whole.load(int(self.indices[index]))

    def raw(self, index: int) -> bytes | None:
        return self.whole.raw(int(self.indices[index]))


class Chain:
    """Several sources one after the other. Their classes must be the same, or the chain has none."""

    def __init__(self, sources: Sequence["Source"], note: str = "") -> None:
        self.sources = tuple(sources)
        self.starts = [0, *accumulate(len(source) for source in sources)]
        self.note = note or " ".join(dict.fromkeys(source.note for source in sources if source.note))
        self.classes = sources[0].classes if len({source.classes for source in sources}) == 1 else ()

    def __len__(self) -> int:
        return self.starts[-1]

    def _find(self, index: int) -> tuple["Source", int]:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} samples")
        which = bisect_right(self.starts, index) - 1
        return self.sources[which], index - self.starts[which]

    def name(self, index: int) -> str:
        source, inner = self._find(index)
        return source.name(inner)

    def label(self, index: int) -> int | None:
        source, inner = self._find(index)
        return source.label(inner) if self.classes else None

    def label_problem(self, index: int) -> str:
        return label_problem(*self._find(index))

    @property
    def targets(self) -> Targets | None:
        return joined([targets_of(source) for source in self.sources])

    def load(self, index: int) -> "Image.Image":
        source, inner = self._find(index)
        return source.load(inner)

    def raw(self, index: int) -> bytes | None:
        source, inner = self._find(index)
        return source.raw(inner)


def hold_out(source: "Source", split: str, share: float = 0.1) -> Part:
    """The "train" or the "val" part of a source that has no splits of its own.

    A sample belongs to val if the hash of its name says so: it stays where it is when others are added or removed, on
    every machine. Each class of two samples or more has at least one in each part.
    """
    draws = np.array([hash_draw(source.name(index)) for index in range(len(source))])
    labels = np.array([UNLABELLED if (label := source.label(index)) is None else label for index in range(len(source))])
    in_val = draws < share
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) >= 2:
            in_val[members[draws[members].argmin()]] = True
            in_val[members[draws[members].argmax()]] = False
    note = (
        f"No splits found: {in_val.sum():,} of {len(source):,} samples ({100 * share:g}% of each class, chosen by "
        "the hash of their names) are held out as val."
    )
    return Part(
        source, np.flatnonzero(in_val if split == "val" else ~in_val), " ".join(filter(None, (source.note, note)))
    )


def hash_draw(name: str) -> float:
    """A number in [0, 1) that depends on the name only."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") / 2**64


def label_problem(source: "Source", index: int) -> str:
    """Why the label of a sample cannot be read, "" if it can be or there is none. Sources need not know of it."""
    problem = getattr(source, "label_problem", None)
    return "" if problem is None else problem(index)


def targets_of(source: "Source") -> Targets | None:
    """Several labels or numbers of every picture, None if the source has none. Sources need not know of it."""
    found: Targets | None = getattr(source, "targets", None)
    return found


def _label(labels: np.ndarray, index: int) -> int | None:
    label = int(labels[index])
    return None if label == UNLABELLED else label
