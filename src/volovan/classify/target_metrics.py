"""Metrics of several labels and of numbers, summed batch by batch: no list of predictions grows, processes add up."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from volovan.classify.losses import multi_label_loss, regression_loss
from volovan.room.ready import PictureScore

RANGE, BINS = 16.0, 4096
"""Average precision sorts logits into bins of 1/128 from -16 to 16; equal bins count as equal scores."""


class MultiLabelMetric:
    """Mean average precision, F1 at probability 0.5 (mean over classes, and over all decisions), exact match, loss."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.num_classes = num_classes
        self.rows: dict[int, PictureScore] = {}
        precise = torch.float32 if device.type == "mps" else torch.float64
        shapes: dict[str, tuple[int, ...]] = {"count": (1,), "loss": (1,), "exact": (1,)}
        shapes |= dict.fromkeys(("hit", "false_alarm", "miss"), (num_classes,))
        self.totals = {name: torch.zeros(shape, dtype=precise, device=device) for name, shape in shapes.items()}
        for name in ("positives", "negatives"):  # histograms of logits
            self.totals[name] = torch.zeros(num_classes, BINS, dtype=torch.int32, device=device)

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
        bins = ((logits + RANGE) * (BINS / (2 * RANGE))).floor().long().clamp(0, BINS - 1).T
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
        precise = torch.float32 if device.type == "mps" else torch.float64
        self.std = torch.tensor(std, dtype=precise, device=device)
        shapes = {"count": 1, "loss": 1, "absolute": len(names), "squared": len(names)}
        shapes |= {"target": len(names), "target_squared": len(names)}
        self.totals = {name: torch.zeros(size, dtype=precise, device=device) for name, size in shapes.items()}

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
