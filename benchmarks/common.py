"""What the benchmarks share: pictures of ImageNet's size, interleaved timing, and tables that say what was measured."""

from __future__ import annotations

import csv
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image

from volovan.bench.machine import describe_machine
from volovan.bench.timing import interleave, median_ratio

RESULTS = Path(__file__).parent / "results"
SIZES = ((500, 375), (375, 500), (500, 333))  # width, height: the most frequent ones of ImageNet
Row = dict[str, str | int | float]


def make_photographs(folder: Path, count: int, sizes: Sequence[tuple[int, int]] = SIZES) -> None:
    """Write `count` JPEG files (of ImageNet's size about 90 kB, quality 90) into two class folders.

    Smooth noise of falling strength from coarse to fine, as in photographs, and the grain of a sensor; the same bytes
    every time.
    """
    for number in range(count):
        target = folder / ("even", "odd")[number % 2] / f"{number:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        photograph(sizes[number % len(sizes)], number).save(target, quality=90)


def photograph(size: tuple[int, int], seed: int) -> Image.Image:
    """A picture of (width, height) that compresses and decodes like a photograph."""
    draw = np.random.default_rng(seed)
    width, height = size
    pixels = 128 + draw.normal(0, 10, (height, width, 1))
    for cells, strength in ((3, 60), (8, 40), (24, 22), (64, 12), (160, 9)):  # cells: patches of colour along the width
        coarse = draw.standard_normal((max(2, cells * height // width), cells, 3), dtype=np.float32)
        layers = [Image.fromarray(coarse[..., c]).resize(size, Image.Resampling.BILINEAR) for c in range(3)]
        pixels = pixels + strength * np.stack([np.asarray(layer) for layer in layers], axis=2)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def compare(parts: dict[str, dict[str, Callable[[], int]]], peer: str, batch: int, rounds: int) -> list[Row]:
    """Rows of each part and network: its rates, and their ratio to the peer's. parts: name -> network -> a case."""
    rows: list[Row] = []
    for part, cases in parts.items():
        rates = interleave(cases, rounds)
        rows += [
            {"part": part, "network": name, "batch": batch}
            | rate_columns(rates[name])
            | {f"of_{peer}": round(median_ratio(rates[name], rates[peer]), 3)}
            for name in cases
        ]
    return rows


def rate_columns(rates: Sequence[float]) -> Row:
    """Median, smallest and largest rate of the rounds."""
    return {
        "images_per_s": round(statistics.median(rates), 2),
        "slowest": round(min(rates), 2),
        "fastest": round(max(rates), 2),
    }


def conditions(device: torch.device) -> Row:
    """Where and with what, for every row of a table."""
    return describe_machine(device) | {"commit": _commit(), "pillow": PIL.__version__}


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_table(subject: str, rows: Sequence[Row], device: torch.device, folder: Path) -> Path:
    """<subject>_<date>_<device>_torch<version>.csv: each row followed by its conditions."""
    where = conditions(device)
    version = str(where["torch"]).split("+")[0]
    path = folder / f"{subject}_{where['date']}_{device.type}_torch{version}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*columns, *where])
        writer.writeheader()
        writer.writerows(row | where for row in rows)
    return path


def print_table(rows: Sequence[Row]) -> None:
    """Columns side by side, as wide as needed."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, *([str(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())
