"""Predictions and metrics -> pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from volovan.engine.figures import confusion_figure, curves_figure


def draw_confusion(confusion: Tensor, classes: Sequence[str], path: Path) -> Path:
    """Confusion matrix (K, K; rows are the true classes) as a PNG; rows are shown in per cent of the true class."""
    right, total = int(confusion.trace()), int(confusion.sum())
    title = f"{right} of {total} right ({100 * right / max(total, 1):.2f} %), cells in % of the true class"
    return confusion_figure(confusion, classes, title, path)


def draw_curves(tables: dict[str, list[dict[str, str]]], path: Path) -> Path:
    """Training loss and top-1 over epochs of one or more runs (name -> rows of metrics.csv) as a PNG."""
    return curves_figure(tables, "top1", "top-1 on validation data, %", path)
