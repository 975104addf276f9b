"""A network in use: from pictures to answers, the same for every room, on the command line and from Python.

A room says how a picture is prepared, what an answer is, and how it is written and drawn; batching, bad pictures, order
and memory are dealt with here, once.
"""

import copy
import csv
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from volovan.data.errors import BadImage
from volovan.data.images import open_images
from volovan.data.loader import evaluation_loader
from volovan.data.pictures.sheet import contact_sheet
from volovan.data.samples import GivenPictures
from volovan.data.source import Source
from volovan.engine.evaluate import autocast
from volovan.engine.progress import bar
from volovan.engine.settings import SettingsError
from volovan.engine.task import Metric
from volovan.files.whole import whole_file
from volovan.models.fuse import fuse
from volovan.models.preprocessing import Preprocessing
from volovan.room.cut import Cut, FileNetwork
from volovan.room.data import NotedReader, Samples
from volovan.room.network import describe
from volovan.room.settings import LEAST, Frame, Size, parse_size

logger = logging.getLogger("volovan")
CELL = 224
"""pixels of a side of a thumbnail"""
FUSED_FROM = 64
"""pictures: fusing costs as much as the first twenty to sixty of them gain (VAN-B2, small networks)"""
WAITING = 4
"""batches of pictures of other sizes that may wait for their like"""


@dataclass(frozen=True, kw_only=True)
class Answer(ABC):
    """What a network says of one picture. A room adds plain fields; arrays have the size of the picture.

    name     of the picture
    picture  opens it, RGB and upright
    """

    name: str = ""
    picture: Callable[[], Image.Image] = field(repr=False, compare=False)

    @abstractmethod
    def row(self) -> dict[str, Any]:
        """What a table says of it, as JSON: nested where there is more than a number."""

    @abstractmethod
    def cells(self) -> dict[str, str]:
        """The same, flat: column -> text."""

    def agrees(self, other: Any) -> float:
        """How much of it another answer for the same picture says alike, 0 to 1; a room knows better than this."""
        return float(self.row() == other.row())

    @abstractmethod
    def draw(self) -> Image.Image:
        """The picture with the answer beside or on it, for people."""


AnswerT = TypeVar("AnswerT", bound=Answer)


@dataclass(frozen=True)
class Outcome(Generic[AnswerT]):
    """Of one picture of a source: its number and name, and the answer, or why it could not be read."""

    index: int
    name: str
    answer: AnswerT | None = None
    error: str = ""


@dataclass(frozen=True)
class PictureScore:
    """How good the answer for a picture of a validation was: a row of a metric.

    score  larger is better; nan counts as neither good nor bad
    said   in words, for the picture that shows it
    """

    index: int
    score: float
    said: str


@dataclass(frozen=True)
class ReadyOptions:
    """How pictures are put through a network, and what is kept of the answer; a room adds what it has.

    size  (height, width), "native" for pictures as they are, None for that of the network; a `Frame` of a file that
          takes pictures of one size
    """

    size: Any = None
    least: ClassVar[int] = LEAST
    """pixels of a side"""

    def __post_init__(self) -> None:
        if self.size is not None and self.size != "native" and not isinstance(self.size, Frame):
            object.__setattr__(self, "size", parse_size(self.size, least=self.least))


