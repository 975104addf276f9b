"""A toy task that draws from every generator, runs of it in this process or in one that may be killed, comparisons."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from volovan.data.errors import BadImage
from volovan.engine.distributed import Place
from volovan.engine.loop import Trainer
from volovan.engine.run import Run
from volovan.engine.settings import EngineSettings
from volovan.engine.task import Loss, TaskData

CLASSES = 3
DEFAULTS = {
    "train.batch_size": 8,
    "train.workers": 0,
    "train.log_steps": 1,
    "train.tensorboard": False,
    "train.device": "cpu",
    "schedule.epochs": 3,
    "schedule.warmup_epochs": 1,
    "schedule.per": "step",
    "optim.lr": 1e-2,
}


class Samples:
    """Small pictures; what is read depends on the generators of Python, NumPy and torch if `augment` is set."""

    def __init__(self, count: int, augment: bool = False, bad: tuple[int, ...] = ()) -> None:
        self.images = torch.randn(max(count, 1), 3, 8, 8, generator=torch.Generator().manual_seed(count))[:count]
        self.augment, self.bad = augment, bad
        self.prefix = "sample"

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return f"{self.prefix}-{index}.png"

    def read(self, index: int) -> Any:
        if index in self.bad:
            raise BadImage(self.name(index), "it is torn")
        image = self.images[index].clone()
        if self.augment:
            image += random.random() * 0.2 + np.random.rand() * 0.2
            image += 0.1 * torch.randn(3, 1, 1)
        return {"image": image, "label": torch.tensor(index % CLASSES), "index": torch.tensor(index)}

    def collate(self, samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


class Net(nn.Module):
    """Convolutions, one BatchNorm in the stem, dropout."""

    heads = ("head",)

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2), nn.GELU(), nn.Dropout(dropout))
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.stem(x)).mean((2, 3)))

    def layer_groups(self) -> list[list[str]]:
        return [["stem."], ["body."], ["head."]]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        pass


class Accuracy:
    """Sums, and for each sample its largest logit."""

    def __init__(self) -> None:
        self.rows: dict[int, float] = {}
        self.totals = {"right": torch.zeros(1), "count": torch.zeros(1), "indices": torch.zeros(10_000)}

    def update(self, model: nn.Module, batch: Any) -> None:
        logits = model(batch["image"])
        self.rows |= zip(batch["index"].tolist(), logits.amax(1).tolist(), strict=True)
        self.totals["right"] += (logits.argmax(1) == batch["label"]).sum()
        self.totals["count"] += len(batch["label"])
        self.totals["indices"][batch["index"]] += 1

    def finish(self) -> dict[str, float]:
        return {"top1": float(100 * self.totals["right"] / self.totals["count"])}


class ToyTask:
    """parts: the loss comes as a dict. groups: those of the training samples."""

    goal = "top1"
    smaller = "--toy.size"
    headline: tuple[str, ...] = ()

    def __init__(
        self,
        train: Any = 40,
        val: Any = 13,
        augment: bool = False,
        dropout: float = 0.0,
        parts: bool = False,
        groups: list[int] | None = None,
    ) -> None:
        self.train = Samples(train, augment) if isinstance(train, int) else train
        self.val = Samples(val) if isinstance(val, int) else val
        self.dropout, self.parts, self.groups = dropout, parts, groups
        self.drawn: list[float] = []
        self.metric: Accuracy | None = None

    def build_data(self) -> TaskData:
        return TaskData(self.train, self.val, groups=self.groups)

    def build_model(self) -> nn.Module:
        return Net(self.dropout)

    def loss(self, model: nn.Module, batch: Any) -> Loss:
        logits = model(batch["image"])
        cross_entropy = F.cross_entropy(logits, batch["label"])
        return {"entropy": cross_entropy, "decay": 0.1 * logits.square().mean()} if self.parts else cross_entropy

    def new_metric(self, device: torch.device) -> Accuracy:
        self.metric = Accuracy()
        return self.metric

    def describe(self) -> dict[str, Any]:
        return {"task": "toy"}

    def draw(self, metric: Accuracy, folder: Path) -> list[Path]:
        self.drawn.append(metric.finish()["top1"])
        return []


@pytest.fixture
def toy() -> type[ToyTask]:
    return ToyTask


@pytest.fixture
def toy_samples() -> type[Samples]:
    return Samples


@pytest.fixture
def make_settings() -> Callable[..., EngineSettings]:
    """make_settings({"train.ema": 0.9}): the toy's settings with these laid over them."""

    def make(values: dict[str, Any] | None = None) -> EngineSettings:
        settings = EngineSettings()
        for key, value in {**DEFAULTS, **(values or {})}.items():
            section, name = key.split(".")
            assert hasattr(getattr(settings, section), name), key
            setattr(getattr(settings, section), name, value)
        return settings

    return make


@pytest.fixture
def make_trainer(make_settings: Callable[..., EngineSettings]) -> Callable[..., Trainer]:
    """make_trainer(folder, task, {"train.ema": 0.9}): a trainer in a new or an existing run folder."""

    def make(
        folder: Path,
        task: Any = None,
        values: dict[str, Any] | None = None,
        place: Place = Place(torch.device("cpu")),  # noqa: B008 - frozen
    ) -> Trainer:
        if not place.leads:
            run = Run(folder, leads=False)
        elif (folder / "recipe.yaml").exists():
            run = Run.open(folder)
        else:
            run = Run.create(folder, "task: toy\n", ["toy"])
        return Trainer(task or ToyTask(), make_settings(values), run, place)

    return make
