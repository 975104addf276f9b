"""Every room, the toy room too, is validated in the same way, and its data are checked."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import refused, run
from volovan.cli import main
from volovan.files.checkpoint import read_checkpoint


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
    for file in labelled.rglob("*_val.json"):  # without split names
        file.rename(file.with_name(file.name.replace("_val", "")))
    for file in sorted(labelled.rglob("*.png")):  # and without split folders
        place = Path(*(part.removesuffix("_val") for part in file.parts if part != "val"))
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
    assert f"{samples_in(labelled)} pictures to train on" in out


def samples_in(folder):
    """Of three pictures: of points each object is one."""
    pointed = [json.loads(file.read_text())["annotations"] for file in folder.rglob("person_keypoints*.json")]
    return sum(map(len, pointed)) if pointed else 3


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


def test_data_are_checked_for_the_room(case, capsys, labelled, tmp_path):
    words = ["check-data", labelled, "--task", case.room, "--split", "val", "--out", tmp_path / "c"]
    out, _ = run(capsys, *words)
    assert "3" in out
