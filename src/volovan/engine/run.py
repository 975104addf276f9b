"""The run folder: everything that a run needs to be repeated, and everything it has to say.

recipe.yaml        the settings as resolved, `volovan fit recipe.yaml` repeats the run
environment.json   versions, machine, command
checkpoints/       step-*.safetensors, best.safetensors
metrics.csv        a row per epoch          steps.csv   a row per logged step
log.txt            what was printed         tensorboard/  pictures/
.lock              held while a process trains here
.volovan.jsonl     names all of these as results
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from volovan.engine.progress import speak
from volovan.engine.settings import SettingsError
from volovan.files.locks import LOCK, lock
from volovan.files.results import mark, refuse_foreign, unmark
from volovan.files.runs import CHECKPOINTS, RECIPE
from volovan.files.whole import sweep, write_text

_REMEDY = ", and go on with --resume, or choose another --out"
_TAKEN_BACK = (RECIPE, "environment.json", "log.txt")  # after a start that failed
_OWN = (*_TAKEN_BACK, "metrics.csv", "steps.csv", f"{CHECKPOINTS}/", "pictures/")
_BOARD = "tensorboard/"  # named as a result only when it is made, since not every run makes it


class RunFolderError(ValueError):
    """The run folder cannot be written, or another process is writing it."""


@contextmanager
def _say_if_unwritable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"{path} could not be written ({error.strerror or error}); see to the disk or the rights{_REMEDY}"
        ) from error


def _has_begun(folder: Path) -> bool:
    """Whether a run has left a step or a checkpoint: only then is there something to look at."""
    return (folder / "steps.csv").exists() or _has_checkpoint(folder)


def _has_checkpoint(folder: Path) -> bool:
    return any((folder / CHECKPOINTS).glob("*.safetensors"))


class Run:
    """A folder on disk; only rank 0 writes into it."""

    def __init__(self, folder: Path, leads: bool = True) -> None:
        self.folder, self.leads = folder, leads
        self.pictures, self.checkpoints = folder / "pictures", folder / CHECKPOINTS
        self.tensorboard = True
        self._board: Any = None
        self._columns: dict[str, list[str]] = {}
        self._log_fails = False
        self._lock = _lock(folder) if leads else None

    @classmethod
    def create(cls, folder: Path, recipe_yaml: str, command: list[str]) -> Run:
        """A new run; a folder that holds one with a checkpoint is refused, so that nothing is lost."""
        again = (folder / RECIPE).exists() and _has_begun(folder)
        if again and _has_checkpoint(folder):
            raise SettingsError(
                f"{folder} holds a run already; go on with `volovan fit --resume {folder}` or choose another --out"
            )
        refuse_foreign(folder, (*_OWN, _BOARD), "choose another --out")
        with _say_if_unwritable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            run = cls(folder)
            mark(folder, "fit", _OWN)
        _write(folder / "environment.json", json.dumps(describe_environment(command), indent=2) + "\n")
        # Last, since its presence is what makes the folder a run.
        _write(folder / RECIPE, recipe_yaml)
        if again:
            run.forget_after(metrics=-1, steps=-1)
            run.say(f"the run in {folder} broke off before its first checkpoint, and begins anew")
        return run

    @classmethod
    def open(cls, folder: Path, leads: bool = True) -> Run:
        """An existing run."""
        if not (folder / RECIPE).is_file():
            raise SettingsError(f"{folder} is no run folder (it holds no recipe.yaml); name one that --out named")
        run = cls(folder, leads)
        if leads:
            sweep(folder)
            with _say_if_unwritable(folder):
                mark(folder, "fit", _OWN)
        return run

    def discard_unless_begun(self) -> None:
        """After a start that failed: take back the files of a run that never made a step."""
        if not self.leads or _has_begun(self.folder):
            return
        self.close()
        unmark(self.folder, "fit")
        for name in (*_TAKEN_BACK, LOCK):
            (self.folder / name).unlink(missing_ok=True)
        for empty in (self.checkpoints, self.folder):
            with suppress(OSError):  # somebody else's files are in it
                empty.rmdir()

    def say(self, line: str) -> None:
        """Print a line and keep it in log.txt."""
        if not self.leads:
            return
        speak(line)
        try:
            with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        except OSError as error:  # a line that was seen is no reason to stop
            if not self._log_fails:
                speak(f"note: log.txt cannot be written ({error.strerror})")
            self._log_fails = True

    def record(self, table: str, row: dict[str, float | int | str]) -> None:
        """Append a row to `<table>.csv`; a row with new columns rewrites the file with them."""
        if not self.leads:
            return
        path = self.folder / f"{table}.csv"
        columns = self._columns.get(table, [])
        with _say_if_unwritable(path):
            if columns and set(row) <= set(columns):
                with path.open("a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, columns).writerow(row)
                return
            rows = read_table(path)
            self._columns[table] = list(dict.fromkeys([*(rows[0] if rows else ()), *row]))
            _write_table(path, self._columns[table], [*rows, row])

    def forget_after(self, **last_steps: int) -> None:
        """forget_after(metrics=20, steps=22): drop later rows, whose steps a resumed run takes again, and torn ones."""
        if not self.leads:
            return
        self._columns.clear()
        for table, last in last_steps.items():
            path = self.folder / f"{table}.csv"
            rows = read_table(path)
            kept = [row for row in rows if (row["step"] or "").isdigit() and int(row["step"]) <= last]
            with _say_if_unwritable(path):
                if kept:
                    _write_table(path, list(rows[0]), kept)
                else:
                    path.unlink(missing_ok=True)

    def board(self, values: dict[str, float], step: int) -> None:
        """Scalars for TensorBoard."""
        if not self.leads or not self.tensorboard:
            return
        with _say_if_unwritable(self.folder / "tensorboard"):
            if self._board is None:
                from torch.utils.tensorboard import SummaryWriter

                refuse_foreign(self.folder, (_BOARD,), "move it away, and go on with --resume")
                mark(self.folder, "fit", (_BOARD,))
                self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step)
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file of ours; none if it is not there. A last row that a full disk has cut off is left out."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        text = file.read()
    return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))


def _write_table(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    _write(path, text.getvalue())


def _write(path: Path, text: str) -> None:
    write_text(path, text, durable=True, remedy=_REMEDY, error=RunFolderError)


def _lock(folder: Path) -> Any:
    """What keeps other processes out of a run."""
    try:
        with _say_if_unwritable(folder):
            return lock(folder)
    except RunFolderError as error:
        if isinstance(error.__cause__, BlockingIOError):
            raise RunFolderError(f"another process is training in {folder}; wait for its end or stop it") from error
        raise


def describe_environment(command: list[str]) -> dict[str, Any]:
    """Versions and machine, for environment.json."""
    from importlib.metadata import PackageNotFoundError, version

    import torch

    versions = {}
    for package in ("volovan", "torch", "torchvision", "timm", "numpy", "pillow"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "command": command,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "versions": versions,
    }
