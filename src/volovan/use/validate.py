"""Figures of a network on labelled pictures, and the files that show them."""

import json
import os
import time
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

from volovan.data.masks.files import DrawnOn
from volovan.data.samples import Part
from volovan.data.source import Source
from volovan.data.sources import open_source
from volovan.engine.distributed import Place
from volovan.engine.evaluate import BadSamples, evaluate
from volovan.engine.settings import SettingsError, TrainSettings, expand_variables, refuse_workers
from volovan.files.pictures import save_picture
from volovan.files.whole import whole_file
from volovan.room.ready import PictureScore, Ready, outcomes
from volovan.room.settings import at_least


@dataclass(frozen=True)
class Validation:
    """What a validation showed.

    figures  name -> value, as in metrics.json
    metric   the finished metric of the room
    judged   the pictures, in their order
    bad      those that could not be read: name -> reason
    notes    what the user should know of the data
    """

    figures: dict[str, float]
    metric: Any
    judged: list[PictureScore]
    bad: dict[str, str]
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def pictures(self) -> int:
        return int(self.metric.totals["count"])

    @property
    def unknown(self) -> str:
        """Why some figures cannot be told, "" if all can."""
        names = [name for name, value in self.figures.items() if isnan(value)]
        if not names:
            return ""
        why = (
            f"of {self.pictures} pictures none has a label that counts for them"
            if self.pictures
            else "no picture was read"
        )
        return f"{', '.join(names)} cannot be told, since {why}; `volovan check-data` shows what the data hold"

    @property
    def empty(self) -> bool:
        """Whether no figure can be told."""
        return all(isnan(value) for value in self.figures.values())


def open_labelled(spec: str, split: str, kind: str, trained: str = "", drawn_on: DrawnOn | None = None) -> Source:
    """Labelled pictures to validate on, all of a source without splits unless it was trained on; SettingsError if there
    are none."""
    source: Source = open_source(expand_variables(spec), split, kind, os.path.expandvars(trained), drawn_on)
    if not len(source):
        raise SettingsError(f"{spec} has no picture in the split {split!r}; name other data, or another split")
    return source


def validate(
    ready: Ready[Any],
    source: Source,
    place: Place,
    *,
    batch_size: int = 64,
    workers: int = 2,
    precision: str = "fp32",
    limit: int | None = None,
    on_bad: str = "stop",
) -> Validation:
    """Put all pictures through the network, over all processes, and compare."""
    for key, value, least in (("--batch-size", batch_size, 1), ("--workers", workers, 0), ("--limit", limit, 1)):
        at_least(key, value, least)
    refuse_workers("--workers", workers)
    reader = ready.reader(source)
    notes = tuple(note for note in (source.note, reader.note) if note)
    if place.leads:
        for note in notes:
            print(f"note: {note}")
    bad = BadSamples(on_bad == "skip", print, "--on-bad skip")
    begin = time.perf_counter()
    metric = evaluate(
        ready.model,
        reader,
        ready.metric(place.device, reader),
        TrainSettings(precision=precision, workers=workers),  # type: ignore[arg-type]
        place,
        bad,
        batch_size=1 if ready.alone else batch_size,
        limit=limit,
    )
    seconds = time.perf_counter() - begin
    return Validation(metric.finish(), metric, list(metric.rows.values()), bad.names, seconds, notes)


def say(ready: Ready[Any], found: Validation) -> None:
    """The table on the terminal."""
    rate = found.pictures / max(found.seconds, 1e-9)
    print(f"{ready.name} on {found.pictures} pictures {ready.conditions()}, {rate:.3g} images/s")
    print("\n".join(ready.table(found.metric)))
    if found.bad:
        print(f"  {len(found.bad)} unreadable picture(s) were left out")
    if found.unknown:
        print(f"note: {found.unknown}")


def write(
    ready: Ready[Any],
    source: Source,
    found: Validation,
    folder: Path,
    pictures: int = 6,
    more: dict[str, Any] | None = None,
) -> None:
    """metrics.json, with null for what cannot be told and why, the tables and figures of the room, and the worst and
    best pictures."""
    at_least("--pictures", pictures, 0)
    about = {"model": ready.name, "pictures": found.pictures, "skipped": found.bad, **ready.facts(found.metric)}
    if found.unknown:
        about["unknown"] = found.unknown
    about |= {"notes": found.notes} if found.notes else {}
    with whole_file(folder / "metrics.json") as file:
        print(json.dumps(_as_json({**about, **found.figures, **(more or {})}), indent=2), file=file)
    print(f"wrote {folder}/{', '.join(['metrics.json', *ready.report(found.metric, source, folder)])}")
    worst, best = extremes(found.judged, pictures)
    for kind, chosen in (("worst", worst), ("best", best)):
        answers = outcomes(ready, Part(source, [row.index for row in chosen]), batch_size=1, shown=False)
        for rank, (row, outcome) in enumerate(zip(chosen, answers, strict=True), 1):
            page = ready.compare(outcome.answer, ready.truth(source, row.index), row.said)
            save_picture(folder / "pictures" / f"{kind}_{rank:02d}.png", page)
    if worst:
        print(f"wrote {folder}/pictures: the {len(worst)} worst and the {len(best)} best")


def _as_json(said: Any) -> Any:
    """The same with null for nan, which JSON has not."""
    if isinstance(said, dict):
        return {name: _as_json(value) for name, value in said.items()}
    return None if isinstance(said, float) and isnan(said) else said


def extremes(judged: list[PictureScore], count: int) -> tuple[list[PictureScore], list[PictureScore]]:
    """The `count` worst (worst first) and the `count` best pictures (best first), none among both."""
    ranked = sorted((row for row in judged if not isnan(row.score)), key=lambda row: row.score)
    half = min(count, -(-len(ranked) // 2))
    return ranked[:half], ranked[: half - 1 : -1][:half] if half else []
