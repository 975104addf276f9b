"""The sources that hold samples: files, array, pictures that a program has in its hands, a part of another source,
several in a row. Formats build one of these.

All are picklable and hold no open files, so a worker process can have a copy of its own for the price of its arrays.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, overload

import numpy as np
from PIL import Image

from volovan.data.errors import BadImage, printable
from volovan.data.objects.skeleton import Skeleton
from volovan.data.pictures.decoding import Least, decode, picture_size, to_rgb
from volovan.data.pictures.palettes import Colour
from volovan.data.source import Source

T = TypeVar("T")
S = TypeVar("S", bound=Source)

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


class PictureFiles:
    """Pictures that are files, with paths relative to root: what sources of files share, whatever their targets are."""

    def __init__(self, root: Path, files: Iterable[str], note: str = "") -> None:
        self.root, self.files, self.note = root, Names(files), note

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return printable(self.files[index])

    def load(self, index: int) -> Image.Image:
        return decode(self.root / self.files[index], name=self.name(index))

    def load_reduced(self, index: int, least: Least) -> Image.Image:
        return decode(self.root / self.files[index], name=self.name(index), least=least)

    def picture_size(self, index: int) -> tuple[int, int]:
        """(width, height) of the upright picture; BadImage if it cannot be read."""
        return picture_size(self.root / self.files[index], self.name(index))

    def raw(self, index: int) -> bytes | None:
        try:
            return (self.root / self.files[index]).read_bytes()
        except OSError as error:
            raise BadImage(self.name(index), f"the file cannot be read ({error.strerror})") from None


class _Encoded(Protocol):
    def name(self, index: int) -> str: ...

    def raw(self, index: int) -> bytes: ...


class EncodedPictures:
    """Pictures of which a source has the encoded bytes (`raw`): what sources of archives and tables share."""

    def load(self: _Encoded, index: int) -> Image.Image:
        return decode(self.raw(index), name=self.name(index))

    def load_reduced(self: _Encoded, index: int, least: Least) -> Image.Image:
        return decode(self.raw(index), name=self.name(index), least=least)


def read_member(shard: Path, offset: int, length: int, name: str, since: str) -> bytes:
    """A member of an archive; BadImage if it cannot be read. since: what was done when its place was known."""
    try:  # opened anew each time: processes that share an open file also share its position
        with open(shard, "rb", buffering=0) as file:
            file.seek(offset)
            data = file.read(length)
    except OSError as error:
        raise BadImage(name, f"the shard cannot be read ({error.strerror})") from None
    if len(data) < length:
        raise BadImage(name, f"the shard has become shorter since it was {since}")
    return data


class Labelled:
    """Class numbers in an array: what sources of classes share, whatever their pictures are."""

    def __init__(self, classes: Sequence[str], labels: Sequence[int] | np.ndarray) -> None:
        self.classes, self.labels = tuple(classes), np.asarray(labels, dtype=np.int64)

    @property
    def kind(self) -> str:
        return "class" if self.classes else "none"

    def target(self, index: int) -> int | None:
        label = int(self.labels[index])
        return None if label == UNLABELLED else label


class FileSource(PictureFiles, Labelled):
    """Pictures that are files; labels are class numbers, None for a set without them."""

    def __init__(
        self,
        root: Path,
        files: Iterable[str],
        labels: Sequence[int] | np.ndarray | None = None,
        classes: Sequence[str] = (),
        note: str = "",
    ) -> None:
        PictureFiles.__init__(self, root, files, note)
        Labelled.__init__(self, classes, np.full(len(self.files), UNLABELLED) if labels is None else labels)


class ArraySource(Labelled):
    """Pictures that are pixels: images (N, H, W) grey or (N, H, W, 3), uint8."""

    note = ""

    def __init__(self, title: str, images: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> None:
        super().__init__(classes, labels)
        self.title, self.images = title, images

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return f"{self.title}[{index}]"

    def load(self, index: int) -> Image.Image:
        return Image.fromarray(self.images[index]).convert("RGB")

    def raw(self, index: int) -> bytes | None:
        return None


class GivenPictures:
    """Pictures that a program has in its hands, as `read_picture` takes them. Without targets."""

    kind, note = "none", ""
    classes: tuple[str, ...] = ()

    def __init__(self, pictures: Sequence[Any]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def name(self, index: int) -> str:
        """The path of a file; else of a PIL image that of the file that it is of, or "picture 0" and so on."""
        given = self.pictures[index]
        if isinstance(given, str | Path):
            return str(given)
        return str(getattr(given, "filename", "") or f"picture {index}")

    def load(self, index: int) -> Image.Image:
        return read_picture(self.pictures[index], self.name(index))

    def raw(self, index: int) -> bytes | None:
        return None

    def target(self, index: int) -> None:
        return None


def read_picture(given: Any, name: str) -> Image.Image:
    """RGB, upright, of a path, encoded bytes, a binary file, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4).

    Whatever mode or type it has becomes RGB as it would from a file: 16 bits, floats, CMYK, alpha, palettes.
    raises  BadImage: it cannot be used, and why
    """
    if isinstance(given, Image.Image):
        return to_rgb(given, name)
    if isinstance(given, str | Path | bytes | bytearray | memoryview) or hasattr(given, "read"):
        return decode(given, name)
    values = np.asarray(given)
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 3, 4)) or not values.size:
        raise BadImage(name, f"is an array of shape {values.shape}; (H, W), (H, W, 3) or (H, W, 4) is expected")
    values = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    try:
        image = Image.fromarray(np.ascontiguousarray(values))
    except TypeError:
        raise BadImage(name, f"is an array of {values.dtype}; colours are expected as uint8, from 0 to 255") from None
    return to_rgb(image, name)


class OfOthers(Generic[T]):
    """Samples of other sources."""

    def _find(self, index: int) -> tuple[Source[T], int]:
        """The source that has the sample, and its number there."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        source, inner = self._find(index)
        return source.name(inner)

    def load(self, index: int) -> Image.Image:
        source, inner = self._find(index)
        return source.load(inner)

    def raw(self, index: int) -> bytes | None:
        source, inner = self._find(index)
        return source.raw(inner)

    def load_reduced(self, index: int, least: Least) -> Image.Image:
        return load_reduced(*self._find(index), least)

    def inner_path(self, index: int) -> str:
        return inner_path(*self._find(index))

    def picture_size(self, index: int) -> tuple[int, int]:
        return picture_size_of(*self._find(index))

    def label_problem(self, index: int) -> str:
        return label_problem(*self._find(index))

    def may_be_turned(self, index: int) -> bool:
        return may_be_turned(*self._find(index))

    def doubts(self, index: int, target: Any) -> list[str]:
        return doubts_on(*self._find(index), target)

    def classes_in(self, index: int) -> set[int]:
        return classes_in(*self._find(index))


