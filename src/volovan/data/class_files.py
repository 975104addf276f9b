"""Files that name classes, and say by which ids or colours masks write them. They lie beside the folders.

classes.txt       NAME                 the line number, from 0, is the id
                  ID NAME              ids of your own, gaps allowed: "24 person"
                  R G B NAME           a colour for each class; the line number is the id as well
classes.csv       name | id,name | name,r,g,b | id,name,r,g,b    with these headings, in any order, among others
labelmap.txt      NAME:R,G,B:parts:actions                       as CVAT writes it

A class called void, ignore, unlabelled (and the like), or marked "(ignore)", is no class: its pixels are ignored. So is
the id 255, unless the file gives it to a class.

Where a file gives ids, two classes may have one colour, as road and skyscraper of ADE20K do: ids tell them apart, and a
mask of colours is refused where it shows that one.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from volovan.data.errors import SourceError
from volovan.data.manifest import read_rows
from volovan.data.masks import IGNORE, Coding, Colour
from volovan.data.palettes import spread
from volovan.data.targets import read_text

_FILES = ("classes.csv", "class_dict.csv", "labelmap.txt", "label_colors.txt", "classes.txt", "labels.txt")
_COLOUR = re.compile(r"(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})\s+(\S.*)")
_LABELMAP = re.compile(r"([^:]*):\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(:.*)?")
_NUMBERED = re.compile(r"(\d+)[\s:,]+(\S.*)")
_NO_CLASS = re.compile(
    r"(void|ignored?|unlabell?ed|don'?t[ _]?care|unknown)( \d+)?|.*\((void|ignored?)\)", re.IGNORECASE
)
_HEADINGS = {"name": ("name", "class", "label", "category"), "id": ("id", "index", "value"), "r": ("r", "red"),
             "g": ("g", "green"), "b": ("b", "blue")}  # fmt: skip


@dataclass(frozen=True)
class _Row:
    line: int
    name: str
    id: int | None = None
    colour: Colour | None = None


def find_class_file(folder: Path) -> Path | None:
    return next((folder / name for name in _FILES if (folder / name).is_file()), None)


def read_class_file(path: Path) -> Coding:
    """The coding that a class file describes; spread colours where it has none."""
    if path.suffix.lower() == ".csv":
        rows = _csv_rows(path)
    elif path.name == "labelmap.txt":
        rows = _labelmap_rows(path)
    else:
        rows = _text_rows(path)
    _check(path, rows)
    names = tuple(row.name for row in rows if _is_class(row))
    numbers = [names.index(row.name) if _is_class(row) else IGNORE for row in rows]
    ids = {place if row.id is None else row.id: numbers[place] for place, row in enumerate(rows)}
    ids.setdefault(IGNORE, IGNORE)
    meant: dict[Colour, dict[str, int]] = {}
    for row, number in zip(rows, numbers, strict=True):
        if row.colour:
            meant.setdefault(row.colour, {})[row.name] = number
    palette = tuple(row.colour for row in rows if row.colour and _is_class(row)) or spread(len(names))
    shared = {colour: tuple(named) for colour, named in meant.items() if len({*named.values()}) > 1}
    colours = {colour: next(iter(named.values())) for colour, named in meant.items() if colour not in shared}
    return Coding(names, palette, ids, colours, path.name, shared)


def _is_class(row: _Row) -> bool:
    return not _NO_CLASS.fullmatch(row.name)


def _check(path: Path, rows: list[_Row]) -> None:
    if not rows:
        raise SourceError(f"{path} names no classes; expected one a line")
    if len({row.colour is None for row in rows}) > 1 or len({row.id is None for row in rows}) > 1:
        raise SourceError(f"{path} gives an id or a colour to some classes only; give it to all or to none")
    unique = ("name", "id") if rows[0].id is not None else ("name", "colour")
    for what in unique:
        seen: dict[object, int] = {}
        for row in rows:
            value = getattr(row, what)
            if value is not None and value in seen:
                raise SourceError(f"{path} line {row.line} has the {what} {value} of line {seen[value]} again; mend it")
            seen[value] = row.line
    for row in rows:
        if (row.id or 0) > 65535 or max(row.colour or (0,)) > 255:
            raise SourceError(f"{path} line {row.line} has an id above 65535 or a colour above 255; mend it")


def _lines(path: Path) -> list[tuple[int, str]]:
    return [(place, line.strip()) for place, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]


def _text_rows(path: Path) -> list[_Row]:
    lines = _lines(path)
    coloured = [match for _, text in lines if (match := _COLOUR.fullmatch(text))]
    if lines and len(coloured) == len(lines):
        return [
            _Row(line, match[4], colour=(int(match[1]), int(match[2]), int(match[3])))
            for (line, _), match in zip(lines, coloured, strict=True)
        ]
    numbered = [match for _, text in lines if (match := _NUMBERED.fullmatch(text))]
    if lines and len(numbered) == len(lines):
        return [_Row(line, match[2], int(match[1])) for (line, _), match in zip(lines, numbered, strict=True)]
    return [_Row(line, text) for line, text in lines]


def _labelmap_rows(path: Path) -> list[_Row]:
    rows = []
    for line, text in _lines(path):
        if text.startswith("#"):
            continue
        match = _LABELMAP.fullmatch(text)
        if not match:
            raise SourceError(f"{path} line {line} is {text[:60]!r}, expected NAME:R,G,B:: as CVAT writes it")
        rows.append(_Row(line, match[1].strip(), colour=(int(match[2]), int(match[3]), int(match[4]))))
    return rows


def _csv_rows(path: Path) -> list[_Row]:
    (_, heading), *rows = read_rows(path)
    titles = [cell.strip().lower() for cell in heading]
    columns = {
        column: place for place, title in enumerate(titles) for column, known in _HEADINGS.items() if title in known
    }
    if "name" not in columns or len({*"rgb"} & columns.keys()) not in (0, 3):
        raise SourceError(f"{path} has the columns {', '.join(titles)}, expected name, and id or r,g,b or all of them")
    found = []
    for line, row in rows:
        cells = {column: row[place].strip() if place < len(row) else "" for column, place in columns.items()}
        wrong = [column for column in cells if column != "name" and not cells[column].isdecimal()]
        if wrong or not cells["name"]:
            column = (wrong or ["name"])[0]
            raise SourceError(f"{path} line {line} has {cells[column]!r} as {column}; mend it")
        colour = (int(cells["r"]), int(cells["g"]), int(cells["b"])) if "r" in cells else None
        found.append(_Row(line, cells["name"], int(cells["id"]) if "id" in cells else None, colour))
    return found
