"""Figures of the suite -> the printed table, suite.json, suite.csv."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from volovan.classify.suite.published import Published
from volovan.classify.suite.scoring import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    SEVERITIES,
    Score,
    corrupted_accuracy,
    corruption_error,
    mean_corruption_error,
)
from volovan.classify.suite.vizwiz import FLAWS
from volovan.engine.files import whole_file

UNITS = {"top1": "top-1", "top5": "top-5", "error": "error", "ce": "CE", "mce": "mCE", "mean_error": "mean error"}
Lookup = Callable[[str, str], tuple[Published, ...]]  # (figure, metric) -> what others measured


@dataclass(frozen=True)
class Figure:
    """One number in per cent: of what, which metric (key of UNITS), over how many pictures, and others' figures."""

    name: str
    metric: str
    value: float
    pictures: int
    published: tuple[Published, ...] = ()


def plain_figures(scores: Mapping[str, Score], lookup: Lookup) -> list[Figure]:
    """top1 and top5 of every row; for VizWiz also the figure for corrupted pictures."""
    figures = []
    for name, score in scores.items():
        for metric, value in (("top1", score.top1), ("top5", score.top5)):
            figures.append(Figure(name, metric, value, score.pictures, lookup(name, metric)))
    if "vizwiz" in scores:
        flaws = {word: scores[f"vizwiz-{word}"].top1 for word in FLAWS.values()}
        pictures = scores["vizwiz-any-flaw"].pictures
        name = "vizwiz-corrupted"
        figures.append(Figure(name, "top1", corrupted_accuracy(flaws), pictures, lookup(name, "top1")))
    return figures


def corruption_figures(name: str, scores: Mapping[str, Score]) -> list[Figure]:
    """Errors of one corruption `c-fog` at each severity and over all, and CE if all five are there.

    The error over all is the mean of the severities' errors.
    """
    errors = {row: 100 - score.top1 for row, score in scores.items()}
    pictures = sum(score.pictures for score in scores.values())
    figures = [Figure(row, "error", error, scores[row].pictures) for row, error in errors.items()]
    figures.append(Figure(name, "error", sum(errors.values()) / len(errors), pictures))
    corruption = name.partition("-")[2]
    if corruption in CORRUPTIONS and len(errors) == len(SEVERITIES):
        figures.append(Figure(name, "ce", corruption_error(list(errors.values()), corruption), pictures))
    return figures


def mean_corruption_figures(figures: Sequence[Figure]) -> tuple[list[Figure], str]:
    """(mCE and the mean error, "") from the figures of every corruption; ([], why not) where some are missing."""
    found = {figure.name: figure for figure in figures if figure.metric == "error"}
    names = {corruption: [f"c-{corruption}-{severity}" for severity in SEVERITIES] for corruption in CORRUPTIONS}
    missing = [corruption for corruption, rows in names.items() if not set(rows) <= set(found)]
    if missing:
        return [], f"no mCE: of the 15 corruptions, {', '.join(missing)} lack or lack a severity"
    errors = {corruption: [found[row].value for row in rows] for corruption, rows in names.items()}
    pictures = sum(found[row].pictures for rows in names.values() for row in rows)
    mce, mean = mean_corruption_error(errors)
    return [Figure("c", "mce", mce, pictures), Figure("c", "mean_error", mean, pictures)], ""


def lines(figures: Sequence[Figure]) -> list[str]:
    """One printed line for every name: pictures, figures, others' figures. Severities are left to the files."""
    rows: dict[str, list[Figure]] = {}
    for figure in figures:
        if not (figure.name.startswith("c-") and figure.name[-1].isdigit()):
            rows.setdefault(figure.name, []).append(figure)
    return [_line(name, entries) for name, entries in rows.items()]


def _line(name: str, figures: Sequence[Figure]) -> str:
    cells = [f"{UNITS[figure.metric]} {figure.value:7.3f}" for figure in figures]
    others = "; ".join(str(entry) for figure in figures if figure.metric == "top1" for entry in figure.published)
    extra = "not in mCE" if name.partition("-")[2] in EXTRA_CORRUPTIONS else ""
    tail = extra or (f"published {others}" if others else "")
    return f"  {name:21s} {figures[0].pictures:>9,}  {'  '.join(cells):30s}  {tail}".rstrip()


def write(folder: Path, about: Mapping[str, Any], figures: Sequence[Figure]) -> None:
    """suite.json and suite.csv; each appears whole, and both are written again after every pass."""
    with whole_file(folder / "suite.json") as file:
        entries = [{**asdict(figure), "value": _number(figure.value)} for figure in figures]
        print(json.dumps({**about, "figures": entries}, indent=2), file=file)
    with whole_file(folder / "suite.csv") as file:
        table = csv.writer(file)
        table.writerow(["figure", "metric", "value", "pictures", "published", "crop_pct", "source"])
        for figure in figures:
            cells = [figure.name, figure.metric, f"{figure.value:.4f}", figure.pictures]
            for entry in figure.published or (None,):
                table.writerow([*cells, *((entry.value, entry.crop_pct, entry.source) if entry else ("", "", ""))])


def _number(value: float) -> float | None:
    """JSON knows no nan."""
    return None if math.isnan(value) else round(value, 4)
