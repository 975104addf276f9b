"""What every room does in the same way, the toy room too: a list of behaviours, one test each."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import volovan
from volovan.cli import main
from volovan.data.errors import BadImage
from volovan.engine.settings import SettingsError
from volovan.files.checkpoint import read_checkpoint
from volovan.files.described import describe_checkpoint


def run(capsys, *words, status=0):
    """Call a verb; its standard output and error."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == status
    said = capsys.readouterr()
    return said.out, said.err


def refused(capsys, *words):
    """The one sentence with which a command is refused."""
    _, err = run(capsys, *words, status=2)
    lines = [line for line in err.splitlines() if not line.startswith("note:")]
    assert len(lines) == 1, err
    return lines[0]


# ---- training -------------------------------------------------------------------------------------------------------


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


# ---- validation -----------------------------------------------------------------------------------------------------


def test_validation_of_a_run_needs_no_more_words(case, capsys):
    out, _ = run(capsys, "validate", case.run, "--workers", 0)
    assert "best.safetensors on" in out
    assert "images/s" in out


def test_validation_gives_the_figure_of_the_best_epoch(case, capsys, tmp_path):
    run(capsys, "validate", case.run, "--workers", 0, "--out", tmp_path)
    best = read_checkpoint(case.run / "checkpoints" / "best.safetensors")["state"]["best"]
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert any(isinstance(value, float) and abs(value - best) < 1e-5 for value in figures.values())


def test_validation_writes_figures_and_what_they_are_of(case, capsys, tmp_path):
    run(capsys, "validate", case.run, "--workers", 0, "--out", tmp_path)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["pictures"] > 0
    assert figures["skipped"] == {}
    assert figures["model"].endswith("best.safetensors")


def test_worst_and_best_pictures_are_drawn(case, capsys, tmp_path):
    run(capsys, "validate", case.run, "--workers", 0, "--out", tmp_path, "--pictures", 1)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["best_01.png", "worst_01.png"]
    for path in (tmp_path / "pictures").iterdir():
        with Image.open(path) as page:
            assert np.asarray(page.convert("L")).std() > 1, "an empty page"


def test_no_pictures_are_drawn_where_none_are_wanted(case, capsys, tmp_path):
    run(capsys, "validate", case.run, "--workers", 0, "--out", tmp_path, "--pictures", 0)
    assert not (tmp_path / "pictures").exists()


@pytest.mark.parametrize(
    ("option", "value", "least"),
    [("--pictures", -1, 0), ("--limit", 0, 1), ("--batch-size", 0, 1), ("--workers", -1, 0)],
)
def test_numbers_of_validate_are_refused_alike(case, capsys, option, value, least):
    sentence = refused(capsys, "validate", case.run, option, value)
    assert f"{option} is {value}; at least {least} is needed" in sentence


def test_a_checkpoint_says_not_what_to_validate_on(case, capsys):
    sentence = refused(capsys, "validate", case.run / "checkpoints" / "best.safetensors")
    assert "does not say which pictures to validate on; name them with --data" in sentence


def test_labelled_data_of_ones_own(case, capsys, labelled):
    out, _ = run(capsys, "validate", case.run, "--workers", 0, "--data", labelled)
    assert "on 3 pictures" in out


def test_data_beside_those_that_train_are_used_whole(case, capsys, labelled, tmp_path):
    for file in sorted(labelled.rglob("*.png")):  # without split folders
        place = Path(*(part for part in file.parts if part != "val"))
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)
    for folder in sorted((path for path in labelled.rglob("*") if path.is_dir()), reverse=True):
        if not list(folder.iterdir()):
            folder.rmdir()
    out, _ = run(capsys, "validate", case.run, "--workers", 0, "--data", labelled)
    assert "on 3 pictures" in out
    run(capsys, "fit", case.recipe, "--out", tmp_path / "run", "--data.val", labelled, "--train.max_steps", 1)
    assert " 3 to validate" in (tmp_path / "run" / "log.txt").read_text()
    shutil.copytree(labelled, tmp_path / "others")
    out, _ = run(capsys, "fit", case.recipe, "--dry-run", "--data.source", labelled, "--data.val", tmp_path / "others")
    assert "3 pictures to train on" in out


def test_an_unreadable_file_stops_a_validation_with_its_name(case, capsys, labelled):
    broken = sorted(labelled.rglob("0.png"))[0]
    broken.write_bytes(broken.read_bytes()[:60])
    sentence = refused(capsys, "validate", case.run, "--workers", 0, "--data", labelled)
    assert "0.png" in sentence
    assert "--on-bad skip" in sentence


