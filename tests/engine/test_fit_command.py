"""`volovan fit` as a user starts it: killed, stopped, on a terminal, under torchrun, and told nonsense."""

import os
import pty
import random
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

from volovan.engine.checkpoint import CheckpointFolder
from volovan.engine.run import read_table
from volovan.engine.settings import get_setting
from volovan.use.recipes import find_recipe, read_recipe
from volovan.use.rooms import ROOMS

pytestmark = pytest.mark.slow

FIT = [sys.executable, "-m", "volovan", "fit"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "VOLOVAN_DEBUG": "", "PYTHONUNBUFFERED": "1"}
LIGHT = {"train.tensorboard": "false", "train.device": "cpu"}


def words(**settings):
    """train__max_steps=3 -> --train.max_steps 3"""
    pairs = LIGHT | {key.replace("__", "."): str(value) for key, value in settings.items()}
    return [word for key, value in pairs.items() for word in (f"--{key}", value)]


def fit(*arguments, processes=1, check=True):
    """Run to the end; the finished process with what it said."""
    start = FIT
    if processes > 1:
        start = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            str(processes),
            "--master-port",
            "0",
        ]
        start += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "volovan", "fit"]
    done = subprocess.run([*start, *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT, timeout=500)
    assert not check or done.returncode == 0, done.stderr
    return done


def start(*arguments, log):
    """Begin a run in a process group of its own."""
    return subprocess.Popen(
        [*FIT, *map(str, arguments)], stdout=log.open("a"), stderr=subprocess.STDOUT, env=ENVIRONMENT, process_group=0
    )


def steps_done(folder):
    rows = read_table(folder / "steps.csv")
    return int(rows[-1]["step"]) if rows else 0


def wait_for_step(process, folder, step, limit=120):
    end = time.monotonic() + limit
    while steps_done(folder) < step and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert process.poll() is None, f"the run ended at step {steps_done(folder)} before it could be stopped"


HARD = words(
    train__max_steps=66,
    train__checkpoint_steps=4,
    train__workers=2,
    train__ema=0.99,
    train__log_steps=1,
    train__batch_size=64,
    augment__randaugment="rand-m9-mstd0.5-inc1",
    augment__mixup=0.8,
    augment__cutmix=1.0,
    augment__erase=0.25,
    augment__crop="random_resized",
    model__drop_path_rate=0.1,
)


def test_twenty_kills_at_random_moments_change_no_bit(tmp_path, assert_same_run):
    fit("digits_van", "--out", tmp_path / "whole", *HARD)
    folder, draw = tmp_path / "killed", random.Random(20)
    for kill in range(20):
        arguments = ("--resume", folder) if kill else ("digits_van", "--out", folder, *HARD)
        process = start(*arguments, log=tmp_path / "log")
        # Also beyond the 66 steps' last epoch end: 22 steps an epoch, so some kills hit a validation.
        wait_for_step(process, folder, 1 + kill * 3)
        time.sleep(draw.random() * 1.5)
        process.kill()
        process.wait()
        assert process.returncode == -signal.SIGKILL, (tmp_path / "log").read_text()
    fit("--resume", folder)
    assert_same_run(tmp_path / "whole", folder)
    assert len(read_table(folder / "steps.csv")) == 66


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_to_the_whole_group_end_with_a_checkpoint(tmp_path, assert_same_run, number, status):
    settings = words(train__max_steps=30, train__workers=2, train__ema=0.99, train__log_steps=1)
    fit("digits_van", "--out", tmp_path / "whole", *settings)
    folder = tmp_path / "stopped"
    process = start("digits_van", "--out", folder, *settings, log=tmp_path / "log")
    wait_for_step(process, folder, 7)
    os.killpg(process.pid, number)
    assert process.wait(60) == status
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert "stopping after this step" in said
    assert re.search(rf"stopped by \S+ after step \d+ of 30; a checkpoint is written. Go on with: .*{folder}", said)
    fit("--resume", folder)
    assert_same_run(tmp_path / "whole", folder)


VAN_NORMS = str([f"{part}.norm" for i in (1, 2, 3) for part in (f"patch_embed{i}", f"block{i}.0")])


@pytest.mark.parametrize(("recipe", "frozen"), [("digits_volo", '["patch_embed"]'), ("digits_van", VAN_NORMS)])
def test_two_processes_equal_one_with_the_same_batch(tmp_path, recipe, frozen):
    """First 20 losses, BatchNorm frozen, drop path and mixup off, augmentation on."""
    settings = words(train__max_steps=20, train__workers=1, train__log_steps=1, train__freeze=frozen)
    losses = {}
    for processes, accumulate in ((1, 1), (2, 1), (1, 2)):
        folder = tmp_path / f"{processes}x{accumulate}"
        fit(recipe, "--out", folder, *settings, "--train.accumulate", accumulate, processes=processes)
        losses[folder.name] = [float(row["loss"]) for row in read_table(folder / "steps.csv")]
    assert len(losses["1x1"]) == 20
    assert losses["2x1"] == pytest.approx(losses["1x1"], abs=1e-5)
    assert losses["1x2"] == pytest.approx(losses["1x1"], abs=1e-5)
    tables = [read_table(tmp_path / name / "metrics.csv") for name in ("1x1", "2x1")]
    one, two = (float(table[-1]["top1"]) for table in tables)
    assert two == pytest.approx(one, abs=0.6)  # two pictures may stand on the edge


def test_torchrun_passes_a_signal_on_and_the_run_goes_on_alone(tmp_path):
    folder = tmp_path / "run"
    settings = words(train__max_steps=40, train__workers=1, train__log_steps=1)
    command = [*TORCHRUN, "--nproc-per-node", "2", "-m", "volovan", "fit"]
    command += ["digits_van", "--out", str(folder), *settings]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT)
    wait_for_step(process, folder, 5)
    process.terminate()
    process.wait(120)
    assert "stopped by SIGTERM after step" in (tmp_path / "log").read_text()
    assert CheckpointFolder(folder / "checkpoints", 1).steps()[-1] == steps_done(folder) < 40
    fit("--resume", folder)
    assert steps_done(folder) == 40


