"""Metrics of classes, of several labels and of numbers, summed batch by batch so that no list of predictions grows.

Own sums, since the library of the field takes ten seconds to import; the tests hold them against it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.classify.losses import multi_label_loss, regression_loss
from volovan.engine.figures import MOST_CLASSES, confusion_figure
from volovan.room.ready import PictureScore, zeros

BINS = 15
CONFUSION_LIMIT = 2000
"""With more classes than this no confusion matrix is kept (21,841 classes would take 3.8 GB)."""
RANGE, FINE = 16.0, 4096
"""Average precision sorts logits into bins of 1/128 from -16 to 16; equal bins count as equal scores."""


class ClassificationMetric:
    """Top-1, top-5, mean over classes, loss, expected calibration error (15 equal bins), confusion matrix."""

    def __init__(self, num_classes: int, device: torch.device, classes: Sequence[str] = ()) -> None:
        """classes: their names, where every single picture is to be judged too."""
        self.num_classes, self.classes = num_classes, classes
        self.rows: dict[int, PictureScore] = {}
        shapes = {"top1": 1, "top5": 1, "loss": 1, "count": 1, "seen": num_classes, "right": num_classes}
        shapes |= {"bin_count": BINS, "bin_confidence": BINS, "bin_right": BINS}
        self.totals = zeros(shapes, device)
        if num_classes <= CONFUSION_LIMIT:
            self.totals["confusion"] = torch.zeros(num_classes, num_classes, dtype=torch.long, device=device)

    def update(self, model: nn.Module, batch: dict[str, Tensor]) -> None:
        logits = model(batch["image"]).float()
        self.add(logits, batch["label"])
        if self.classes:
            losses = F.cross_entropy(logits, batch["label"], reduction="none").tolist()
            for index, label, loss in zip(batch["index"].tolist(), batch["label"].tolist(), losses, strict=True):
                self.rows[index] = PictureScore(index, -loss, f"true: {self.classes[label]}")

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """logits (B, K) of any precision; labels (B,)."""
        totals, logits = self.totals, logits.float()
        ranked = logits.topk(min(5, self.num_classes), dim=1).indices
        hits = ranked == labels[:, None]
        right = hits[:, 0].to(totals["top1"].dtype)
        totals["count"] += len(labels)
        totals["top1"] += right.sum()
        totals["top5"] += hits.any(1).sum()
        totals["loss"] += F.cross_entropy(logits, labels, reduction="sum")
        totals["seen"].index_add_(0, labels, torch.ones_like(right))
        totals["right"].index_add_(0, labels, right)
        confidence = logits.softmax(1).amax(1).to(right.dtype)
        # Bins are open below and closed above: ((i) / 15, (i + 1) / 15].
        bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
        totals["bin_count"].index_add_(0, bins, torch.ones_like(right))
        totals["bin_confidence"].index_add_(0, bins, confidence)
        totals["bin_right"].index_add_(0, bins, right)
        if "confusion" in totals:
            flat = labels * self.num_classes + ranked[:, 0]
            totals["confusion"] += torch.bincount(flat, minlength=self.num_classes**2).view_as(totals["confusion"])

    def finish(self) -> dict[str, float]:
        """Percentages (top1, top5, class_mean), mean loss, calibration error (0 to 1); nan over no picture at all."""
        totals = self.totals
        count = totals["count"]
        values = {"top1": 100 * totals["top1"] / count}
        if self.num_classes > 5:
            values["top5"] = 100 * totals["top5"] / count
        seen = totals["seen"] > 0
        values["class_mean"] = 100 * (totals["right"][seen] / totals["seen"][seen]).mean()
        values["val_loss"] = totals["loss"] / count
        values["ece"] = (totals["bin_confidence"] - totals["bin_right"]).abs().sum() / count
        return {name: float(value) for name, value in values.items()}

    def per_class(self) -> list[tuple[int, float]]:
        """(pictures, accuracy in per cent) of each class; nan for a class without pictures."""
        accuracy = 100 * self.totals["right"] / self.totals["seen"]
        return [(int(n), float(a)) for n, a in zip(self.totals["seen"], accuracy, strict=True)]

    def draw(self, classes: Sequence[str], folder: Path) -> list[Path]:
        """The confusion matrix as confusion.png, in per cent of the true class; nothing where there are too many."""
        if "confusion" not in self.totals or len(classes) > MOST_CLASSES:
            return []
        confusion = self.totals["confusion"].cpu()
        right, total = int(confusion.trace()), int(confusion.sum())
        title = f"{right} of {total} right ({100 * right / max(total, 1):.2f} %), cells in % of the true class"
        return [confusion_figure(confusion, classes, title, folder / "confusion.png")]


@dataclass(frozen=True)
class Scores:
    """Of ranked predictions, in per cent: top1, top5 (None for five classes or fewer), mean over the classes with
    pictures, and (pictures, accuracy) of each class, nan for a class without."""

    top1: float
    top5: float | None
    class_mean: float
    per_class: list[tuple[int, float]]


def score_ranked(ranked: Tensor, labels: Tensor, num_classes: int) -> Scores:
    """ranked (N, <= 5): classes, best first, -1 for none; labels (N,)."""
    hits = ranked == labels[:, None]
    seen = torch.bincount(labels, minlength=num_classes)
    accuracy = 100 * torch.bincount(labels[hits[:, 0]], minlength=num_classes) / seen
    return Scores(
        top1=float(100 * hits[:, 0].double().mean()),
        top5=float(100 * hits.any(1).double().mean()) if num_classes > 5 else None,
        class_mean=float(accuracy[seen > 0].double().mean()),
        per_class=[(int(n), float(a)) for n, a in zip(seen, accuracy, strict=True)],
    )


class MultiLabelMetric:
    """Mean average precision, F1 at probability 0.5 (mean over classes, and over all decisions), exact match, loss."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.num_classes = num_classes
        self.rows: dict[int, PictureScore] = {}
        each = dict.fromkeys(("hit", "false_alarm", "miss"), num_classes)
        self.totals = zeros({"count": 1, "loss": 1, "exact": 1, **each}, device)
        for name in ("positives", "negatives"):  # histograms of logits
            self.totals[name] = torch.zeros(num_classes, FINE, dtype=torch.int32, device=device)

    def update(self, model: nn.Module, batch: dict[str, Tensor]) -> None:
        logits = model(batch["image"])
        self.add(logits, batch["label"])
        for index, own, target in zip(batch["index"].tolist(), logits, batch["label"], strict=True):
            right = int(((own > 0) == (target > 0.5)).sum())
            said = f"{right} of {self.num_classes} decisions right"
            self.rows[index] = PictureScore(index, -float(multi_label_loss(own, target)), said)

    def add(self, logits: Tensor, target: Tensor) -> None:
        """logits, target (B, K); target 0 or 1."""
        totals, logits, applies = self.totals, logits.float(), target > 0.5
        said = logits > 0
        totals["count"] += len(target)
        totals["loss"] += multi_label_loss(logits, target) * len(target)
        totals["exact"] += (said == applies).all(1).sum()
        totals["hit"] += (said & applies).sum(0)
        totals["false_alarm"] += (said & ~applies).sum(0)
        totals["miss"] += (~said & applies).sum(0)
        bins = ((logits + RANGE) * (FINE / (2 * RANGE))).floor().long().clamp(0, FINE - 1).T
        totals["positives"].scatter_add_(1, bins, applies.T.int())
        totals["negatives"].scatter_add_(1, bins, (~applies).T.int())

    def average_precision(self) -> Tensor:
        """(K,) sum over thresholds of (recall_n - recall_{n-1}) precision_n; nan for a class that never applies."""
        right = self.totals["positives"].flip(1).cumsum(1).double()
        chosen = right + self.totals["negatives"].flip(1).cumsum(1)
        precision = right / chosen.clamp(min=1)
        gained = torch.diff(right, dim=1, prepend=torch.zeros_like(right[:, :1]))
        return (gained * precision).sum(1) / right[:, -1]

    def per_class(self) -> list[tuple[int, float]]:
        """(pictures to which it applies, average precision in per cent) of each class."""
        pictures = (self.totals["hit"] + self.totals["miss"]).tolist()
        return [(int(n), 100 * float(p)) for n, p in zip(pictures, self.average_precision(), strict=True)]

    def finish(self) -> dict[str, float]:
        """Per cent: map over the classes that apply somewhere, f1 over those that apply or are said, f1_micro,
        exact_match; val_loss."""
        totals = self.totals
        hit, wrong = totals["hit"], totals["false_alarm"] + totals["miss"]
        f1 = 2 * hit / (2 * hit + wrong)
        precision = self.average_precision()
        values = {
            "map": 100 * precision[~precision.isnan()].mean(),
            "f1": 100 * f1[~f1.isnan()].mean(),
            "f1_micro": 100 * 2 * hit.sum() / (2 * hit.sum() + wrong.sum()),
            "exact_match": 100 * totals["exact"] / totals["count"],
            "val_loss": totals["loss"] / totals["count"],
        }
        return {name: float(value) for name, value in values.items()}


