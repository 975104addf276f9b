"""Figures of the suite -> the printed table, suite.json, suite.csv."""

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from volovan.files.whole import whole_file
from volovan.suite.published import Published
from volovan.suite.scoring import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    SEVERITIES,
    Score,
    corrupted_accuracy,
    corruption_error,
    mean_corruption_error,
)
from volovan.suite.vizwiz import FLAWS

UNITS = {"top1": "top-1", "top5": "top-5", "error": "error", "ce": "CE", "mce": "mCE", "mean_error": "mean error"}
Lookup = Callable[[str, str], tuple[Published, ...]]  # (figure, metric) -> what others measured


@dataclass(frozen=True)
class Figure:
    """One number in per cent: of what, which metric (key of UNITS), over how many pictures, others' figures, and a note
    where it is not what its name promises."""

    name: str
    metric: str
    value: float
    pictures: int
    published: tuple[Published, ...] = ()
    note: str = ""


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

    The error over all is the mean of the severities' errors; where one of the five has no picture, it is that of the
    others, its note says so, and there is no CE.
    """
    errors = {row: 100 - score.top1 for row, score in scores.items()}
    present = [row for row, score in scores.items() if score.pictures]
    pictures = sum(score.pictures for score in scores.values())
    missing = [str(severity) for severity in SEVERITIES if f"{name}-{severity}" not in present]
    note = f"incomplete: no pictures of severity {', '.join(missing)}" if missing else ""
    figures = [Figure(row, "error", error, scores[row].pictures) for row, error in errors.items()]
    over_all = sum(errors[row] for row in present) / len(present) if present else math.nan
    figures.append(Figure(name, "error", over_all, pictures, note=note))
    corruption = name.partition("-")[2]
    if corruption in CORRUPTIONS and not missing:
        figures.append(Figure(name, "ce", corruption_error(list(errors.values()), corruption), pictures))
    return figures


def mean_corruption_figures(figures: Sequence[Figure]) -> tuple[list[Figure], str]:
    """(mCE and the mean error, "") from the figures of every corruption; ([], why not) where some are missing."""
    found = {figure.name: figure for figure in figures if figure.metric == "error" and figure.pictures}
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
    said = []
    for name, group in groupby(figures, key=lambda figure: figure.name):
        if name.startswith("c-") and name[-1].isdigit():
            continue
        row = list(group)
        cells = [f"{UNITS[figure.metric]} {figure.value:7.3f}" for figure in row]
        others = "; ".join(str(entry) for figure in row if figure.metric == "top1" for entry in figure.published)
        extra = "not in mCE" if name.partition("-")[2] in EXTRA_CORRUPTIONS else ""
        tail = "; ".join(filter(None, (row[0].note, extra, f"published {others}" if others else "")))
        said.append(f"  {name:21s} {row[0].pictures:>9,}  {'  '.join(cells):30s}  {tail}".rstrip())
    return said


def write(folder: Path, about: Mapping[str, Any], figures: Sequence[Figure]) -> None:
    """suite.json and suite.csv; each appears whole, and both are written again after every pass."""
    with whole_file(folder / "suite.json") as file:
        values = [None if math.isnan(figure.value) else round(figure.value, 4) for figure in figures]  # JSON has no nan
        entries = [{**asdict(figure), "value": value} for figure, value in zip(figures, values, strict=True)]
        print(json.dumps({**about, "figures": entries}, indent=2), file=file)
    with whole_file(folder / "suite.csv") as file:
        table = csv.writer(file)
        table.writerow(["figure", "metric", "value", "pictures", "published", "crop_pct", "source", "note"])
        for figure in figures:
            cells = [figure.name, figure.metric, f"{figure.value:.4f}", figure.pictures]
            for entry in figure.published or (None,):
                others = (entry.value, entry.crop_pct, entry.source) if entry else ("", "", "")
                table.writerow([*cells, *others, figure.note])
