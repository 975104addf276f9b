"""A CSV or TSV file that lists pictures: path, label and, if wanted, split. Paths are relative to the file's folder.

The first line may name the columns (see _COLUMNS), in any order, among others; else they are path, label, split.
Labels are class names or numbers; classes.txt beside the file fixes names and order.
"""

import csv
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError, printable
from volovan.data.folder import SPLIT_FOLDERS
from volovan.data.labels import class_numbers, read_classes
from volovan.data.samples import FileSource

SUFFIXES = (".csv", ".tsv")
_COLUMNS = {  # what a column may be called
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img"),
    "label": ("label", "class", "class_name", "category", "target", "cls"),
    "split": ("split", "set", "subset", "fold"),
}


def manifest_splits(path: Path) -> dict[str, Callable[[], FileSource]]:
    """{split: opener}; {"": opener} where there is no column for the split."""
    paths, labels, splits = _read(path)
    classes, numbers, note = class_numbers(
        labels, read_classes(path.parent), where=str(path), name=lambda row: printable(paths[row])
    )
    members: dict[str, list[int]] = {}
    for row, split in enumerate(splits):
        members.setdefault(split, []).append(row)
    return {
        split: partial(FileSource, path.parent, [paths[row] for row in rows], numbers[rows], classes, note)
        for split, rows in members.items()
    }


def _read(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Columns path, label, split; "" where a label or the split is missing."""
    rows = _rows(path)
    line, first = rows[0]
    columns = _named_columns(first)
    if columns is None:
        columns = {name: place for place, name in enumerate(("path", "label", "split")) if place < len(first)}
    else:
        rows = rows[1:]
    paths, labels, splits = [], [], []
    for line, row in rows:
        if len(row) <= max(columns.values()):
            raise SourceError(f"{path} line {line} has {len(row)} columns, expected {max(columns.values()) + 1}")
        cells = {name: row[place].strip() for name, place in columns.items()}
        if not cells["path"]:
            raise SourceError(f"{path} line {line} has no path")
        split = cells.get("split", "").lower()
        if "split" in columns and split not in SPLIT_FOLDERS:
            raise SourceError(f"{path} line {line} has split {split!r}, expected train, val or test")
        paths.append(cells["path"])
        labels.append(cells.get("label", ""))
        splits.append(SPLIT_FOLDERS.get(split, ""))
    if not paths:
        raise SourceError(f"{path} lists no pictures; expected lines such as cats/1.jpg,cat")
    return paths, labels, splits


def _rows(path: Path) -> list[tuple[int, list[str]]]:
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
