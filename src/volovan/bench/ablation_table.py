"""The table of an ablation: mean and spread over seeds, cost and speed of each row, published values beside them."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from statistics import mean, median
from typing import Any

import torch

from volovan.bench.ablation import Ablation, Row
from volovan.bench.ablation_runs import Job, is_finished
from volovan.engine.run import read_table
from volovan.engine.settings import SettingsError
from volovan.files.runs import newest_description
from volovan.models.cost import Cost
from volovan.use.rehearse import cost, data_classes
from volovan.use.rooms import ROOMS


@dataclass(frozen=True)
class Result:
    """What is known of a row. values: the metric after the last epoch by seed, of the finished runs only; not finite
    where a run has diverged. images_per_s: of the training runs, or of the measurement side by side where there is one.
    """

    row: Row
    asked: int
    values: dict[int, float]
    images_per_s: float | None
    cost: Cost

    @property
    def diverged(self) -> bool:
        """Whether a value is not finite; then the row has no mean and no spread that others could be compared with."""
        return not all(map(isfinite, self.values.values()))

    @property
    def mean(self) -> float | None:
        return mean(self.values.values()) if self.values and not self.diverged else None

    @property
    def spread(self) -> float | None:
        """Highest minus lowest value over the seeds; None with fewer than two."""
        if len(self.values) < 2 or self.diverged:
            return None
        return max(self.values.values()) - min(self.values.values())


def collect(ablation: Ablation, jobs: Sequence[Job], speed: dict[str, Any] | None = None) -> list[Result]:
    """One Result per row, in the order of the jobs. speed: what `measure_speeds` has written.

    SettingsError: the network of a row cannot be built, or its runs do not have the metric, or will not.
    """
    by_row: dict[str, list[Job]] = {}
    for job in jobs:
        by_row.setdefault(job.row.name, []).append(job)
    results = []
    for name, group in by_row.items():
        values, speeds = {}, []
        for job in filter(is_finished, group):
            table = read_table(job.folder / "metrics.csv")
            if not table[-1].get(ablation.metric):
                known = ", ".join(key for key, text in table[-1].items() if text)
                raise SettingsError(f"{job.folder} has no {ablation.metric} in metrics.csv; it has {known}")
            values[job.seed] = float(table[-1][ablation.metric])
            speeds.append(training_speed(table, job.settings.train.batch_size, ablation.metric))
        images_per_s = mean(speeds) if speeds else None
        if speed is not None:
            images_per_s = speed["images_per_s"].get(name)
        results.append(Result(group[0].row, len(group), values, images_per_s, _cost(ablation, group)))
    return results


def training_speed(epochs: Sequence[dict[str, str]], batch_size: int, metric: str) -> float:
    """Images per second: median over the epochs without a validation, or over all epochs where each has one."""
    plain: list[float] = []
    validated: list[float] = []
    step, seconds = 0, 0.0
    for epoch in epochs:
        images, took = (int(epoch["step"]) - step) * batch_size, float(epoch["seconds"]) - seconds
        (validated if epoch.get(metric) else plain).append(images / max(took, 1e-9))
        step, seconds = int(epoch["step"]), float(epoch["seconds"])
    return median(plain or validated)


def _cost(ablation: Ablation, jobs: Sequence[Job]) -> Cost:
    """Of the network that was trained, or that would be, at the training size; refuses a metric that it cannot have."""
    recipe, begun = jobs[0].settings, [job.folder for job in jobs if (job.folder / "checkpoints").is_dir()]
    described = next((about for folder in begun if (about := newest_description(folder))), None)
    known = len(described.get("classes", ())) if described else 0
    try:
        classes = known or ablation.classes or _count_classes(ablation, recipe)
        found = cost(recipe, classes)
        _check_metric(ablation.metric, recipe, classes)
    except ValueError as error:
        raise SettingsError(f"ablation {ablation.name}, row {jobs[0].row.name!r}: {error}") from error
    return found


def _check_metric(metric: str, recipe: Any, classes: int) -> None:
    """SettingsError for a metric that no validation of the recipe gives, asked of one that has seen nothing.

    Where there are several targets, each has metrics of its own: the names go on with that of the target.
    """
    task = ROOMS[recipe.task].task()(recipe)
    task.classes = tuple(map(str, range(classes)))
    known = ["loss", *task.new_metric(torch.device("cpu")).finish()]
    if metric not in known and not metric.startswith(tuple(f"{name}_" for name in known)):
        goal = task.goal.removeprefix("-")
        raise SettingsError(
            f"metric is {metric!r}, but a run of this row has {', '.join(known)}; name one of these, or leave it out "
            f"for {goal}"
        )


def _count_classes(ablation: Ablation, recipe: Any) -> int:
    try:
        return data_classes(recipe)
    except (ValueError, OSError) as error:
        raise SettingsError(
            f"ablation {ablation.name}: the number of classes is not known ({error}); add classes: NUMBER to the file"
        ) from error


def noise(one: Result, other: Result, results: Sequence[Result]) -> float | None:
    """The spread that a difference of two rows is held against: that of the row with the widest one, since two or three
    seeds often lie close together by chance. None if one of the two rows has fewer than two seeds."""
    if one.spread is None or other.spread is None:
        return None
    return max(result.spread for result in results if result.spread is not None)


def difference(result: Result, results: Sequence[Result]) -> tuple[float, bool | None] | None:
    """(mean minus that of the reference row, whether that is inside the spread or None if not known); None without."""
    reference = next((other for other in results if other.row.name == result.row.against), None)
    if reference is None or reference is result or result.mean is None or reference.mean is None:
        return None
    delta, spread = result.mean - reference.mean, noise(result, reference, results)
    return delta, None if spread is None else abs(delta) <= spread


@dataclass(frozen=True)
class Order:
    """Pairs of rows with different published values: how many stand in the same order here; of how many the spread is
    known, how many differ by more than it, and how many of those stand in the same order."""

    pairs: int
    same: int
    known: int
    clear: int
    clear_same: int


def compare_order(results: Sequence[Result], metric: str) -> Order:
    """Count the pairs of rows that have runs and published values."""
    pairs = same = known = clear = clear_same = 0
    rows = [result for result in results if result.mean is not None and metric in result.row.published]
    for one, other in combinations(rows, 2):
        published = one.row.published[metric] - other.row.published[metric]
        if published == 0:
            continue
        ours = float(one.mean or 0) - float(other.mean or 0)
        agrees, spread = ours * published > 0, noise(one, other, results)
        pairs, same = pairs + 1, same + agrees
        if spread is not None:
            known += 1
            if abs(ours) > spread:
                clear, clear_same = clear + 1, clear_same + agrees
    return Order(pairs, same, known, clear, clear_same)


def order_sentence(results: Sequence[Result], metric: str) -> str:
    """How the order of the rows agrees with the published one, no more than the runs can tell."""
    order = compare_order(results, metric)
    if not order.pairs:
        return "Order: there are no two rows with runs and different published values to compare."
    text = f"Order: {order.same} of {order.pairs} pairs of rows stand as published"
    if not order.known:
        return f"{text}; how far they differ by chance is not known before two seeds."
    those = "of them" if order.known == order.pairs else f"of the {order.known} with two seeds or more each"
    if not order.clear:
        return f"{text}; none {those} differs by more than the spread, so this says nothing."
    return (
        f"{text}; {order.clear} {those} differ by more than the spread, of these {order.clear_same} stand as published."
    )


def decimals(results: Sequence[Result], metric: str) -> int:
    """Of the metric: 2 in per cent, 4 where no value exceeds 1, as those of saliency, which are shares of one."""
    known = [value for result in results for value in (*result.values.values(), result.row.published.get(metric))]
    sizes = [abs(value) for value in known if value is not None and isfinite(value)]
    return 4 if sizes and max(sizes) <= 1 else 2


UNPUBLISHED = "not published"
HEAD = (
    "row",
    "{metric}, mean",
    "lowest to highest",
    "seeds",
    "difference",
    "published {metric}",
    "parameters",
    "published",
    "GMACs",
    "published",
    "images/s",
    "published",
)


def markdown(ablation: Ablation, results: Sequence[Result], speed: dict[str, Any] | None = None) -> str:
    """Title, table and notes as Markdown."""
    head = [name.format(metric=ablation.metric) for name in HEAD]
    body = [_cells(result, results, ablation.metric) for result in results]
    # Of the published columns only that of the metric stays where nothing was published.
    keep = [i for i, name in enumerate(head) if name != "published" or any(row[i] != UNPUBLISHED for row in body)]
    table = _aligned([[row[i] for i in keep] for row in (head, *body)])
    return f"**{ablation.title}**\n\n{table}\n\n{_notes(ablation, results, speed)}\n"


def _aligned(lines: list[list[str]]) -> str:
    """Cells as a Markdown table that a terminal shows well too: names to the left, numbers to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = [lines[0], rule, *lines[1:]]
    padded = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _cells(result: Result, results: Sequence[Result], metric: str) -> list[str]:
    published, values = result.row.published, result.values.values()
    places = decimals(results, metric)
    count = f"{len(values)}" if len(values) == result.asked else f"{len(values)} of {result.asked}"
    without = "not finite" if result.diverged else "–"
    return [
        result.row.name,
        without if result.mean is None else f"{result.mean:.{places}f}",
        "–" if result.spread is None else f"{min(values):.{places}f} to {max(values):.{places}f}",
        count,
        _difference_cell(result, results, places),
        f"{published[metric]:.{places - 1}f}" if metric in published else UNPUBLISHED,
        f"{result.cost.parameters:,}",
        f"{published['params']:g} M" if "params" in published else UNPUBLISHED,
        f"{result.cost.gmacs:.4g}",
        f"{published['gmacs']:g}" if "gmacs" in published else UNPUBLISHED,
        "–" if result.images_per_s is None else f"{result.images_per_s:.0f}",
        f"{published['images_per_s']:g}" if "images_per_s" in published else UNPUBLISHED,
    ]


