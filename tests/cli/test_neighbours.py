"""docs/neighbours.md: each example runs where the tool that it is about is installed."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from volovan.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "neighbours.md").read_text()
EXAMPLES = re.findall(r"^```python (\w+)\n(.*?)^```", PAGE, flags=re.M | re.S)
SMALL = ["--train.max_steps", "1", "--train.tensorboard", "false", "--train.workers", "0", "--train.batch_size", "8"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The two runs that examples name: `classifier` and `segmenter`."""
    folder = tmp_path_factory.mktemp("neighbours")
    for name, recipe, source in (
        ("classifier", "digits_van", "digits"),
        ("segmenter", "shapes_van", "shapes:16@64x64"),
    ):
        words = ["--data.source", source, "--data.limit", "16", "--out", str(folder / name)]
        assert main(["fit", recipe, *words, *SMALL]) == 0
    return folder


def test_every_tool_of_the_table_has_an_example():
    rows = re.findall(r"^\| ([\w.-]+) \| (.+?) \|", PAGE, flags=re.M)[1:]
    assert len(rows) == len(EXAMPLES) == 8
    assert all(re.fullmatch(r"[\d.]+|of torch", version) for _, version in rows)


@pytest.mark.parametrize(("tool", "code"), EXAMPLES, ids=[tool for tool, _ in EXAMPLES])
def test_examples_run(tool, code, runs):
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed; docs/neighbours.md says when and with what its example was run by hand")
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=runs, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
