"""A run that is killed or stopped anywhere ends with the bits of a run that was left alone."""

import json
import os
import random
import signal
import time
from contextlib import redirect_stdout
from dataclasses import asdict

import pytest
import torch

from volovan.engine.checkpoint import CheckpointFolder
from volovan.engine.resume import fingerprint, refuse_changes
from volovan.engine.run import read_table
from volovan.engine.settings import EngineSettings, SettingsError
from volovan.files.checkpoint import read_checkpoint, write_checkpoint

FULL = {"train.workers": 2, "train.ema": 0.9, "train.checkpoint_steps": 2, "train.validate_every": 1}


def train(make_trainer, folder, task, values, resume=False):
    """For a process of its own: exit status as the command line would give it."""
    with (folder.parent / "output").open("a") as output, redirect_stdout(output):
        make_trainer(folder, task, values).fit(resume)


def steps_done(folder):
    return len(read_table(folder / "steps.csv"))


def wait_until(happened, process, limit=60):
    end = time.monotonic() + limit
    while not happened() and process.is_alive() and time.monotonic() < end:
        time.sleep(0.002)


GROUPS = [index % 3 % 2 for index in range(64)]


@pytest.mark.parametrize(
    ("values", "more"),
    [
        ({}, {}),
        ({"train.precision": "bf16", "optim.name": "lamb"}, {"parts": True, "groups": GROUPS}),
        (
            {"train.precision": "fp16", "train.accumulate": 2, "optim.name": "sgd", "train.repeated_augmentation": 2},
            {"parts": True},
        ),
    ],
    ids=["adamw", "bf16-lamb-parts-groups", "fp16-sgd-accumulate-repeats-parts"],
)
def test_three_kills_at_random_moments_change_no_bit(tmp_path, make_trainer, toy, child, assert_same_run, values, more):
    def task():
        return toy(64, 29, augment=True, dropout=0.2, **more)

    values = FULL | {"schedule.epochs": 4} | values
    train(make_trainer, tmp_path / "whole", task(), values)
    draw, folder, kills = random.Random(str(values)), tmp_path / "killed", 0
    for at in (5, 13, 25):
        process = child(train, make_trainer, folder, task(), values, kills > 0)
        wait_until(lambda at=at: steps_done(folder) >= at, process)
        time.sleep(draw.random() * 0.02)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills == 3
    train(make_trainer, folder, task(), values, resume=True)
    assert_same_run(tmp_path / "whole", folder)


def slow_validation(task, seconds=0.2):
    """Let each batch of the validation take a while."""
    new = task.new_metric

    def make(device):
        metric = new(device)
        update = metric.update
        metric.update = lambda model, batch: (time.sleep(seconds), update(model, batch))
        return metric

    task.new_metric = make
    return task


def test_a_kill_while_validating_loses_no_step(tmp_path, make_trainer, toy, child, assert_same_run):
    def task():
        return toy(40, 40, augment=True, dropout=0.2)

    train(make_trainer, tmp_path / "whole", task(), {"train.ema": 0.9})
    folder = tmp_path / "killed"
    process = child(train, make_trainer, folder, slow_validation(task()), {"train.ema": 0.9})
    wait_until(lambda: steps_done(folder) == 5, process)
    time.sleep(0.4)
    process.kill()
    process.join()
    checkpoints = CheckpointFolder(folder / "checkpoints", 2)
    assert checkpoints.steps() == [5]
    assert not read_table(folder / "metrics.csv")
    train(make_trainer, folder, task(), {"train.ema": 0.9}, resume=True)
    assert_same_run(tmp_path / "whole", folder)