def _difference_cell(result: Result, results: Sequence[Result], places: int) -> str:
    found = difference(result, results)
    if found is None:
        return "reference" if any(other.row.against == result.row.name for other in results) else "–"
    delta, inside = found
    verdict = {True: ", inside the spread", False: "", None: ", spread not known"}[inside]
    return f"{delta:+.{places}f}{verdict}".replace("-", "−")


def _notes(ablation: Ablation, results: Sequence[Result], speed: dict[str, Any] | None) -> str:
    """What the columns mean, where the published values come from, what is missing."""
    references = sorted({result.row.against for result in results})
    to = "its row" if len(references) > 1 else f"“{references[0]}”"
    measured = "of the training runs themselves, on the machine and beside the load that they had."
    if speed is not None:
        measured = (
            f"forward and backward pass of {speed['batch']} random images, the rows in turn, median of "
            f"{speed['rounds']}; {speed['device']}."
        )
    lines = [
        f"{ablation.metric}: after the last epoch, on the validation data of the base recipe. Difference: to {to}; "
        "inside the spread: not larger than highest minus lowest over the seeds of the row where that is widest. "
        "Parameters and GMACs (one picture, convolutions and matrix products): counted at the training size. "
        f"images/s: {measured}",
        f"Published: {ablation.source}." if ablation.source else "Published values were not found.",
        order_sentence(results, ablation.metric),
    ]
    for result in results:
        if result.diverged:
            shown = ", ".join(f"{value:.2f} (seed {seed})" for seed, value in result.values.items())
            lines.append(f"Not finite: {ablation.metric} of “{result.row.name}” is {shown}; it is not compared.")
    missing = [result for result in results if len(result.values) < result.asked]
    if missing:
        runs = sum(result.asked - len(result.values) for result in missing)
        lines.append(f"Not finished: {runs} runs of {', '.join(result.row.name for result in missing)}.")
    return "\n\n".join(lines)


def comma_separated(ablation: Ablation, results: Sequence[Result]) -> str:
    """The same with all digits, one line per row, as CSV."""
    rows, metric = [], ablation.metric
    for result in results:
        values, published = result.values, result.row.published
        finite = [] if result.diverged else list(values.values())
        delta, inside = difference(result, results) or (None, None)
        row = {
            "row": result.row.name,
            "folder": result.row.slug,
            "seeds": len(values),
            metric: "not finite" if result.diverged else result.mean,
            "lowest": min(finite, default=None),
            "highest": max(finite, default=None),
            "values": "; ".join(f"{seed}: {value}" for seed, value in values.items()),
            "against": result.row.against,
            "difference": delta,
            "inside_spread": inside,
            f"published_{metric}": published.get(metric),
            "parameters": result.cost.parameters,
            "published_params_m": published.get("params"),
            "gmacs": result.cost.gmacs,
            "published_gmacs": published.get("gmacs"),
            "height": result.cost.size[0],
            "width": result.cost.size[1],
            "images_per_s": result.images_per_s,
            "published_images_per_s": published.get("images_per_s"),
        }
        rows.append(row)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