def test_a_killed_loader_process_is_explained_and_the_run_can_go_on(tmp_path):
    settings = words(train__max_steps=60, train__workers=2, train__log_steps=1, train__checkpoint_steps=5)
    folder = tmp_path / "run"
    process = start("digits_van", "--out", folder, *settings, log=tmp_path / "log")
    wait_for_step(process, folder, 12)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not workers.exists():
        process.kill()
        pytest.skip("this system does not list the children of a process")
    os.kill(int(workers.read_text().split()[0]), signal.SIGKILL)
    assert process.wait(60) == 2
    said = (tmp_path / "log").read_text()
    assert "volovan fit: a loader process has died (DataLoader worker" in said
    assert "Traceback" not in said
    fit("--resume", folder)


def test_a_terminal_shows_a_bar_and_a_pipe_plain_lines(tmp_path):
    settings = words(train__max_steps=6, train__workers=0)
    here, there = pty.openpty()
    termios.tcsetwinsize(there, (40, 120))
    text = []

    def listen():
        while True:
            try:
                part = os.read(here, 4096)
            except OSError:
                return
            text.append(part)

    process = subprocess.Popen(
        [*FIT, "digits_van", "--out", str(tmp_path / "a"), *settings], stdout=there, stderr=there, env=ENVIRONMENT
    )
    os.close(there)
    listener = threading.Thread(target=listen)
    listener.start()
    assert process.wait(120) == 0
    listener.join()
    os.close(here)
    shown = b"".join(text).decode()
    assert re.search(r"epoch 1: +\d+%\|.*/6 \[.*step/s\]", shown)
    assert re.search(r"epoch 1 validation: +\d+%\|.*/6 \[.*batch/s\]", shown)
    plain = fit("digits_van", "--out", tmp_path / "b", *settings)
    assert "\r" not in plain.stdout + plain.stderr
    assert "%|" not in plain.stdout + plain.stderr
    assert plain.stderr == ""


def one_sentence(done):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    "words",
    [["digits_van"], ["digits_van", "--loss.target", "multi_label"], ["shapes_van"], ["shapes_edn"]],
    ids=" ".join,
)
def test_the_advice_for_less_memory_names_a_key_of_the_room(words):
    name, *more = words
    recipe, _ = read_recipe(find_recipe(name), more)
    task = ROOMS[recipe.task].task()(recipe)
    assert task.smaller.startswith("--")
    get_setting(recipe, task.smaller.removeprefix("--"))


def test_resuming_what_cannot_be_resumed_gets_one_sentence(tmp_path):
    assert "is no run folder (it holds no recipe.yaml)" in one_sentence(fit("--resume", tmp_path, check=False))
    folder = tmp_path / "run"
    fit("digits_van", "--out", folder, *words(train__max_steps=3))
    assert "the run is finished: 3 of 3 steps are done" in fit("--resume", folder).stdout
    recipe = folder / "recipe.yaml"
    whole = recipe.read_text()
    for old, new, said in (
        ("batch_size: 64", "batch_size: 32", "train.batch_size was 64 at the checkpoint and is 32 in recipe.yaml now"),
        ("batch_size: 64", "batchsize: 64", "there is no key"),
        ("source: digits", "source: /nowhere", "/nowhere"),
        ("- 16", "- 24", "the network of recipe.yaml is not the one of the checkpoint"),
    ):
        assert old in whole
        recipe.write_text(whole.replace(old, new, 1))
        assert said in one_sentence(fit("--resume", folder, check=False))
    recipe.write_text("{")
    assert "is no valid YAML" in one_sentence(fit("--resume", folder, check=False))
    recipe.write_text(whole)
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert "holds no usable checkpoint; start the run anew" in one_sentence(fit("--resume", folder, check=False))
