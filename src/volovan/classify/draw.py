"""Predictions and metrics -> pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor


def draw_confusion(confusion: Tensor, classes: Sequence[str], path: Path) -> Path:
    """Confusion matrix (K, K; rows are the true classes) as a PNG; rows are shown in per cent of the true class."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    share = 100 * confusion.double() / confusion.sum(1, keepdim=True).clamp(min=1)
    count = len(classes)
    side = min(4 + 0.35 * count, 24)
    figure = Figure(figsize=(side, side), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=100)
    names = [name if len(name) <= 18 else name[:17] + "…" for name in classes]
    axes.set_xticks(range(count), names, rotation=90)
    axes.set_yticks(range(count), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    right = int(confusion.trace())
    total = int(confusion.sum())
    axes.set_title(f"{right} of {total} right ({100 * right / max(total, 1):.2f} %), cells in % of the true class")
    if count <= 30:
        for row in range(count):
            for column in range(count):
                value = float(share[row, column])
                if value >= 0.05:
                    text = f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"
                    axes.text(
                        column,
                        row,
                        text,
                        ha="center",
                        va="center",
                        fontsize=8,
                        color="white" if value > 55 else "black",
                    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def draw_curves(tables: dict[str, list[dict[str, str]]], path: Path) -> Path:
    """Training loss and top-1 over epochs of one or more runs (name -> rows of metrics.csv) as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for name, rows in tables.items():
        epochs = [int(row["epoch"]) for row in rows]
        left.plot(epochs, [float(row["loss"]) for row in rows], marker=".", label=name)
        scored = [(int(row["epoch"]), float(row["top1"])) for row in rows if row.get("top1")]
        right.plot(*zip(*scored, strict=True), marker=".", label=name) if scored else None
    left.set(xlabel="epoch", ylabel="training loss")
    right.set(xlabel="epoch", ylabel="top-1 on validation data, %")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
