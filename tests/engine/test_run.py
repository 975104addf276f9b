"""The run folder: contents, tables, a full disk, rights, two processes at once, and what is said where."""

import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import pytest

from volovan.engine.progress import Pace, clock
from volovan.engine.run import Run, RunFolderError, read_table
from volovan.engine.settings import SettingsError
from volovan.files.results import ResultsError, is_result


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", "task: toy\n", ["volovan", "fit", "toy"])


def test_a_run_folder_holds_what_repeats_it(tmp_path, make_trainer):
    make_trainer(tmp_path / "run", None, {"train.tensorboard": True}).fit()
    names = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    boards = {name for name in names if name.startswith("tensorboard/events")}
    assert boards
    assert names - boards == {
        ".lock",
        ".volovan.jsonl",
        "recipe.yaml",
        "environment.json",
        "log.txt",
        "metrics.csv",
        "steps.csv",
        "checkpoints/best.safetensors",
        "checkpoints/step-00000010.safetensors",
        "checkpoints/step-00000015.safetensors",
    }
    about = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert about["command"] == ["toy"]
    assert {"volovan", "torch", "timm"} <= about["versions"].keys()
    assert (tmp_path / "run" / "recipe.yaml").read_text() == "task: toy\n"


def test_tensorboard_can_be_left_out(tmp_path, make_trainer):
    make_trainer(tmp_path / "run", None, {"train.tensorboard": False}).fit()
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_tensorboard_of_the_user_is_no_result(run):
    board = run.folder / "tensorboard"
    board.mkdir()
    assert not is_result(board)
    with pytest.raises(ResultsError, match=r"tensorboard is not of volovan .* move it away, and go on with --resume"):
        run.board({"loss": 1.0}, 1)
    assert not list(board.iterdir())
    board.rmdir()
    run.board({"loss": 1.0}, 1)
    run.close()
    assert is_result(board)
    assert len(list(board.iterdir())) == 1


def test_an_existing_run_is_refused_and_any_other_folder_taken(tmp_path, run):
    run.checkpoints.mkdir()
    (run.checkpoints / "step-00000001.safetensors").touch()
    with pytest.raises(SettingsError, match=r"holds a run already; go on with `volovan fit --resume .*` or choose"):
        Run.create(run.folder, "task: other\n", [])
    assert (run.folder / "recipe.yaml").read_text() == "task: toy\n"
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    Run.create(tmp_path / "used", "task: toy\n", [])
    assert (tmp_path / "used" / "notes.txt").read_text() == "mine"


def test_a_run_that_made_no_step_is_replaced_and_can_be_taken_back(run):
    Run.create(run.folder, "task: other\n", [])
    assert (run.folder / "recipe.yaml").read_text() == "task: other\n"
    (run.folder / "mine.txt").write_text("mine")
    run.discard_unless_begun()
    assert [path.name for path in run.folder.iterdir()] == ["mine.txt"]


def test_a_run_without_a_checkpoint_begins_anew(run, capsys):
    """As after a picture that could not be read: the same command with --train.on_bad skip must do."""
    run.record("steps", {"step": 1, "loss": 2.0})
    Run.create(run.folder, "task: other\n", [])
    assert (run.folder / "recipe.yaml").read_text() == "task: other\n"
    assert not (run.folder / "steps.csv").exists()
    assert "broke off before its first checkpoint, and begins anew" in capsys.readouterr().out


def test_a_run_that_made_a_step_is_kept(run):
    run.record("steps", {"step": 1, "loss": 2.0})
    run.discard_unless_begun()
    assert (run.folder / "recipe.yaml").is_file()


def test_an_empty_folder_is_no_run(tmp_path):
    with pytest.raises(SettingsError, match=r"is no run folder \(it holds no recipe.yaml\)"):
        Run.open(tmp_path)


def test_a_path_below_a_file_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"run could not be written \(Not a directory\)"):
        Run.create(tmp_path / "file" / "run", "task: toy\n", [])


def test_a_folder_without_rights_is_refused_in_one_sentence(child):
    with tempfile.TemporaryDirectory() as parent:  # pytest's own folder cannot be entered by others
        folder = Path(parent) / "run"
        Run.create(folder, "task: toy\n", [])
        os.chmod(parent, 0o755)
        (folder / ".lock").chmod(0o444)
        folder.chmod(0o555)

        def attempt():
            if os.geteuid() == 0:
                os.seteuid(65534)  # rights do not bind the superuser
            with pytest.raises(RunFolderError, match=r"could not be written \(Permission denied\); .* another --out"):
                Run.open(folder)
            with pytest.raises(RunFolderError, match=r"below could not be written \(Permission denied\)"):
                Run.create(folder / "below", "task: toy\n", [])

        process = child(attempt)
        process.join(30)
        assert process.exitcode == 0
        folder.chmod(0o755)


# ---- tables ---------------------------------------------------------------------------------------------------------


def test_rows_come_back_and_new_columns_are_added(run):
    run.record("metrics", {"step": 1, "loss": 0.1 + 0.2})
    run.record("metrics", {"step": 2})
    run.record("metrics", {"step": 3, "loss": 1, "top1": 50.0})
    run.record("metrics", {"step": 4, "loss": float("nan")})
    rows = read_table(run.folder / "metrics.csv")
    assert rows[0] == {"step": "1", "loss": repr(0.1 + 0.2), "top1": ""}
    assert rows[1] == {"step": "2", "loss": "", "top1": ""}
    assert rows[2]["top1"] == "50.0"
    assert rows[3]["loss"] == "nan"