def test_a_kill_between_the_row_and_its_checkpoint_leaves_one_row(tmp_path, make_trainer, toy, assert_same_run):
    """The row of an epoch is written first; the resumed run must not write it twice."""
    train(make_trainer, tmp_path / "whole", toy(), {})
    trainer = make_trainer(tmp_path / "cut")
    save = trainer.save

    def stop_at_the_second_close(is_best=False):
        if trainer.state.step == 10 and not trainer.state.loss_steps:
            raise KeyboardInterrupt
        save(is_best)

    trainer.save = stop_at_the_second_close
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert [row["step"] for row in read_table(tmp_path / "cut" / "metrics.csv")] == ["5", "10"]
    make_trainer(tmp_path / "cut").fit(resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("at", [3, 5, 14, 15], ids=lambda at: f"step-{at}")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_writes_a_checkpoint_and_says_how_to_go_on(
    tmp_path, make_trainer, toy, assert_same_run, capsys, number, at
):
    """In mid-epoch, at the end of an epoch (whose validation is made up for), before the end and at the very end."""
    train(make_trainer, tmp_path / "whole", toy(augment=True, dropout=0.2), {"train.ema": 0.9})
    folder = tmp_path / "stopped"
    trainer = make_trainer(folder, toy(augment=True, dropout=0.2), {"train.ema": 0.9})
    task_loss = trainer.task.loss

    def loss(model, batch):
        if trainer.state.step == at - 1:
            os.kill(os.getpid(), number)
        return task_loss(model, batch)

    trainer.task.loss = loss
    with pytest.raises(SystemExit) as stopped:
        trainer.fit()
    assert stopped.value.code == 128 + number
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    said = (
        f"stopped by {name} after step {at} of 15; a checkpoint is written. Go on with: volovan fit --resume {folder}"
    )
    assert said in capsys.readouterr().out
    assert said in (folder / "log.txt").read_text()
    assert trainer.checkpoints.steps()[-1] == at
    make_trainer(folder, toy(augment=True, dropout=0.2), {"train.ema": 0.9}).fit(resume=True)
    assert_same_run(tmp_path / "whole", folder)


def test_a_signal_while_validating_stops_soon_and_exactly(tmp_path, make_trainer, toy, child, assert_same_run):
    train(make_trainer, tmp_path / "whole", toy(40, 200), {})
    folder = tmp_path / "stopped"
    process = child(train, make_trainer, folder, slow_validation(toy(40, 200), 0.3), {"train.workers": 2})
    wait_until(lambda: steps_done(folder) == 5, process)
    time.sleep(0.5)
    begin = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    process.join(30)
    assert process.exitcode == 143
    assert time.monotonic() - begin < 5  # the validation would have taken 7 s more
    train(make_trainer, folder, toy(40, 200), {}, resume=True)
    assert_same_run(tmp_path / "whole", folder)


def test_a_signal_to_the_whole_group_spares_the_loader_processes(tmp_path, make_trainer, toy, child, assert_same_run):
    """As schedulers and terminals send it: training and loader processes alike."""

    def grouped(*args):
        os.setpgid(0, 0)
        train(*args)

    def task():
        return toy(80, augment=True)

    train(make_trainer, tmp_path / "whole", task(), {"schedule.epochs": 20})
    folder = tmp_path / "stopped"
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        before = steps_done(folder)
        values = {"train.workers": 2, "schedule.epochs": 20}
        process = child(grouped, make_trainer, folder, task(), values, before > 0)
        wait_until(lambda before=before: steps_done(folder) > before + 15, process)
        os.killpg(process.pid, number)
        process.join(30)
        assert process.exitcode == status
    assert 30 < steps_done(folder) < 200
    train(make_trainer, folder, task(), {"schedule.epochs": 20}, resume=True)
    assert_same_run(tmp_path / "whole", folder)


def test_a_second_ctrl_c_stops_at_once(tmp_path, make_trainer):
    trainer = make_trainer(tmp_path / "run")
    before = signal.getsignal(signal.SIGINT)  # ignored, where a shell has put the tests into the background

    def loss(model, batch):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("still here")

    trainer.task.loss = loss
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path, make_trainer, assert_same_run, capsys):
    make_trainer(tmp_path / "whole").fit()
    trainer = make_trainer(tmp_path / "cut")
    trainer.save = lambda is_best=False: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    make_trainer(tmp_path / "cut").fit(resume=True)
    assert "no checkpoint yet: the run starts from its beginning" in capsys.readouterr().out
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_resuming_a_finished_run_changes_nothing(tmp_path, make_trainer, assert_same_run, capsys):
    make_trainer(tmp_path / "whole").fit()
    make_trainer(tmp_path / "again").fit()
    capsys.readouterr()
    trainer = make_trainer(tmp_path / "again")
    trainer.fit(resume=True)
    said = capsys.readouterr().out
    assert "the run is finished: 15 of 15 steps are done" in said
    assert "best top1" in said
    assert_same_run(tmp_path / "whole", tmp_path / "again")


