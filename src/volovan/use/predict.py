"""Predictions as files: a table written row by row, the pictures of each answer, a contact sheet of some."""

import contextlib
import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from volovan.data.images import open_images
from volovan.data.lists.standard_input import expand_standard_input
from volovan.data.pictures.file_names import file_names
from volovan.data.samples import inner_path, spread_indices
from volovan.data.source import Source
from volovan.data.sources import open_source
from volovan.engine.settings import SettingsError, expand_variables
from volovan.files.pictures import save_picture
from volovan.files.results import marked, may_replace
from volovan.files.results import results as result_folder
from volovan.files.whole import whole_file, write_text
from volovan.room.ready import Outcome, Ready, outcomes
from volovan.room.settings import at_least

DEFAULT = "predictions"
"""the folder of predictions for which none is named"""


@dataclass(frozen=True)
class Results:
    """Where predictions go, and in which form.

    out    a folder of its own, in which earlier predictions are replaced; "-": rows of the table on standard output,
           and no files; None: `predictions`, unless there are some already
    form   "csv" or "jsonl"
    sheet  pictures on the contact sheet; 0: none
    """

    out: str | None = None
    form: str = "csv"
    sheet: int = 48

    def __post_init__(self) -> None:
        if self.out == "":
            raise SettingsError("--out is empty; name a folder, or - for the table on standard output")
        at_least("--sheet", self.sheet, 0)
        if self.out is None and not may_replace(Path(DEFAULT)):
            replaced = f", or replace what is in it with --out {DEFAULT}" if marked(Path(DEFAULT)) else ""
            raise SettingsError(f"there is a folder {DEFAULT} already; name another one with --out{replaced}")

    @property
    def folder(self) -> Path | None:
        return None if self.out == "-" else Path(self.out or DEFAULT)

    @property
    def table(self) -> str:
        return f"predictions.{self.form}"


def predict(
    ready: Ready[Any],
    source: Source,
    results: Results,
    *,
    batch_size: int = 32,
    workers: int = 2,
    precision: str = "fp32",
) -> int:
    """Write the answers for all pictures of a source; returns how many could not be read, each of which is named."""
    at_least("--batch-size", batch_size, 1)
    at_least("--workers", workers, 0)
    options = {"batch_size": batch_size, "workers": workers, "precision": precision}
    if results.folder is None:
        return _write(ready, source, results, sys.stdout, lambda answer, paths: None, **options)
    with result_folder(results.folder, "predict", beside=_pictures_in(results.folder, source)):
        table = results.folder / results.table
        with whole_file(table) as file, ready.ledger(results.folder) as note:
            failed = _write(ready, source, results, file, note, **options)
        for name, text in ready.papers().items():
            write_text(results.folder / name, text)
    print(f"{len(source) - failed} pictures predicted, {failed} could not be read; wrote {table}")
    return failed


def _pictures_in(folder: Path, source: Source) -> set[str]:
    """What in a folder is a picture of a source, or a folder that holds some."""
    above = os.path.join(os.path.abspath(folder), "")
    paths = (os.path.abspath(source.name(index)) for index in range(len(source)))
    return {path.removeprefix(above).split(os.sep)[0] for path in paths if path.startswith(above)}


def _write(
    ready: Ready[Any],
    source: Source,
    results: Results,
    file: TextIO,
    note: Callable[[Any, dict[str, str]], None],
    **options: Any,
) -> int:
    """Write the table, and pictures where there is a folder for them; returns how many could not be read."""
    folder, failed = results.folder, 0
    names = file_names([inner_path(source, index) for index in range(len(source))]) if folder else []
    on_sheet, shown = set(spread_indices(len(source), results.sheet)), []
    write = _writer(file, results.form, ready.columns())
    for outcome in outcomes(ready, source, **options):
        paths: dict[str, str] = {}  # column -> picture of the answer, below the folder
        if outcome.answer is None:
            failed += 1
            print(f"{outcome.name}: {outcome.error}", file=sys.stderr)
        elif folder:
            for column, (where, made) in ready.files(outcome.answer).items():
                paths[column] = where.format(names[outcome.index])
                if isinstance(made, str):
                    write_text(folder / paths[column], made)
                else:
                    save_picture(folder / paths[column], made)
            note(outcome.answer, paths)
            if outcome.index in on_sheet:
                shown.append(ready.thumbnail(outcome.answer))
        write(outcome, paths)
    if folder and shown:
        part = f": {len(shown)} of {len(source):,} pictures" if len(shown) < len(source) else ""
        print(f"wrote {save_picture(folder / 'sheet.png', ready.sheet(shown))}{part}")
    return failed


@contextlib.contextmanager
def pictures_of(sources: Sequence[str], split: str | None, kind: str) -> Iterator[Source]:
    """What a command was given to look at: files, folders, globs, shards, data sets, `-`.

    With a split, the pictures of labelled data; kind: of the targets, see volovan.data.source.
    """
    if split and len(sources) > 1:
        raise SettingsError("--split is of one source; name one, or leave --split out")
    with contextlib.ExitStack() as stack:
        if split:
            yield open_source(expand_variables(sources[0]), split, kind)
            return
        names, piped = expand_standard_input(sources, stack)
        found = open_images(names, kind)
        yield Piped(found, piped) if piped else found


class Piped:
    """A source in which the file that standard input was kept in is called `-`."""

    def __init__(self, source: Source, piped: str) -> None:
        self.source, self.piped = source, piped

    def __len__(self) -> int:
        return len(self.source)

    def __getattr__(self, name: str) -> Any:
        if name == "source":  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self.source, name)

    def name(self, index: int) -> str:
        name = self.source.name(index)
        return "-" if name == self.piped else name


def _writer(file: TextIO, form: str, columns: list[str]) -> Callable[[Outcome[Any], dict[str, str]], None]:
    """A function that writes the row of one picture."""
    if form == "jsonl":

        def write_json(outcome: Outcome[Any], paths: dict[str, str]) -> None:
            kept = {column: path for column, path in paths.items() if column in columns}
            said = {"error": outcome.error} if outcome.answer is None else {**kept, **outcome.answer.row()}
            print(json.dumps({"file": outcome.name, **said}, ensure_ascii=False), file=file, flush=True)

        return write_json
    table = csv.writer(file)
    table.writerow(["file", *columns, "error"])

    def write(outcome: Outcome[Any], paths: dict[str, str]) -> None:
        cells = {} if outcome.answer is None else {**outcome.answer.cells(), **paths}
        table.writerow([outcome.name, *(cells.get(column, "") for column in columns), outcome.error])

    return write
