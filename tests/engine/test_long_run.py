"""3,000 optimiser steps, with validation and checkpoints in between, watched from outside, as a monitor does."""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from volovan.data import open_source
from volovan.engine.run import read_table
from volovan.labels.keys import label_key
from volovan.labels.published import serialise

STEPS = 3000
WARM = 500
"""from here on nothing may grow: caches are filled, worker processes have read every picture at least twice"""
TINY = [
    "--model.options.embed_dims",
    "[8,16]",
    "--model.options.depths",
    "[1,1]",
    "--model.options.mlp_ratios",
    "[2,2]",
]
TINY += ["--model.options.patch_kernels", "[3,3]", "--model.options.strides", "[2,2]"]


@dataclass
class Look:
    """What one process holds at a step: resident memory in MiB, open files."""

    step: int
    memory: float
    files: int


def look_at(pid: int, step: int) -> Look | None:
    """None if the process has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        files = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    lines = [line.split() for line in status.splitlines() if line.startswith("VmRSS")]
    return Look(step, int(lines[0][1]) / 1024, files) if lines else None


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def watch(words: list[str], folder: Path) -> tuple[list[Look], dict[int, list[Look]]]:
    """Looks at the training process, and at each of its loader processes by number, while `volovan fit` runs."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "volovan", "fit", *words, "--out", str(folder)]
    with (folder.parent / "said.txt").open("w") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        main: list[Look] = []
        loaders: dict[int, list[Look]] = {}
        try:
            while process.poll() is None:
                rows = read_table(folder / "steps.csv")
                step = int(rows[-1]["step"]) if rows else 0
                if look := look_at(process.pid, step):
                    main.append(look)
                for pid in children(process.pid):
                    if look := look_at(pid, step):
                        loaders.setdefault(pid, []).append(look)
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, (folder.parent / "said.txt").read_text()[-2000:]
    assert int(read_table(folder / "steps.csv")[-1]["step"]) == STEPS
    return main, loaders


def typical(looks: list[Look], begin: int, end: int) -> tuple[float, int]:
    """The median of the memory, and the fewest open files: batches on their way come and go, a leak stays."""
    part = [look for look in looks if begin <= look.step < end]
    assert len(part) >= 5, f"only {len(part)} looks between steps {begin} and {end}"
    return statistics.median(look.memory for look in part), min(look.files for look in part)


def assert_nothing_grows(name: str, looks: list[Look], limit: float) -> None:
    """limit: MiB that the memory may differ by between 500 and 1,000 steps and the last 500, for what is freed late."""
    memory, files = typical(looks, WARM, WARM + 500)
    memory_end, files_end = typical(looks, STEPS - 500, STEPS + 1)
    print(f"{name}: {memory:.1f} -> {memory_end:.1f} MiB, {files} -> {files_end} files, {len(looks)} looks")
    assert memory_end - memory < limit, name
    assert files_end <= files, name


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A label map for each of the digits."""
    folder = tmp_path_factory.mktemp("maps")
    source = open_source("digits", "train")
    for index in range(len(source)):
        path = folder / f"{label_key(source.name(index))}.pt"
        path.parent.mkdir(exist_ok=True)
        top = torch.stack([torch.ones(2, 4, 4), torch.full((2, 4, 4), float(source.target(index)))])
        path.write_bytes(serialise(top.half()))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", ["plain", "token_labels"])
def test_3000_steps_grow_neither_memory_nor_open_files(kind, workers, tmp_path, request):
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    words = ["digits_van", *TINY, "--augment.randaugment", "rand-m9-mstd0.5-inc1", "--augment.erase", "0.25"]
    if kind == "token_labels":
        words = ["digits_volo", "--labels.source", str(request.getfixturevalue("maps")), "--augment.mixtoken", "1"]
        words += ["--model.options.embed_dims", "[16,24]", "--model.options.depths", "[1,1]"]
    words += ["--train.batch_size", "8", "--train.workers", str(workers), "--train.max_steps", str(STEPS)]
    words += [
        "--schedule.epochs",
        "20",
        "--train.validate_every",
        "4",
        "--train.log_steps",
        "10",
        "--data.mixed_sizes",
        "[24,32,40]",
    ]
    main, loaders = watch(words, tmp_path / "run")
    assert_nothing_grows("training process", main, limit=12)
    lasting = [looks for looks in loaders.values() if looks[0].step < WARM and looks[-1].step > STEPS - 100]
    assert len(lasting) == workers  # those of the validations come and go
    for number, looks in enumerate(lasting):
        assert_nothing_grows(f"loader {number}", looks, limit=6)
