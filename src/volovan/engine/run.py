"""The run folder: everything that a run needs to be repeated, and everything it has to say.

recipe.yaml        the settings as resolved, `volovan fit recipe.yaml` repeats the run
environment.json   versions, machine, command
checkpoints/       step-*.safetensors, best.safetensors
metrics.csv        a row per epoch          steps.csv   a row per logged step
log.txt            what was printed         tensorboard/  pictures/
"""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from volovan.engine.settings import SettingsError


class Run:
    """A folder on disk; only rank 0 writes into it."""

    def __init__(self, folder: Path, leads: bool = True) -> None:
        self.folder = folder
        self.leads = leads
        self._board: Any = None

    @classmethod
    def create(cls, folder: Path, recipe_yaml: str, command: list[str]) -> Run:
        """A new run; a folder that holds one already is refused, so that nothing is overwritten."""
        if (folder / "recipe.yaml").exists():
            raise SettingsError(
                f"{folder} holds a run already; go on with `volovan fit --resume {folder}` or choose another --out"
            )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "environment.json").write_text(json.dumps(describe_environment(command), indent=2) + "\n")
        # Last, since its presence is what makes the folder a run.
        (folder / "recipe.yaml").write_text(recipe_yaml)
        return cls(folder)

    @classmethod
    def open(cls, folder: Path, leads: bool = True) -> Run:
        """An existing run."""
        if not (folder / "recipe.yaml").is_file():
            raise SettingsError(f"{folder} is no run folder (it holds no recipe.yaml)")
        return cls(folder, leads)

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def say(self, line: str) -> None:
        """Print a line and keep it in log.txt."""
        if not self.leads:
            return
        print(line, flush=True)
        with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def record(self, table: str, row: dict[str, float | int | str]) -> None:
        """Append a row to `<table>.csv`; a row with new columns rewrites the file with them."""
        if not self.leads:
            return
        path = self.folder / f"{table}.csv"
        rows = read_table(path)
        if rows and set(row) <= set(rows[0]):
            with path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, list(rows[0])).writerow(row)
        else:
            columns = list(dict.fromkeys([*(rows[0] if rows else ()), *row]))
            _write_table(path, columns, [*rows, row])

    def forget_after(self, step: int) -> None:
        """Drop the rows of steps that a resumed run will take again."""
        for table in ("metrics", "steps"):
            path = self.folder / f"{table}.csv"
            rows = read_table(path)
            kept = [row for row in rows if int(row["step"]) <= step]
            if self.leads and len(kept) < len(rows):
                _write_table(path, list(rows[0]), kept)

    def board(self, values: dict[str, float], step: int) -> None:
        """Scalars for TensorBoard."""
        if not self.leads:
            return
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step)
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file of ours; none if it is not there."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write_table(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)


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
