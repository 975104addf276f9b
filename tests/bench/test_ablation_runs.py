"""Running an ablation: restart, kill, failure, interrupt; and runs that are not the row's."""

import signal
import subprocess
import sys
import time

import pytest
import yaml

from volovan.bench.ablation_runs import as_words, differences, is_finished, plan, refuse_strangers
from volovan.cli import main
from volovan.engine.run import read_table
from volovan.engine.settings import SettingsError
from volovan.files.locks import is_locked

STEPS = {"train.max_steps": 2}


def test_words_are_what_the_command_line_takes():
    changes = {"data.limit": None, "model.name": "van", "model.options.embed_dims": [1, 2], "labels.ground_truth": True}
    words = ("--data.limit", "null", "--model.name", "van", "--model.options.embed_dims", "[1, 2]")
    assert as_words(changes) == (*words, "--labels.ground_truth", "true")


@pytest.fixture
def job(read_rows, tmp_path):
    """The only job of an ablation of four epochs."""
    ablation = read_rows([{"name": "A"}], seeds=[0])
    return plan(ablation, ablation.rows, ablation.seeds, tmp_path / "out", {})[0]


@pytest.mark.parametrize(("epochs", "finished"), [(0, False), (3, False), (4, True)], ids=["none", "some", "all"])
def test_run_is_finished_with_its_last_epoch(job, make_run, epochs, finished):
    make_run(job, [1.0] * epochs)
    assert is_finished(job) == finished


def test_run_is_finished_with_its_last_step(read_rows, make_run, tmp_path):
    ablation = read_rows([{"name": "A", "set": {"train.max_steps": 4}}], seeds=[0])
    job = plan(ablation, ablation.rows, ablation.seeds, tmp_path / "out", {})[0]
    make_run(job, [1.0, 2.0])  # two steps an epoch
    assert is_finished(job)


def test_run_of_another_recipe_is_refused_with_every_difference(job, make_run):
    make_run(job, [1.0])
    refuse_strangers([job])
    recipe = job.folder / "recipe.yaml"
    settings = yaml.safe_load(recipe.read_text())
    settings["optim"]["lr"], settings["model"]["options"]["embed_dims"] = 0.5, [16]
    settings["train"]["workers"] = 7  # changes nothing of what is learned
    recipe.write_text(yaml.safe_dump(settings))
    assert differences(job) == ["optim.lr is 0.5 there, 0.001 here", "model.options.embed_dims is [16] there, [8] here"]
    with pytest.raises(SettingsError, match=r"seed0 holds another run than row 'A' asks for: optim.lr is 0.5 there"):
        refuse_strangers([job])


def test_recipe_from_before_a_key_was_added_is_the_same(job, make_run):
    make_run(job, [1.0])
    recipe = job.folder / "recipe.yaml"
    settings = yaml.safe_load(recipe.read_text())
    del settings["labels"]
    recipe.write_text(yaml.safe_dump(settings))
    assert differences(job) == []


def test_odd_words_and_numbers_of_processes_are_refused(write_ablation, capsys):
    path = str(write_ablation([{"name": "A"}]))
    assert main(["ablate", path, "--set", "data.limit"]) == 2
    assert "keys with a value each are expected" in capsys.readouterr().err
    assert main(["ablate", path, "--jobs", "0"]) == 2
    assert "--jobs is 0; at least 1 is needed" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--table-only", "--speed"]], ids=["training", "speed"])
