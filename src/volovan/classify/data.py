"""Samples -> batch."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from volovan.classify.token_labels import LabelMaps
from volovan.classify.transforms import EvalTransform, TrainTransform
from volovan.data import Source
from volovan.data.samples import load_reduced
from volovan.engine.settings import SettingsError
from volovan.labels.targets import pad_maps
from volovan.room.data import Samples, matched, said_of

AnyTransform = TrainTransform | EvalTransform
KINDS = {"class": "class", "multi_label": "labels", "regression": "numbers"}
"""loss.target -> kind of target in the data"""
GOALS = {"class": "top1", "multi_label": "map", "regression": "-val_loss"}
"""loss.target -> the figure that counts, with a minus before it where less is better"""
LOSS_TARGETS = {"labels": "multi_label", "numbers": "regression"}
"""kind of target in the data -> loss.target that learns it, besides class"""


class ClassSamples(Samples):
    """Labelled pictures of a source as {"image": `Pixels`, "label": class number}.

    classes: names in the order of the network's outputs; labels are translated to it by name, so that a validation
    folder which lacks a class is still scored right.
    maps: adds "map" (2, k, h, w), the label map of the picture, and "box" (4,), what of it the crop sees.
    """

    def __init__(
        self,
        source: Source,
        transform: AnyTransform,
        classes: tuple[str, ...],
        maps: LabelMaps | None = None,
        sized: Mapping[int, AnyTransform] | None = None,
    ) -> None:
        super().__init__(source, transform, sized)
        self.classes, self.maps = classes, maps
        match = matched(source.classes, classes)
        self.translate, self.note = match.places, said_of(match)

    def label(self, index: int) -> int:
        label = self.source.target(index)
        if label is None:
            raise SettingsError(f"{self.name(index)} has no label; classification needs one for every picture")
        if not 0 <= label < len(self.translate):
            raise SettingsError(f"{self.name(index)} has label {label}, but there are {len(self.translate)} classes")
        return self.translate[label]

    def labels(self) -> list[int]:
        """Of all samples, without reading a picture."""
        return [self.label(index) for index in range(len(self))]

    def read(self, index: int, size: int | None = None) -> dict[str, Any]:
        transform: AnyTransform = self.at(size)
        load, label = partial(load_reduced, self.source, index), self.label(index)
        if self.maps is None:
            return {"index": index, "image": transform.read(load), "label": label}
        assert isinstance(transform, TrainTransform)
        image, window = transform.load(load)
        label_map = self.maps.read(self.name(index))
        pixels, label_map, box = transform.with_map(image, label_map, self.maps.coverage, window)
        return {"index": index, "image": pixels, "label": label, "map": label_map, "box": box}

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """{"index": (B,), "image": `Pixels`, "label": (B,) int64}; with label maps also "map", "map_size", "box"."""
        if self.maps is None:
            return super().collate(samples)
        padded, sizes = pad_maps([sample["map"] for sample in samples])
        rest = [{key: value for key, value in sample.items() if key != "map"} for sample in samples]
        return {**super().collate(rest), "map": padded, "map_size": sizes}


FOUND = {"class": "one class for each picture", "labels": "several labels", "numbers": "numbers"}
NEEDED = {
    "class": "one folder per class, or a list with labels",
    "multi_label": "a .csv with the column `labels`, as in cat|dog",
    "regression": "a .csv with columns `value`, or `value:NAME` for several",
}
"""loss.target -> where its targets come from"""


def refuse_unlike(target: str, source: Source, spec: str) -> None:
    """SettingsError where the targets of a source are not what loss.target learns."""
    kind = KINDS[target]
    if source.kind == kind and (source.classes or kind == "numbers"):
        return
    other = LOSS_TARGETS.get(source.kind)
    hint = f"; or train with loss.target {other}" if other else ""
    found = FOUND.get(source.kind, "no labels") if source.classes else "no classes"
    raise SettingsError(f"{spec} has {found}; loss.target {target} needs {NEEDED[target]}{hint}")


def class_weights(labels: Sequence[int], setting: str | Sequence[float], num_classes: int) -> Tensor | None:
    """(K,) weights of the loss, or None. balanced: N / (K n_k), so that the weights of all samples average to 1."""
    if setting != "balanced":
        return _given_weights(setting, num_classes)
    counts = torch.bincount(torch.tensor(labels), minlength=num_classes).clamp(min=1)
    return len(labels) / (num_classes * counts.float())


def positive_weight(values: np.ndarray, setting: str | Sequence[float]) -> Tensor | None:
    """(K,) weights of the pictures to which a class applies, or None. balanced: (N - n_k) / n_k."""
    if setting != "balanced":
        return _given_weights(setting, values.shape[1])
    applies = torch.from_numpy(values.astype(np.float64)).sum(0)
    return ((len(values) - applies) / applies.clamp(min=1)).float()


def _given_weights(setting: str | Sequence[float], count: int) -> Tensor | None:
    if setting == "none":
        return None
    weights = torch.tensor([float(value) for value in setting])
    if len(weights) != count or (weights < 0).any():
        raise SettingsError(f"loss.class_weights holds {len(weights)} numbers; {count} >= 0 are needed")
    return weights
