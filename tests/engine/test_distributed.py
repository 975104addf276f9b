"""Several processes (gloo, CPU) against one with the same global batch."""

import os
import signal
import time
from contextlib import redirect_stdout

import pytest
import torch
from torch import nn

from volovan.engine.checkpoint import CheckpointFolder
from volovan.engine.distributed import anywhere, average_statistics, choose_device, distributed, gather, share
from volovan.engine.run import read_table
from volovan.engine.settings import SettingsError

FROZEN = {"train.freeze": ("stem",)}  # no BatchNorm statistics left, which would depend on the split of a batch


def losses(folder):
    return [float(row["loss"]) for row in read_table(folder / "steps.csv")]


@pytest.fixture
def fit(make_trainer, toy, run_ranks, tmp_path):
    """fit(world, folder, values, ...): train in that many processes; returns their exit statuses."""

    def run(world, folder, values=None, make_task=toy, resume=False, prepare=None):
        def one():
            rank = os.environ["RANK"]
            try:
                with (tmp_path / f"rank{rank}").open("a") as out, redirect_stdout(out), distributed("cpu") as place:
                    trainer = make_trainer(folder, make_task(), values, place)
                    if prepare:
                        prepare(trainer)
                    trainer.fit(resume)
            except Exception as error:
                (tmp_path / f"error{rank}").write_text(str(error))
                raise

        return run_ranks(world, one)

    return run


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (2, 2), (4, 1)])
def test_losses_equal_those_of_one_process(tmp_path, fit, world, accumulate):
    values = FROZEN | {"schedule.epochs": 4}
    assert fit(1, tmp_path / "one", values) == [0]
    assert fit(world, tmp_path / "many", values | {"train.accumulate": accumulate}) == [0] * world
    one, many = losses(tmp_path / "one"), losses(tmp_path / "many")
    assert len(one) == 20
    assert many == pytest.approx(one, abs=1e-5)
    rows = [read_table(tmp_path / name / "metrics.csv")[-1] for name in ("one", "many")]
    assert rows[0]["top1"] == rows[1]["top1"]


def test_augmentation_does_not_depend_on_ranks(tmp_path, fit, toy):
    values = FROZEN | {"train.workers": 2}
    assert fit(1, tmp_path / "one", values, lambda: toy(augment=True)) == [0]
    assert fit(2, tmp_path / "two", values, lambda: toy(augment=True)) == [0, 0]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)


def test_parts_and_groups_do_not_depend_on_ranks(tmp_path, fit, toy):
    def task():
        return toy(48, parts=True, groups=[index % 5 % 2 for index in range(48)])

    assert fit(1, tmp_path / "one", FROZEN, task) == [0]
    assert fit(2, tmp_path / "two", FROZEN | {"train.accumulate": 2}, task) == [0, 0]
    for table in ("steps", "metrics"):
        for one, two in zip(*(read_table(tmp_path / name / f"{table}.csv") for name in ("one", "two")), strict=True):
            for part in ("loss", "loss_entropy", "loss_decay"):
                assert float(two[part]) == pytest.approx(float(one[part]), abs=1e-5)


@pytest.mark.parametrize(("world", "val"), [(2, 29), (3, 7), (3, 1)])
def test_evaluation_counts_every_sample_once(tmp_path, fit, toy, world, val):
    def check_at_the_end(trainer):
        draw = trainer.task.draw

        def check(metric, folder):
            assert metric.totals["indices"][:val].eq(1).all()
            assert metric.totals["count"] == val
            assert list(metric.rows) == list(range(val))
            (tmp_path / "checked").touch()
            return draw(metric, folder)

        trainer.task.draw = check

    values = {"train.batch_size": 6, "train.max_steps": 2}
    assert fit(world, tmp_path / "run", values, lambda: toy(40, val), prepare=check_at_the_end) == [0] * world
    assert (tmp_path / "checked").exists()


@pytest.mark.parametrize("where", ["step", "validation"])
def test_a_signal_to_one_process_stops_all_and_the_run_goes_on_with_another_number(tmp_path, fit, toy, where):
    values = FROZEN | {"schedule.epochs": 4}
    assert fit(1, tmp_path / "whole", values, lambda: toy(40, 60)) == [0]

    def signal_one(trainer):
        if trainer.place.rank != 1:
            return
        if where == "step":
            loss = trainer.task.loss

            def wrapped(model, batch):
                if trainer.state.step == 7:
                    os.kill(os.getpid(), signal.SIGTERM)
                return loss(model, batch)

            trainer.task.loss = wrapped
        else:
            new = trainer.task.new_metric

            def metric(device):
                if trainer.state.step == 10:
                    os.kill(os.getpid(), signal.SIGTERM)
                return new(device)

            trainer.task.new_metric = metric

    folder = tmp_path / "stopped"
    assert fit(2, folder, values, lambda: toy(40, 60), prepare=signal_one) == [143, 143]
    at = 8 if where == "step" else 10
    assert f"stopped by SIGTERM after step {at} of 20" in (folder / "log.txt").read_text()
    assert CheckpointFolder(folder / "checkpoints", 1).steps()[-1] == at
    assert fit(4, folder, values | {"train.max_steps": 15}, lambda: toy(40, 60), resume=True) == [0] * 4
    assert fit(1, folder, values, lambda: toy(40, 60), resume=True) == [0]
    assert losses(folder) == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)
    assert len(read_table(folder / "metrics.csv")) == 4


