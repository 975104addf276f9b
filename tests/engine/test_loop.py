"""The loop on a toy task: what a step does, what stops a run, what is kept, and what is said."""

import math
import os
import re
import signal

import pytest
import torch

from volovan.data.loader import TrainLoader
from volovan.engine.checkpoint import CheckpointFolder
from volovan.engine.distributed import Place
from volovan.engine.loop import NonFiniteError
from volovan.engine.memory import LoaderKilledError, MemoryExhaustedError, explain_out_of_memory
from volovan.engine.run import read_table
from volovan.engine.settings import SettingsError, TrainSettings
from volovan.files.checkpoint import read_checkpoint


def losses(folder):
    return [float(row["loss"]) for row in read_table(folder / "steps.csv")]


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_a_run_learns_and_records_each_epoch(tmp_path, make_trainer):
    metrics = make_trainer(tmp_path / "run").fit()
    rows = read_table(tmp_path / "run" / "metrics.csv")
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "5"), ("2", "10"), ("3", "15")]
    assert float(rows[-1]["top1"]) == metrics["top1"]
    steps = losses(tmp_path / "run")
    assert len(steps) == 15
    assert float(rows[-1]["loss"]) == pytest.approx(sum(steps[10:]) / 5)
    assert steps[-1] < steps[0]


def test_the_same_seed_repeats_a_run_and_another_does_not(tmp_path, make_trainer, toy):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_trainer(tmp_path / name, toy(augment=True, dropout=0.3), {"train.seed": seed}).fit()
    a, b, c = (losses(tmp_path / name) for name in "abc")
    assert a == b
    assert a[0] != c[0]


def test_a_recipe_sets_the_number_of_threads(tmp_path, make_trainer):
    before = torch.get_num_threads()
    try:
        make_trainer(tmp_path / "run", None, {"train.threads": before + 1})
        assert torch.get_num_threads() == before + 1
        make_trainer(tmp_path / "other", None, {})
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_every_validation_sees_every_sample_once(tmp_path, make_trainer, toy):
    task = toy(val=29)
    make_trainer(tmp_path / "run", task).fit()
    assert task.metric.totals["indices"][:29].eq(1).all()
    assert task.metric.totals["count"] == 29
    assert list(task.metric.rows) == list(range(29))


def test_two_micro_batches_equal_one_batch_without_batch_statistics(tmp_path, make_trainer):
    for name, parts in (("one", 1), ("two", 2), ("eight", 8)):
        values = {"train.accumulate": parts, "train.freeze": ("stem",)}
        make_trainer(tmp_path / name, None, values).fit()
    one, two, eight = (losses(tmp_path / name) for name in ("one", "two", "eight"))
    assert two == pytest.approx(one, abs=1e-5)
    assert eight == pytest.approx(one, abs=1e-5)


def test_clip_norm_bounds_the_step_and_the_norm_before_it_is_logged(tmp_path, make_trainer, make_settings):
    values = {"optim.name": "sgd", "optim.momentum": 0.0, "optim.weight_decay": 0.0, "optim.lr": 1.0}
    values |= {"train.max_steps": 1, "schedule.warmup_epochs": 0, "optim.clip_norm": 0.01}
    trainer = make_trainer(tmp_path / "run", None, values)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.fit()
    moved = torch.cat([(a - b).flatten() for a, b in zip(trainer.model.parameters(), before, strict=True)]).norm()
    assert moved.item() == pytest.approx(0.01, rel=1e-3)
    assert float(read_table(tmp_path / "run" / "steps.csv")[0]["grad_norm"]) > 0.1


def test_the_rate_of_a_group_is_the_schedule_times_its_scale(tmp_path, make_trainer):
    values = {"optim.layer_decay": 0.5, "schedule.warmup_epochs": 0, "train.max_steps": 1, "optim.lr": 0.01}
    trainer = make_trainer(tmp_path / "run", None, values)
    trainer.fit()
    assert sorted({group["lr"] for group in trainer.optimizer.param_groups}) == [0.0025, 0.005, 0.01]
    assert float(read_table(tmp_path / "run" / "steps.csv")[0]["lr"]) == 0.01


