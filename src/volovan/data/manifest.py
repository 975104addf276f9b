"""A CSV or TSV file that lists pictures: path, label and, if wanted, split. Paths are relative to the file's folder.

The first line may name the columns (see _COLUMNS), in any order, among others; else they are path, label, split.
Labels are class names or numbers; classes.txt beside the file fixes names and order. A column called `labels` holds
several classes for each picture (cat|dog), columns called `value` or `value:NAME` hold numbers.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError, printable
from volovan.data.folder import SPLIT_FOLDERS
from volovan.data.labels import class_numbers, read_classes
from volovan.data.samples import FileSource
from volovan.data.targets import SEPARATOR, TargetFiles, Targets, several_labels, several_numbers

SUFFIXES = (".csv", ".tsv")
_COLUMNS = {  # what a column may be called
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img"),
    "label": ("label", "class", "class_name", "category", "target", "cls"),
    "split": ("split", "set", "subset", "fold"),
    "labels": ("labels", "classes", "tags"),
}
_VALUE = "value"


@dataclass
class _Table:
    """Columns of a list, one entry a picture; "" where a cell is missing. values: one row a picture, by names."""

    paths: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    label: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    values: list[list[str]] = field(default_factory=list)
    names: tuple[str, ...] = ()


def manifest_splits(path: Path, kind: str = "class") -> dict[str, Callable[[], FileSource | TargetFiles]]:
    """{split: opener}; {"": opener} where there is no column for the split. kind: which targets, of a list with two."""
    table = _read(path)
    known = read_classes(path.parent)
    targets = _targets(path, table, known)
    classes, numbers, note = class_numbers(
        table.label,
        None if table.labels else known,
        where=str(path),
        name=lambda row: printable(table.paths[row]),
    )
    if any(SEPARATOR in name for name in classes):
        hint = f"A class is called with a {SEPARATOR}: where a picture has several classes, call the column `labels`."
        note = " ".join(filter(None, (note, hint)))
    members: dict[str, list[int]] = {}
    for row, split in enumerate(table.split):
        members.setdefault(split, []).append(row)
    splits: dict[str, Callable[[], FileSource | TargetFiles]] = {}
    for split, rows in members.items():
        files = [table.paths[row] for row in rows]
        if targets and (kind == targets.kind or not classes):
            splits[split] = partial(TargetFiles, path.parent, files, targets.part(rows), note, numbers[rows])
        else:
            splits[split] = partial(FileSource, path.parent, files, numbers[rows], classes, note)
    return splits


def _targets(path: Path, table: _Table, classes: tuple[str, ...] | None) -> Targets | None:
    if table.labels and table.names:
        raise SourceError(f"{path} has both columns of labels and of values; keep one kind, or make two lists")
    if table.labels:
        return several_labels(table.labels, classes, where=str(path))
    if table.names:
        return several_numbers(table.names, table.values, lambda row: f"{path} line {table.lines[row]}")
    return None


def _read(path: Path) -> _Table:
    rows = read_rows(path)
    line, first = rows[0]
    columns = _named_columns(first)
    numbers = _value_columns(first, path) if columns else {}
    if columns is None:
        columns = {name: place for place, name in enumerate(("path", "label", "split")) if place < len(first)}
    else:
        rows = rows[1:]
    table = _Table(names=tuple(numbers))
    last = max(*columns.values(), *numbers.values(), 0)
    for line, row in rows:
        if len(row) <= last:
            raise SourceError(f"{path} line {line} has {len(row)} columns, expected {last + 1}")
        cells = {name: row[place].strip() for name, place in columns.items()}
        if not cells["path"]:
            raise SourceError(f"{path} line {line} has no path")
        split = cells.get("split", "").lower()
        if "split" in columns and split not in SPLIT_FOLDERS:
            raise SourceError(f"{path} line {line} has split {split!r}, expected train, val or test")
        table.paths.append(cells["path"])
        table.lines.append(line)
        table.label.append(cells.get("label", ""))
        table.split.append(SPLIT_FOLDERS.get(split, ""))
        if "labels" in columns:
            table.labels.append(cells["labels"])
        table.values.append([row[place].strip() for place in numbers.values()])
    if not table.paths:
        raise SourceError(f"{path} lists no pictures; expected lines such as cats/1.jpg,cat")
    return table


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """(line number, cells) of every line that is not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None
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


def _named_columns(first: list[str]) -> dict[str, int] | None:
    """{"path": 0, ...} if the first line is a heading."""
    names = [cell.strip().lower() for cell in first]
    found = {
        column: place
        for column, known in _COLUMNS.items()
        for place, name in reversed([*enumerate(names)])
        if name in known
    }
    return found if "path" in found else None


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
