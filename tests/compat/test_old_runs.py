"""Runs that earlier code left in the middle: they validate, predict and go on to their end as they did then.

What is compared with is in kept/, written by make_runs.py with the code of that time. Where machine and versions are
those of kept/machine.json all of it must be equal, bit by bit; elsewhere sums round otherwise, and the tolerances below
hold. What was drawn by chance, which samples were taken, integers and words must be equal everywhere.

Nothing but the command line is imported of the package: wherever its modules move, these tests stay as they are.
"""

import csv
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from volovan.cli import main

RENAMED = {r"shares\.(csv|jsonl)": r"predictions.\1", r"(\w+)/a b_2\.(png|jpg)": r"\1/deep/a b.\2"}
"""regular expression of a file's path below --out, as it was called then -> what it is called now"""
REPLACED = {"worst_and_best.png": "pictures"}
"""picture of then -> folder of today whose pictures, drawn in another way, took its place"""
REDRAWN = ("overlays/a b_2.jpg",)
"""pictures that are drawn in another way since then: title and legend of narrow ones were cut off"""
SETTINGS = {"dims": "embed_dims", "layers": "depths", "drop_rate": "proj_drop_rate"}
"""setting of a network as it was called then -> its name of today"""
SUMMED_OTHERWISE = ("saliency_van", "segment_van_fpn", "several_van")
"""cases whose steps round otherwise on every machine since then: gradients of depth-wise weights are made by columns"""
KEPT = Path(__file__).with_name("kept")
CASES = sorted(path.name for path in KEPT.iterdir() if path.is_dir())
TIMES = ("seconds", "images_per_s")
"""columns that differ from run to run"""

# On other processors. In brackets: the most by which results of an AVX-512 processor changed under
# ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 and under ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default.
METRICS = 1e-6
"""of `volovan validate`, relative (3e-8)"""
TABLES = 1e-4
"""of predictions (1e-6)"""
ROWS = 1e-3
"""of the tables of a run (1e-4, of F-measures at 8-bit thresholds)"""
PIXELS = 0.005
"""share of the pixels of a mask that may be of another class, and so of all shares of classes (none)"""
LEVELS = 1
"""of 255, by which maps and cut-outs may differ (0)"""
RELATIVE = 1e-3
"""of tensors, to the largest value of each (2e-5)"""
FLOORS = {"exp_avg_sq": 1e-9, "exp_avg": 3e-7}
"""by the end of a tensor's name: what may be added, since some gradients are nothing but rounding, as of a bias before
BatchNorm: first moments (1e-7, and as much of their own) and second ones (1e-15)"""
FLOOR = 1e-4
"""of weights, for the same reason (4e-5); a step of the optimiser moves one by up to 2e-3"""


@dataclass(frozen=True)
class Ended:
    """A kept run that was gone on with: its case, its folder, and the samples that were taken meanwhile."""

    case: str
    run: Path
    samples: list[list[int | None]]
    about: dict[str, Any]


@pytest.fixture(scope="module")
def exact(made):
    """Whether this machine is the one that made kept/."""
    return made.machine() == json.loads((KEPT / "machine.json").read_text())


@pytest.fixture(scope="module")
def exact_steps(exact, ended):
    """Whether steps of training end bit by bit where they ended, too."""
    return exact and ended.case not in SUMMED_OTHERWISE


@pytest.fixture(scope="module", params=CASES)
def ended(request, made, pictures, tmp_path_factory):
    run = made.take_run(request.param, tmp_path_factory.mktemp("ended"), pictures)
    with made.watch_samples() as samples:
        assert main(["fit", "--resume", str(run)]) == 0
    return Ended(request.param, run, samples, json.loads((KEPT / request.param / "end" / "about.json").read_text()))


# ---- comparing ------------------------------------------------------------------------------------------------------


def now(name: str) -> str:
    """What a file is called today."""
    for then, today in RENAMED.items():
        name = re.sub(f"^{then}$", today, name)
    return name


def assert_alike(then: Any, today: Any, tolerance: float, where: str) -> None:
    """Equal, but for numbers with a fraction, which may differ by `tolerance` (relative above 1); keys may come new."""
    if isinstance(then, dict):
        for key, value in then.items():
            key = key if key in today else SETTINGS.get(key, key)
            assert key in today, f"{where}: there is no {key} any more"
            assert_alike(value, today[key], tolerance, f"{where}, {key}")
    elif isinstance(then, list):
        assert len(then) == len(today), where
        for number, pair in enumerate(zip(then, today, strict=True)):
            assert_alike(*pair, tolerance, f"{where}, {number}")
    elif isinstance(then, float):
        assert today == pytest.approx(then, rel=tolerance, abs=tolerance, nan_ok=True), where
    elif isinstance(then, str) and tolerance and numbers_in(then):
        assert_alike(numbers_in(then), numbers_in(today), tolerance, where)
    else:
        assert today == (now(then) if isinstance(then, str) else then), where


