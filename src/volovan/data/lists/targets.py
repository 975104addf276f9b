"""From what a list, a table or a shard says of its pictures, as text, to class numbers, several labels or numbers."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from volovan.data.errors import SourceError, shortened
from volovan.data.lists.class_lines import NUMBERED, OddLine, class_lines
from volovan.data.samples import UNLABELLED, PictureFiles
from volovan.data.source import Source
from volovan.data.text import read_text

MAX_LABEL = 1_000_000  # a class has an output of the network, so a larger number is an identifier or a slip
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.0*)?(?:[eE][+-]?[0-9]+)?")
_NUMBER = re.compile(r"[+-]?[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?|[+-]?[0-9]+\.")
_FRACTIONS = "numbers to learn stand in the column `value` of a .csv; where these are names of classes, give them words"
SEPARATOR = "|"  # between the labels of a picture
LARGEST = float(np.finfo(np.float32).max)  # networks learn and predict in float32


@dataclass(frozen=True)
class Targets:
    """Targets of N pictures.

    labels   names are the classes, values (N, K) uint8: 1 where the class applies; a picture may have none
    numbers  names are those of the numbers, values (N, K) float64
    """

    kind: Literal["labels", "numbers"]
    names: tuple[str, ...]
    values: np.ndarray


class TargetFiles(PictureFiles):
    """Pictures that are files, with their targets. strata: class numbers by which hold_out splits, of a list that has
    classes too."""

    def __init__(self, root: Path, files: Iterable[str], targets: Targets, note: str, strata: np.ndarray) -> None:
        super().__init__(root, files, note)
        self.kind, self.classes, self.values = targets.kind, targets.names, targets.values
        self.strata = strata

    def target(self, index: int) -> np.ndarray:
        row: np.ndarray = self.values[index]
        return row


def targets_of(source: Source) -> Targets | None:
    """Those of all samples; None if the source has targets of another kind."""
    if source.kind not in ("labels", "numbers"):
        return None
    values = np.array([source.target(index) for index in range(len(source))])
    return Targets(source.kind, source.classes, values.reshape(-1, len(source.classes)))  # type: ignore[arg-type]


def read_classes(folder: Path) -> tuple[str, ...] | None:
    """classes.txt in folder: one name a line, the line number from 0 is the class number; or numbers from 0 and names,
    in any order. A heading is left out."""
    path = folder / "classes.txt"
    if not path.is_file():
        return None
    texts = [line.strip() for line in read_text(path).splitlines()]
    texts = texts[: max((place + 1 for place, text in enumerate(texts) if text), default=0)]  # empty lines at the end
    if not texts or "" in texts or len(set(texts)) < len(texts):
        raise SourceError(
            f"{path} needs one different class name a line, found {len(texts)} lines, {len(set(texts))} different"
        )
    try:
        found, headed = class_lines([*enumerate(texts, 1)], NUMBERED)
    except OddLine as error:
        if error.headed:
            raise SourceError(f"{path} line {error.line} {error.sentence}") from None
        return tuple(texts)  # names, some of which begin with numbers
    names = {cells.get("id", str(place)): cells["name"] for place, (_, cells) in enumerate(found)}
    order = [*map(str, range(len(found)))]
    if {*names} == {*order} and len({*names.values()}) == len(found):
        return tuple(names[number] for number in order)
    if headed:
        raise SourceError(f"{path} has the numbers {', '.join([*names][:5])} ..., expected 0 to {len(found) - 1}")
    return tuple(texts)  # as "3 musketeers"


def class_numbers(
    texts: Sequence[str], classes: tuple[str, ...] | None, where: str, name: Callable[[int], str]
) -> tuple[tuple[str, ...], np.ndarray, str]:
    """(classes, number of each text, note); "" is unlabelled. name(i) is how errors call sample i.

    Names from classes are looked up; else, if all texts are whole numbers (10, 10.0), they are class numbers (which may
    exceed the known classes: check-data reports it, and a run refuses to start); else names, which are sorted. Without
    classes, numbers are classes 0 to the largest, and the note tells which of them no text has.
    """
    different = sorted(set(texts) - {""})
    note = ""
    lookup = {name: number for number, name in enumerate(classes or ())}
    if all(text in lookup for text in different):
        pass
    elif all(_WHOLE_NUMBER.fullmatch(text) for text in different):
        for text in different:
            if not 0 <= float(text) <= MAX_LABEL:
                raise SourceError(
                    f"{name(texts.index(text))} has label {text[:40]}, expected a class number from 0 to "
                    f"{MAX_LABEL:,}; mend it, or name all classes by words"
                )
        lookup = {text: int(float(text)) for text in different}
        if not classes:
            classes = tuple(str(number) for number in range(max(lookup.values()) + 1))
            if missing := sorted({*range(len(classes))} - {*lookup.values()}):
                shown = ", ".join(map(str, missing[:10])) + (" ..." if len(missing) > 10 else "")
                note = (
                    f"Labels are numbers up to {len(classes) - 1}, {len(missing):,} of them have no pictures "
                    f"({shown}): these are classes without pictures."
                )
    elif all(_NUMBER.fullmatch(text) for text in different):
        text = next(text for text in different if not _WHOLE_NUMBER.fullmatch(text))
        raise SourceError(
            f"{name(texts.index(text))} has label {text[:40]}, expected a class name or a whole number; {_FRACTIONS}"
        )
    elif classes is not None:
        unknown = [text for text in different if text not in lookup]
        raise SourceError(
            f"{where}: label {unknown[0]!r} ({len(unknown)} such) is none of the {len(classes)} in classes.txt; mend "
            "it, or add its name there"
        )
    else:
        classes = tuple(different)
        lookup = {name: number for number, name in enumerate(classes)}
    lookup[""] = UNLABELLED
    numbers = np.array([lookup[text] for text in texts], dtype=np.int64)
    return (classes or ()) if different else (), numbers, note


def several_labels(
    rows: Sequence[Sequence[str]], classes: tuple[str, ...] | None, where: str, name: Callable[[int], str]
) -> tuple[Targets, str]:
    """(targets, note) from the labels of each picture, which may be none; name(i) is how errors call a picture.

    classes: those that are known, which fix names and order; None: all that occur, as `class_numbers` orders them.
    """
    of = [number for number, row in enumerate(rows) for _ in row]
    names, numbers, note = class_numbers(
        [label for row in rows for label in row], classes, where, lambda i: name(of[i])
    )
    names = names or classes or ()
    if not names:
        raise SourceError(f"{where}: the column of labels is empty; expected classes such as cat{SEPARATOR}dog")
    if len(numbers) and (worst := int(numbers.argmax())) >= 0 and numbers[worst] >= len(names):
        known = f"{len(names)} classes (0 to {len(names) - 1})"
        raise SourceError(f"{name(of[worst])} has label {numbers[worst]}, but {where} has {known}")
    values = np.zeros((len(rows), len(names)), dtype=np.uint8)
    values[of, numbers] = 1
    return Targets("labels", names, values), note


def parted(cells: Sequence[str], classes: Sequence[str] | None) -> tuple[list[list[str]], str]:
    """The labels in cells such as `cat|dog`, and a note on how they were told apart where it was not by `|`.

    A semicolon, a comma or white space parts them too, but stands in names as well (`New York`). So it does only where
    all parts are classes, or, without known classes, where fewer parts than there are such cells make up all of them.
    """
    known = {*(classes or ())}
    for mark, called in ((SEPARATOR, ""), (";", "semicolons"), (",", "commas"), (None, "white space")):
        rows = [
            [cell] if cell in known else [part for part in map(str.strip, cell.split(mark)) if part] for cell in cells
        ]
        parts = {part for row in rows if len(row) > 1 for part in row}
        if not parts:
            continue
        made = {tuple(row) for row in rows if row and parts.issuperset(row)}
        if mark == SEPARATOR or (parts <= known if known else len(parts) < len(made)):
            return rows, f"Labels of a picture are parted at {called}." if called else ""
        example = shortened(next(cell for cell, row in zip(cells, rows, strict=True) if len(row) > 1))
        return [[cell] if cell else [] for cell in cells], (
            f"A label such as {example} is one class; part those of a picture with {SEPARATOR} if it is several."
        )
    return [[cell] if cell else [] for cell in cells], ""


def several_numbers(names: Sequence[str], rows: Sequence[Sequence[str]], name: Callable[[int], str]) -> Targets:
    """Targets from texts of numbers, a row for each picture; name(i) is how errors call it."""
    values = np.empty((len(rows), len(names)))
    for number, row in enumerate(rows):
        for place, text in enumerate(row):
            try:
                values[number, place] = float(text)
            except ValueError:
                values[number, place] = np.nan
            if not np.isfinite(values[number, place]):
                raise SourceError(f"{name(number)}: {names[place]} is {text[:40]!r}, expected a number such as 3.5")
            if abs(values[number, place]) > LARGEST:
                raise SourceError(
                    f"{name(number)}: {names[place]} is {text[:40]!r}, expected a number up to {LARGEST:.2g}, the "
                    "largest of float32; use another unit"
                )
    return Targets("numbers", tuple(names), values)
