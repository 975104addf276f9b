"""volovan export, as it is typed: files, what they are taken for, and what is refused."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
from PIL import Image

import volovan
from volovan.cli import main
from volovan.exports import to_torch
from volovan.files.folders import workshop

pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def file(run_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "digits.onnx"
    assert main(["export", str(run_folder), "--out", str(path)]) == 0
    return path


def test_predictions_and_figures_are_those_of_the_run(file, run_folder, digit_files, tmp_path, capsys):
    tables = []
    for model in (file, run_folder):
        out = tmp_path / model.name
        assert main(["predict", str(model), str(digit_files), "--out", str(out), "--format", "jsonl"]) == 0
        rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
        tables.append([[entry["class"] for entry in row["top"]] for row in rows])
        assert main(["validate", str(model), "--data", "digits", "--out", str(tmp_path / f"v{model.name}")]) == 0
    assert tables[0] == tables[1]
    figures = [json.loads((tmp_path / f"v{model.name}" / "metrics.json").read_text()) for model in (file, run_folder)]
    assert figures[0]["top1"] == figures[1]["top1"]
    assert figures[0]["val_loss"] == pytest.approx(figures[1]["val_loss"], abs=1e-5)


def test_it_can_be_timed(file, tmp_path, capsys):
    words = ["benchmark", str(file), "--rounds", "1", "--batch", "2", "--peers", "none", "--out", str(tmp_path / "b")]
    assert main(words) == 0
    assert str(file) in capsys.readouterr().out
    assert main([*words, "--part", "train"]) == 2
    assert "is a file, which cannot be trained; name the run" in capsys.readouterr().err
    assert main([*words, "--form", "compiled"]) == 2
    assert "is a file, which has one form; leave --form out" in capsys.readouterr().err
    assert main([*words[:-3], "there/missing.xml", *words[-2:]]) == 2
    assert "there/missing.xml: there is no such run folder or file; mend the path" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "pdf"], "--to is 'pdf'; one of onnx, torch-export"),
        (["--precision", "bf16"], "onnx is written in fp32, fp16, int8, int8-weights, not in bf16"),
        (["--out", "digits.pt"], r"--out is digits.pt; a file of onnx ends in .onnx"),
        (["--batch", "0"], "--batch is 0"),
        (["--size", "7"], "--size"),
        (["--to", "package", "--raw"], "--raw is of graphs, not of --to package; leave it out"),
        (["--to", "timm", "--precision", "int8"], "--precision is of graphs, not of --to timm"),
        (["--precision", "int8", "--most-lost", "nan"], "--most-lost is nan; 0 to 100 is taken"),
        (["--calibrate", "digits"], "--calibrate is of --precision int8, not of fp32; leave it out"),
        (["--most-lost", "1", "--data", "nothing_there"], "nothing_there"),
        (["--data", "nothing_there"], "--data is of validation, which weights and files of fp32 do not need; leave it"),
        (["--to", "timm", "--limit", "3"], "--limit is of validation"),
        (["--to", "original", "--compare", "digits"], "--compare is of graphs and packages, not of --to original"),
        (["--precision", "int8", "--answers", "--data", "nothing_there"], "nothing_there"),
        (["--compare", "nothing_there.png"], "nothing_there.png"),
        (
            ["--to", "original", "--out", "digits"],
            "--out is digits; weights in the names of the original code end in .pth",
        ),
        (
            ["--to", "package", "--out", "a.onnx"],
            "--out is a.onnx, but --to package makes a folder; give a name without",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(run_folder, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run_folder), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_labels_that_do_not_fit_are_said_before_anything_is_traced(run_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(to_torch, "write", lambda *args: pytest.fail("it was traced"))
    Image.new("RGB", (40, 40)).save(tmp_path / "photo.png")
    words = ["export", str(run_folder), "--to", "torch-export", "--precision", "bf16", "--out", str(tmp_path / "x.pt2")]
    assert main([*words, "--data", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_broken_picture_is_left_out(run_folder, tmp_path, capsys):
    for number in range(3):
        Image.new("RGB", (40, 40), (80 * number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"no picture")
    words = ["export", str(run_folder), "--to", "torch-export", "--compare", str(tmp_path)]
    assert main([*words, "--out", str(tmp_path / "digits.pt2")]) == 0
    assert "left out of 3 pictures to compare or calibrate by: " in capsys.readouterr().out
    for number in (0, 2):
        (tmp_path / f"{number}.png").unlink()
    assert main([*words, "--out", str(tmp_path / "other.pt2")]) == 2
    assert "1.png" in capsys.readouterr().err
    assert not (tmp_path / "other.pt2").exists()


def test_a_file_is_not_exported_again(file, capsys):
    assert main(["export", str(file)]) == 2
    assert "is an exported file already; name the run or the model that it was made of" in capsys.readouterr().err
    assert main(["validate", str(file)]) == 2
    assert "does not say which pictures to validate on; name them with --data" in capsys.readouterr().err
    assert main(["predict", str(file), "x", "--weights", "y"]) == 2
    assert "leave out --weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "{}", "digits", "--features", "--out", "f"],
        ["probe", "{}", "digits", "--out", "p"],
        ["fit", "digits_van", "--model.weights", "{}", "--out", "r", "--train.max_steps", "1"],
    ],
    ids=lambda words: words[0],
)
def test_what_a_file_cannot_do_is_said(file, tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    assert main([word.format(file) for word in words]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in error if not line.startswith("note:")]) == 1, error


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"to": None}, "--to is None; a word is expected"),
        ({"precision": "int4"}, "--precision is 'int4'; did you mean 'int8'?"),
        ({"batch": "2"}, "--batch is '2'; a whole number is expected"),
        ({"batch": 2.5}, "--batch is 2.5; a whole number"),
        ({"batch": True}, "--batch is True; a whole number"),
        ({"size": 64.5}, "--size 64.5: one number, or two, are expected"),
        ({"size": "abc"}, "--size abc: one number, or two"),
        ({"most_lost": "3"}, "--most-lost is '3'; a number"),
        ({"limit": "3"}, "--limit is '3'; a whole number"),
        ({"out": 5}, "--out is 5; a path"),
        ({"data": 3}, "--data is 3; a path or a word"),
        ({"compare": 5}, "--compare is 5; a path or a word, or several"),
        ({"calibrate": [Path("a"), 5], "precision": "int8"}, "--calibrate is [PosixPath('a'), 5]; a path or a word"),
    ],
    ids=str,
)
def test_values_of_another_kind_are_said(run_folder, tmp_path, how, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        volovan.export(run_folder, **{"out": tmp_path / "a.onnx"} | how)


def test_pictures_are_named_by_paths(run_folder, tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    made = volovan.export(run_folder, "torch-export", tmp_path / "a.pt2", compare=tmp_path / "a.png")
    assert made.check.agree == 1
    volovan.export(run_folder, "torch-export", tmp_path / "a.pt2", compare=[tmp_path / "a.png"])


def test_a_killed_export_of_the_same_number_is_in_nobodys_way(tmp_path):
    (tmp_path / f".digits.pt2.{os.getpid()}.part").mkdir()
    with workshop(tmp_path / "digits.pt2") as place:
        assert list(place.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_has_left_goes_with_the_next(tmp_path):
    rest = tmp_path / ".digits.pt2.999999.part"
    rest.mkdir()
    (rest / "digits.pt2").write_bytes(b"half")
    with workshop(tmp_path / "digits.pt2") as place:
        assert [path.name for path in tmp_path.iterdir()] == [place.name]
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_is_stopped_leaves_nothing(run_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(to_torch, "write", lambda *args: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["export", str(run_folder), "--to", "torch-export", "--out", str(tmp_path / "digits.pt2")]) == 130
    assert "volovan export: interrupted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_place_or_a_batch_that_cannot_be_is_said(run_folder, capsys):
    words = ["export", str(run_folder), "--to", "torch-export"]
    assert main([*words, "--out", "/proc/nowhere/digits.pt2"]) == 2
    assert "/proc/nowhere/digits.pt2 could not be written" in capsys.readouterr().err
    assert main([*words, "--batch", "5000"]) == 2
    assert "--batch is 5000; 1 to 1024 is taken" in capsys.readouterr().err
