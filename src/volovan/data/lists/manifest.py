"""A list of pictures, .csv, .tsv or .txt: path, label and, if wanted, split. Paths are relative to the list's folder.

The first line may name the columns (see columns.KNOWN), in any order, among others; else they are path, label, split.
Labels are class names or numbers; classes.txt beside the file fixes names and order. A column called `labels` holds
several classes for each picture (cat|dog), columns called `value` or `value:NAME` hold numbers.
"""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from volovan.data.errors import SourceError, printable
from volovan.data.folder import split_named
from volovan.data.lists.columns import Rows, check_rows, find_columns, flagged
from volovan.data.lists.listed import find_listed, is_listed
from volovan.data.lists.targets import (
    SEPARATOR,
    TargetFiles,
    Targets,
    class_numbers,
    parted,
    read_classes,
    several_labels,
    several_numbers,
)
from volovan.data.pictures.decoding import SUFFIXES as PICTURES
from volovan.data.samples import FileSource, join_notes
from volovan.data.source import Splits
from volovan.data.text import read_text

SUFFIXES = (".csv", ".tsv", ".txt")
_PATH_THEN = re.compile(
    rf"(.*?(?:{'|'.join(map(re.escape, sorted(PICTURES)))}))(?:\s+(.*))?", re.IGNORECASE | re.DOTALL
)
_NUMBER = re.compile(r"[+-]?[0-9.]+")


def manifest_splits(path: Path, kind: str = "class") -> Splits:
    """{split: opener}; {"": opener} where there is no column for the split. kind: which targets, of a list with two."""
    columns, rows = find_columns(path, read_list(path), partial(is_listed, path.parent))
    check_rows(path, rows, columns)
    if not rows:
        raise SourceError(f"{path} lists no pictures; expected lines such as cats/1.jpg,cat")
    places, values, flags = columns.places, columns.values, columns.flags

    def column(name: str) -> list[str]:
        return [row[places[name]].strip() if name in places else "" for _, row in rows]

    def called(place: int) -> str:
        return printable(paths[place])

    paths, known, targets, notes = column("path"), read_classes(path.parent), None, [columns.note]
    texts = column("label")
    if "labels" in places and values:
        raise SourceError(f"{path} has both columns of labels and of values; keep one kind, or make two lists")
    if "labels" in places or flags:
        known = known or tuple(flags) or None
        if flags:
            chosen, note = [flagged(row, flags) for _, row in rows], ""
        else:
            chosen, note = parted(column("labels"), known)
        targets, numbered = several_labels(chosen, known, str(path), called)
        notes += [note, numbered]
        if not flags:
            known = None
        elif all(len(names) == 1 for names in chosen):
            texts = [names[0] for names in chosen]
    elif values:
        numbers = [[row[place].strip() for place in values.values()] for _, row in rows]
        targets = several_numbers(tuple(values), numbers, lambda place: f"{path} line {rows[place][0]}")
    classes, labels, note = class_numbers(texts, known, str(path), called)
    notes.append(note)
    if any(SEPARATOR in name for name in classes):
        notes.append(f"A class is called with a {SEPARATOR}: where a picture has several, call the column `labels`.")
    members: dict[str, list[int]] = {}
    for place, split in enumerate(column("split")):
        members.setdefault(split_named(split), []).append(place)
    opener = partial(_open, path, join_notes(*notes))
    splits: dict[str, Callable[[], FileSource | TargetFiles]] = {}
    for split, chosen_rows in members.items():
        files = [paths[place] for place in chosen_rows]
        part = None
        if targets and (kind == targets.kind or not classes):
            part = replace(targets, values=targets.values[chosen_rows])
        splits[split] = partial(opener, files, labels[chosen_rows], classes, part)
    return splits


def is_list(path: Path) -> bool:
    """Whether a file is a list of pictures, by its suffix; a .txt also by its first line, since it may be any text."""
    if path.suffix.lower() != ".txt":
        return path.suffix.lower() in SUFFIXES
    try:
        find_columns(path, read_list(path), partial(is_listed, path.parent))
    except SourceError:
        return False
    return True


def _open(
    path: Path, note: str, listed: list[str], labels: np.ndarray, classes: tuple[str, ...], targets: Targets | None
) -> FileSource | TargetFiles:
    """The pictures of a split, wherever they are found."""
    files, elsewhere = find_listed(path.parent, listed, str(path))
    note = join_notes(note, elsewhere)
    if targets:
        return TargetFiles(path.parent, files, targets, note, labels)
    return FileSource(path.parent, files, labels, classes, note)


def read_rows(path: Path) -> Rows:
    """(line number, cells) of every line that is not empty."""
    return _rows(path, read_text(path))


def _rows(path: Path, text: str) -> Rows:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(path, text) or ",", strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise SourceError(f"{path} line {reader.line_num} cannot be read ({error}); check its quotes") from None
    if not rows:
        raise SourceError(f"{path} is empty; expected lines such as cats/1.jpg,cat")
    return rows


def delimiter_of(path: Path, text: str) -> str:
    """What parts the cells of the first line, "" if nothing does."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    first = text.lstrip().split("\n", 1)[0]
    most = max(",;\t", key=first.count)
    return most if most in first else ""


def read_list(path: Path) -> Rows:
    """The same of a list; where nothing but white space parts its lines, they are `PATH` or `PATH LABEL`."""
    text = read_text(path)
    if delimiter_of(path, text):
        return _rows(path, text)
    lines = [(line, words.strip()) for line, words in enumerate(text.split("\n"), 1) if words.strip()]
    rows = [(line, _spaced(words, path, line)) for line, words in lines]
    for line, row in rows:
        if len(row) != len(rows[0][1]):
            first = "a label" if len(row) == 1 else "none"
            raise SourceError(
                f"{path} line {line} has {'no' if len(row) == 1 else 'a'} label, but line {rows[0][0]} has {first}; "
                "expected PATH LABEL in every line, or paths alone"
            )
    return rows or _rows(path, text)


def _spaced(words: str, path: Path, line: int) -> list[str]:
    """[path] or [path, label] of a line such as `my cats/1.jpg tabby cat`: the path ends with its suffix, else with the
    first word."""
    if words.startswith('"') and words.endswith('"'):
        return [words.strip('"')]
    ended = _PATH_THEN.fullmatch(words)
    first, *rest = (ended[1], ended[2] or "") if ended else words.split(None, 1)
    label = rest[0].strip() if rest else ""
    if len(numbers := label.split()) > 1 and all(_NUMBER.fullmatch(number) for number in numbers):
        raise SourceError(
            f"{path} line {line} has {len(numbers)} numbers after the path, expected one label; where a picture has "
            "several, write a .csv with the column `labels`, as in cat|dog, or a column of 0 and 1 for each class"
        )
    return [first, label] if label else [first]
