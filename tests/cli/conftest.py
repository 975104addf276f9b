"""One small trained run, shared by the tests of the command line."""

import os
from pathlib import Path

import pytest

from volovan.cli import main

SMALL = [
    "--schedule.epochs",
    "3",
    "--schedule.warmup_epochs",
    "0",
    "--train.workers",
    "0",
    "--train.tensorboard",
    "false",
]


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "digits"
    assert main(["fit", "digits_van", "--out", str(folder), *SMALL]) == 0
    return folder


@pytest.fixture(scope="session")
def digit_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 validation digits as PNG files, the class in the name."""
    from volovan.data import open_source

    folder = tmp_path_factory.mktemp("digits")
    source = open_source("digits", "val")
    for index in range(30):
        source.load(index).save(folder / f"{index:02d}_{source.classes[source.target(index)]}.png")
    return folder


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For processes of our own: one thread each, errors with their traceback hidden as a user has them."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "VOLOVAN_DEBUG": ""}
