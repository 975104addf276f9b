"""Figures of what was measured: confusion matrices, and curves over the epochs of runs. Drawn by matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from volovan.files.whole import new_file

Colour = tuple[int, int, int]
MOST_CLASSES = 100
"""classes up to which a confusion matrix is drawn"""
_MOST_NUMBERS = 30
"""classes up to which the cells of a confusion matrix show their numbers"""


def confusion_figure(
    confusion: Tensor, classes: Sequence[str], title: str, path: Path, palette: Sequence[Colour] = ()
) -> Path:
    """Confusion matrix (K, K; rows are the true classes) as a PNG; rows are shown in per cent of the true class.

    palette: of the classes, shown beside their names.
    """
    share = 100 * confusion.double() / confusion.sum(1, keepdim=True).clamp(min=1)
    count = len(classes)
    side = min(4 + 0.35 * count, 24)
    figure, axes = new_figure(side, side)
    axes.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=100)
    names = [name if len(name) <= 18 else name[:17] + "…" for name in classes]
    axes.set_xticks(range(count), names, rotation=90)
    axes.set_yticks(range(count), names)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    if palette:
        _show_colours(axes, palette, 7.5 / side)
    if count <= _MOST_NUMBERS:
        for row, column in (share >= 0.05).nonzero().tolist():
            value = float(share[row, column])
            text = f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"
            colour = "white" if value > 55 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    return save_figure(figure, path)


def _show_colours(axes: Any, palette: Sequence[Colour], scale: float) -> None:
    """A strip of colour between the names of the classes and their rows and columns. scale: by which its width, a share
    of the axes, is multiplied."""
    from matplotlib.patches import Rectangle

    axes.tick_params(length=0, pad=13)
    for number, colour in enumerate(palette):
        shade: dict[str, Any] = {"color": [channel / 255 for channel in colour], "clip_on": False, "linewidth": 0}
        row, column = axes.get_yaxis_transform(), axes.get_xaxis_transform()
        axes.add_patch(Rectangle((-0.013 * scale, number - 0.42), -0.012 * scale, 0.84, transform=row, **shade))
        axes.add_patch(Rectangle((number - 0.42, -0.013 * scale), 0.84, -0.012 * scale, transform=column, **shade))


def curves_figure(tables: dict[str, list[dict[str, str]]], metric: str, label: str, path: Path) -> Path:
    """Training loss and a metric over epochs of one or more runs (name -> rows of metrics.csv) as a PNG.

    metric: its column; label: of the axis.
    """
    figure, (left, right) = new_figure(9, 3.4, columns=2)
    for name, rows in tables.items():
        epochs = [int(row["epoch"]) for row in rows]
        left.plot(epochs, [float(row["loss"]) for row in rows], marker=".", label=name)
        scored = [(int(row["epoch"]), float(row[metric])) for row in rows if row.get(metric)]
        right.plot(*zip(*scored, strict=True), marker=".", label=name) if scored else None
    left.set(xlabel="epoch", ylabel="training loss")
    right.set(xlabel="epoch", ylabel=label)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    return save_figure(figure, path)


def new_figure(width: float, height: float, columns: int = 1) -> Any:
    """(figure, its axes), without the global state of pyplot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    return figure, figure.subplots(1, columns)


def save_figure(figure: Any, path: Path) -> Path:
    """As a PNG, in a folder that is made where there is none; returns the path."""
    with new_file(path) as part:
        figure.savefig(part)
    return path
