"""Every room, the toy room too, is trained in the same way: a list of behaviours, one test each."""

import shutil

import pytest
import torch

from commands import refused, run
from volovan.cli import main
from volovan.files.checkpoint import read_checkpoint
from volovan.files.described import describe_checkpoint


def test_a_run_folder_holds_what_repeats_it(case):
    names = {path.name for path in case.run.iterdir()}
    assert {"recipe.yaml", "environment.json", "checkpoints", "metrics.csv", "steps.csv", "log.txt"} <= names


def test_the_best_checkpoint_is_the_network_alone(case):
    best = read_checkpoint(case.run / "checkpoints" / "best.safetensors")
    assert best.keys() == {"model", "task", "state", "averaged"}
    step = max((case.run / "checkpoints").glob("step-*"))
    assert (case.run / "checkpoints" / "best.safetensors").stat().st_size < step.stat().st_size / 2


def test_a_checkpoint_describes_itself(case):
    about = describe_checkpoint(case.run / "checkpoints" / "best.safetensors")
    assert about["task"] == case.room
    assert {"config", "preprocessing", "classes"} <= about.keys()
    assert len(about["classes"])


def test_a_run_is_not_written_over(case, capsys):
    assert "holds a run already; go on with" in refused(capsys, "fit", case.recipe, "--out", case.run)


def test_a_finished_run_says_so(case, capsys, tmp_path):
    shutil.copytree(case.run, tmp_path / "run")
    out, _ = run(capsys, "fit", "--resume", tmp_path / "run")
    assert "the run is finished" in out


def test_a_stopped_run_goes_on_bit_for_bit(case, tmp_path, assert_same_run):
    out = tmp_path / "run"
    assert main(["fit", str(case.recipe), "--out", str(out), "--train.max_steps", "2"]) == 0
    recipe = out / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("max_steps: 2", "max_steps: null"))
    assert main(["fit", "--resume", str(out)]) == 0
    a, b = (read_checkpoint(max((folder / "checkpoints").glob("step-*"))) for folder in (case.run, out))
    for name, value in a["model"].items():
        assert torch.equal(value, b["model"][name]), name


@pytest.mark.parametrize(
    "edit", [("name: van", "name: volo"), ("batch_size: 8", "batch_size: 4")], ids=["net", "batch"]
)
def test_a_run_does_not_go_on_with_another_recipe(case, capsys, tmp_path, edit):
    shutil.copytree(case.run, tmp_path / "run")
    recipe = tmp_path / "run" / "recipe.yaml"
    assert edit[0] in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(*edit))
    assert "Put it back, or start a new run" in refused(capsys, "fit", "--resume", tmp_path / "run")


def test_a_run_is_taken_as_weights(case, capsys, tmp_path):
    out = tmp_path / "run"
    words = ["fit", case.recipe, "--out", out, "--model.weights", case.run, "--train.max_steps", 1]
    run(capsys, *words)
    assert (out / "checkpoints").is_dir()


def test_an_empty_split_is_named_with_its_key(case, capsys, tmp_path):
    sentence = refused(capsys, "fit", case.recipe, "--out", tmp_path / "x", "--data.val", tmp_path / "nothing")
    assert str(tmp_path / "nothing") in sentence
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("rehearsal", [(), ("--dry-run",)], ids=["run", "rehearsal"])
def test_channels_are_those_of_the_pictures(case, capsys, tmp_path, rehearsal):
    out = () if rehearsal else ("--out", tmp_path / "x")
    sentence = refused(capsys, "fit", case.recipe, *out, *rehearsal, "--model.options.in_chans", 4)
    assert "model.options.in_chans is not taken; it follows from the pictures, which are all read as RGB" in sentence


def test_an_unknown_key_names_the_nearest(case, capsys, tmp_path):
    sentence = refused(capsys, "fit", case.recipe, "--out", tmp_path / "x", "--data.sorce", "y")
    assert "did you mean data.source?" in sentence


@pytest.mark.parametrize("key", ["data.limit", "data.std"])
def test_shared_settings_are_checked_alike(case, capsys, tmp_path, key):
    value = "0" if key == "data.limit" else "[1,1,1]"
    sentence = refused(capsys, "fit", case.recipe, "--out", tmp_path / "x", f"--{key}", value)
    assert ("data.limit is 0; at least 1 is needed" in sentence) or ("come together: set both or neither" in sentence)


@pytest.mark.parametrize("option", ["name", "num_classes", "img_size", "drop_path_rate"])
def test_fields_with_a_source_of_their_own_are_no_options(case, capsys, tmp_path, option):
    words = ["fit", case.recipe, "--out", tmp_path / "x", f"--model.options.{option}", "1"]
    assert f"model.options.{option} is not taken; it follows from" in refused(capsys, *words)


def test_a_rehearsal_writes_nothing(case, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, _ = run(capsys, "fit", case.recipe, "--dry-run")
    assert "no run, a rehearsal with" in out
    assert "GMACs a picture" in out
    assert not list(tmp_path.iterdir())


def test_memory_advice_names_a_key_that_the_room_has(case, monkeypatch, capsys, tmp_path):
    from volovan.room.task import RoomTask
    from volovan.use.rooms import ROOMS

    def full(*args, **more):
        raise MemoryError

    def below(kind):
        return [kind, *(deeper for one in kind.__subclasses__() for deeper in below(one))]

    ROOMS[case.room].task()  # imports it
    for kind in below(RoomTask):
        monkeypatch.setattr(kind, "loss", full)
    sentence = refused(capsys, "fit", case.recipe, "--out", tmp_path / "x")
    key = sentence.split("a smaller --")[1].split(" ")[0]
    assert main(["fit", str(case.recipe), "--help"]) == 0
    assert f"--{key} " in capsys.readouterr().out
