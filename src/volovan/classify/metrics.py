"""Metrics of image classification, summed batch by batch so that no list of predictions grows.

Own sums, since the library of the field takes ten seconds to import; the tests hold them against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.room.ready import PictureScore

BINS = 15
CONFUSION_LIMIT = 2000
"""With more classes than this no confusion matrix is kept (21,841 classes would take 3.8 GB)."""


class ClassificationMetric:
    """Top-1, top-5, mean over classes, loss, expected calibration error (15 equal bins), confusion matrix."""

    def __init__(self, num_classes: int, device: torch.device, classes: Sequence[str] = ()) -> None:
        """classes: their names, where every single picture is to be judged too."""
        self.num_classes, self.classes = num_classes, classes
        self.rows: dict[int, PictureScore] = {}
        shapes = {"top1": 1, "top5": 1, "loss": 1, "count": 1, "seen": num_classes, "right": num_classes}
        shapes |= {"bin_count": BINS, "bin_confidence": BINS, "bin_right": BINS}
        precise = torch.float32 if device.type == "mps" else torch.float64
        self.totals = {name: torch.zeros(size, dtype=precise, device=device) for name, size in shapes.items()}
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
