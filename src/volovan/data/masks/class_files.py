"""Files that name classes, and say by which ids or colours masks write them. They lie beside the folders or the masks.

classes.txt       NAME                 the line number, from 0, is the id
                  ID NAME              ids of your own, gaps allowed: "24 person"
                  R G B NAME           a colour for each class (NAME R G B as well); the line number is the id too
                  ID R G B NAME        both (ID NAME R G B as well)
classes.csv       name | id,name | name,r,g,b | id,name,r,g,b    with these headings, in any order, among others
labelmap.txt      NAME:R,G,B:parts:actions                       as CVAT writes it
data.yaml         names: a list, or ID: NAME                     also .json

A line that begins with # says nothing. A first line that only names columns (id name) is a heading, and says their
order. Two lines with one name are one class, whatever ids or colours they have.

A class called void, ignore, unlabelled (and the like), or marked "(ignore)", is no class: its pixels are ignored.
__ignore__ of labelme has not even an id. The id 255 is ignored too, unless the file gives it to a class.

Where a file gives ids, two classes may have one colour, as road and skyscraper of ADE20K do: ids tell them apart, and a
mask of colours is refused where it shows that one.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from volovan.data.errors import SourceError, printable, shortened
from volovan.data.lists.class_lines import HEADINGS, Cells, OddLine, class_lines
from volovan.data.lists.manifest import read_rows
from volovan.data.masks.coding import IGNORE, Coding, Colour
from volovan.data.pictures.palettes import spread
from volovan.data.samples import join_notes
from volovan.data.text import read_lines, read_text

_FILES = (  # the first one there is read
    "classes.csv", "_classes.csv", "class_dict.csv", "labelmap.txt", "label_colors.txt", "classes.txt",
    "class_names.txt", "labels.txt", "codes.txt", "classes.yaml", "classes.json", "id2label.json",
)  # fmt: skip
SETTINGS = ("data.yaml", "data.yml", "dataset.yaml")  # of YOLO; read where they have names
_NAMES_KEY = re.compile(r"^names\s*:", re.MULTILINE)
_LABELMAP = re.compile(r"([^:]*):\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(:.*)?")
_UNNUMBERED = "__ignore__"
_NO_CLASS = re.compile(
    rf"{_UNNUMBERED}|(void|ignored?|unlabell?ed|don'?t[ _]?care|unknown)( \d+)?|.*\((void|ignored?)\)", re.IGNORECASE
)


@dataclass(frozen=True)
class _Row:
    place: str  # "line 3"
    name: str
    id: int | None = None
    colour: Colour | None = None


@dataclass(frozen=True)
class ClassFile:
    """coding: what it says; 255 is among its ids only if it says so. note: what the user should know of it."""

    path: Path
    coding: Coding
    note: str = ""


def find_class_file(root: Path, folders: Iterable[Path] = ()) -> Path | None:
    """The class file of root, else the one of these folders; SourceError where theirs say different things."""
    if here := class_files_in(root):
        return here[0]
    found = [files[0] for folder in folders if (files := class_files_in(folder))]
    for other in found[1:]:
        if other.read_bytes() != found[0].read_bytes():
            raise SourceError(
                f"{found[0]} and {other} name different classes; put one that holds for all masks into {root}"
            )
    return found[0] if found else None


def find_classes(root: Path, folders: Iterable[Path] = ()) -> ClassFile | None:
    """What `find_class_file` finds, read."""
    path = find_class_file(root, folders)
    return None if path is None else read_class_file(path)


def is_no_class(name: str) -> bool:
    """Whether what is called so is ignored: void, unlabelled and the like."""
    return _NO_CLASS.fullmatch(name) is not None


def class_files_in(folder: Path) -> list[Path]:
    """Those of a folder, the one that is read first."""
    named = [folder / name for name in SETTINGS if (folder / name).is_file()]
    return [
        *(folder / name for name in _FILES if (folder / name).is_file()),
        *(path for path in named if _NAMES_KEY.search(read_text(path))),
    ]


def read_class_file(path: Path) -> ClassFile:
    """What a class file says; spread colours where it has none."""
    if path.suffix == ".csv":
        rows, note = _csv_rows(path)
    elif path.suffix in (".yaml", ".yml", ".json"):
        rows, note = _entries(path), ""
    elif path.name == "labelmap.txt":
        rows, note = _labelmap_rows(path), ""
    else:
        rows, note = _text_rows(path)
    _check(path, rows)
    rows_of: dict[str, list[_Row]] = {}
    for row in rows:
        if not is_no_class(row.name):
            rows_of.setdefault(row.name, []).append(row)
    number_of = {name: number for number, name in enumerate(rows_of)}
    numbered = [row for row in rows if row.id is not None or row.name != _UNNUMBERED]
    ids = {place if row.id is None else row.id: number_of.get(row.name, IGNORE) for place, row in enumerate(numbered)}
    meant: dict[Colour, dict[str, int]] = {}
    for row in rows:
        if row.colour:
            meant.setdefault(row.colour, {})[row.name] = number_of.get(row.name, IGNORE)
    palette = tuple(same[0].colour for same in rows_of.values() if same[0].colour) or spread(len(rows_of))
    shared = {colour: tuple(named) for colour, named in meant.items() if len({*named.values()}) > 1}
    colours = {colour: next(iter(named.values())) for colour, named in meant.items() if colour not in shared}
    by_line = rows[0].id is None
    coding = Coding(tuple(rows_of), palette, ids, colours, path.name, shared, by_colour=by_line and bool(colours))
    merged = [f"{printable(name)} ({len(same)} times)" for name, same in rows_of.items() if len(same) > 1]
    once = f"{path.name} names {', '.join(merged)}: each name is one class." if merged else ""
    return ClassFile(path, coding, join_notes(note, once))


def _check(path: Path, rows: Sequence[_Row]) -> None:
    if not rows:
        raise SourceError(f"{path} names no classes; expected one a line")
    if len({row.colour is None for row in rows}) > 1 or len({row.id is None for row in rows}) > 1:
        raise SourceError(f"{path} gives an id or a colour to some classes only; give it to all or to none")
    what = "colour" if rows[0].id is None else "id"
    seen: dict[object, _Row] = {}
    for row in rows:
        if (row.id or 0) > 65535 or max(row.colour or (0,)) > 255:
            raise SourceError(f"{path} {row.place} has an id above 65535 or a colour above 255; mend it")
        value = getattr(row, what)
        other = seen.setdefault(value, row)
        if value is not None and other.name != row.name:
            raise SourceError(f"{path} {row.place} has the {what} {value} of {other.place} again; mend it")


# what lines, tables and mappings say


def _text_rows(path: Path) -> tuple[list[_Row], str]:
    lines = read_lines(path)
    try:
        found, headed = class_lines(lines)
    except OddLine as error:
        raise SourceError(f"{path} line {error.line} {error.sentence}") from None
    note = f"Line {lines[0][0]} of {path.name} ({lines[0][1][:40]}) is a heading." if headed else ""
    return [_row(line, cells) for line, cells in found], note


def _row(line: int, cells: Cells) -> _Row:
    colour = (int(cells["r"]), int(cells["g"]), int(cells["b"])) if "r" in cells else None
    return _Row(f"line {line}", cells["name"], int(cells["id"]) if "id" in cells else None, colour)


def _labelmap_rows(path: Path) -> list[_Row]:
    rows = []
    for line, text in read_lines(path):
        if text.startswith("#"):
            continue
        match = _LABELMAP.fullmatch(text)
        if not match:
            raise SourceError(f"{path} line {line} is {text[:60]!r}, expected NAME:R,G,B:: as CVAT writes it")
        rows.append(_Row(f"line {line}", match[1].strip(), colour=(int(match[2]), int(match[3]), int(match[4]))))
    return rows


def _csv_rows(path: Path) -> tuple[list[_Row], str]:
    (_, heading), *rows = read_rows(path)
    titles = [cell.strip().lower() for cell in heading]
    columns = {
        column: titles.index(next(title for title in known if title in titles))
        for column, known in HEADINGS.items()
        if {*known} & {*titles}
    }
    told: tuple[list[_Row], str] = ([], "") if columns else _text_rows(path)  # lines without a heading
    if told[0] and (len(heading) == 1 or told[0][0].id is not None or told[0][0].colour):
        return told
    if "name" not in columns or len({*"rgb"} & columns.keys()) not in (0, 3):
        raise SourceError(f"{path} has the columns {', '.join(titles)}, expected name, and id or r,g,b or all of them")
    others = [place for place, title in enumerate(titles) if title in HEADINGS["name"] and place != columns["name"]]
    numbers = [place for place in others if all(row[place : place + 1] and row[place].isdecimal() for _, row in rows)]
    if "id" not in columns and numbers:  # label,name
        columns["id"] = numbers[0]
    found = []
    for line, row in rows:
        cells = {column: row[place].strip() if place < len(row) else "" for column, place in columns.items()}
        wrong = [column for column in cells if column != "name" and not cells[column].isdecimal()]
        if wrong or not cells["name"]:
            column = (wrong or ["name"])[0]
            raise SourceError(f"{path} line {line} has {cells[column]!r} as {column}; mend it")
        found.append(_row(line, cells))
    return found, ""


def _entries(path: Path) -> list[_Row]:
    """Of YAML or JSON: a list of names, or ID: NAME, or NAME: ID, below the key names or alone."""
    content = read_yaml(path)
    names = content.get("names", content) if isinstance(content, dict) else content
    if isinstance(names, list):
        return [_Row(f"entry {place}", _text(path, name)) for place, name in enumerate(names, 1)]
    rows = []
    for place, (key, value) in enumerate(names.items() if isinstance(names, dict) else (), 1):
        number, name = (key, value) if str(key).isdecimal() else (value, key)
        if not str(number).isdecimal():
            raise SourceError(f"{path} entry {place} is {key}: {shortened(value)}, expected ID: NAME, such as 0: sky")
        rows.append(_Row(f"entry {place}", _text(path, name), int(number)))
    return rows


def read_yaml(path: Path) -> Any:
    """The content of YAML or JSON, which is YAML."""
    text = read_text(path)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as a date that there is not
        raise SourceError(f"{path} is no valid {path.suffix[1:].upper()} ({' '.join(str(error).split())})") from None


def _text(path: Path, name: Any) -> str:
    if isinstance(name, str | int | float):
        return str(name).strip()
    raise SourceError(f"{path} has {shortened(name)!r} as the name of a class, expected text")
