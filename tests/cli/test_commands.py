"""volovan fit, from its first start to a run that is taken as weights; check-data, models, and the packaged recipes."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from commands import rows_of
from volovan import create_model
from volovan.cli import main
from volovan.engine.optim import parameter_groups
from volovan.engine.schedule import check_schedule
from volovan.use.recipes import find_recipe, packaged, read_recipe


@pytest.fixture
def picture_folder(tmp_path):
    """Pictures of somebody's own: three classes of 14 JPEG files of many sizes, told apart by colour."""
    for number, (name, colour) in enumerate(
        {"blue": (40, 60, 220), "green": (30, 200, 60), "red": (220, 40, 30)}.items()
    ):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for k in range(14):
            size = (40 + 7 * k, 90 - 3 * k + number)
            Image.effect_noise(size, 60).convert("RGB").point(lambda v: v // 4).save(folder / f"{k}.jpg")
            noisy = Image.open(folder / f"{k}.jpg")
            Image.blend(noisy, Image.new("RGB", size, colour), 0.6).save(folder / f"{k}.jpg", quality=90)
    return tmp_path / "pictures"


def test_fit_learns_and_leaves_a_whole_run_folder(run_folder):
    rows = rows_of(run_folder / "metrics.csv")
    assert len(rows) == 3
    assert float(rows[-1]["top1"]) > 60
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    for name in ("recipe.yaml", "environment.json", "log.txt", "steps.csv", "checkpoints/best.safetensors"):
        assert (run_folder / name).is_file(), name
    assert (run_folder / "pictures" / "confusion.png").is_file()
    assert json.loads((run_folder / "environment.json").read_text())["versions"]["torch"]


def test_the_recipe_of_a_run_repeats_it(run_folder, tmp_path):
    again = tmp_path / "again"
    assert main(["fit", str(run_folder / "recipe.yaml"), "--out", str(again)]) == 0
    first, second = rows_of(run_folder / "metrics.csv"), rows_of(again / "metrics.csv")
    for a, b in zip(first, second, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}


def test_a_run_is_not_overwritten(run_folder, capsys):
    assert main(["fit", "digits_van", "--out", str(run_folder)]) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_a_start_that_fails_leaves_no_folder_in_the_way(tmp_path, capsys):
    words = ["fit", "digits_van", "--out", str(tmp_path / "run"), "--train.max_steps", "1", "--train.workers", "0"]
    assert main([*words, "--data.source", str(tmp_path / "typo")]) == 2
    assert "typo" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main(words) == 0


def test_a_failed_start_keeps_what_else_is_in_the_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    assert main(["fit", "digits_van", "--out", str(tmp_path / "run"), "--data.source", str(tmp_path / "typo")]) == 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_a_run_keeps_full_paths(picture_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(picture_folder.parent)
    words = ["--train.max_steps", "1", "--train.batch_size", "4", "--train.workers", "0", "--out", "run"]
    assert main(["fit", "digits_van", "--data.source", "pictures", *words]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["validate", str(tmp_path / "run"), "--workers", "0"]) == 0


def test_no_picture_to_validate_on_is_said(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / "one" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "one" / name / "0.png")
    assert main(["fit", "digits_van", "--data.source", str(tmp_path / "one"), "--out", str(tmp_path / "run")]) == 2
    sentence = "one has no pictures in the val split; add some, at least two of each class, or name data for val with "
    assert f"{sentence}--data.val" in capsys.readouterr().err


def test_check_data_shows_the_digits(tmp_path, capsys):
    assert main(["check-data", "digits", "--out", str(tmp_path), "--workers", "0", "--size", "32"]) == 0
    assert list(tmp_path.glob("*.png"))
    assert "1433" in capsys.readouterr().out.replace(",", "")


def test_models_lists_and_shows(capsys):
    assert main(["models", "van_b[01]"]) == 0
    assert "4,105,800" in capsys.readouterr().out
    assert main(["models", "volo_d1"]) == 0
    text = capsys.readouterr().out
    assert "26,632,040" in text
    assert "6.919 GMACs" in text
    assert "volo_d1_384" in text


def test_own_pictures_are_fine_tuned_from_a_run(run_folder, picture_folder, tmp_path, capsys):
    """The three commands of the README, small: check, fit from weights with other classes, predict."""
    assert main(["check-data", str(picture_folder), "--out", str(tmp_path / "check"), "--size", "48"]) == 0
    words = ["--data.source", str(picture_folder), "--model.name", "van", "--model.weights", str(run_folder)]
    words += ["--data.size", "48", "--train.batch_size", "8", "--schedule.epochs", "4", "--schedule.warmup_epochs", "0"]
    words += [
        "--train.workers",
        "0",
        "--model.options",
        "{}",
        "--augment.randaugment",
        "null",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(["fit", "finetune_folder", *words]) == 0
    said = capsys.readouterr()
    assert "head" in said.err  # ten digits, three colours: the head is new, and that is said
    assert "held out" in said.out
    assert main(["predict", str(tmp_path / "run"), str(picture_folder), "--out", str(tmp_path / "p")]) == 0
    rows = rows_of(tmp_path / "p" / "predictions.csv")
    assert len(rows) == 42
    right = sum(Path(row["file"]).parent.name == row["class1"] for row in rows)
    assert right >= 25


def test_resume_needs_the_weights_it_started_from_no_more(run_folder, tmp_path, capsys):
    start = tmp_path / "start.safetensors"
    start.write_bytes((run_folder / "checkpoints" / "best.safetensors").read_bytes())
    words = [
        "--model.weights",
        str(start),
        "--schedule.epochs",
        "1",
        "--schedule.warmup_epochs",
        "0",
        "--train.workers",
        "0",
    ]
    assert main(["fit", "digits_van", "--out", str(tmp_path / "run"), "--train.max_steps", "4", *words]) == 0
    start.unlink()
    recipe = tmp_path / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("max_steps: 4", "max_steps: 8"))
    assert main(["fit", "--resume", str(tmp_path / "run")]) == 0
    assert rows_of(tmp_path / "run" / "metrics.csv")[-1]["step"] == "8"
    recipe.write_text(recipe.read_text().replace("- 16\n", "- 24\n", 1))
    assert main(["fit", "--resume", str(tmp_path / "run")]) == 2
    assert "not the one of the checkpoint: model.embed_dims was [16, 32, 64]" in capsys.readouterr().err


def test_a_broken_picture_stops_the_run_by_name_or_is_skipped(picture_folder, tmp_path, capsys):
    (picture_folder / "red" / "3.jpg").write_bytes(b"<html>not found</html>")
    common = [
        "fit",
        "digits_van",
        "--data.source",
        str(picture_folder),
        "--schedule.epochs",
        "1",
        "--schedule.warmup_epochs",
    ]
    common += ["0", "--train.batch_size", "2", "--train.workers", "2", "--train.tensorboard", "false"]
    assert main([*common, "--out", str(tmp_path / "stop")]) == 2
    message = capsys.readouterr().err
    assert "red/3.jpg" in message
    assert "--train.on_bad skip" in message
    assert main([*common, "--out", str(tmp_path / "skip"), "--train.on_bad", "skip"]) == 0
    assert "1 unreadable sample(s) were skipped" in capsys.readouterr().out
    assert (picture_folder / "red" / "3.jpg").read_bytes() == b"<html>not found</html>"


@pytest.mark.parametrize("name", [name.split("/")[1] for name in packaged()])
def test_every_packaged_recipe_builds_its_network(name):
    path = find_recipe(name)
    recipe, text = read_recipe(path, [])
    assert "schedule:" in text
    header = path.read_text().split("task:")[0]
    embedded = "digits" in name or "shapes" in name  # nothing published that they could differ from
    assert all(f"# {word}" in header for word in ("data", "run", "cost", "expect", "differs")) or embedded
    with torch.device("meta"):
        model = create_model(recipe.model.name, drop_path_rate=recipe.model.drop_path_rate, **recipe.model.options)
    assert len(parameter_groups(model, recipe.optim)) >= (1 if recipe.optim.no_decay == "none" else 2)
    check_schedule(recipe.schedule)
