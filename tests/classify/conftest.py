"""A network that has made one step on the digits: enough for what needs a run folder."""

from pathlib import Path

import pytest

from volovan.cli import main


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "run"
    words = ["--train.max_steps", "1", "--train.tensorboard", "false", "--data.limit", "64"]
    assert main(["fit", "digits_van", "--out", str(folder), *words]) == 0
    return folder
