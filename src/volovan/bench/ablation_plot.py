"""The picture of an ablation: mean and spread of every row beside the published value."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from volovan.bench.ablation import Ablation
from volovan.bench.ablation_table import Result, decimals
from volovan.files.whole import new_file

OURS, PUBLISHED = "#1f6f8b", "#b3541e"


def draw_ablation(ablation: Ablation, results: Sequence[Result], path: Path) -> Path:
    """Rows from top to bottom: on the left the runs, on the right what was published, each with an axis of its own,
    since data and networks differ."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    has_published = any(ablation.metric in result.row.published for result in results)
    panels = 2 if has_published else 1
    figure = Figure(figsize=(4 + 3.2 * panels, 1.7 + 0.36 * len(results)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    _draw_runs(axes[0], results)
    per_cent = decimals(results, ablation.metric) == 2
    unit = f"{ablation.metric}, %" if per_cent else ablation.metric
    axes[0].set(xlabel=unit, title="measured: mean, lowest to highest over seeds")
    if has_published:
        for i, result in enumerate(results):
            if ablation.metric in result.row.published:
                axes[1].plot(result.row.published[ablation.metric], i, "D", color=PUBLISHED)
            else:
                _write(axes[1], i, "not published")
        axes[1].set(xlabel=unit, title="published")
    for one in axes:
        one.grid(axis="x", alpha=0.3)
        one.tick_params(axis="y", length=0)
        one.margins(x=0.15)
        # At least two points of a hundred on the axis, so that a small difference looks small.
        low, high = one.get_xlim()
        missing = max((2.0 if per_cent else 0.02) - (high - low), 0.0)
        one.set_xlim(low - missing / 2, high + missing / 2)
    axes[0].set_yticks(range(len(results)), [result.row.name for result in results])
    axes[0].set_ylim(len(results) - 0.5, -0.5)
    figure.suptitle(ablation.title, fontsize="medium")
    with new_file(path) as part:
        figure.savefig(part)
    return path


def _draw_runs(axes: Any, results: Sequence[Result]) -> None:
    """A dot for the mean, a bar from the lowest to the highest seed, and the reference row's range as a band."""
    for i, result in enumerate(results):
        if result.mean is None:
            _write(axes, i, "not finite" if result.diverged else "no run yet")
            continue
        low, high = min(result.values.values()), max(result.values.values())
        axes.errorbar(result.mean, i, xerr=[[result.mean - low], [high - result.mean]], fmt="o", capsize=4, color=OURS)
        if result.row.name == results[0].row.against:
            axes.axvspan(low, high, color=OURS, alpha=0.12, linewidth=0)


def _write(axes: Any, row: int, text: str) -> None:
    axes.annotate(text, (0.5, row), xycoords=("axes fraction", "data"), ha="center", va="center", color="grey")