# ---- what stops a run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_a_non_finite_step_changes_nothing_and_says_what_to_do(tmp_path, make_trainer, how):
    trainer = make_trainer(tmp_path / "run", None, {"train.checkpoint_steps": 2, "train.ema": 0.9})
    task_loss, before = trainer.task.loss, {}

    def loss(model, batch):
        if trainer.state.step < 7:
            return task_loss(model, batch)
        before.update(weights(trainer.model), **{f"ema.{k}": v for k, v in weights(trainer.ema.model).items()})
        if how == "loss":
            return task_loss(model, batch) * math.nan
        value = trainer.model.head.weight.sum()
        return task_loss(model, batch) + (value - value.detach()).abs().sqrt()  # zero with an infinite slope

    trainer.task.loss = loss
    with pytest.raises(NonFiniteError) as error:
        trainer.fit()
    said = str(error.value)
    assert said.startswith("step 7: loss is nan" if how == "loss" else "step 7: loss is ")
    assert "gradient norm nan" in said
    assert "weights unchanged. Last checkpoint: step 6. Lower optim.lr" in said
    assert "\n" not in said
    after = {**weights(trainer.model), **{f"ema.{k}": v for k, v in weights(trainer.ema.model).items()}}
    for name, value in before.items():
        assert torch.equal(after[name], value) or "running" in name or "tracked" in name, name
    checkpoints = CheckpointFolder(tmp_path / "run" / "checkpoints", 2)
    assert checkpoints.steps()[-1] == 6
    tree = checkpoints.load_newest()
    assert all(torch.isfinite(value).all() for value in tree["model"].values())