def test_an_unreadable_file_is_left_out_and_said(case, capsys, labelled, tmp_path):
    broken = sorted(labelled.rglob("0.png"))[0]
    broken.write_bytes(broken.read_bytes()[:60])
    words = ["validate", case.run, "--workers", 0, "--data", labelled, "--on-bad", "skip", "--out", tmp_path / "v"]
    out, _ = run(capsys, *words)
    assert "1 unreadable picture(s) were left out" in out
    assert len(json.loads((tmp_path / "v" / "metrics.json").read_text())["skipped"]) == 1


def test_unreadable_files_only_give_null_and_why_and_no_picture(case, capsys, labelled, tmp_path):
    for path in labelled.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    words = ["validate", case.run, "--workers", 0, "--data", labelled, "--on-bad", "skip", "--out", tmp_path / "v"]
    out, _ = run(capsys, *words, status=1)
    figures = json.loads((tmp_path / "v" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert figures["pictures"] == 0
    unknown = [name for name, value in figures.items() if value is None]
    assert figures["unknown"].startswith(f"{', '.join(unknown)} cannot be told, since no picture was read")
    assert f"note: {figures['unknown']}" in out
    assert not (tmp_path / "v" / "pictures").exists()


def test_two_processes_agree_with_one(case, tmp_path, run_ranks, capsys):
    alone, both = tmp_path / "one", tmp_path / "two"
    words = ["validate", str(case.run), "--workers", "0", "--batch-size", "1", "--pictures", "2", "--out"]
    run(capsys, *words, alone)
    assert run_ranks(2, lambda: main([*words, str(both)])) == [0, 0]
    one, two = (json.loads((folder / "metrics.json").read_text()) for folder in (alone, both))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert two[name] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value), name
    pages = [sorted(path.name for path in (folder / "pictures").iterdir()) for folder in (alone, both)]
    assert pages[0] == pages[1]


# ---- prediction -----------------------------------------------------------------------------------------------------


def test_predictions_are_a_table_with_a_row_for_each_picture(case, capsys, pictures, tmp_path):
    run(capsys, "predict", case.run, pictures, "--workers", 0, "--out", tmp_path)
    with (tmp_path / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in rows] == sorted(path.name for path in pictures.iterdir())
    assert not any(row["error"] for row in rows)
    assert (tmp_path / "sheet.png").is_file()


def test_predictions_as_lines_of_json(case, capsys, pictures, tmp_path):
    run(capsys, "predict", case.run, pictures, "--workers", 0, "--out", tmp_path, "--format", "jsonl", "--sheet", 0)
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == len(list(pictures.iterdir()))
    assert not (tmp_path / "sheet.png").exists()


def test_rows_on_standard_output_and_no_file(case, capsys, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, _ = run(capsys, "predict", case.run, pictures / "plain.png", "--workers", 0, "--out", "-")
    assert out.splitlines()[0].startswith("file,")
    assert len(out.splitlines()) == 2
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_read_is_a_row_and_a_status(case, capsys, pictures, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    words = ["predict", case.run, tmp_path / "bad.jpg", pictures / "plain.png", "--workers", 0, "--out", tmp_path / "p"]
    out, err = run(capsys, *words, status=1)
    assert "bad.jpg" in err
    assert "1 pictures predicted, 1 could not be read" in out
    with (tmp_path / "p" / "predictions.csv").open(encoding="utf-8") as file:
        assert [bool(row["error"]) for row in csv.DictReader(file)] == [True, False]


@pytest.mark.parametrize(
    ("option", "value", "least"), [("--sheet", -1, 0), ("--batch-size", 0, 1), ("--workers", -1, 0)]
)
def test_numbers_of_predict_are_refused_alike(case, capsys, pictures, option, value, least):
    sentence = refused(capsys, "predict", case.run, pictures, option, value)
    assert f"{option} is {value}; at least {least} is needed" in sentence


def test_an_empty_out_is_refused(case, capsys, pictures):
    assert "--out is empty; name a folder, or - for" in refused(capsys, "predict", case.run, pictures, "--out", "")


def test_what_is_not_there_is_refused(case, capsys, tmp_path):
    sentence = refused(capsys, "predict", case.run, tmp_path / "nothing.jpg", "--out", "-")
    assert "nothing.jpg: there is no such file or folder" in sentence


def test_help_of_a_run_shows_the_options_of_its_room(case, capsys):
    with pytest.raises(SystemExit) as end:
        main(["predict", str(case.run), "--help"])
    assert end.value.code == 0
    assert f"what a model of the room {case.room} takes besides" in capsys.readouterr().out


# ---- from Python ----------------------------------------------------------------------------------------------------


def same(one, other):
    """Two answers say the same."""
    return one.row() == other.row() and one.cells() == other.cells()


def test_a_run_and_its_checkpoint_are_the_same_network(case, pictures):
    by_folder = volovan.load(case.run, device="cpu")
    by_file = volovan.load(case.run / "checkpoints" / "best.safetensors", device="cpu")
    assert by_folder.classes == by_file.classes
    assert same(by_folder.predict(pictures / "plain.png"), by_file.predict(pictures / "plain.png"))


def test_answers_equal_the_rows_of_predict(case, capsys, pictures, tmp_path):
    run(capsys, "predict", case.run, pictures, "--workers", 0, "--out", tmp_path)
    with (tmp_path / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ready = volovan.load(case.run, device="cpu")
    for row, answer in zip(rows, ready.predict(sorted(map(str, pictures.iterdir()))), strict=True):
        said = answer.cells()
        assert {key: row[key] for key in said} == said
        for column, (place, picture) in ready.files(answer).items():
            if place.endswith(".png"):
                with Image.open(tmp_path / place.format(Path(row["file"]).stem)) as written:
                    assert np.array_equal(np.asarray(written), np.asarray(picture)), column


KINDS = ("plain.png", "turned.jpg", "grey.jpg", "cmyk.jpg", "palette.png", "alpha.png", "deep.png", "tiny.png")


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_input_gives_the_same_answer(case, pictures, name):
    """A path, a string, bytes, an open file, a PIL image, a list of one."""
    ready, path = volovan.load(case.run, device="cpu"), pictures / name
    wanted = ready.predict(path)
    with path.open("rb") as file, Image.open(path) as opened:
        others = [ready.predict(one) for one in (str(path), path.read_bytes(), file, opened)]
    others += ready.predict([path])
    assert all(same(wanted, other) for other in others)


def test_an_array_is_the_picture_that_it_holds(case, pictures):
    ready = volovan.load(case.run, device="cpu")
    with Image.open(pictures / "plain.png") as plain, Image.open(pictures / "deep.png") as deep:
        assert same(ready.predict(np.asarray(plain)), ready.predict(pictures / "plain.png"))
        assert same(ready.predict(np.asarray(deep).astype(np.uint16)), ready.predict(pictures / "deep.png"))
        grey = plain.convert("L")
        assert same(ready.predict(np.asarray(grey)), ready.predict(grey))


def test_pictures_are_not_changed(case, pictures):
    with Image.open(pictures / "turned.jpg") as opened:
        opened.load()
        before, info = opened.tobytes(), dict(opened.info)
        volovan.load(case.run, device="cpu").predict(opened)
        assert (opened.tobytes(), dict(opened.info)) == (before, info)


def test_a_stream_is_the_folder_in_order(case, pictures):
    ready = volovan.load(case.run, device="cpu")
    listed = ready.predict(sorted(map(str, pictures.iterdir())))
    streamed = list(ready.stream(pictures, workers=0))
    assert [answer.name for answer in streamed] == [answer.name for answer in listed]
    assert all(same(one, other) for one, other in zip(streamed, listed, strict=True))


def test_a_bad_picture_is_raised_by_name_or_left_out(case, pictures, tmp_path):
    shutil.copy(pictures / "plain.png", tmp_path / "b.png")
    (tmp_path / "a.png").write_bytes(b"no picture")
    ready = volovan.load(case.run, device="cpu")
    with pytest.raises(BadImage, match=r"a\.png"):
        ready.predict(tmp_path / "a.png")
    with pytest.raises(BadImage, match=r"a\.png"):
        list(ready.stream(tmp_path, workers=0))
    assert [Path(answer.name).name for answer in ready.stream(tmp_path, workers=0, on_bad="skip")] == ["b.png"]


@pytest.mark.parametrize("array", [np.zeros((3, 4, 5), np.uint8), np.zeros(7, np.uint8), np.zeros((4, 4, 3))], ids=str)
def test_an_array_that_is_no_picture_is_refused(case, array):
    with pytest.raises(BadImage, match=r"is expected|are expected"):
        volovan.load(case.run, device="cpu").predict(array)


def test_an_answer_is_drawn(case, pictures):
    drawn = volovan.load(case.run, device="cpu").predict(pictures / "plain.png").draw()
    assert isinstance(drawn, Image.Image)
    assert np.asarray(drawn.convert("L")).std() > 1


def test_an_option_that_the_room_has_not_is_refused(case):
    with pytest.raises(SettingsError, match=f"{case.room} has no option 'nonsense'; it has "):
        volovan.load(case.run, device="cpu").using(nonsense=1)


def test_options_leave_the_network_that_they_are_said_of(case):
    ready = volovan.load(case.run, device="cpu")
    other = ready.using(size=(64, 64))
    assert ready.options.size is None
    assert other.model is ready.model


def test_data_are_checked_for_the_room(case, capsys, labelled, tmp_path):
    words = ["check-data", labelled, "--task", case.room, "--split", "val", "--out", tmp_path / "c"]
    out, _ = run(capsys, *words)
    assert "3" in out
