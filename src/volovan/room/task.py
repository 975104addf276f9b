"""A room's training task behind the engine's protocol. What is the same for all rooms is done here."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from volovan.data.refusals import cautions, refused_data
from volovan.data.samples import take
from volovan.data.source import Source
from volovan.data.sources import open_source
from volovan.engine.resume import refuse_another_network, refuse_other_names
from volovan.engine.settings import SettingsError, expand_variables
from volovan.engine.task import Loss, Metric, TaskData
from volovan.room.data import NotedReader
from volovan.room.network import Kind, describe, described, differences, network_of
from volovan.room.settings import Size, pair


class RoomTask(ABC):
    """See `volovan.engine.task.Task`.

    room    its name, as recipes and checkpoints have it
    kind    of the targets, see volovan.data.source
    net     the kind of its network
    """

    room: ClassVar[str]
    net: ClassVar[Kind] = None
    kind: str
    smaller: ClassVar[str]
    headline: ClassVar[tuple[str, ...]] = ()
    goal: str

    def __init__(self, recipe: Any, about: dict[str, Any] | None = None) -> None:
        """about: what a checkpoint says (`describe`), on resume: weights to start from are not needed again then."""
        recipe.check()
        self.recipe, self.about = recipe, about
        self.classes: tuple[str, ...] = ()
        self.model: nn.Module | None = None

    @abstractmethod
    def readers(self, train: Source, val: Source) -> tuple[NotedReader, NotedReader]:
        """Training and validation samples; `self.model` is there."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Loss: ...

    @abstractmethod
    def new_metric(self, device: torch.device) -> Metric: ...

    def check_source(self, source: Source, spec: str, split: str) -> None:  # noqa: B027 - a room may have nothing to refuse
        """SettingsError where the targets cannot be learned from."""

    def network(self) -> Any:
        """What the recipe asks for, for `self.classes`, with `preprocessing`."""
        recipe = self.recipe
        size, weights = recipe.network_size(), recipe.model.weights
        count = len(self.classes)
        return network_of(self.net, recipe, count, size=size, weights=weights, classes=self.classes)

    def says(self) -> dict[str, Any]:
        """What its checkpoints say besides."""
        return {}

    def draw(self, metric: Any, folder: Path) -> list[Path]:
        """Figures of a finished metric."""
        return []

    def build_data(self) -> TaskData:
        """Open the sources; makes the network too, since its weights decide mean and std unless the recipe does."""
        data = self.recipe.data
        train = take(self.open(data.source, data.train_split, beside=data.val), data.limit)
        val = self.open(data.val or data.source, data.val_split, beside=data.source)
        halves = [(data.train_split, data.source, train), (data.val_split, data.val or data.source, val)]
        for sentence in refused_data(halves):
            raise SettingsError(sentence)
        for split, spec, source in halves:
            self.check_source(source, spec, split)
        self.classes = self.learned(train)
        if self.about is not None:
            refuse_other_names("classes", self.about.get("classes", self.classes), self.classes)
            refuse_another_network(differences(self.recipe, self.about["config"]))
            self.model = described(self.net, self.about)
        else:
            self.model = self.network()
        learned, judged = self.readers(train, val)
        said = (train.note, val.note, judged.note, *cautions(train, val))
        notes = tuple(dict.fromkeys(note for note in said if note))
        return TaskData(learned, judged, notes=notes, sizes=getattr(data, "mixed_sizes", ()))

    def at_sizes(self, at: Callable[[Size], Any]) -> tuple[Any, dict[int, Any]]:
        """A transform at data.size, and those at data.mixed_sizes by their sides."""
        data = self.recipe.data
        return at(pair(data.size)), {side: at((side, side)) for side in data.mixed_sizes}

    def open(self, spec: str, split: str, beside: str | None) -> Source:
        """See `open_source`."""
        other = beside and expand_variables(beside)
        drawn_on = getattr(self.recipe.data, "drawn_on", None)
        return open_source(expand_variables(spec), split, self.kind, other, drawn_on)

    def learned(self, train: Source) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(train.classes)

    def build_model(self) -> nn.Module:
        if self.model is None:
            raise RuntimeError("build_data comes before build_model")
        return self.model

    def describe(self) -> dict[str, Any]:
        """What a checkpoint must say so that it can be used alone."""
        return describe(self.room, self.build_model(), self.classes, self.says())