def numbers_in(cell: str) -> list[float]:
    """0.5 and 0.2 in "0.5|0.2"; nothing in a cell that is no list of numbers with a fraction."""
    parts = cell.split("|")
    return [float(part) for part in parts] if all(re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", part) for part in parts) else []


def read_any(text: str, suffix: str) -> Any:
    """What a table or a JSON file holds."""
    if suffix == ".csv":
        rows = list(csv.DictReader(text.splitlines()))
        return [{key: cell for key, cell in row.items() if key not in TIMES} for row in rows]
    return [json.loads(line) for line in text.splitlines()] if suffix == ".jsonl" else json.loads(text)


def assert_same_picture(then: Path, today: Path, exact: bool) -> None:
    """Masks by their classes, which are colours of a palette; maps and cut-outs by their grey values."""
    with Image.open(then) as one, Image.open(today) as two:
        assert (one.mode, one.size, one.getpalette()) == (two.mode, two.size, two.getpalette()), today
        by = np.abs(np.asarray(one).astype(int) - np.asarray(two))
        if exact:
            assert not by.any(), today
        elif one.mode == "P":
            assert (by > 0).mean() < PIXELS, today
        else:
            assert by.max() <= LEVELS, today


def assert_same_files(made: Any, case: str, part: str, out: Path, tolerance: float, place: Path) -> None:
    """Every file that `part` (validate, predict) wrote then is there and says the same; place: where the pictures are.

    tolerance  of numbers; 0: this is the machine of then. Only there the pixels of contact sheets and plots, which
               are letters for the most part, must be equal
    """
    for path in sorted(file for file in (KEPT / case / part).rglob("*") if file.is_file()):
        today = out / now(path.relative_to(KEPT / case / part).as_posix())
        assert today.is_file(), f"{today} is not written any more"
        if path.suffix == ".png":
            assert_same_picture(path, today, not tolerance)
            continue
        text = path.read_text().replace(made.PLACE, str(place))
        then, found = (read_any(words, path.suffix) for words in (text, today.read_text()))
        assert_alike(then, found, tolerance, f"{case}, {today.name}")
    for name, pixels in json.loads((KEPT / case / "pictures.json").read_text()).items():
        if not name.startswith(f"{part}/"):
            continue
        name = name.removeprefix(f"{part}/")
        if name in REPLACED:
            assert list((out / REPLACED[name]).glob("*.png")), f"nothing is in {REPLACED[name]}, which replaced {name}"
        elif name in REDRAWN:
            assert (out / now(name)).is_file()
        else:
            found = made.pixels_of(out / now(name))
            assert found == pixels or tolerance, name


# ---- the commands ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_validate_measures_what_it_measured(case, made, pictures, exact, tmp_path):
    run = made.take_run(case, tmp_path, pictures)
    assert main(made.validate_words(run, tmp_path / "out")) == 0
    assert_same_files(made, case, "validate", tmp_path / "out", 0 if exact else METRICS, pictures)


@pytest.mark.parametrize("case", CASES)
def test_predict_writes_the_files_that_it_wrote(case, made, pictures, exact, tmp_path, capsys):
    run, out = made.take_run(case, tmp_path, pictures), tmp_path / "csv"
    for form in ("csv", "jsonl"):
        assert main(made.predict_words(case, run, pictures, tmp_path / form, form)) == 1
        assert "torn.png" in capsys.readouterr().err
    shutil.copy(tmp_path / "jsonl" / "predictions.jsonl", out)
    tolerance = PIXELS if case.startswith(("segment", "saliency")) else TABLES
    assert_same_files(made, case, "predict", out, 0 if exact else tolerance, pictures)


def test_a_resumed_run_takes_the_samples_that_it_took(ended):
    assert ended.samples == ended.about["samples"]


def test_a_resumed_run_ends_with_the_same_tensors(ended, made, exact_steps):
    tensors = made.read_tensors(made.newest(ended.run))
    begun = made.read_tensors(made.newest(KEPT / ended.case / "run"))
    kinds, kinds_then = ({name: (t.dtype, t.shape) for name, t in each.items()} for each in (tensors, begun))
    assert kinds == kinds_then
    ends = np.cumsum([tensor.numel() for tensor in tensors.values()])[:-1]
    with np.load(KEPT / ended.case / "end" / "tensors.npz") as file:
        vectors = np.split(file["arr_0"], ends)
    for (name, tensor), vector in zip(tensors.items(), vectors, strict=True):
        then, largest = torch.from_numpy(vector), float(np.abs(vector).max(initial=0))
        by = (tensor.flatten().float() - then).abs().max()
        may = FLOORS.get(name.rpartition(".")[2], FLOOR) + RELATIVE * largest
        assert by <= (0 if exact_steps or not tensor.is_floating_point() else may), name
    if exact_steps:
        assert made.digest(tensors) == ended.about["digest"]
        best = ended.run / "checkpoints" / "best.safetensors"
        assert made.digest(made.read_network(best)) == ended.about["digest of the best network"]


def test_a_resumed_run_ends_with_the_same_words(ended, made, exact_steps):
    """What the checkpoint says of its state, data and network, the tables, and which checkpoints are there."""
    then = {key: ended.about[key] for key in ("state", "data", "task")}
    assert_alike(then, made.read_about(made.newest(ended.run)), 0 if exact_steps else ROWS, ended.case)
    assert sorted(path.name for path in (ended.run / "checkpoints").iterdir()) == ended.about["checkpoints"]
    for table in ("metrics.csv", "steps.csv"):
        rows = (read_any((folder / table).read_text(), ".csv") for folder in (KEPT / ended.case / "end", ended.run))
        assert_alike(*rows, 0 if exact_steps else ROWS, f"{ended.case}, {table}")


@pytest.mark.parametrize(("key", "value"), [("seed", 7), ("batch_size", 2)])
@pytest.mark.parametrize("case", CASES)
def test_a_run_whose_steps_would_mean_something_else_is_refused(case, key, value, made, pictures, tmp_path, capsys):
    run = made.take_run(case, tmp_path, pictures)
    recipe = run / "recipe.yaml"
    recipe.write_text(re.sub(rf"^  {key}: (\d+)$", f"  {key}: {value}", recipe.read_text(), flags=re.MULTILINE))
    assert main(["fit", "--resume", str(run)]) == 2
    (said,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("volovan fit: "))
    assert re.search(rf"train\.{key} was \d+ at the checkpoint and is {value} in recipe.yaml now", said)
