"""fit, validate, predict, resume and rehearsal from the command line, on drawn scenes."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from commands import rows_of
from volovan.cli import main
from volovan.data.synthetic.shapes_sources import SalientShapes
from volovan.use.recipes import find_recipe, read_recipe
from volovan.use.rehearse import ASSUMED_PICTURES, data_size


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Three photographs' worth of scenes: two sizes, one upside down by EXIF, and one file that is no picture."""
    folder = tmp_path_factory.mktemp("pictures")
    scenes = SalientShapes("val", 3, (50, 80))
    scenes.load(0).save(folder / "first.png")
    scenes.load(1).resize((41, 95)).save(folder / "second.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    scenes.load(2).save(folder / "turned.jpg", exif=turned)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_fit_leaves_metrics_curves_and_a_checkpoint(run_folder):
    last = rows_of(run_folder / "metrics.csv")[-1]
    assert 0 <= float(last["mae"]) <= 1
    assert {"maxf50", "maxf255", "maxe"} <= last.keys()
    assert (run_folder / "pictures" / "curves.png").is_file()
    assert (run_folder / "checkpoints" / "best.safetensors").is_file()


def test_validate_writes_all_measures(run_folder, tmp_path, capsys):
    assert main(["validate", str(run_folder), "--workers", "0", "--out", str(tmp_path), "--baselines"]) == 0
    printed = capsys.readouterr().out
    assert "centre prior" in printed
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert {"mae", "maxf50", "maxf255", "meanf", "maxe", "meane", "s", "weighted_f"} <= found.keys()
    assert found["pictures"] == 2
    assert set(found["baselines"]) == {"all background", "all mean", "centre prior", "centre prior, cut at 0.5"}
    rows = rows_of(tmp_path / "per_picture.csv")
    assert np.mean([float(row["mae"]) for row in rows]) == pytest.approx(found["mae"], abs=1e-5)
    assert (tmp_path / "curves.png").is_file()
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["best_01.png", "worst_01.png"]


def test_validate_takes_other_data_and_sizes(run_folder, capsys):
    words = ["--data", "shapes:30@48x40", "--workers", "0"]
    assert main(["validate", str(run_folder), *words, "--size", "native", "--maps", "float", "--limit", "2"]) == 0
    assert "2 pictures at their own sizes" in capsys.readouterr().out
    assert main(["validate", str(run_folder), *words, "--size", "40", "48", "--stretch"]) == 0
    assert "3 pictures at 40x48" in capsys.readouterr().out


def test_predict_writes_masks_and_cutouts_at_the_original_size(run_folder, pictures, tmp_path, capsys):
    assert main(["predict", str(run_folder), str(pictures), "--workers", "0", "--out", str(tmp_path)]) == 1
    assert "broken.png" in capsys.readouterr().err
    sizes = {"first": (80, 50), "second": (41, 95), "turned": (50, 80)}
    for name, size in sizes.items():
        grey, cutout = (Image.open(tmp_path / kind / f"{name}.png") for kind in ("masks", "cutouts"))
        assert (grey.size, grey.mode, cutout.size, cutout.mode) == (size, "L", size, "RGBA")
        np.testing.assert_array_equal(np.asarray(cutout.getchannel("A")), np.asarray(grey))
    picture = np.asarray(Image.open(pictures / "first.png").convert("RGB"))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "cutouts/first.png"))[..., :3], picture)
    rows = {row["file"].rsplit("/")[-1]: row for row in rows_of(tmp_path / "predictions.csv")}
    assert rows["broken.png"]["error"]
    assert rows["first.png"]["mask"] == "masks/first.png"
    assert (tmp_path / "sheet.png").is_file()


