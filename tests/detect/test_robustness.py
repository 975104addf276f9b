"""Runs that are killed, and runs of several processes."""

import csv
from pathlib import Path

import pytest

from volovan.cli import main

RECIPE = """\
task: detect
model:
  name: van
  head: {head}
  frozen_norm: {frozen}
  drop_path_rate: {drop}
  options: {{embed_dims: [8, 8, 16, 16], depths: [1, 1, 1, 1], mlp_ratios: [2, 2, 2, 2]}}
  head_options: {head_options}
data: {{source: "shapes:16@80x64", by_shape: {by_shape}}}
augment: {augment}
test: {{size: [64, 64]}}
optim: {{lr: 2.0e-3}}
schedule: {{name: step, epochs: 2, milestones: [1], warmup_epochs: 0.5, per: step}}
train:
  {{batch_size: 4, workers: {workers}, ema: 0.9, checkpoint_steps: 2, log_steps: 1, tensorboard: false, device: cpu}}
"""
MASKS = {
    "head": "mask_rcnn",
    "frozen": "false",
    "drop": 0.1,
    "head_options": "{width: 16, taught: 16, proposals: 40}",
    "by_shape": "true",
    "augment": "{resize: [80, 64], jitter: [0.7, 1.4], crop: 64, photometric: true, copy_paste: 0.5}",
    "workers": 1,
}
BOXES = MASKS | {
    "head": "atss",
    "frozen": "true",
    "drop": 0.0,
    "head_options": "{width: 16}",
    "by_shape": "false",
    "augment": "{resize: [80, 64]}",
    "workers": 0,
}


@pytest.mark.slow
@pytest.mark.parametrize("at", [(2,), (1, 2, 3, 5, 6, 7)], ids=["one", "six"])
def test_kills_at_random_moments_change_no_bit(tmp_path: Path, assert_kills_change_no_bit, at: tuple[int, ...]) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(**MASKS))
    assert_kills_change_no_bit([str(path)], tmp_path, at)


def losses(run: Path) -> list[float]:
    return [float(row["loss"]) for row in csv.DictReader((run / "steps.csv").open())]


def test_two_processes_learn_what_one_does(tmp_path: Path, run_ranks) -> None:
    """Normalisers are those of the whole batch, as one process has it. (Of GFL the sum of class scores, at least 1, as
    published: while a network knows nothing, that 1 is each process's own.)"""
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(**BOXES))
    assert run_ranks(2, lambda: main(["fit", str(path), "--out", str(tmp_path / "two")])) == [0, 0]
    assert main(["fit", str(path), "--out", str(tmp_path / "one")]) == 0
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 8
    assert two == pytest.approx(one, rel=1e-4)