def test_rows_are_appended_without_reading_the_table_again(run):
    begin = time.perf_counter()
    for step in range(5000):
        run.record("steps", {"step": step, "loss": 0.5})
    assert len(read_table(run.folder / "steps.csv")) == 5000
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize("tail", ["", "4,0.", "4", "40,0.5,9", "\0\0\0\0", "\0\0\r\n", "x,1\r\n", ",\r\n"])
def test_torn_rows_are_dropped_on_resume(run, tail):
    for step in range(5):
        run.record("steps", {"step": step, "loss": step / 2})
    with (run.folder / "steps.csv").open("a", newline="") as file:
        file.write(tail)
    again = Run.open(run.folder)
    again.forget_after(steps=3, metrics=0)
    again.record("steps", {"step": 4, "loss": 9.0})
    rows = read_table(run.folder / "steps.csv")
    assert [(row["step"], row["loss"]) for row in rows] == [(str(i), str(i / 2)) for i in range(4)] + [("4", "9.0")]


@pytest.mark.parametrize("text", ["", "st", "step,loss\r\n", "step,loss\r\n9,1\r\n"])
def test_a_table_with_nothing_to_keep_starts_anew(run, text):
    (run.folder / "steps.csv").write_text(text, newline="")
    run.forget_after(steps=3)
    run.record("steps", {"step": 4, "loss": 9.0})
    assert read_table(run.folder / "steps.csv") == [{"step": "4", "loss": "9.0"}]


def test_what_a_killed_process_left_is_swept_on_resume(run):
    (run.folder / ".metrics.csv.123.part").mkdir()
    (run.folder / ".metrics.csv.123.part" / "metrics.csv").write_text("half")
    Run.open(run.folder)
    assert not list(run.folder.glob(".*.part"))


def test_a_disk_that_fills_while_a_table_is_written_costs_no_bit(tmp_path, make_trainer, child, assert_same_run):
    """A limit on the size of files cuts a row of steps.csv in two; the resume mends it."""
    folder = tmp_path / "full"

    def train_until_full():
        trainer = make_trainer(folder)
        loss = trainer.task.loss

        def wrapped(model, batch):
            if trainer.state.step == 7:
                size = (folder / "steps.csv").stat().st_size + 20
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            return loss(model, batch)

        trainer.task.loss = wrapped
        try:
            trainer.fit()
        except RunFolderError as error:
            os.write(report, str(error).encode())

    report = os.open(tmp_path / "said", os.O_CREAT | os.O_WRONLY)
    process = child(train_until_full)
    process.join(60)
    said = (tmp_path / "said").read_text()
    assert re.fullmatch(r"\S+steps.csv could not be written \(File too large\); .* go on with --resume, or .*", said)
    assert not (folder / "steps.csv").read_bytes().endswith(b"\n"), "no row was cut: the test shows nothing"
    make_trainer(folder).fit(resume=True)
    make_trainer(tmp_path / "whole").fit()
    assert_same_run(tmp_path / "whole", folder)


def test_a_log_that_cannot_be_written_stops_nothing(run, capsys):
    (run.folder / "log.txt").mkdir()
    run.say("one")
    run.say("two")
    assert capsys.readouterr().out.splitlines() == ["one", "note: log.txt cannot be written (Is a directory)", "two"]


# ---- two processes --------------------------------------------------------------------------------------------------


def test_two_processes_cannot_train_in_one_folder(run, child, tmp_path):
    def attempt():
        try:
            Run.open(run.folder)
        except RunFolderError as error:
            (tmp_path / "said").write_text(str(error))

    process = child(attempt)
    process.join(30)
    assert (tmp_path / "said").read_text() == (
        f"another process is training in {run.folder}; wait for its end or stop it"
    )


def test_a_killed_process_leaves_no_lock_even_while_its_workers_live(tmp_path, child):
    def hold():
        Run.create(tmp_path / "run", "task: toy\n", [])
        if os.fork() == 0:  # as a loader process, it inherits open files
            time.sleep(30)
            os._exit(0)
        (tmp_path / "ready").touch()
        time.sleep(30)

    process = child(hold)
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    Run.open(tmp_path / "run")


# ---- words ----------------------------------------------------------------------------------------------------------

SCRIPT = """
import sys, time
from pathlib import Path
from volovan.engine.progress import bar, speak
for number in bar(range(20), 20, "epoch 1", "step", True):
    time.sleep(0.02)
    if number == 10:
        speak("a line in between")
speak("the end")
"""


def test_a_log_holds_plain_lines_only():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "a line in between\nthe end\n"
    assert done.stderr == ""


def test_a_terminal_shows_a_bar_with_rate_and_time_left():
    here, there = pty.openpty()
    termios.tcsetwinsize(there, (40, 100))
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=there, stderr=there, stdin=there)
    os.close(there)
    text = b""
    while True:
        try:
            part = os.read(here, 4096)
        except OSError:  # the other side has closed
            break
        if not part:
            break
        text += part
    os.close(here)
    assert process.wait() == 0
    shown = text.decode()
    assert re.search(r"epoch 1: +\d+%\|.*\d+/20 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+step/s\]", shown)
    lines = [line.rstrip("\r").split("\r")[-1].strip() for line in shown.split("\n")]
    assert "a line in between" in lines
    assert "the end" in lines


def test_pace_counts_samples_and_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    pace = Pace(total_steps=110, step=10, samples_per_step=8, before=50.0)
    now[0] += 20
    assert pace.rate(50) == pytest.approx(40 * 8 / 20)
    assert pace.left(50) == "0:00:30"
    assert pace.seconds() == pytest.approx(70)
    assert clock(3725) == "1:02:05"
