"""Every room, the toy room too, predicts in the same way from the command line."""

import json
from pathlib import Path

import pytest

from commands import refused, rows_of, run
from volovan.cli import main


def test_predictions_are_a_table_with_a_row_for_each_picture(case, capsys, pictures, tmp_path):
    run(capsys, "predict", case.run, pictures, "--workers", 0, "--out", tmp_path)
    rows = rows_of(tmp_path / "predictions.csv")
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
    assert [bool(row["error"]) for row in rows_of(tmp_path / "p" / "predictions.csv")] == [True, False]


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
    assert f"for models of the task {case.room}" in capsys.readouterr().out
