"""volovan validate and volovan predict of a run."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from commands import rows_of
from volovan.cli import main
from volovan.data.samples import spread_indices


def test_a_failing_prediction_keeps_the_earlier_one(run_folder, digit_files, tmp_path, monkeypatch, capsys):
    words = ["predict", str(run_folder), str(digit_files), "--out", str(tmp_path), "--workers", "0", "--sheet", "0"]
    assert main(words) == 0
    before = (tmp_path / "predictions.csv").read_bytes()

    def full_disk(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("volovan.use.predict.outcomes", full_disk)
    capsys.readouterr()
    assert main(words) == 2
    said = capsys.readouterr()
    assert "predictions.csv could not be written (No space left on device)" in said.err
    assert "wrote" not in said.out
    assert (tmp_path / "predictions.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".volovan.jsonl", "predictions.csv"]


def test_validate_repeats_the_metric_of_the_run(run_folder, tmp_path, capsys):
    assert main(["validate", str(run_folder), "--out", str(tmp_path / "val"), "--workers", "0"]) == 0
    metrics = json.loads((tmp_path / "val" / "metrics.json").read_text())
    best = max(float(row["top1"]) for row in rows_of(run_folder / "metrics.csv"))
    assert metrics["top1"] == pytest.approx(best, abs=1e-6)
    per_class = rows_of(tmp_path / "val" / "per_class.csv")
    assert sum(int(row["pictures"]) for row in per_class) == metrics["pictures"]
    assert (tmp_path / "val" / "confusion.png").is_file()
    assert "top1" in capsys.readouterr().out


def test_validate_at_another_size_and_limit(run_folder, tmp_path):
    words = ["--size", "40", "48", "--limit", "50", "--out", str(tmp_path), "--workers", "0"]
    assert main(["validate", str(run_folder), *words]) == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["pictures"] == 50


def test_predict_files_folders_and_globs_in_order(run_folder, digit_files, tmp_path):
    one = digit_files / "07_{}.png".format(next(digit_files.glob("07_*")).stem.split("_")[1])
    sources = [str(one), str(digit_files), str(digit_files / "0*.png")]
    assert main(["predict", str(run_folder), *sources, "--out", str(tmp_path), "--workers", "0"]) == 0
    rows = rows_of(tmp_path / "predictions.csv")
    assert len(rows) == 1 + 30 + 10
    assert Path(rows[0]["file"]).name == one.name
    right = sum(row["class1"] == Path(row["file"]).stem.split("_")[1] for row in rows[1:31])
    assert right >= 15  # a net of three short epochs; chance would be 3
    assert Image.open(tmp_path / "sheet.png").size[0] > 300


def test_predict_names_class_and_file_on_the_sheet(run_folder, digit_files, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "volovan.classify.ready.contact_sheet",
        lambda images, captions, **options: seen.extend(captions) or Image.new("RGB", (9, 9)),
    )
    words = [str(digit_files), "--out", str(tmp_path), "--workers", "0", "--sheet", "12"]
    assert main(["predict", str(run_folder), *words]) == 0
    rows = rows_of(tmp_path / "predictions.csv")
    assert len(seen) == 12
    for caption, index in zip(seen, spread_indices(len(rows), 12), strict=True):
        row = rows[index]
        assert caption[0].endswith(f" %  {row['class1']}")
        assert caption[1] == Path(row["file"]).name


def test_predict_of_a_batch_equals_single_pictures(run_folder, digit_files, tmp_path):
    for name, size in (("batch", "16"), ("single", "1")):
        words = [
            "--batch-size",
            size,
            "--format",
            "jsonl",
            "--top",
            "10",
            "--out",
            str(tmp_path / name),
            "--sheet",
            "0",
        ]
        assert main(["predict", str(run_folder), str(digit_files), *words, "--workers", "0"]) == 0
    batch, single = (
        [json.loads(line) for line in (tmp_path / name / "predictions.jsonl").read_text().splitlines()]
        for name in ("batch", "single")
    )
    assert len(batch) == 30
    for a, b in zip(batch, single, strict=True):
        assert a["file"] == b["file"]
        left = {best["number"]: best["probability"] for best in a["top"]}
        right = {best["number"]: best["probability"] for best in b["top"]}
        assert left == pytest.approx(right, abs=1e-5)
        assert sum(left.values()) == pytest.approx(1, abs=1e-5)


def test_predict_names_what_it_cannot_read_and_goes_on(run_folder, digit_files, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture at all")
    good = str(next(digit_files.glob("03_*")))
    assert main(["predict", str(run_folder), str(broken), good, "--out", str(tmp_path / "o"), "--workers", "0"]) == 1
    rows = rows_of(tmp_path / "o" / "predictions.csv")
    assert rows[0]["error"]
    assert rows[0]["class1"] == ""
    assert rows[1]["class1"]
    assert "broken.png" in capsys.readouterr().err


def test_predict_at_native_size_groups_pictures_of_one_size(run_folder, tmp_path):
    sizes = [(40, 40), (64, 33), (40, 40), (97, 131), (64, 33), (20, 20), (40, 40)]
    for number, size in enumerate(sizes):
        Image.effect_noise(size, 50).convert("RGB").save(tmp_path / f"{number}.png")
    words = ["--size", "native", "--out", str(tmp_path / "o"), "--workers", "0", "--batch-size", "2"]
    assert main(["predict", str(run_folder), str(tmp_path), *words]) == 1
    rows = rows_of(tmp_path / "o" / "predictions.csv")
    assert [Path(row["file"]).stem for row in rows] == [str(n) for n in range(7)]
    assert [bool(row["error"]) for row in rows] == [size == (20, 20) for size in sizes]


def test_validate_refuses_native_size(run_folder, capsys):
    assert main(["validate", str(run_folder), "--workers", "0", "--size", "native"]) == 2
    assert "pictures are validated at one size, such as --size 224" in capsys.readouterr().err


def run_with_input(words, content, environment):
    return subprocess.run(
        [sys.executable, "-m", "volovan", *words], input=content, env=environment, capture_output=True, check=False
    )


def test_predict_reads_a_picture_and_names_from_standard_input(run_folder, digit_files, environment):
    words = ["predict", str(run_folder), "-", "--out", "-", "--workers", "0"]
    file = next(digit_files.glob("05_*"))
    done = run_with_input(words, file.read_bytes(), environment)
    assert done.returncode == 0, done.stderr
    by_picture = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    done = run_with_input(words, f"{file}\n".encode(), environment)
    by_name = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert by_picture[0]["probability1"] == by_name[0]["probability1"]
    assert by_picture[0]["file"] == "-"
    assert by_name[0]["file"].endswith(file.name)
    assert run_with_input(words, b"", environment).returncode == 2


def test_predict_reads_shards(run_folder, tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "s-000000.tar", "w") as tar:
        for number in range(3):
            content = io.BytesIO()
            Image.new("RGB", (9, 9), (number * 80,) * 3).save(content, "png")
            info = tarfile.TarInfo(f"k{number}.png")
            info.size = content.tell()
            content.seek(0)
            tar.addfile(info, content)
    words = [str(tmp_path / "s-*.tar"), "--out", str(tmp_path / "o"), "--workers", "0"]
    assert main(["predict", str(run_folder), *words]) == 0
    assert len(rows_of(tmp_path / "o" / "predictions.csv")) == 3
