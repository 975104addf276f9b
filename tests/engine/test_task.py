"""What a task may give the loop: parts of its loss, pictures, groups of samples."""

import math

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from volovan.engine.checkpoint import CheckpointFolder
from volovan.engine.run import read_table


def test_parts_of_the_loss_are_logged_and_their_sum_is_minimised(tmp_path, make_trainer, toy):
    values = {"train.accumulate": 2, "train.tensorboard": True, "optim.clip_norm": 1.0}
    parts, whole = toy(parts=True), toy(parts=True)
    whole.loss = lambda model, batch: sum(parts.loss(model, batch).values())
    for name, task in (("parts", parts), ("whole", whole)):
        make_trainer(tmp_path / name, task, values).fit()
    trees = [CheckpointFolder(tmp_path / name / "checkpoints", 1).load_newest() for name in ("parts", "whole")]
    assert all(torch.equal(value, trees[1]["model"][name]) for name, value in trees[0]["model"].items())
    steps, plain = (read_table(tmp_path / name / "steps.csv") for name in ("parts", "whole"))
    assert [row["loss"] for row in steps] == [row["loss"] for row in plain]
    assert list(steps[0]) == ["step", "lr", "loss", "loss_decay", "loss_entropy", "grad_norm", "images_per_s"]
    for row in steps:
        assert float(row["loss_decay"]) + float(row["loss_entropy"]) == pytest.approx(float(row["loss"]), rel=1e-6)
    for number, row in enumerate(read_table(tmp_path / "parts" / "metrics.csv")):
        mean = sum(float(step["loss_decay"]) for step in steps[5 * number : 5 * number + 5]) / 5
        assert float(row["loss_decay"]) == pytest.approx(mean)
    board = EventAccumulator(str(tmp_path / "parts" / "tensorboard")).Reload()
    assert {"step/loss_decay", "step/loss_entropy", "loss_decay", "loss_entropy"} <= set(board.Tags()["scalars"])


def test_a_loss_of_one_part_is_logged_once(tmp_path, make_trainer, toy):
    task = toy(parts=True)
    loss = task.loss
    task.loss = lambda model, batch: {"entropy": loss(model, batch)["entropy"]}
    make_trainer(tmp_path / "run", task, {"train.max_steps": 2}).fit()
    assert [name for name in read_table(tmp_path / "run" / "metrics.csv")[0] if name.startswith("loss")] == ["loss"]


def test_pictures_are_drawn_of_the_best(tmp_path, make_trainer, toy):
    task = toy()
    trainer = make_trainer(tmp_path / "run", task, {"schedule.epochs": 8})
    trainer.fit()
    values = [float(row["top1"]) for row in read_table(tmp_path / "run" / "metrics.csv")]
    assert task.drawn == [max(values)]  # once, when all is done
    assert values[-1] < max(values)


def test_pictures_are_drawn_also_where_a_run_breaks_off(tmp_path, make_trainer, toy):
    task = toy()
    trainer = make_trainer(tmp_path / "run", task, {"schedule.epochs": 8})
    finish = trainer.finish_epoch

    def break_off(epoch, stop):
        finish(epoch, stop)
        if epoch == 2:
            raise RuntimeError("boom")

    trainer.finish_epoch = break_off
    with pytest.raises(RuntimeError, match="boom"):
        trainer.fit()
    values = [float(row["top1"]) for row in read_table(tmp_path / "run" / "metrics.csv")]
    assert task.drawn == [max(values)]


def test_a_best_that_a_killed_process_made_is_said(tmp_path, make_trainer, toy, capsys):
    values = {"schedule.epochs": 4, "train.checkpoint_steps": 1}
    make_trainer(tmp_path / "run", toy(), values | {"train.max_steps": 8}).fit()
    assert "before this start" not in capsys.readouterr().out
    task = toy()
    new = task.new_metric

    def worse(device):
        metric = new(device)
        metric.finish = lambda: {"top1": -1.0}
        return metric

    task.new_metric = worse
    make_trainer(tmp_path / "run", task, values).fit(resume=True)
    said = capsys.readouterr().out
    assert f"if its pictures are not in {tmp_path / 'run' / 'pictures'}, volovan validate draws them" in said
    assert task.drawn == []


def test_pictures_are_drawn_at_the_end_where_the_goal_is_never_a_number(tmp_path, make_trainer, toy):
    task = toy()
    new = task.new_metric

    def undecided(device):
        metric = new(device)
        metric.finish = lambda: {"top1": math.nan}
        return metric

    task.new_metric = undecided
    make_trainer(tmp_path / "run", task).fit()
    assert len(task.drawn) == 1
    assert [row["top1"] for row in read_table(tmp_path / "run" / "metrics.csv")] == ["nan"] * 3


def test_groups_reach_the_loader_and_small_ones_are_named(tmp_path, make_trainer, toy, capsys):
    task = toy(groups=[index % 2 if index < 37 else 2 for index in range(40)])
    make_trainer(tmp_path / "run", task, {"train.max_steps": 1}).fit()
    said = capsys.readouterr().out
    assert "4 steps an epoch" in said
    assert "note: 3 samples are never drawn: their groups are smaller than a batch" in said