def test_predict_crops_and_puts_a_colour_behind(run_folder, pictures, tmp_path):
    words = ["--workers", "0", "--out", str(tmp_path), "--threshold", "0.3", "--crop", "--format", "jsonl"]
    picture = str(pictures / "first.png")
    assert main(["predict", str(run_folder), picture, *words, "--background", "#102030", "--size", "48"]) == 0
    row = json.loads((tmp_path / "predictions.jsonl").read_text())
    cutout = Image.open(tmp_path / "cutouts" / "first.png")
    grey = np.asarray(Image.open(tmp_path / "masks" / "first.png"))
    hard = grey >= 255 * 0.3
    assert row["share"] == pytest.approx(hard.mean(), abs=1e-3)
    assert cutout.mode == "RGB"
    assert cutout.size == (row["right"] - row["left"], row["bottom"] - row["top"])
    inside = hard[row["top"] : row["bottom"], row["left"] : row["right"]]
    pixels = np.asarray(cutout)
    assert (pixels[~inside] == (0x10, 0x20, 0x30)).all()
    original = np.asarray(Image.open(picture).convert("RGB"))[row["top"] : row["bottom"], row["left"] : row["right"]]
    np.testing.assert_array_equal(pixels[inside], original[inside])


def test_predict_reads_the_pictures_of_a_source_with_masks(run_folder, tmp_path):
    words = ["--split", "val", "--workers", "0", "--sheet", "0", "--out", str(tmp_path)]
    assert main(["predict", str(run_folder), "shapes:20@48x40", *words]) == 0
    assert len(rows_of(tmp_path / "predictions.csv")) == 2
    assert not (tmp_path / "sheet.png").exists()


def test_predict_draws_scenes_in_which_something_stands_out(run_folder, tmp_path):
    words = ["--workers", "0", "--sheet", "0", "--out", str(tmp_path)]
    assert main(["predict", str(run_folder), "shapes:4@48x40", *words]) == 0
    rows = rows_of(tmp_path / "predictions.csv")
    assert [row["file"].split("/")[0] for row in rows] == ["train"] * 4 + ["val"]
    cutout = Image.open(tmp_path / rows[0]["cutout"]).convert("RGB")
    assert np.array_equal(np.asarray(cutout), np.asarray(SalientShapes("train", 4, (40, 48)).load(0)))


def test_pictures_of_many_sizes_are_scored_at_native_size_one_by_one(run_folder, tmp_path):
    scenes = SalientShapes("val", 3, (50, 80))
    for index, size in enumerate([(80, 50), (64, 64), (35, 90)]):
        for kind, image in (("images", scenes.load(index)), ("masks", Image.fromarray(scenes.target(index)))):
            (tmp_path / "data" / kind / "val").mkdir(parents=True, exist_ok=True)
            image.resize(size).save(tmp_path / "data" / kind / "val" / f"{index}.png")
    words = ["validate", str(run_folder), "--data", str(tmp_path / "data"), "--workers", "0", "--size", "native"]
    figures = []
    for size in ("1", "3"):
        assert main([*words, "--batch-size", size, "--out", str(tmp_path / size)]) == 0
        figures.append(json.loads((tmp_path / size / "metrics.json").read_text()))
    assert figures[0]["pictures"] == 3
    assert figures[0] == figures[1]


@pytest.mark.parametrize("name", ["shapes.png", "shapes_of_mine", "shapes"])
def test_predict_takes_files_that_begin_with_shapes_for_pictures(
    run_folder, pictures, tmp_path, name, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    picture = tmp_path / name if name.endswith(".png") else tmp_path / name / "a.png"
    picture.parent.mkdir(exist_ok=True)
    picture.write_bytes((pictures / "first.png").read_bytes())
    words = ["--workers", "0", "--sheet", "0", "--out", "out"]
    assert main(["predict", str(run_folder), name, *words]) == 0
    assert "1 pictures predicted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--background", "blurple"], "--background is 'blurple'"),
        (["--threshold", "1.5"], "--threshold is 1.5"),
        (["--size", "7"], "sides from 32"),
        (["--size", "big"], "--size big: one number, or two, are expected"),
        (["--out", ""], "name a folder"),
    ],
    ids=["background", "threshold", "small", "word", "out"],
)
def test_predict_refuses_what_cannot_work_in_one_sentence(run_folder, pictures, tmp_path, capsys, words, message):
    given = [str(run_folder), str(pictures), "--workers", "0", "--out", str(tmp_path / "out"), *words]
    assert main(["predict", *given]) != 0
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_a_trunk_without_saliency_weights_says_what_is_missing(capsys, recipe_file):
    assert main(["validate", str(recipe_file)]) != 0
    assert "starts from random weights; name a run, or --weights FILE" in capsys.readouterr().err
    assert main(["validate", str(recipe_file), "--weights", "pretrained"]) != 0
    assert "none are published: name a run, or a file of one with --weights" in capsys.readouterr().err