def test_a_damaged_newest_checkpoint_costs_only_its_steps(tmp_path, make_trainer, assert_same_run, capsys):
    make_trainer(tmp_path / "whole", None, {"train.checkpoint_steps": 2}).fit()
    make_trainer(tmp_path / "hurt", None, {"train.checkpoint_steps": 2, "train.max_steps": 9}).fit()
    newest = tmp_path / "hurt" / "checkpoints" / "step-00000009.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    make_trainer(tmp_path / "hurt", None, {"train.checkpoint_steps": 2}).fit(resume=True)
    said = capsys.readouterr().out
    assert f"checkpoint {newest} is damaged" in said
    assert "from step 8 to 15" in said
    assert_same_run(tmp_path / "whole", tmp_path / "hurt")


def test_time_is_counted_over_all_resumes(tmp_path, make_trainer):
    make_trainer(tmp_path / "run", None, {"train.max_steps": 5}).fit()
    tree = CheckpointFolder(tmp_path / "run" / "checkpoints", 1).load_newest()
    trainer = make_trainer(tmp_path / "run")
    trainer.fit(resume=True)
    assert trainer.state.seconds > tree["state"]["seconds"] > 0


def test_an_epoch_begun_by_a_version_without_parts_has_none(tmp_path, make_trainer, toy):
    make_trainer(tmp_path / "run", toy(parts=True), {"train.max_steps": 7, "train.checkpoint_steps": 7}).fit()
    trainer = make_trainer(tmp_path / "run", toy(parts=True))
    path = trainer.checkpoints.path(7)
    tree = read_checkpoint(path)
    del tree["state"]["part_sums"]
    tree["state"] |= {"loss_sum": 2.0, "loss_steps": 2}  # as if stopped in mid-epoch
    write_checkpoint(path, tree)
    trainer.fit(resume=True)
    rows = read_table(tmp_path / "run" / "metrics.csv")
    assert [(row["step"], bool(row["loss_decay"])) for row in rows] == [("5", True), ("10", False), ("15", True)]


# ---- what has changed since -----------------------------------------------------------------------------------------


@pytest.fixture
def half_a_run(tmp_path, make_trainer, toy):
    make_trainer(tmp_path / "run", toy(), {"train.max_steps": 7, "train.ema": 0.9}).fit()
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("train.batch_size", 4, "train.batch_size was 8 at the checkpoint and is 4 in recipe.yaml now"),
        ("train.seed", 1, "train.seed was 42 at the checkpoint and is 1"),
        ("train.repeated_augmentation", 2, "train.repeated_augmentation was 1 at the checkpoint and is 2"),
        ("train.freeze", ("stem",), "train.freeze was .* at the checkpoint and is .*stem"),
        ("train.ema", None, "train.ema was 0.9 at the checkpoint and is None"),
        ("train.ema_buffers", "copy", "train.ema_buffers was average at the checkpoint and is copy"),
        ("optim.name", "sgd", "optim.name was adamw at the checkpoint and is sgd"),
        ("optim.layer_decay", 0.5, "optim.layer_decay was 1.0 at the checkpoint and is 0.5"),
        ("optim.trunk_lr", 0.1, "optim.trunk_lr was 1.0 at the checkpoint and is 0.1"),
        ("optim.no_decay", "none", "optim.no_decay was vectors at the checkpoint and is none"),
    ],
)
def test_edits_that_make_a_step_mean_something_else_are_refused(half_a_run, make_trainer, key, value, said):
    trainer = make_trainer(half_a_run, None, {"train.ema": 0.9, key: value})
    with pytest.raises(SettingsError, match=said) as error:
        trainer.fit(resume=True)
    assert "\n" not in str(error.value)


