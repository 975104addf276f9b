"""A CSV or TSV file that lists pictures: path, label and, if wanted, split. Paths are relative to the file's folder.

The first line may name the columns (see _COLUMNS), in any order, among others; else they are path, label, split.
Labels are class names or numbers; classes.txt beside the file fixes names and order. A column called `labels` holds
several classes for each picture (cat|dog), columns called `value` or `value:NAME` hold numbers.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError, printable
from volovan.data.folder import SPLIT_FOLDERS
from volovan.data.samples import FileSource, join_notes
from volovan.data.source import Splits
from volovan.data.targets import (
    SEPARATOR,
    TargetFiles,
    class_numbers,
    read_classes,
    read_text,
    several_labels,
    several_numbers,
)

SUFFIXES = (".csv", ".tsv")
_COLUMNS = {  # what a column may be called
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img"),
    "label": ("label", "class", "class_name", "category", "target", "cls"),
    "split": ("split", "set", "subset", "fold"),
    "labels": ("labels", "classes", "tags"),
}
_VALUE = "value"


def manifest_splits(path: Path, kind: str = "class") -> Splits:
    """{split: opener}; {"": opener} where there is no column for the split. kind: which targets, of a list with two."""
    columns, values, rows = _read(path)

    def column(name: str) -> list[str]:
        return [row[columns[name]].strip() if name in columns else "" for _, row in rows]

    paths, known, targets = column("path"), read_classes(path.parent), None
    if "labels" in columns and values:
        raise SourceError(f"{path} has both columns of labels and of values; keep one kind, or make two lists")
    if "labels" in columns:
        targets = several_labels(column("labels"), known, where=str(path))
        known = None
    elif values:
        texts = [[row[place].strip() for place in values.values()] for _, row in rows]
        targets = several_numbers(tuple(values), texts, lambda place: f"{path} line {rows[place][0]}")
    classes, numbers, note = class_numbers(column("label"), known, str(path), lambda place: printable(paths[place]))
    if any(SEPARATOR in name for name in classes):
        hint = f"A class is called with a {SEPARATOR}: where a picture has several classes, call the column `labels`."
        note = join_notes(note, hint)
    members: dict[str, list[int]] = {}
    for place, split in enumerate(column("split")):
        members.setdefault(SPLIT_FOLDERS.get(split.lower(), ""), []).append(place)
    splits: dict[str, Callable[[], FileSource | TargetFiles]] = {}
    for split, places in members.items():
        files = [paths[place] for place in places]
        if targets and (kind == targets.kind or not classes):
            part = replace(targets, values=targets.values[places])
            splits[split] = partial(TargetFiles, path.parent, files, part, note, numbers[places])
        else:
            splits[split] = partial(FileSource, path.parent, files, numbers[places], classes, note)
    return splits


def _read(path: Path) -> tuple[dict[str, int], dict[str, int], list[tuple[int, list[str]]]]:
    """({"path": 0, ...}, columns of numbers by their names, (line, cells) of each picture), checked."""
    rows = read_rows(path)
    first = rows[0][1]
    columns = {
        column: place
        for column, known in _COLUMNS.items()
        for place, cell in reversed([*enumerate(first)])
        if cell.strip().lower() in known
    }
    values: dict[str, int] = {}
    if "path" in columns:
        values, rows = _value_columns(first, path), rows[1:]
    else:
        columns = dict(zip(("path", "label", "split"), range(len(first)), strict=False))
    last = max(*columns.values(), *values.values(), 0)
    for line, row in rows:
        if len(row) <= last:
            raise SourceError(f"{path} line {line} has {len(row)} columns, expected {last + 1}")
        if not row[columns["path"]].strip():
            raise SourceError(f"{path} line {line} has no path")
        if "split" in columns and (split := row[columns["split"]].strip().lower()) not in SPLIT_FOLDERS:
            raise SourceError(f"{path} line {line} has split {split!r}, expected train, val or test")
    if not rows:
        raise SourceError(f"{path} lists no pictures; expected lines such as cats/1.jpg,cat")
    return columns, values, rows


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """(line number, cells) of every line that is not empty."""
    text = read_text(path)
    first = text.split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise SourceError(f"{path} line {reader.line_num} cannot be read ({error}); check its quotes") from None
    if not rows:
        raise SourceError(f"{path} is empty; expected lines such as cats/1.jpg,cat")
    return rows


def _value_columns(first: list[str], path: Path) -> dict[str, int]:
    """{"age": 3} for a heading `value:age`; {"value": 3} for `value`."""
    found: dict[str, int] = {}
    for place, cell in enumerate(first):
        kind, _, name = cell.strip().partition(":")
        if kind.strip().lower() != _VALUE:
            continue
        name = name.strip() or _VALUE
        if name in found:
            raise SourceError(
                f"{path} has two columns for the number {name!r}, column {found[name] + 1} and column {place + 1}; "
                "rename or remove one of them"
            )
        found[name] = place
    return found
