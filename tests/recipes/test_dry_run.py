"""`volovan fit RECIPE --dry-run` and `--plan` of the classification recipes: shrunk here, in full in the slow test."""

import os
import re
import subprocess
import sys

import pytest

from volovan.cli import main
from volovan.use.recipes import packaged

RECIPES = [name.split("/")[1] for name in packaged() if name.startswith("classify/")]
TINY = {  # of each family: its config in small, at 64 pixels
    "volo": "{layers: [1, 1, 0, 0], embed_dims: [16, 32, 32, 32], num_heads: [1, 2, 2, 2], class_blocks: 1}",
    "van": "{embed_dims: [8, 8, 16, 16], depths: [1, 1, 1, 1], mlp_ratios: [2, 2, 2, 2]}",
    "lvvit": "{embed_dim: 32, depth: 2, num_heads: 2, stem_width: 8}",
}


def shrunk(recipe):
    """Words that make a recipe of a published variant small; small networks get half their 32 pixels."""
    family, _, variant = recipe["model"]["name"].partition("_")
    if not variant:
        return ["--data.size", "16", "--train.precision", "fp32"]
    words = ["--model.options", TINY[family], "--data.size", "64"]
    return [*words, "--labels.size", "4"] if "labels" in recipe else words


@pytest.fixture(autouse=True)
def _no_data(tmp_path, monkeypatch):
    """An empty folder, and no data packs: nothing of the machine may help."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOLOVAN_DATA", raising=False)
    yield
    assert not list(tmp_path.iterdir()), "a rehearsal has written something"


@pytest.mark.parametrize("name", RECIPES)
def test_dry_run_takes_two_steps_of_every_recipe(name, written, capsys):
    recipe = written(name)
    assert main(["fit", name, "--dry-run", *shrunk(recipe)]) == 0
    said = capsys.readouterr().out
    assert f"2 pictures a step in place of {recipe['train']['batch_size']:,}" in said
    losses = [float(text) for text in re.findall(r"^step \d     loss ([\d.e+-]+),", said, flags=re.M)]
    assert len(losses) == 2
    assert all(0 < loss < 100 for loss in losses)
    assert "validated  2 pictures" in said
    assert ("generated label maps" in said) == ("labels" in recipe)
    assert ("random weights" in said) == ("weights" in recipe["model"])
    last = recipe["schedule"]["epochs"] + recipe["schedule"].get("cooldown_epochs", 0)
    assert re.search(rf"^ +{last}  \S+", said, flags=re.M), "the schedule does not go to its end"


@pytest.mark.parametrize("name", ["digits_van", "van_b0"])
def test_plan_measures_a_step_and_calls_the_hours_an_estimate(name, written, capsys):
    assert main(["fit", name, "--plan", "--batch", "4", *shrunk(written(name))]) == 0
    said = capsys.readouterr().out
    speed = float(re.search(r"counted\): ([\d.e+]+) pictures/s", said)[1])
    hours = float(re.search(r"^estimate   ([\d,.e+]+) hours on 1 such device", said, flags=re.M)[1].replace(",", ""))
    pictures = int(re.search(r"device hours, for ([\d,]+) pictures", said)[1].replace(",", ""))
    expected = {"digits_van": 22 * 64 * 16, "van_b0": 1251 * 1024 * 310}[name]
    assert pictures == expected
    assert hours == pytest.approx(pictures / speed / 3600, rel=0.02)
    assert "measured   on cpu" in said
    assert re.search(r"memory     \d+\.\d\d GiB of weights, gradients and optimiser; \d+\.\d\d GiB growth", said)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["van_b0", "--dry-run", "--plan"], "give one of them"),
        (["van_b0", "--dry-run", "--batch", "0"], "--batch is 0; at least 1"),
        (["van_b0", "--batch", "4"], "--batch belongs to --dry-run and --plan"),
        (["--resume", "x", "--dry-run"], "--resume takes the settings of the run"),
        (["volo_d1", "--dry-run", "--data.size", "64"], "labels.size is 14, but volo_d1 has 4 x 4 tokens"),
        (["digits_van", "--dry-run", "--loss.target", "regression"], "generated pictures have classes only"),
    ],
    ids=["both", "batch", "alone", "resume", "label-size", "target"],
)
def test_rehearsals_refuse_in_one_sentence(words, message, capsys):
    assert main(["fit", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_dry_run_at_full_size(name):
    """Each in a process of its own, which gives its memory back."""
    done = subprocess.run(
        [sys.executable, "-m", "volovan", "fit", name, "--dry-run"],
        env={**os.environ, "VOLOVAN_DEBUG": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert "nothing was written" in done.stdout