def test_a_checkpoint_from_before_a_setting_says_nothing_about_it():
    settings = EngineSettings()
    saved = json.loads(json.dumps({"data": "x", "settings": asdict(settings)}))
    del saved["settings"]["optim"]["no_decay"]
    settings.optim.no_decay = "none"
    refuse_changes(saved, settings, "x")
    saved["settings"]["optim"]["no_decay"] = "vectors"
    with pytest.raises(SettingsError, match=r"optim\.no_decay was vectors"):
        refuse_changes(saved, settings, "x")


def test_edited_rates_and_decays_are_obeyed(half_a_run, make_trainer):
    values = {"train.ema": 0.9, "optim.lr": 1e-3, "optim.weight_decay": 0.2, "optim.betas": (0.8, 0.9)}
    trainer = make_trainer(half_a_run, None, values | {"train.accumulate": 2, "schedule.epochs": 4})
    trainer.fit(resume=True)
    assert {group["weight_decay"] for group in trainer.optimizer.param_groups} == {0.0, 0.2}
    assert {tuple(group["betas"]) for group in trainer.optimizer.param_groups} == {(0.8, 0.9)}
    assert float(read_table(half_a_run / "steps.csv")[7]["lr"]) < 1e-3
    assert trainer.state.step == 20


def test_changed_data_are_refused(half_a_run, make_trainer, toy, toy_samples):
    renamed = toy_samples(40)
    renamed.prefix = "other"
    for samples, said in ((toy_samples(41), "40 samples .* then, 41 samples"), (renamed, "40 samples .* 40 samples")):
        trainer = make_trainer(half_a_run, toy(samples), {"train.ema": 0.9})
        with pytest.raises(SettingsError, match=f"the training data have changed since the checkpoint: {said}"):
            trainer.fit(resume=True)


def test_changed_groups_are_refused(tmp_path, make_trainer, toy):
    make_trainer(tmp_path / "run", toy(groups=[0] * 40), {"train.max_steps": 2}).fit()
    for groups in (None, [0] * 20 + [1] * 20):
        with pytest.raises(SettingsError, match=r"the training data have changed .*: 40 samples \w+ in groups"):
            make_trainer(tmp_path / "run", toy(groups=groups)).fit(resume=True)


def test_another_model_is_refused_in_one_sentence(half_a_run, make_trainer, toy):
    class Wider(toy):
        def build_model(self):
            model = super().build_model()
            model.head = torch.nn.Linear(16, 5)
            return model

    with pytest.raises(SettingsError, match=r"the model of recipe.yaml is not the one of .*head.weight"):
        make_trainer(half_a_run, Wider(), {"train.ema": 0.9}).fit(resume=True)


@pytest.mark.parametrize("count", [1, 2, 999, 1000, 1001, 5000])
def test_the_fingerprint_of_data_looks_at_both_ends(count, toy_samples):
    class Named(toy_samples):
        def __init__(self, names):
            self.names = names

        def __len__(self):
            return len(self.names)

        def name(self, index):
            return self.names[index]

    names = [f"{i}.png" for i in range(count)]
    whole = fingerprint(Named(names))
    assert fingerprint(Named(list(names))) == whole
    assert fingerprint(Named([*names[:-1], "x.png"])) != whole
    assert fingerprint(Named(["x.png", *names[1:]])) != whole
    assert fingerprint(Named([*names, "x.png"])) != whole
    assert json.dumps(whole)
