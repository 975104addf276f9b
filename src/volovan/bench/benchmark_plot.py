"""The two pictures of a benchmark: accuracy against throughput, and operations against the roofline of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from volovan.files.whole import new_file

OURS, PEER = "#1f6f8b", "#b3541e"
Row = dict[str, Any]


def draw_accuracy(rows: Sequence[Row], machine: Row, path: Path) -> Path:
    """Published top-1 against images/s here, as figure 5 of VAN's paper has it; ours filled, peers hollow."""
    figure, axes = _figure(7.5, 5)
    for row in rows:
        ours = not row["network"].startswith(("timm:", "plain:"))
        colour = OURS if ours else PEER
        axes.plot(row["images_per_s"], row["top1"], "o", color=colour, markerfacecolor=colour if ours else "none")
        name = row["network"].removeprefix("timm:").replace("_patch4_window7_224", "").replace("_patch16_224", "")
        axes.annotate(name, (row["images_per_s"], row["top1"]), xytext=(5, 4), textcoords="offset points", fontsize=8)
    first = rows[0]
    axes.set_xscale("log")
    axes.set(xlabel=f"images/s, {first['precision']}, batch {first['batch']}, {first['size']}",
             ylabel="ImageNet top-1 at 224, %, as published")  # fmt: skip
    axes.margins(x=0.25, y=0.1)
    axes.grid(alpha=0.3, which="both")
    axes.set_title(f"inference on {machine['machine']}, torch {machine['torch']}", fontsize="medium")
    return _save(figure, path)


def draw_roofline(rows: Sequence[Row], machine: Row, path: Path) -> Path:
    """GFLOP/s of each operation over its operations per byte of least traffic, below the roof of each precision."""
    figure, axes = _figure(8.5, 5.5)
    styles = dict(zip(sorted({row["precision"] for row in rows}), ("-", "--", ":"), strict=False))
    lowest = min(row["flop_per_byte"] for row in rows) / 2
    highest = max(max(row["flop_per_byte"] for row in rows), rows[0]["peak_gflop_per_s"] / rows[0]["copy_gb_per_s"]) * 3
    for precision, style in styles.items():
        row = next(row for row in rows if row["precision"] == precision)
        speed, peak = row["copy_gb_per_s"], row["peak_gflop_per_s"]
        axes.plot([lowest, peak / speed, highest], [lowest * speed, peak, peak], style, color="grey",
                  label=f"roof, {precision}: {speed:.3g} GB/s, {peak:.4g} GFLOP/s")  # fmt: skip
    backends = sorted({row["backend"] for row in rows}, key=lambda name: (name != "plain", name))
    names = list(dict.fromkeys(row["operation"] for row in rows))
    colours = {name: f"C{number % 10}" for number, name in enumerate(names)}
    for backend, marker in zip(backends, "x.s^D", strict=False):
        for row in (row for row in rows if row["backend"] == backend):
            axes.plot(row["flop_per_byte"], row["gflop_per_s"], marker, color=colours[row["operation"]])
        axes.plot([], [], marker, color="black", label=backend)
    for name, colour in colours.items():
        axes.plot([], [], "s", color=colour, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(xlabel="operations per byte that must be moved", ylabel="GFLOP/s")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    parts = " and ".join(dict.fromkeys(row["part"] for row in rows))
    axes.set_title(f"{parts} on {machine['machine']}, torch {machine['torch']}", fontsize="medium")
    return _save(figure, path)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _save(figure: Any, path: Path) -> Path:
    with new_file(path) as part:
        figure.savefig(part, format="png")
    return path