class Part(OfOthers[T]):
    """Some samples of another source, in the order of indices."""

    def __init__(self, whole: Source[T], indices: Sequence[int] | np.ndarray, note: str = "") -> None:
        self.whole, self.indices = whole, np.asarray(indices, dtype=np.int64)
        self.kind, self.classes, self.palette = whole.kind, whole.classes, palette_of(whole)
        self.skeleton, self.things = skeleton_of(whole), things_of(whole)
        self.note, self.unpaired = join_notes(whole.note, note), unpaired_of(whole)

    def __len__(self) -> int:
        return len(self.indices)

    def _find(self, index: int) -> tuple[Source[T], int]:
        return self.whole, int(self.indices[index])

    def target(self, index: int) -> T:
        return self.whole.target(int(self.indices[index]))


class Chain(OfOthers[T]):
    """Several sources one after the other. Kind and classes must be the same, or the chain has no targets."""

    def __init__(self, sources: Sequence[Source[T]]) -> None:
        self.sources = tuple(sources)
        self.starts = [0, *accumulate(len(source) for source in sources)]
        self.note = join_notes(*dict.fromkeys(source.note for source in sources))
        alike = len({(source.kind, source.classes, skeleton_of(source), things_of(source)) for source in sources}) == 1
        self.kind, self.classes = (sources[0].kind, sources[0].classes) if alike else ("none", ())
        self.palette = palette_of(sources[0]) if alike else ()
        self.skeleton, self.things = skeleton_of(sources[0]) if alike else None, things_of(sources[0]) if alike else ()
        self.unpaired = tuple(sentence for source in sources for sentence in unpaired_of(source))

    def __len__(self) -> int:
        return self.starts[-1]

    def _find(self, index: int) -> tuple[Source[T], int]:
        which, inner = place_of(index, self.starts)
        return self.sources[which], inner

    def target(self, index: int) -> T | None:
        source, inner = self._find(index)
        return None if self.kind == "none" else source.target(inner)