class Ready(ABC, Generic[AnswerT]):
    """A network in eval mode on its device, ready to use.

    name           of the file or model that it is of
    model          the network
    classes        names of its outputs
    preprocessing  what it expects of pictures
    options        of the class the defaults; they refuse values that suit no network
    """

    room: ClassVar[str]
    kind: str
    """of the targets that it is validated on, see volovan.data.source"""
    goal: str
    """the figure of a validation that counts, with a minus before it where less is better"""
    options: Any
    opener: Callable[[str], "Ready[Any]"] | None = None
    """opens a network by its word, for a room whose networks follow others; `volovan.use.load` sets it"""

    def __init__(self, name: str, model: nn.Module, classes: Sequence[str], device: torch.device | str = "cpu") -> None:
        self.name, self.classes = name, tuple(classes)
        self.device = torch.device(device)
        self.model = model.eval().requires_grad_(False)
        if not any(parameter.is_meta for parameter in model.parameters()):  # only described, see FileNetwork
            self.model.to(self.device)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.room}, {len(self.classes)} classes, on {self.device}>"

    @classmethod
    @abstractmethod
    def described(cls, about: dict[str, Any], name: str) -> Self:
        """The network that a checkpoint describes (`RoomTask.describe`), with random weights, on the CPU."""

    @classmethod
    @abstractmethod
    def with_weights(cls, variant: str | None, recipe: Any, weights: str | None) -> Self:
        """A variant, or the network of a recipe, with weights that are no checkpoint of this room's runs by themselves.

        weights  a file, a run folder or a name; None: the published ones
        """

    @property
    @abstractmethod
    def cut(self) -> Cut:
        """Where the network is cut in two, to be written into a file."""

    def answering(self) -> Cut:
        """Where it is cut so that the file gives answers, for programs that shall make nothing of it; it has no outer
        part. SettingsError where answers are made outside."""
        raise SettingsError(
            f"answers of {self.room} are made outside of the graph; leave --answers out, predictor.py makes them"
        )

    def says(self) -> dict[str, Any]:
        """What `described` must be told besides, as its checkpoints say it."""
        return {}

    def describe(self) -> dict[str, Any]:
        """What `described` makes the same of, but for the weights."""
        return describe(self.room, self.model, self.classes, self.says())

    @property
    def preprocessing(self) -> Preprocessing:
        return self.model.preprocessing  # type: ignore[return-value]

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        self.device = torch.device(device)
        self.model.to(self.device)
        return self

    def fused(self, pictures: int = FUSED_FROM) -> Self:
        """The same with a network that answers the same faster (`volovan.fuse`), and learns no more; for fewer pictures
        than it takes to win back the time of making it, the same."""
        if pictures < FUSED_FROM or isinstance(self.model, FileNetwork):
            return self
        other = copy.copy(self)
        other.model = fuse(self.model)
        return other

    def using(self, **options: Any) -> Self:
        """The same network with other options; SettingsError for one that it has not, or that cannot work."""
        known = [one.name for one in fields(self.options)]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise SettingsError(f"{self.room} has no option {unknown[0]!r}; it has {', '.join(known)}")
        other = copy.copy(self)
        other.options = replace(self.options, **options)
        other.check()
        return other

    def open_other(self, word: str) -> "Ready[Any]":
        """Another network, as `volovan.load` takes it."""
        if self.opener is None:
            raise SettingsError(f"{self.name} cannot open {word}; open it with volovan.load, which can")
        return self.opener(word)

    @property
    def alone(self) -> bool:
        """Whether pictures go through one at a time, since each keeps its own size."""
        return False

    def check(self) -> None:
        """SettingsError for options that cannot work with this network."""

    @abstractmethod
    def transform(self) -> Callable[[Image.Image], Tensor]:
        """What makes of a picture that which goes through the loader; those that come out alike in shape share a batch.

        It goes to the loader processes, so it is small. BadImage: the picture cannot be used.
        """

    @abstractmethod
    def answers(self, images: Tensor, sizes: Sequence[Size], seen: Sequence[dict[str, Any]]) -> list[AnswerT]:
        """Answers of a batch of prepared pictures (B, ...) on the device.

        sizes  (height, width) of each picture
        seen   of each the fields of `Answer`, for `Kind(**seen[i], ...)`
        """

    @abstractmethod
    def columns(self) -> list[str]:
        """Of the table, between `file` and `error`."""

    def files(self, answer: AnswerT) -> Mapping[str, tuple[str, Image.Image | str]]:
        """Pictures and texts to write of an answer: column -> (path in the folder of results, {} is the name; it)."""
        return {}

    @contextmanager
    def ledger(self, folder: Path) -> Iterator[Callable[[AnswerT, dict[str, str]], None]]:
        """What takes every answer in turn, with the paths of its `files`, for files that hold all of them, in a folder
        of results."""
        yield lambda answer, paths: None

    def papers(self) -> dict[str, str]:
        """Texts that belong into a folder of results: name -> content."""
        return {}

    def thumbnail(self, answer: AnswerT) -> Any:
        """What the contact sheet needs of an answer, small."""
        small = answer.draw()
        small.thumbnail((CELL, CELL))
        return small

    def sheet(self, thumbnails: Sequence[Any]) -> Image.Image:
        """The contact sheet of what `thumbnail` gave."""
        return contact_sheet(thumbnails, [""] * len(thumbnails), cell=CELL)

    @abstractmethod
    def reader(self, source: Source) -> NotedReader:
        """The samples of labelled data, for `metric`; SettingsError where names do not fit."""

    @abstractmethod
    def metric(self, device: torch.device, samples: Any) -> Metric:
        """What `volovan validate` sums up of the samples of `reader`; its rows are `PictureScore`s."""

    @abstractmethod
    def conditions(self) -> str:
        """In words, how pictures are put through the network: "at 224x224"."""

    @abstractmethod
    def table(self, metric: Any) -> list[str]:
        """Lines of a finished metric for the terminal."""

    def facts(self, metric: Any) -> dict[str, Any]:
        """What metrics.json says besides the figures."""
        return {}

    def report(self, metric: Any, source: Source, folder: Path) -> list[str]:
        """Write tables and figures of a finished metric; returns the names of the files."""
        return []

    def truth(self, source: Source, index: int) -> Any:
        """The target of a picture, as the network would say it."""
        return source.target(index)

    @abstractmethod
    def compare(self, answer: AnswerT, target: Any, said: str) -> Image.Image:
        """Picture, answer and truth for the worst and the best pictures of a validation."""

    def predict(self, pictures: Any, batch_size: int = 32) -> Any:
        """The answer for a picture, or a list of answers for a list of them.

        pictures  a path, encoded bytes, a PIL image, an array (H, W, 3) uint8, or a list of these
        raises    BadImage: one of them cannot be used
        """
        several = isinstance(pictures, list | tuple)
        given = GivenPictures(pictures if several else [pictures])
        found = list(self._good(given, "stop", batch_size=batch_size, workers=0))
        return found if several else found[0]

    def stream(
        self,
        source: str | Path | Sequence[str] | Source,
        *,
        batch_size: int = 32,
        workers: int = 2,
        precision: str = "fp32",
        on_bad: Literal["stop", "skip"] = "stop",
    ) -> Iterator[AnswerT]:
        """Answers for whatever `volovan predict` takes, one by one in its order, in bounded memory.

        on_bad  "stop" raises BadImage, "skip" names the picture in the log and leaves it out
        """
        if isinstance(source, str | Path):
            source = [str(source)]
        opened: Any = open_images(source, self.kind) if isinstance(source, list | tuple) else source
        yield from self._good(opened, on_bad, batch_size=batch_size, workers=workers, precision=precision)

    def _good(self, source: Source, on_bad: str, **options: Any) -> Iterator[AnswerT]:
        for outcome in outcomes(self, source, shown=False, **options):
            if outcome.answer is not None:
                yield outcome.answer
            elif on_bad == "stop":
                raise BadImage(outcome.name, outcome.error)
            else:
                logger.warning("skipped: %s: %s", outcome.name, outcome.error)


