"""A classifier in use."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from PIL import Image
from torch import Tensor, nn

from volovan.classify.answers import Best, Labels, Numbers
from volovan.classify.data import GOALS, KINDS, ClassSamples, refuse_unlike
from volovan.classify.metrics import ClassificationMetric, MultiLabelMetric, RegressionMetric
from volovan.classify.recipe import DataSettings, Recipe
from volovan.classify.targets import Outputs, TargetSamples
from volovan.classify.transforms import EvalTransform, eval_transform, with_crop
from volovan.data.errors import BadImage
from volovan.data.pictures.sheet import contact_sheet
from volovan.data.pictures.tensors import to_tensor
from volovan.data.source import Source
from volovan.engine.settings import SettingsError
from volovan.files.classes import output_names
from volovan.models.factory import create_model
from volovan.models.weights.find import config_of, read_weights
from volovan.room.cut import Cut, answers, whole
from volovan.room.network import described, network_of
from volovan.room.ready import Ready, ReadyOptions, write_table
from volovan.room.settings import Size, at_least, between

SMALLEST = 32
"""pixels of a side; smaller pictures are not put through a network at their own size"""
PER_CENT = ("top1", "top5", "class_mean", "map", "f1", "f1_micro", "exact_match")
CELL = 112
Spoken = Best | Labels | Numbers


@dataclass(frozen=True)
class Options(ReadyOptions):
    """See `arguments.py`; None: as the network says."""

    least: ClassVar[int] = DataSettings.LEAST
    crop_pct: float | None = None
    top: int = 5
    threshold: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("--top", self.top, 1)
        between("--threshold", self.threshold, 0, 1)
        between("--crop-pct", self.crop_pct, 0.1, 10)


@dataclass(frozen=True)
class Native:
    """A picture at its own size, normalised."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, picture: Image.Image) -> Tensor:
        if min(picture.size) < SMALLEST:
            said = f"is {picture.width}x{picture.height}; at its own size a picture needs {SMALLEST} pixels a side"
            raise BadImage("", said)
        return to_tensor(picture, self.mean, self.std)