@pytest.mark.parametrize("buffers", ["copy", pytest.param("average", marks=pytest.mark.slow)])
def test_killed_processes_resume_to_the_same_bits(tmp_path, fit, toy, assert_same_run, buffers):
    """BatchNorm is not frozen here: its statistics differ between ranks and must come back too."""

    def task():
        return toy(64, 29, augment=True, dropout=0.2)

    values = {"train.checkpoint_steps": 3, "train.ema": 0.9, "train.ema_buffers": buffers, "train.workers": 1}
    assert fit(2, tmp_path / "whole", values, task) == [0, 0]

    def die(trainer):
        loss = trainer.task.loss

        def wrapped(model, batch):
            if trainer.state.step == 13:
                os.kill(os.getpid(), signal.SIGKILL)
            return loss(model, batch)

        trainer.task.loss = wrapped

    assert fit(2, tmp_path / "killed", values, task, prepare=die) == [-9, -9]
    assert fit(2, tmp_path / "killed", values, task, resume=True) == [0, 0]
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_non_finite_loss_in_one_process_stops_all(tmp_path, fit):
    def spoil(trainer):
        loss = trainer.task.loss
        if trainer.place.rank == 1:
            trainer.task.loss = lambda model, batch: loss(model, batch) * (torch.nan if trainer.state.step == 3 else 1)

    assert fit(2, tmp_path / "run", prepare=spoil) == [1, 1]
    said = [(tmp_path / f"error{rank}").read_text() for rank in (0, 1)]
    assert "gradient norm nan (rank 0); weights unchanged" in said[0]
    assert said[1].startswith("step 3: loss is nan, gradient norm nan (rank 1); weights unchanged")
    assert CheckpointFolder(tmp_path / "run" / "checkpoints", 1).steps() == []


def test_samples_skipped_in_any_process_are_counted(tmp_path, fit, toy, toy_samples):
    values = {"train.on_bad": "skip", "schedule.epochs": 1, "train.batch_size": 20}
    assert fit(2, tmp_path / "run", values, lambda: toy(toy_samples(40, bad=(3, 17, 22, 35)))) == [0, 0]
    assert "4 unreadable sample(s) were skipped" in (tmp_path / "run" / "log.txt").read_text()


def test_statistics_are_averaged_but_frozen_ones_are_left(run_ranks):
    def one():
        with distributed("cpu") as place:
            model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2), nn.Linear(2, 2))
            model[1].weight.requires_grad_(False)
            model.register_buffer("table", torch.tensor(float(place.rank)))
            for norm in model[:2]:
                norm.running_mean.fill_(place.rank)
                norm.running_var.fill_(2 + place.rank)
            average_statistics(model, place)
            assert model[0].running_mean.tolist() == [0.5, 0.5]
            assert model[0].running_var.tolist() == [2.5, 2.5]
            assert model[1].running_mean.tolist() == [place.rank] * 2
            assert model.table == place.rank

    assert run_ranks(2, one) == [0, 0]


def test_words_between_processes(run_ranks):
    def one():
        with distributed("cpu") as place:
            assert share(f"from {place.rank}", place) == "from 0"
            assert gather(place.rank * 10, place) == [0, 10, 20]
            assert anywhere(place.rank == 2, place)
            assert not anywhere(False, place)
            assert place.leads == (place.rank == 0)

    assert run_ranks(3, one) == [0, 0, 0]


def test_one_process_alone_needs_no_group():
    with distributed("cpu") as place:
        assert (place.world, place.rank, place.leads) == (1, 0, True)
        assert share("x", place) == "x"
        assert gather(1, place) == [1]
        assert anywhere(True, place) is True


def test_a_batch_that_does_not_split_is_refused_by_every_process(tmp_path, fit):
    begin = time.monotonic()
    assert fit(3, tmp_path / "run") == [1, 1, 1]
    assert time.monotonic() - begin < 30, "somebody waited for the others"
    assert "train.batch_size 8 cannot be split over 3 process(es)" in (tmp_path / "error2").read_text()


def test_sync_bn_on_the_cpu_is_refused(tmp_path, fit):
    assert fit(2, tmp_path / "run", {"train.sync_bn": True}) == [1, 1]
    assert "train.sync_bn needs CUDA devices" in (tmp_path / "error1").read_text()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tpu9", "train.device 'tpu9' is no device; use auto, cpu, cuda, cuda:N or mps"),
        ("cuda:99", "train.device 'cuda"),
    ],
)
def test_a_device_that_is_not_there_is_refused(name, said):
    with pytest.raises(SettingsError, match=said):
        choose_device(name)
    assert choose_device("cpu") == torch.device("cpu")