class RegressionMetric:
    """Mean absolute error, root mean squared error, R^2, and the loss on standardised numbers."""

    def __init__(self, names: Sequence[str], std: Sequence[float], device: torch.device, loss: str = "mse") -> None:
        """std (K,): one of the standardised numbers in the units of the data. loss: as in `regression_loss`."""
        self.names, self.loss = tuple(names), loss
        self.rows: dict[int, PictureScore] = {}
        shapes = {"count": 1, "loss": 1, "absolute": len(names), "squared": len(names)}
        shapes |= {"target": len(names), "target_squared": len(names)}
        self.totals = zeros(shapes, device)
        self.std = torch.tensor(std, dtype=self.totals["loss"].dtype, device=device)

    def update(self, model: nn.Module, batch: dict[str, Tensor]) -> None:
        output = model(batch["image"])
        self.add(output, batch["label"])
        errors = (output.float() - batch["label"].float()) * self.std.float()
        for index, error, own in zip(batch["index"].tolist(), errors.tolist(), output - batch["label"], strict=True):
            said = ", ".join(f"{name} {value:+.4g}" for name, value in zip(self.names, error, strict=True))
            self.rows[index] = PictureScore(index, -float(own.abs().mean()), f"off by {said}")

    def add(self, output: Tensor, target: Tensor) -> None:
        """output, target (B, K), both standardised."""
        totals = self.totals
        wanted = target.to(self.std.dtype)
        error = output.to(wanted.dtype) - wanted
        totals["count"] += len(target)
        totals["loss"] += regression_loss(output, wanted, name=self.loss) * len(target)
        totals["absolute"] += error.abs().sum(0)
        totals["squared"] += error.square().sum(0)
        totals["target"] += wanted.sum(0)
        totals["target_squared"] += wanted.square().sum(0)

    def finish(self) -> dict[str, float]:
        """mae and rmse in the units of the data, r2 (1 is perfect, 0 as good as the mean); means over several numbers,
        then also each by name."""
        totals, count = self.totals, self.totals["count"]
        mae = totals["absolute"] / count * self.std
        rmse = (totals["squared"] / count).sqrt() * self.std
        r2 = 1 - totals["squared"] / (totals["target_squared"] - totals["target"].square() / count)
        columns = {"mae": mae, "rmse": rmse, "r2": r2}
        values = {name: float(column.mean()) for name, column in columns.items()}
        values["val_loss"] = float(totals["loss"] / count)
        if len(self.names) > 1:
            for number, name in enumerate(self.names):
                values |= {f"{key}_{name}": float(column[number]) for key, column in columns.items()}
        return values