class Pictures(Samples):
    """Samples {"index", "image": prepared, "size"}, or {"index", "error"} for a picture that cannot be used."""

    def read(self, index: int) -> dict[str, Any]:
        try:
            picture = self.source.load(index)
            return {"index": index, "image": self.transform(picture), "size": (picture.height, picture.width)}
        except BadImage as error:
            return {"index": index, "error": error.reason}

    def collate(self, samples: Sequence[dict[str, Any]]) -> Any:
        """As they are: pictures of one shape are put together later."""
        return list(samples)


def outcomes(
    ready: Ready[AnswerT],
    source: Source,
    *,
    batch_size: int = 32,
    workers: int = 0,
    precision: str = "fp32",
    shown: bool = True,
) -> Iterator[Outcome[AnswerT]]:
    """One for each picture, in their order, as soon as all before it are there; what waits in memory is bounded."""
    early: dict[int, Outcome[AnswerT]] = {}
    wanted = 0
    size = 1 if ready.alone else batch_size
    for outcome in _as_ready(ready, Pictures(source, ready.transform()), size, workers, precision, shown):
        early[outcome.index] = outcome
        while wanted in early:
            yield early.pop(wanted)
            wanted += 1


def _as_ready(
    ready: Ready[AnswerT], samples: Pictures, batch_size: int, workers: int, precision: str, shown: bool
) -> Iterator[Outcome[AnswerT]]:
    """Pictures of one shape make a batch; at most so many batches of them wait."""
    loader = evaluation_loader(samples, batch_size=batch_size, workers=workers)
    waiting: dict[tuple[int, ...], list[dict[str, Any]]] = {}

    def through(group: list[dict[str, Any]]) -> Iterator[Outcome[AnswerT]]:
        images = torch.stack([sample["image"] for sample in group]).to(ready.device)
        source, numbers = samples.source, [sample["index"] for sample in group]
        seen = [{"name": source.name(i), "picture": cache(partial(source.load, i))} for i in numbers]
        with torch.no_grad(), autocast(precision, ready.device):
            found = ready.answers(images, [sample["size"] for sample in group], seen)
        for number, answer in zip(numbers, found, strict=True):
            yield Outcome(number, answer.name, answer)

    for batch in bar(loader, len(loader), "predict", "batch", leads=shown):
        if batch.failed:
            raise batch.failed
        for sample in batch.data or ():
            if "error" in sample:
                yield Outcome(sample["index"], samples.name(sample["index"]), error=sample["error"])
                continue
            shape = tuple(sample["image"].shape)
            waiting.setdefault(shape, []).append(sample)
            if len(waiting[shape]) == batch_size:
                yield from through(waiting.pop(shape))
        while sum(map(len, waiting.values())) > WAITING * batch_size:
            yield from through(waiting.pop(max(waiting, key=lambda shape: len(waiting[shape]))))
    for group in waiting.values():
        yield from through(group)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file; returns its name."""
    with whole_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path.name


def zeros(sizes: Mapping[str, int], device: torch.device) -> dict[str, Tensor]:
    """Vectors to sum up in, in float64 where the device has it."""
    precise = torch.float32 if device.type == "mps" else torch.float64
    return {name: torch.zeros(size, dtype=precise, device=device) for name, size in sizes.items()}