class ReadyClassifier(Ready[Spoken]):
    """See `Ready`. outputs: of a network that says several labels or numbers; None: one class for each picture."""

    room: ClassVar[str] = "classify"
    options: Options = Options()

    def __init__(
        self, name: str, model: nn.Module, classes: Sequence[str], outputs: Outputs | None = None, mode: str = "center"
    ) -> None:
        super().__init__(name, model, classes)
        self.outputs, self.mode = outputs, mode
        target = outputs.kind if outputs else "class"
        self.kind, self.goal = KINDS[target], GOALS[target]

    @classmethod
    def described(cls, about: dict[str, Any], name: str) -> Self:
        return cls(name, described(None, about), about["classes"], Outputs.described(about), about["eval_mode"])

    @classmethod
    def with_weights(cls, variant: str | None, recipe: Recipe | None, weights: str | None) -> Self:
        """A variant, or the network of a recipe, with weights that say how many classes there are."""
        name = variant or (recipe.model.name if recipe else "")
        found = read_weights(weights, name)
        if "num_classes" not in config_of(found, name):
            raise SettingsError(
                f"{found.path} holds no head, so {name} has no answers with it; train one with volovan fit"
            )
        if recipe is None:
            model = create_model(name, weights=found)
            return cls(name, model, output_names(model.config.num_classes))
        model = network_of(None, recipe, None, size=recipe.network_size(), weights=found)
        model = with_crop(model, recipe.data.crop_pct)
        return cls(recipe.model.name, model, output_names(model.config.num_classes), mode=recipe.data.eval_mode)

    cut = whole("logits")

    def answering(self) -> Cut:
        """Probabilities (B, K), or numbers in the units of the data."""
        outputs = self.outputs
        if outputs is None:
            return answers(lambda model, images: (model(images).softmax(1),), "probabilities")
        if outputs.kind == "multi_label":
            return answers(lambda model, images: (model(images).sigmoid(),), "probabilities")
        mean, std = (torch.tensor(values) for values in (outputs.mean, outputs.std))
        return answers(lambda model, images: (model(images) * std + mean,), "values")

    def says(self) -> dict[str, Any]:
        target = {"target": self.outputs.describe()} if self.outputs else {}
        return {"eval_mode": self.mode, **target}

    def eval_transform(self) -> EvalTransform:
        """What validation does with a picture; `native` has its size from the network here."""
        seen, options = self.preprocessing, self.options
        size = None if options.size == "native" else options.size
        seen = replace(seen, input_size=size or seen.input_size, crop_pct=options.crop_pct or seen.crop_pct)
        return eval_transform(seen, self.mode)

    def transform(self) -> Callable[[Image.Image], Tensor]:
        if self.options.size == "native":
            return Native(self.preprocessing.mean, self.preprocessing.std)
        return self.eval_transform()

    def answers(self, images: Tensor, sizes: Sequence[Size], seen: Sequence[dict[str, Any]]) -> list[Spoken]:
        logits = self.model(images).float()
        if self.outputs is not None:
            values = zip(self.outputs.decode(logits).tolist(), seen, strict=True)
            if self.outputs.kind == "regression":
                return [Numbers(dict(zip(self.classes, row, strict=True)), **own) for row, own in values]
            return [self._labels(row, own) for row, own in values]
        probabilities, numbers = logits.softmax(1).topk(min(self.options.top, len(self.classes)), dim=1)
        rows = zip(probabilities.tolist(), numbers.tolist(), seen, strict=True)
        return [Best(self._called(chosen), tuple(chosen), tuple(values), **own) for values, chosen, own in rows]

    def _labels(self, row: list[float], own: dict[str, Any]) -> Labels:
        found = sorted((-value, number) for number, value in enumerate(row) if value >= self.options.threshold)
        numbers = [number for _, number in found]
        return Labels(self._called(numbers), tuple(numbers), tuple(-value for value, _ in found), **own)

    def _called(self, numbers: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.classes[number] for number in numbers)

    def columns(self) -> list[str]:
        if self.outputs is None:
            ranks = range(1, min(self.options.top, len(self.classes)) + 1)
            return [f"{name}{rank}" for rank in ranks for name in ("class", "probability")]
        return list(self.outputs.names) if self.outputs.kind == "regression" else ["labels", "probabilities"]

    def thumbnail(self, answer: Spoken) -> tuple[Image.Image, list[str]]:
        small = answer.picture().copy()
        small.thumbnail((4 * CELL, 4 * CELL))
        return small, [answer.caption(), Path(answer.name.rpartition("!")[2]).name]  # of an archive, the member

    def sheet(self, thumbnails: Sequence[tuple[Image.Image, list[str]]]) -> Image.Image:
        return contact_sheet([image for image, _ in thumbnails], [caption for _, caption in thumbnails], cell=CELL)

    def reader(self, source: Source) -> ClassSamples | TargetSamples:
        if self.options.size == "native":
            raise SettingsError("--size native is of predict; pictures are validated at one size, such as --size 224")
        target = "class" if self.outputs is None else self.outputs.kind
        refuse_unlike(target, source, "the data")
        transform = self.eval_transform()
        if self.outputs is not None:
            return TargetSamples(source, self.outputs, transform)
        return ClassSamples(source, transform, self.classes)

    def metric(self, device: torch.device, samples: Any) -> ClassificationMetric | MultiLabelMetric | RegressionMetric:
        if self.outputs is not None:
            return self.outputs.metric(device)
        return ClassificationMetric(len(self.classes), device, self.classes)

    def conditions(self) -> str:
        height, width = self.eval_transform().size
        return f"at {height}x{width}"

    def table(self, metric: Any) -> list[str]:
        units = {name: "%" if name in PER_CENT else "" for name in metric.finish()}
        return [f"  {name:12s} {value:9.4f} {units[name]}" for name, value in metric.finish().items()]

    def report(self, metric: Any, source: Source, folder: Path) -> list[str]:
        if isinstance(metric, RegressionMetric):
            return []
        drawn = metric.draw(self.classes, folder) if isinstance(metric, ClassificationMetric) else []
        header = ("class", "pictures", "accuracy" if isinstance(metric, ClassificationMetric) else "average_precision")
        rows = ((name, n, f"{value:.3f}") for name, (n, value) in zip(self.classes, metric.per_class(), strict=True))
        return [write_table(folder / "per_class.csv", header, rows), *(path.name for path in drawn)]

    def compare(self, answer: Spoken, target: Any, said: str) -> Image.Image:
        caption = [answer.caption(), said, Path(answer.name.rpartition("!")[2]).name]
        return contact_sheet([answer.picture()], [caption], cell=2 * CELL)