def test_out_of_memory_says_what_to_change(tmp_path, make_trainer):
    trainer = make_trainer(tmp_path / "run", None, {"train.batch_size": 12})

    def loss(model, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    trainer.task.loss = loss
    with pytest.raises(MemoryExhaustedError) as error:
        trainer.fit()
    assert str(error.value) == (
        "cpu ran out of memory at 12 samples per step in 1 part(s): try --train.accumulate 2 (same result, 1/2 of the "
        "samples at once), --train.grad_checkpointing true, a smaller --toy.size or model"
    )


def test_remedies_are_ones_that_can_be_taken():
    place = Place(torch.device("cpu"))
    for error in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")):
        with pytest.raises(MemoryExhaustedError, match=r"--train.accumulate 9 \(same result, 1/3"):  # noqa: SIM117
            with explain_out_of_memory(TrainSettings(batch_size=9, accumulate=3), place, "--toy.size"):
                raise error
    with pytest.raises(MemoryExhaustedError) as said:  # noqa: SIM117
        with explain_out_of_memory(
            TrainSettings(batch_size=2, accumulate=2, grad_checkpointing=True), place, "--toy.size"
        ):
            raise MemoryError
    assert str(said.value).endswith("try a smaller --toy.size or model")
    with pytest.raises(RuntimeError, match="shapes"):  # noqa: SIM117
        with explain_out_of_memory(TrainSettings(), place, "--toy.size"):
            raise RuntimeError("shapes do not fit")


def test_a_killed_loader_process_is_explained(tmp_path, make_trainer, toy, toy_samples):
    class Deadly(toy_samples):
        def read(self, index):
            if index == 30 and torch.utils.data.get_worker_info():
                os.kill(os.getpid(), signal.SIGKILL)
            return super().read(index)

    trainer = make_trainer(tmp_path / "run", toy(Deadly(40)), {"train.workers": 2})
    with pytest.raises(LoaderKilledError, match=r"a loader process has died \(DataLoader .* train.workers below 2"):
        trainer.fit()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("half", ["train", "val"])
def test_a_bad_sample_stops_the_run_with_its_name(tmp_path, make_trainer, toy, toy_samples, half, workers):
    task = toy(**{half: toy_samples(40, bad=(7,))})
    trainer = make_trainer(tmp_path / "run", task, {"train.workers": workers})
    with pytest.raises(SettingsError, match=r"^sample-7.png: it is torn. Remove or mend .* --train.on_bad skip"):
        trainer.fit()
    if half == "val":  # the epoch before the validation is not lost
        assert trainer.checkpoints.steps() == [5]


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_samples_are_skipped_counted_and_reported_if_asked(
    tmp_path, make_trainer, toy, toy_samples, capsys, workers
):
    task = toy(toy_samples(40, bad=(7, 11)), toy_samples(13, bad=(3,)))
    make_trainer(tmp_path / "run", task, {"train.workers": workers, "train.on_bad": "skip"}).fit()
    said = capsys.readouterr().out
    assert said.count("skipped: sample-7.png: it is torn") == said.count("skipped: sample-11.png") == 1
    assert "3 unreadable sample(s) were skipped" in said
    assert task.metric.totals["count"] == 12


def test_a_batch_of_nothing_but_bad_samples_stops_even_then(tmp_path, make_trainer, toy, toy_samples):
    task = toy(toy_samples(8, bad=tuple(range(8))))
    with pytest.raises(SettingsError, match=r"step 0: no sample of a batch of 8 could be read, the first is sample-"):
        make_trainer(tmp_path / "run", task, {"train.on_bad": "skip"}).fit()


@pytest.mark.parametrize("workers", [0, 2])
def test_another_error_of_a_reader_is_one_sentence(tmp_path, make_trainer, toy, toy_samples, workers):
    class Unlabelled(toy_samples):
        def read(self, index):
            raise SettingsError(f"{self.name(index)} has no label")

    with pytest.raises(SettingsError) as error:
        make_trainer(tmp_path / "run", toy(Unlabelled(40)), {"train.workers": workers}).fit()
    assert re.fullmatch(r"sample-\d+\.png has no label", str(error.value))


def test_no_training_data_are_refused(tmp_path, make_trainer, toy):
    with pytest.raises(SettingsError, match="there are no training data"):
        make_trainer(tmp_path / "run", toy(0))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train.batch_size": 9, "train.accumulate": 2}, "train.batch_size 9 cannot be split .* multiple of 2"),
        ({"train.batch_size": 2, "train.accumulate": 4}, "train.batch_size 2 cannot be split .* multiple of 4"),
        ({"train.accumulate": 0}, "train.accumulate is 0; it must be at least 1"),
        ({"train.freeze": ("neck",)}, "train.freeze 'neck' fits no parameter; names begin with body, head, stem"),
        ({"train.device": "gpu"}, "train.device 'gpu' is no device"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_settings_that_cannot_work_are_refused_before_the_first_step(tmp_path, make_trainer, values, said):
    from volovan.engine.distributed import choose_device

    with pytest.raises(SettingsError, match=said):
        choose_device(values.get("train.device", "cpu")), make_trainer(tmp_path / "run", None, values)


# ---- what is kept ---------------------------------------------------------------------------------------------------


def test_max_steps_ends_in_the_middle_of_an_epoch_with_a_validation(tmp_path, make_trainer):
    trainer = make_trainer(tmp_path / "run", None, {"train.max_steps": 7})
    assert trainer.fit().keys() == {"top1"}
    assert [row["step"] for row in read_table(tmp_path / "run" / "metrics.csv")] == ["5", "7"]
    assert trainer.checkpoints.steps() == [5, 7]


def test_validation_may_be_rare_but_the_last_epoch_has_one(tmp_path, make_trainer):
    values = {"train.validate_every": 2, "schedule.epochs": 5}
    make_trainer(tmp_path / "run", None, values).fit()
    rows = read_table(tmp_path / "run" / "metrics.csv")
    assert [bool(row.get("top1")) for row in rows] == [False, True, False, True, True]


def test_a_task_without_validation_data_trains(tmp_path, make_trainer, toy, capsys):
    task = toy()
    task.val = None
    trainer = make_trainer(tmp_path / "run", task)
    assert trainer.fit() == {}
    assert not trainer.checkpoints.best.exists()
    assert "best" not in capsys.readouterr().out


def test_the_line_of_an_epoch_names_the_headline_and_the_table_all(tmp_path, make_trainer, toy, capsys, monkeypatch):
    task = toy()
    monkeypatch.setattr(task, "headline", ("top1",))
    kind = type(task.new_metric(torch.device("cpu")))
    finish = kind.finish
    monkeypatch.setattr(kind, "finish", lambda self: finish(self) | {"top5": 100.0})
    make_trainer(tmp_path / "run", task).fit()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert all("loss" in line and "top1" in line and "top5" not in line for line in lines)
    assert {row["top5"] for row in read_table(tmp_path / "run" / "metrics.csv")} == {"100.0"}


def test_a_larger_value_is_better_unless_the_goal_says_less(tmp_path, make_trainer):
    trainer = make_trainer(tmp_path / "run")
    for goal, values, want in (
        ("top1", [math.nan, 3.0, 3.0, math.nan, 4.0, 2.0], [False, True, False, False, True, False]),
        ("-loss", [2.0, 2.0, 1.0, math.nan, -1.0, 0.0], [True, False, True, False, True, False]),
    ):
        trainer.task.goal, trainer.state.best = goal, None
        got = []
        for value in values:
            trainer.metrics = {goal.removeprefix("-"): value}
            got.append(trainer.improve())
        assert got == want
    assert trainer.state.best == -1.0


def test_frozen_parameters_and_statistics_stay(tmp_path, make_trainer):
    trainer = make_trainer(tmp_path / "run", None, {"train.freeze": ("stem",), "train.ema": 0.9})
    before = weights(trainer.model)
    trainer.fit()
    after = trainer.model.state_dict()
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith("stem"), name


@pytest.mark.parametrize("count", [1, 3])
def test_very_few_pictures_fill_a_batch(tmp_path, make_trainer, toy, capsys, count):
    make_trainer(tmp_path / "run", toy(count, augment=True), {"train.workers": 2}).fit()
    assert "a batch of 8 is larger than the data; each sample is drawn several times" in capsys.readouterr().out
    assert len(losses(tmp_path / "run")) == 3


def test_repeated_augmentation_reaches_the_loader(tmp_path, make_trainer):
    trainer = make_trainer(tmp_path / "run", None, {"train.repeated_augmentation": 4})
    assert isinstance(trainer.loader, TrainLoader)
    batch = next(trainer.loader.epoch(0))[0].data["index"]
    assert sorted(batch.unique(return_counts=True)[1].tolist()) == [4, 4]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_near_full_precision(tmp_path, make_trainer, precision):
    make_trainer(tmp_path / "full").fit()
    trainer = make_trainer(tmp_path / "mixed", None, {"train.precision": precision})
    trainer.fit()
    assert losses(tmp_path / "mixed")[:5] == pytest.approx(losses(tmp_path / "full")[:5], abs=0.02)
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    assert trainer.scaler.is_enabled() == (precision == "fp16")
    tree = read_checkpoint(trainer.checkpoints.path(15))
    assert bool(tree["scaler"]) == (precision == "fp16")


def test_fp16_skips_a_step_whose_gradients_overflow_and_goes_on(tmp_path, make_trainer):
    trainer = make_trainer(tmp_path / "run", None, {"train.precision": "fp16", "train.max_steps": 3})
    task_loss, seen = trainer.task.loss, []

    def loss(model, batch):
        seen.append(weights(trainer.model)["head.weight"])
        if len(seen) != 2:
            return task_loss(model, batch)
        value = trainer.model.head.weight.sum()
        return task_loss(model, batch) + (value - value.detach()).abs().sqrt()

    trainer.task.loss = loss
    scale = trainer.scaler.get_scale()
    trainer.fit()
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], seen[2])
    assert trainer.scaler.get_scale() == scale / 2


def test_fp16_gives_up_where_no_scale_helps(tmp_path, make_trainer):
    trainer = make_trainer(tmp_path / "run", None, {"train.precision": "fp16", "schedule.epochs": 10})
    task_loss = trainer.task.loss

    def loss(model, batch):
        value = trainer.model.head.weight.sum()
        return task_loss(model, batch) + (value - value.detach()).abs().sqrt()

    trainer.task.loss = loss
    with pytest.raises(NonFiniteError, match=r"^step 17: loss is .*, gradient norm nan; weights unchanged"):
        trainer.fit()


@pytest.mark.slow
def test_a_compiled_model_trains_as_the_eager_one(tmp_path, make_trainer, toy):
    for name, compiled in (("eager", False), ("compiled", True)):
        make_trainer(tmp_path / name, toy(), {"train.compile": compiled, "train.accumulate": 2}).fit()
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "eager"), abs=1e-5)
    trees = [CheckpointFolder(tmp_path / name / "checkpoints", 1).load_newest() for name in ("eager", "compiled")]
    assert trees[0]["model"].keys() == trees[1]["model"].keys()
