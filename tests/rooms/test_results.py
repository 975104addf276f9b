"""In every room: a result never replaces what a run did not write, and a result is never input."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import volovan
from volovan.cli import main
from volovan.data import open_images, open_source
from volovan.data.layouts.classes import class_splits


@pytest.fixture
def predict(case, capsys):
    """predict(sources, out=...): exit status, and what was said on standard error."""

    def run(*sources, out=None, verb="predict", more=(), status=0):
        words = [verb, case.run, *sources, "--workers", 0, *(("--out", out) if out else ()), *more]
        capsys.readouterr()
        assert main([str(word) for word in words]) == status
        return capsys.readouterr().err

    return run


def draw(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 48, 3), 20 * number, np.uint8)).save(folder / name)
    return folder


def rows(out: Path) -> list[str]:
    with (out / "predictions.csv").open(encoding="utf-8") as file:
        return [row["file"] for row in csv.DictReader(file)]


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_results_in_the_folder_of_the_pictures_are_never_input(predict, tmp_path, monkeypatch):
    monkeypatch.chdir(draw(tmp_path, "1.png", "sub/2.png"))
    for source in (".", "**/*.png", tmp_path, "**/*.png"):
        said = predict(source, out="out")
        assert len(rows(Path("out"))) == 2, source
    assert "note: What volovan has written as results is left out" in said or not list(Path("out").rglob("*.png"))
    predict("sub", out="sub/out")
    predict(".", out="out")
    assert len(rows(Path("out"))) == 2
    assert len(open_images(["."])) == 2
    if list(Path("out").glob("*/*.png")):
        said = predict("out", out="again", status=2)
        assert "out holds results of volovan only; a result is never taken for a picture" in said


def test_a_second_prediction_replaces_the_first_whole(predict, tmp_path):
    both, one = draw(tmp_path / "both", "1.png", "a/2.png"), draw(tmp_path / "one", "a/2.png")
    predict(both, out=tmp_path / "out")
    said = predict(one, out=tmp_path / "out")
    assert "note: the results of an earlier volovan predict in" in said
    predict(one, out=tmp_path / "alone")
    assert files(tmp_path / "out").keys() == files(tmp_path / "alone").keys()
    assert rows(tmp_path / "out") == rows(tmp_path / "alone")


@pytest.mark.parametrize(
    "layout", [("masks/1.png", "classes.txt"), ("labels/1.png",), ("predictions.csv",), ("x.txt",)]
)
def test_predictions_beside_what_is_the_users_are_refused(predict, tmp_path, monkeypatch, layout):
    monkeypatch.chdir(draw(tmp_path, "images/1.png"))
    for name in layout:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = files(tmp_path)
    said = predict("images", out=".", status=2)
    assert "which volovan has not written; results go into a folder of their own" in said
    assert files(tmp_path) == before
    predict("images", out=said.split("--out ")[1].strip())  # the remedy
    assert {name: files(tmp_path)[name] for name in before} == before


def test_an_earlier_default_folder_is_not_replaced_silently(predict, tmp_path, monkeypatch):
    monkeypatch.chdir(draw(tmp_path, "pictures/1.png", "pictures/2.png"))
    (tmp_path / "bad.png").write_text("no picture")
    predict("pictures")
    before = files(Path("predictions"))
    for source in ("pictures/1.png", "bad.png"):
        said = predict(source, status=2)
        assert "there is a folder predictions already; name another one with --out, or replace" in said
    assert files(Path("predictions")) == before
    predict("pictures/1.png", out="predictions")  # the remedy
    assert len(rows(Path("predictions"))) == 1


def test_folders_of_pictures_are_those_of_results(case, predict, tmp_path, monkeypatch):
    names = ["a/1.png", "b/1.png", "b/c/2.png"]
    pictures = draw(tmp_path / "pictures", *names)
    predict(pictures, out=tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    predict("pictures/a", "pictures/b", out="both")
    predict("pictures/*/*.png", out="pattern")
    predict(*(f"pictures/{name}" for name in names), out="named")
    ready = volovan.load(case.run, device="cpu")
    for where, _ in ready.files(ready.predict(pictures / "a/1.png")).values():
        there = {out: sorted(p.relative_to(out).as_posix() for p in Path(out).rglob("*")) for out in
                 ("out", "both", "pattern", "named")}  # fmt: skip
        for out, stems in (
            ("out", ["a/1", "b/1", "b/c/2"]), ("both", ["a/1", "b/1", "b/c/2"]), ("pattern", ["a/1", "b/1"]),
            ("named", ["1", "1_2", "2"]),
        ):  # fmt: skip
            assert {where.format(stem) for stem in stems} <= {*there[out]}, out


def test_pictures_of_data_with_masks_are_taken_alone(predict, tmp_path):
    draw(tmp_path / "data", "images/a/1.png", "images/2.png", "images/3.png", "masks/a/1.png", "masks/2.png")
    said = predict(tmp_path / "data", out=tmp_path / "out")
    assert [Path(name).name for name in rows(tmp_path / "out")] == ["2.png", "3.png", "1.png"]
    assert "holds pictures with masks: 3 pictures are taken, its 2 other files are not" in said


def test_killed_predictions_can_be_made_again(predict, tmp_path, monkeypatch):
    monkeypatch.chdir(draw(tmp_path, "pictures/1.png", "pictures/2.png"))

    def stop(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("volovan.use.predict._writer", lambda *_: lambda *_: stop(None))
        predict("pictures", status=130)
    predict("pictures")
    predict("pictures", out="whole")
    assert files(Path("predictions")).keys() == files(Path("whole")).keys()


def test_answers_in_python_write_nothing_and_leave_results_out(case, predict, tmp_path):
    draw(tmp_path, "1.png")
    predict(tmp_path, out=tmp_path / "out")
    before = files(tmp_path)
    ready = volovan.load(case.run, device="cpu")
    ready.predict(tmp_path / "1.png")
    assert len(list(ready.stream(tmp_path, workers=0))) == 1
    assert files(tmp_path) == before


def test_validation_and_checks_have_folders_of_their_own(case, predict, labelled, tmp_path):
    before = files(labelled)
    said = predict(out=labelled, verb="validate", more=["--data", labelled], status=2)
    assert "which volovan has not written" in said
    assert main(["check-data", str(labelled), "--task", case.room, "--out", str(labelled)]) == 2
    assert main(["fit", str(case.recipe), "--out", str(labelled), "--train.max_steps", "1"]) in (0, 2)
    shutil.rmtree(labelled / "checkpoints", ignore_errors=True)
    assert {name: files(labelled)[name] for name in before} == before
    predict(out=tmp_path / "v", verb="validate", more=["--data", labelled, "--pictures", 3])
    predict(out=tmp_path / "v", verb="validate", more=["--data", labelled, "--pictures", 1])
    assert sorted(path.name for path in (tmp_path / "v" / "pictures").iterdir()) == ["best_01.png", "worst_01.png"]


def test_folders_of_results_are_no_classes(case, predict, tmp_path, monkeypatch):
    monkeypatch.chdir(draw(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"))
    predict(".")
    assert main(["check-data", ".", "--task", "classify"]) in (0, 1)
    assert main(["check-data", ".", "--task", "classify"]) in (0, 1)
    assert main(["fit", str(case.recipe), "--out", "run", "--train.max_steps", "1"]) == 0
    (opener,) = class_splits(".").values()
    assert opener().classes == ("cat", "dog")
    assert len(open_source(".")) == 4
    assert "predictions" in opener().note


def test_a_run_does_not_go_into_what_is_the_users(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(case.recipe, "recipe.yaml")
    before = Path("recipe.yaml").read_bytes()
    assert main(["fit", "recipe.yaml", "--out", ".", "--train.max_steps", "1"]) == 2
    assert "recipe.yaml is not of volovan and would be written over; choose another --out" in capsys.readouterr().err
    assert Path("recipe.yaml").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