def test_network_that_cannot_be_built_is_refused_before_any_run(write_ablation, tmp_path, capsys, more):
    volo = {"model.name": "volo", "model.options": {"embed_dims": [10], "num_heads": [3]}}
    path = write_ablation([{"name": "good"}, {"name": "bad", "set": volo}], seeds=[0], classes=10)
    assert main(["ablate", str(path), "--out", str(tmp_path / "out"), *more]) == 2
    assert "row 'bad': model: volo: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_failing_row_is_named_and_the_others_go_on(write_ablation, tmp_path, capsys):
    rows = [{"name": "good", "set": STEPS}, {"name": "bad", "set": {"data.source": "no-such-folder"}}]
    rows.append({"name": "worse", "start": "bad", "set": STEPS})
    path = write_ablation(rows, seeds=[0], classes=10)
    words = ["ablate", str(path), "--out", str(tmp_path / "out"), "--jobs", "2"]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert "failed: bad, seed 0: exit status 2: volovan fit: " in said
    assert "failed: worse, seed 0: it starts from bad, seed 0, which failed" in said
    cells = next(line for line in said.splitlines() if line.startswith("| good ")).split("|")
    assert cells[4].strip() == "1"  # one seed, finished
    assert not (tmp_path / "out" / "bad" / "seed0").exists()
    log = tmp_path / "out" / "good" / "seed0" / "log.txt"
    before = log.read_text()
    assert main([*words, "--rows", "good"]) == 0
    assert "1 runs: 1 finished, 0 to train" in capsys.readouterr().out
    assert log.read_text() == before


@pytest.mark.slow
def test_run_can_have_several_processes(write_ablation, tmp_path):
    path, out = write_ablation([{"name": "A", "set": STEPS}], seeds=[0], classes=10), tmp_path / "out"
    assert main(["ablate", str(path), "--out", str(out), "--processes", "2"]) == 0
    assert "cpu x 2" in (out / "a" / "seed0" / "log.txt").read_text()


@pytest.fixture
def begin(tmp_path):
    """begin(path) starts `volovan ablate` in a process of its own; whatever it has started is ended after the test."""
    processes = []

    def start(path, out):
        words = [sys.executable, "-m", "volovan", "ablate", str(path), "--out", str(out), "--jobs", "2"]
        processes.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def wait_for(condition, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def tables(out):
    """What the runs of an ablation have measured, without the time it took."""
    rows = {path.parent: read_table(path) for path in sorted(out.glob("*/seed*/metrics.csv"))}
    return {str(folder.relative_to(out)): [{**row, "seconds": ""} for row in table] for folder, table in rows.items()}


@pytest.fixture
def two_rows(write_ablation):
    """An ablation of two rows and two seeds, long enough to be stopped in the middle."""
    more = {"schedule.epochs": 40, "train.validate_every": 40}
    rows = [{"name": "A", "set": more}, {"name": "B", "set": {**more, "optim.lr": 0.01}}]
    return write_ablation(rows, seeds=[0, 1], classes=10)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # 20 processes that import torch; minutes on a busy machine
def test_stopped_ablation_goes_on_where_it_was(two_rows, begin, tmp_path):
    """Stopped by each signal in the middle of the first runs; the end is that of an undisturbed ablation."""
    undisturbed = begin(two_rows, tmp_path / "undisturbed")
    assert undisturbed.wait() == 0
    expected = tables(tmp_path / "undisturbed")
    assert len(expected) == 4
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        out = tmp_path / number.name
        first = begin(two_rows, out)
        wait_for(lambda out=out: all((out / row / "seed0" / "steps.csv").is_file() for row in "ab"))
        first.send_signal(number)
        said = first.communicate()[0]
        assert first.returncode == (-number if number == signal.SIGKILL else 128 + number)
        if number != signal.SIGKILL:  # which leaves the runs alive; the next ablation waits for them
            name = "Ctrl-C" if number == signal.SIGINT else number.name
            assert f"stopped by {name}; the same command goes on" in said
            assert not any(is_locked(out / row / "seed0") for row in "ab")
            assert not (out / "a" / "seed1").exists()
        second = begin(two_rows, out)
        said = second.communicate()[0]
        assert second.returncode == 0, said
        assert "A, seed 0: started" not in said
        assert number == signal.SIGKILL or "A, seed 0: resumed" in said
        assert tables(out) == expected
        assert (out / "table.csv").is_file()
        assert (out / "plot.png").is_file()