def test_resume_ends_like_an_unbroken_run(run_folder, tmp_path, recipe_file):
    from volovan.files.checkpoint import read_checkpoint

    folder = tmp_path / "run"
    assert main(["fit", str(recipe_file), "--out", str(folder), "--train.max_steps", "3"]) == 0
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("max_steps: 3", "max_steps: null"))
    assert main(["fit", "--resume", str(folder)]) == 0
    name = "checkpoints/step-00000004.safetensors"
    expected, found = read_checkpoint(run_folder / name)["model"], read_checkpoint(folder / name)["model"]
    assert all((found[key] == tensor).all() for key, tensor in expected.items())


@pytest.mark.parametrize(
    ("then", "now", "message"),
    [
        ("extreme: 16", "extreme: 24", "model.head_options.extreme was 16 and is 24 now"),
        ("units: 1", "units: 1\n    pyramid: resample", "model.head_options.pyramid was detail and is resample now"),
    ],
    ids=["head", "pyramid"],
)
def test_resume_refuses_another_head(run_folder, tmp_path, capsys, then, now, message):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    recipe = folder / "recipe.yaml"
    assert then in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(then, now))
    assert main(["fit", "--resume", str(folder)]) != 0
    assert message in capsys.readouterr().err


def test_a_run_goes_on_from_the_weights_of_another(run_folder, tmp_path, recipe_file):
    words = ["--out", str(tmp_path / "run"), "--model.weights", str(run_folder), "--train.max_steps", "1"]
    assert main(["fit", str(recipe_file), *words, "--optim.lr", "1e-9"]) == 0
    from volovan.files.checkpoint import read_checkpoint
    from volovan.files.runs import best_checkpoint

    before = read_checkpoint(best_checkpoint(run_folder))["model"]["head.conv6.conv1.conv.weight"]
    after = read_checkpoint(best_checkpoint(tmp_path / "run"))["model"]["head.conv6.conv1.conv.weight"]
    assert (before - after).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["coco_tiny_edn", "duts_edn_van_b1"])
def test_rehearsal_runs_without_data(name, capsys, monkeypatch):
    monkeypatch.delenv("VOLOVAN_DATA", raising=False)
    small = ["--data.size", "64", "--data.mixed_sizes", "[32,64]", "--model.weights", "null"]
    if name.startswith("duts"):  # the network itself is counted at full size in test_network
        small += ["--model.name", "van_b0"]
    assert main(["fit", f"saliency/{name}", "--dry-run", *small]) == 0
    printed = capsys.readouterr().out
    assert "drawn scenes for" in printed
    assert "Everything was built and stepped" in printed


def test_the_placeholder_of_the_finetuning_recipe_is_of_no_known_size():
    found = data_size(read_recipe(find_recipe("finetune_saliency"), [])[0])
    assert (found.pictures, found.whence) == (ASSUMED_PICTURES, "assumed: there is no data/objects")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("augment.cutmix", "2", "augment.cutmix is 2"),
        ("augment.hue", "0.7", "augment.hue is 0.7"),
        (
            "augment.crop_scale",
            "[0.5,2]",
            "crop_scale is [0.5, 2.0]; two numbers above 0 up to 1, the smaller",
        ),
        ("data.size", "16", "at least 32 pixels"),
        ("loss.dice", "-1", "loss.dice is -1"),
        ("train.sampling", "balanced", "train.sampling is balanced, but these data have no class for each sample"),
        ("model.options", "{img_size: 64}", "follows from data.size"),
    ],
    ids=["cutmix", "hue", "crop", "size", "dice", "sampling", "options"],
)
def test_settings_that_cannot_work_are_named(recipe_file, tmp_path, capsys, key, value, message):
    assert main(["fit", str(recipe_file), "--out", str(tmp_path / "run"), f"--{key}", value]) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
