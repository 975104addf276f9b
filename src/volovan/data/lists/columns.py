"""Which column of a list holds what: by the heading, where there is one that is known, else by what its cells are."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from volovan.data.errors import SourceError, printable
from volovan.data.folder import split_named
from volovan.data.pictures.decoding import SUFFIXES

Rows = list[tuple[int, list[str]]]
"""(line number, cells)"""

KNOWN = {  # what a column may be called, the best name first; spaces and hyphens count as underscores
    "path": (
        "path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "img_path", "image_file",
        "image_name", "img_name", "image", "img", "picture", "photo", "image_index", "image_id", "img_id", "id_code",
        "isic_id", "photo_id", "picture_id", "file_id", "uuid", "id",
    ),
    "labels": ("labels", "classes", "tags", "finding_labels"),
    "label": (
        "label", "class", "class_name", "label_name", "category", "category_name", "target", "cls", "species", "breed",
        "diagnosis", "dx", "class_id", "label_id", "category_id", "target_id", "level", "grade", "individual_id",
        "landmark_id",
    ),
    "split": ("split", "set", "subset", "fold", "partition"),
}  # fmt: skip
_VALUE = "value"
_FLAGS = {"0": False, "0.0": False, "1": True, "1.0": True}


@dataclass(frozen=True)
class Columns:
    """Places of columns in a row. values: of numbers by their names; flags: of classes that have a column each."""

    places: dict[str, int]
    values: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    note: str = ""

    @property
    def last(self) -> int:
        """The last place that a row must have."""
        return max([*self.places.values(), *self.values.values(), *self.flags.values()])


def find_columns(path: Path, rows: Rows, is_there: Callable[[str], bool]) -> tuple[Columns, Rows]:
    """The columns of a list and the rows of its pictures.

    is_there  whether a cell names a picture that is there
    raises    SourceError: the first line is no picture and no heading that is known
    """
    line, first = rows[0]

    def pictures_in(row: Sequence[str]) -> list[int]:
        cells = [cell.strip() for cell in row]
        suffixed = [place for place, cell in enumerate(cells) if os.path.splitext(cell)[1].lower() in SUFFIXES]
        return suffixed or [place for place, cell in enumerate(cells) if cell and is_there(cell)]

    pictures = pictures_in(first)
    if pictures:
        others = [place for place in range(len(first)) if place != pictures[0]]
        return Columns({"path": pictures[0], **dict(zip(("label", "split"), others, strict=False))}), rows
    names = [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in first]
    columns, found = _named(path, first, names), rows[1:]
    places, values = columns.places, columns.values
    if not places and not values:
        shown = printable(", ".join(first))[:80]
        raise SourceError(
            f"{path} line {line} ({shown}) is neither a picture that is there nor a heading that is known; call the "
            "columns path, label and, if wanted, split in the first line, or mend the path in it"
        )
    if found and "path" not in places:
        seen = [place for place in pictures_in(found[0][1]) if place not in places.values()]
        if len(seen) != 1:
            raise SourceError(
                f"{path} line {line} names no column of pictures ({printable(', '.join(first))[:80]}); call it path"
            )
        places["path"] = seen[0]
    if values or "label" in places or "labels" in places:
        return columns, found
    return _by_elimination(first, columns, found), found


def _named(path: Path, first: Sequence[str], names: Sequence[str]) -> Columns:
    """The columns whose names are known."""
    places: dict[str, int] = {}
    for column, known in KNOWN.items():
        if name := next((name for name in known if name in names), None):
            places[column] = names.index(name)
    if twice := [name for name, count in Counter(names).items() if count > 1 and names.index(name) in places.values()]:
        raise SourceError(f"{path} has two columns called {twice[0]!r}; rename or remove one of them")
    others = [name for name in KNOWN["label"] if name in names and names.index(name) != places.get("label")]
    note = f"Labels are those of the column {names[places['label']]}, not of {', '.join(others)}." if others else ""
    return Columns(places, _value_columns(path, first), note=note)


def _by_elimination(first: Sequence[str], columns: Columns, rows: Rows) -> Columns:
    """The label where no column is called so: the only one that is left, or a column of 0 and 1 for each class."""
    places = columns.places
    left = [place for place in range(len(first)) if place not in places.values()]
    names = [first[place].strip() for place in left]
    if len(left) == 1:
        return Columns({**places, "label": left[0]}, note=f"The column {printable(names[0])} is taken as the label.")
    cells = {row[place].strip() for _, row in rows for place in left if place < len(row)}
    if len(left) > 1 and cells and cells <= _FLAGS.keys() and len({*names}) == len(names):
        note = f"Each of the {len(left)} columns {printable(', '.join(names))[:200]} is taken as a class."
        return Columns(places, flags=dict(zip(names, left, strict=True)), note=note)
    if not left:
        return columns
    listed = printable(", ".join(names))[:200]
    return Columns(places, note=f"No column is known as that of the label ({listed}); call the one that is `label`.")


def _value_columns(path: Path, first: Sequence[str]) -> dict[str, int]:
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


def flagged(row: Sequence[str], flags: dict[str, int]) -> list[str]:
    """The classes whose column says 1."""
    return [name for name, place in flags.items() if _FLAGS[row[place].strip()]]


def check_rows(path: Path, rows: Rows, columns: Columns) -> None:
    """SourceError for the first row that lacks a column, or has no path or another split than those that are known."""
    places = columns.places
    for line, row in rows:
        if len(row) <= columns.last:
            raise SourceError(f"{path} line {line} has {len(row)} columns, expected {columns.last + 1}")
        if not row[places["path"]].strip():
            raise SourceError(f"{path} line {line} has no path")
        if "split" in places and not split_named(split := row[places["split"]].strip().lower()):
            raise SourceError(
                f"{path} line {line} has split {split!r}, expected train, val or test; if its column holds something "
                "else, name the columns in the first line: path,label"
            )
