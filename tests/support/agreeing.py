"""Whether check-data says of a source what a run finds in it: the same samples, the same refusal, the same notes."""

from dataclasses import dataclass
from typing import Any

from volovan.data import check_data
from volovan.data.checks.report import Report
from volovan.data.errors import BadImage, SourceError
from volovan.engine.settings import SettingsError
from volovan.room.task import RoomTask


@dataclass(frozen=True)
class Fitted:
    """What a run makes of its data. refused: the sentence with which it stops, "" if it reads every sample; counts: of
    samples to train and to validate on."""

    refused: str = ""
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()


def fitted(task: RoomTask) -> Fitted:
    """Open the data of a task, and read every sample once."""
    try:
        data = task.build_data()
        both: list[Any] = [data.train, data.val]
        for samples in both:
            for index in range(len(samples)):
                samples.read(index)
    except (SourceError, SettingsError, BadImage) as error:
        return Fitted(str(error))
    return Fitted("", tuple(data.notes), task.classes, tuple(map(len, both)))


def says(report: Report[Any], sentence: str) -> bool:
    """Whether the report gives the reason of a run: the same sentence, or the sample that it names."""
    named = [*report.broken, *(found for some, _ in report.problems() for found in some)]
    return sentence in report.stops or any(
        sentence.startswith(found if isinstance(found, str) else found.name) for found in named
    )


def compare(task: RoomTask, kind: str | None = None, **how: Any) -> tuple[Report[Any] | None, Fitted]:
    """(report, run) of the source of a task, whose targets are of a kind; the report is None if it cannot be opened.

    how     of `check_data`
    raises  AssertionError: they do not agree
    """
    source, kind = task.recipe.data.source, kind or task.kind
    found = fitted(task)
    report: Report[Any] | None = None
    try:
        report = check_data(source, kind, **how)
    except SourceError as error:
        unopened = str(error)
    if report is None:
        assert found.refused == unopened
        return None, found
    assert report.ok == (not found.refused), found.refused or report
    if found.refused:
        assert says(report, found.refused), (found.refused, report)
        return report, found
    assert {*report.cautions} <= {*found.notes}, (report.cautions, found.notes)
    assert tuple(report.splits[split].samples for split in report.used) == found.counts, (report, found)
    return report, found