def place_of(index: int, starts: Sequence[int]) -> tuple[int, int]:
    """(which piece, number in it) of a sample, of pieces in a row that begin at starts; the last is the end of all."""
    if not 0 <= index < starts[-1]:
        raise IndexError(f"index {index} of {starts[-1]} samples")
    which = bisect_right(starts, index) - 1
    return which, index - starts[which]


def take(source: S, limit: int | None) -> S | Part[Any]:
    """So many samples of a source, drawn once; they do not depend on the seed of a run, so that seeds compare."""
    if limit is None or limit >= len(source):
        return source
    chosen = np.sort(np.random.default_rng(0).permutation(len(source))[:limit])
    return Part(source, chosen, f"{limit:,} of {len(source):,} pictures are trained on (data.limit).")


def spread_indices(count: int, limit: int | None) -> list[int]:
    """All of so many samples, or limit of them, evenly spread."""
    if limit is None or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]


def spread_first(count: int, some: int) -> list[int]:
    """All of so many, first some of them that are evenly spread."""
    return list(dict.fromkeys([*spread_indices(count, some), *range(count)]))


def join_notes(*notes: str) -> str:
    return " ".join(filter(None, notes))


def class_of(source: Source, index: int) -> int | None:
    """Class number of a sample; None if it has no label, or its target is of another kind, which is not read."""
    return source.target(index) if source.kind == "class" else None


# what only some sources know


def inner_path(source: Source, index: int) -> str:
    """The path of a picture below what the user named, by which results are called."""
    known = getattr(source, "inner_path", None)
    return source.name(index).rpartition("!")[2] if known is None else known(index)


def load_reduced(source: Source, index: int, least: Least) -> Image.Image:
    """The picture, of a JPEG no more than is needed, see `decode`. least is not asked where nothing can be saved."""
    known = getattr(source, "load_reduced", None)
    picture: Image.Image = source.load(index) if known is None else known(index, least)
    return picture


def picture_size_of(source: Source, index: int) -> tuple[int, int]:
    """(width, height) of a picture, which is not decoded where its file tells; BadImage if it cannot be read."""
    known = getattr(source, "picture_size", None)
    return source.load(index).size if known is None else known(index)


def label_problem(source: Source, index: int) -> str:
    """Why the label of a sample cannot be read, "" if it can be or there is none."""
    problem = getattr(source, "label_problem", None)
    return "" if problem is None else problem(index)


def may_be_turned(source: Source, index: int) -> bool:
    """Whether a mask may have been drawn on the stored pixels of a picture that its EXIF turns, and nothing tells."""
    known = getattr(source, "may_be_turned", None)
    return known is not None and known(index)


def doubts_on(source: Source[T], index: int, target: T) -> list[str]:
    """Sentences on what is said of a target that it does not show; nothing stops there. target: as it was read."""
    known = getattr(source, "doubts", None)
    return [] if known is None else known(index, target)


def classes_in(source: Source, index: int) -> set[int]:
    """Numbers of the classes of the objects in a picture, but for crowds; none where they cannot be read."""
    known = getattr(source, "classes_in", None)
    if known is not None:
        found: set[int] = known(index)
        return found
    try:
        target = source.target(index)
    except BadImage:
        return set()
    return {*target.labels[~target.crowd].tolist()}


def palette_of(source: Source) -> tuple[Colour, ...]:
    """A colour for each class, () where masks have no classes or there are none."""
    return getattr(source, "palette", ())


def skeleton_of(source: Source) -> Skeleton | None:
    """The points that all objects of a source have; None where there are none."""
    return getattr(source, "skeleton", None)


def things_of(source: Source) -> tuple[bool, ...]:
    """Of each class whether it is of things, which are counted; () where nobody says it."""
    return getattr(source, "things", ())


def unpaired_of(source: Source) -> tuple[str, ...]:
    """Sentences on pictures without a mask and masks without a picture."""
    return getattr(source, "unpaired", ())
