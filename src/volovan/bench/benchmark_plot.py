"""The two pictures of a benchmark: accuracy against throughput, and operations against the roofline of the machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from volovan.files.whole import new_file

OURS, PEER = "#1f6f8b", "#b3541e"
MANY = (*(f"C{number}" for number in range(10)), "gold", "navy", "lime", "black")
NEAR, LINE = 0.35, 0.28
"""labels that are as near, in the logarithm of images/s, stand on lines of so many per cent of accuracy"""
Row = dict[str, Any]


def draw_accuracy(rows: Sequence[Row], machine: Row, path: Path) -> Path:
    """Published top-1 against images/s here, as figure 5 of VAN's paper has it; ours filled, peers hollow.

    A network is a line from its slowest form to its fastest; of one that was measured several times (a peer of several
    networks) the median counts.
    """
    figure, axes = _figure(8.5, 6)
    rates: dict[str, dict[str, list[float]]] = {}
    accuracy = {}
    for row in rows:
        word, _, form = row["network"].partition(" ")
        rates.setdefault(word, {}).setdefault(form, []).append(row["images_per_s"])
        accuracy[word] = row["top1"]
    heights: list[tuple[float, float]] = []
    for word in sorted(rates, key=lambda word: accuracy[word]):
        speeds = sorted(median(found) for found in rates[word].values())
        ours = not word.startswith(("timm:", "plain:"))
        colour = OURS if ours else PEER
        axes.plot(speeds, [accuracy[word]] * len(speeds), "o-", color=colour, mfc=colour if ours else "none")
        name = word.removeprefix("timm:").replace("_patch4_window7_224", "").replace("_patch16_224", "")
        if word.startswith("plain:"):
            axes.annotate(name, (speeds[0], accuracy[word]), xytext=(-7, -3), textcoords="offset points", fontsize=8,
                          ha="right", color=colour)  # fmt: skip
            continue
        # above the labels that are near it already
        near = [y for x, y in heights if abs(math.log(x / speeds[-1])) < NEAR and abs(y - accuracy[word]) < 1]
        height = max([accuracy[word] - 0.1, *(y + LINE for y in near)])
        heights.append((speeds[-1], height))
        axes.annotate(name, (speeds[-1], height), xytext=(7, 0), textcoords="offset points", fontsize=8, color=colour)
    first = rows[0]
    axes.set_xscale("log")
    axes.set(xlabel=f"images/s, {first['precision']}, batch {first['batch']}, {first['size']}",
             ylabel="ImageNet top-1 at 224, %, as published")  # fmt: skip
    axes.margins(x=0.2, y=0.1)
    axes.grid(alpha=0.3, which="both")
    axes.set_title(f"inference on {machine['machine']}, torch {machine['torch']}", fontsize="medium")
    return _save(figure, path)


def draw_roofline(rows: Sequence[Row], machine: Row, path: Path) -> Path:
    """GFLOP/s of each operation over its operations per byte of least traffic, below the roof of each precision; a
    panel for each part. Markers are backends, filled in fp32 and hollow in less."""
    parts = list(dict.fromkeys(row["part"] for row in rows))
    figure, panels = _figure(3.5 + 4.5 * len(parts), 5.5, len(parts))
    precisions = sorted({row["precision"] for row in rows}, key=lambda name: name != "fp32")
    backends = sorted({row["backend"] for row in rows}, key=lambda name: (name != "plain", name))
    marks = dict(zip(backends, "Xo^sD", strict=False))
    names = list(dict.fromkeys(row["operation"] for row in rows))
    colours = {name: MANY[number % len(MANY)] for number, name in enumerate(names)}
    for axes, part in zip(panels, parts, strict=True):
        shown = [row for row in rows if row["part"] == part]
        for precision, style in zip(precisions, ("-", "--", ":"), strict=False):
            _draw_roof(axes, [row for row in shown if row["precision"] == precision], style)
        for row in shown:
            colour = colours[row["operation"]]
            filled = colour if row["precision"] == "fp32" else "none"
            axes.plot(row["flop_per_byte"], row["gflop_per_s"], marks[row["backend"]], color=colour, mfc=filled, ms=7)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set(xlabel="operations per byte that must be moved", ylabel="GFLOP/s", title=part)
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=7, loc="upper left")
    for backend in backends:
        panels[-1].plot([], [], marks[backend], color="black", label=backend)
    for name, colour in colours.items():
        panels[-1].plot([], [], "-", lw=4, color=colour, label=name)
    panels[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    hollow = f"; filled {precisions[0]}, hollow {', '.join(precisions[1:])}" if len(precisions) > 1 else ""
    figure.suptitle(f"operations on {machine['machine']}, torch {machine['torch']}{hollow}", fontsize="medium")
    return _save(figure, path)


def _draw_roof(axes: Any, rows: Sequence[Row], style: str) -> None:
    """What no formulation exceeds: copy speed, then the peak of arithmetic."""
    speed, peak = rows[0]["copy_gb_per_s"], rows[0]["peak_gflop_per_s"]
    where = [row["flop_per_byte"] for row in rows] + [peak / speed]
    label = f"roof, {rows[0]['precision']}: {speed:.3g} GB/s, {peak:.4g} GFLOP/s"
    low, high = min(where) / 2, max(where) * 3
    axes.plot([low, peak / speed, high], [low * speed, peak, peak], style, color="grey", label=label)


def _figure(width: float, height: float, panels: int = 0) -> tuple[Any, Any]:
    """A figure and its axes, or the list of several side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels, squeeze=False)[0] if panels else figure.subplots()


def _save(figure: Any, path: Path) -> Path:
    with new_file(path) as part:
        figure.savefig(part, format="png")
    return path
