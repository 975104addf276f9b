import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from volovan import create_model
from volovan.cli import VERBS, main
from volovan.engine.optim import parameter_groups
from volovan.engine.schedule import check_schedule
from volovan.use.recipes import find_recipe, packaged, read_recipe


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# ---- light to start -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["--help"], ["fit", "--help"], ["fit", "digits_van", "--help"], ["predict", "--help"]]
)
def test_help_imports_no_torch(words, environment):
    code = (
        "import sys; from volovan.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'torchvision', 'timm', 'PIL', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def test_help_names_every_verb_and_every_key(capsys):
    main(["--help"])
    overview = capsys.readouterr().out
    assert all(verb in overview for verb in VERBS)
    assert main(["fit", "digits_van", "--help"]) == 0
    text = capsys.readouterr().out
    for key in ("--optim.lr", "--schedule.warmup_epochs", "--train.accumulate", "--augment.cutmix", "--model.options"):
        assert key in text


def test_import_of_volovan_stays_light(environment):
    code = (
        "import sys, volovan; assert 'torch' not in sys.modules\n"
        "volovan.create_model, volovan.list_models, volovan.load_weights, volovan.ops\n"
        "import torch, volovan.ops, volovan.models.factory\n"
        "heavy = {'timm', 'torchvision', 'transformers', 'scipy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_only_training_needs_is_not_imported_to_predict(environment):
    code = (
        "import sys, volovan.use.validate, volovan.use.predict\n"
        "from volovan.use.rooms import ROOMS\n"
        "for room in ROOMS.values(): room.ready()\n"
        "heavy = {'timm', 'torchvision', 'transformers', 'scipy', 'matplotlib', 'torch._dynamo'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- train, validate, predict ---------------------------------------------------------------------------------------


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
    for caption, row in zip(seen, rows, strict=False):
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
    again, _ = read_recipe(path, [])
    assert recipe == again
    assert "schedule:" in text
    header = path.read_text().split("task:")[0]
    embedded = "digits" in name or "shapes" in name  # nothing published that they could differ from
    assert all(f"# {word}" in header for word in ("data", "run", "cost", "expect", "differs")) or embedded
    with torch.device("meta"):
        model = create_model(recipe.model.name, drop_path_rate=recipe.model.drop_path_rate, **recipe.model.options)
    assert len(parameter_groups(model, recipe.optim)) >= (1 if recipe.optim.no_decay == "none" else 2)
    check_schedule(recipe.schedule)
