"""volovan validate and volovan predict with a segmenter, from the words that a user types to the files."""

import io
import json
import math
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from commands import rows_of
from volovan.cli import main
from volovan.data import open_source
from volovan.data.pictures.tensors import to_tensor
from volovan.data.synthetic.shapes import draw_scene
from volovan.engine.settings import SettingsError
from volovan.room.ready import PictureScore
from volovan.segment.inference import segment
from volovan.segment.metrics import SegmentationMetric
from volovan.use.load import load
from volovan.use.validate import extremes

RECIPE = """\
task: segment
model:
  name: van
  options: {embed_dims: [8, 8, 16, 16], depths: [1, 1, 1, 1], mlp_ratios: [2, 2, 2, 2]}
  head_options: {pyramid_channels: 16, channels: 16}
data: {source: "shapes:8@96x64"}
augment: {crop: 64, photometric: false}
schedule: {epochs: 1, warmup_epochs: 0}
train: {batch_size: 4, workers: 0, tensorboard: false}
test: {scales: [1.0, 1.25]}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network that has made two steps."""
    folder = tmp_path_factory.mktemp("segment")
    (folder / "tiny.yaml").write_text(RECIPE)
    assert main(["fit", str(folder / "tiny.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def pictures(tmp_path):
    """Three scenes of different sizes, two of one name, in folders."""
    for number, name in enumerate(("a/scene.png", "b/scene.png", "b/other scene.jpg")):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_scene("val", number, 50 + 20 * number, 80).image).save(path)
    return tmp_path / "pictures"


def test_validate_writes_the_figures_that_the_metric_gives(run, tmp_path, capsys):
    out = tmp_path / "val"
    assert main(["validate", str(run), "--out", str(out), "--workers", "0", "--boundary"]) == 0
    ready = load(run, device="cpu")
    metric = SegmentationMetric(10, torch.device("cpu"), None, boundary=True)
    source = open_source("shapes:8@96x64", "val", kind="mask")
    for index in range(len(source)):
        image = to_tensor(source.load(index), ready.preprocessing.mean, ready.preprocessing.std)
        metric.add(segment(ready.model, image, (64, 96), ready.test), torch.from_numpy(source.target(index)))
    found = json.loads((out / "metrics.json").read_text())
    assert {name: found[name] for name in metric.finish()} == pytest.approx(metric.finish())
    assert found["pictures"] == len(source)
    assert found["test"]["scales"] == [1.0, 1.25]
    table = rows_of(out / "per_class.csv")
    assert [row["class"] for row in table] == list(source.classes)
    assert [float(row["iou"]) for row in table] == pytest.approx(metric.per_class()["iou"], abs=1e-3, nan_ok=True)
    printed = capsys.readouterr().out
    assert f"miou {metric.finish()['miou']:14.2f} %"[-9:] in printed
    assert "boundary_miou" in printed
    assert (out / "confusion.png").stat().st_size > 10_000
    assert len(list((out / "pictures").glob("*.png"))) == len(source)


def test_validate_says_why_there_are_no_figures(run, tmp_path, capsys):
    source = open_source("shapes:8@96x64", "val", kind="mask")
    for folder, picture in (("images", source.load(0)), ("masks", Image.new("L", (96, 64), 255))):
        (tmp_path / folder).mkdir()
        picture.save(tmp_path / folder / "0.png")
    (tmp_path / "classes.txt").write_text("\n".join(source.classes))
    words = ["validate", str(run), "--data", str(tmp_path), "--workers", "0", "--out", str(tmp_path / "val")]
    assert main(words) == 1
    found = json.loads((tmp_path / "val" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert [found[name] for name in ("miou", "macc", "aacc", "pictures")] == [None, None, None, 1]
    assert found["unknown"].startswith(
        "miou, macc, aacc cannot be told, since of 1 pictures none has a label that counts"
    )
    assert f"note: {found['unknown']}" in capsys.readouterr().out


def test_judged_pictures_show_masks_in_the_classes_of_the_network(run, tmp_path, monkeypatch):
    """Data whose classes are in another order: numbers are translated for the page as they are for the score."""
    scene, folder = draw_scene("val", 0, 64, 64), tmp_path / "set"
    for kind, values in (("images", scene.image), ("masks", 9 - scene.labels)):
        (folder / kind / "val").mkdir(parents=True)
        Image.fromarray(values).save(folder / kind / "val" / "a.png")
    (folder / "classes.txt").write_text("\n".join(reversed(load(run, device="cpu").classes)))
    seen = []
    monkeypatch.setattr(
        "volovan.segment.ready.draw_comparison",
        lambda picture, mask, target, *more: seen.append(target) or Image.new("RGB", (9, 9)),
    )
    words = ["--data", str(folder), "--workers", "0", "--pictures", "1", "--out", str(tmp_path / "out")]
    assert main(["validate", str(run), *words]) == 0
    assert np.array_equal(seen[0], scene.labels)


def test_validate_takes_other_test_settings(run, tmp_path, capsys):
    words = ["validate", str(run), "--workers", "0", "--out", str(tmp_path), "--pictures", "0", "--limit", "1"]
    more = [
        "--mode",
        "slide",
        "--window",
        "64",
        "--stride",
        "32",
        "--scales",
        "0.5",
        "1",
        "--flip",
        "--size",
        "96",
        "64",
    ]
    assert main([*words, *more]) == 0
    test = json.loads((tmp_path / "metrics.json").read_text())["test"]
    assert test["mode"] == "slide"
    assert (test["window"], test["stride"], test["size"]) == ([64, 64], [32, 32], [96, 64])
    assert (test["scales"], test["flip"]) == ([0.5, 1.0], True)
    assert "windows of 64x64 by 32x32, into 96x64, scales 0.5 1, mirrored too" in capsys.readouterr().out
    assert not (tmp_path / "pictures").exists()


def test_validate_over_two_processes_gives_the_figures_of_one(run, tmp_path, run_ranks):
    words = ["validate", str(run), "--data", "shapes:50@96x64", "--workers", "0", "--device", "cpu", "--boundary"]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    assert run_ranks(2, lambda: sys.exit(main([*words, "--out", str(tmp_path / "two")]))) == [0, 0]
    first, second = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert first == second
    for path in (tmp_path / "one" / "pictures").iterdir():  # the same are the worst and the best
        assert path.read_bytes() == (tmp_path / "two" / "pictures" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--window", "16"], "--window 16: sides from 32 to 16384 pixels are expected"),
        (["--mode", "slide", "--stride", "900"], "a step from 1 to the window's side is needed"),
        (["--scales", "0"], "at least one factor above 0"),
        (["--size", "12", "13", "14"], "--size 12 13 14: one number, or two, are expected"),
        (["--limit", "0"], "--limit is 0"),
        (["--pictures", "-2"], "--pictures is -2"),
        (["--data", "no_such_folder"], "no_such_folder"),
        (["--weights", "x.pth"], "has weights of its own; leave out --weights x.pth"),
    ],
    ids=lambda value: "-".join(value).strip("-") if isinstance(value, list) else "",
)
def test_validate_refuses_what_cannot_work_in_one_sentence(run, words, part, capsys):
    assert main(["validate", str(run), "--workers", "0", *words]) == 2
    said = capsys.readouterr().err.strip()
    assert part in said
    assert said.count("\n") == 0


def test_validate_of_a_recipe_without_weights_says_what_is_missing(run, capsys):
    assert main(["validate", str(run.parent / "tiny.yaml"), "--workers", "0"]) == 2
    assert "name a run, or --weights FILE" in capsys.readouterr().err


def test_validate_of_a_recipe_takes_weights(run, tmp_path):
    weights = next((run / "checkpoints").glob("best*"))
    words = ["validate", "--workers", "0", "--limit", "2", "--pictures", "0"]
    assert main([*words, str(run.parent / "tiny.yaml"), "--weights", str(weights), "--out", str(tmp_path / "a")]) == 0
    assert main([*words, str(run), "--out", str(tmp_path / "b")]) == 0
    first, second = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in "ab")
    assert first["miou"] == second["miou"]


def test_extremes_leave_out_pictures_without_scores():
    found = ((0, 50.0), (1, 20.0), (2, math.nan), (4, 70.0), (5, 60.0))
    scores = [PictureScore(number, miou, "") for number, miou in found]

    def numbers(chosen, count):
        return tuple([row.index for row in part] for part in extremes(chosen, count))

    assert numbers(scores, 1) == ([1], [4])
    assert numbers(scores, 9) == ([1, 0], [4, 5])
    assert numbers(scores[:1], 3) == ([0], [])
    assert numbers(scores, 0) == ([], [])


def test_predict_writes_masks_at_the_original_size_overlays_table_and_sheet(run, pictures, tmp_path):
    out = tmp_path / "out"
    assert main(["predict", str(run), str(pictures), "--out", str(out), "--workers", "0"]) == 0
    table = rows_of(out / "predictions.csv")
    assert [row["mask"] for row in table] == ["masks/a/scene.png", "masks/b/other scene.png", "masks/b/scene.png"]
    ready = load(run, device="cpu")
    for row in table:
        picture, mask = Image.open(row["file"]), Image.open(out / row["mask"])
        assert mask.mode == "P"
        assert mask.size == picture.size == (int(row["width"]), int(row["height"]))
        image = to_tensor(picture, ready.preprocessing.mean, ready.preprocessing.std)
        assert np.array_equal(np.asarray(mask), segment(ready.model, image, image.shape[1:], ready.test))
        shares = [float(row[name]) for name in ready.classes]
        counts = np.bincount(np.asarray(mask).ravel(), minlength=10)
        assert shares == pytest.approx(counts / counts.sum(), abs=1e-6)
    drawn = sorted(path.relative_to(out / "overlays").as_posix() for path in (out / "overlays").rglob("*.jpg"))
    assert drawn == ["a/scene.jpg", "b/other scene.jpg", "b/scene.jpg"]
    assert Image.open(out / "sheet.png").width > 224


@pytest.mark.parametrize("way", ["in their folder", "copied to them"])
def test_predicted_masks_open_as_labels_of_the_pictures(run, pictures, tmp_path, monkeypatch, way):
    """What comes out can go in again: scored against its own masks, a network is right everywhere."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "val"
    if way == "in their folder":
        shutil.copytree(pictures, folder / "images")
        assert main(["predict", str(run), "val/images", "--out", str(folder), "--workers", "0"]) == 0
    else:
        assert main(["predict", str(run), "pictures", "--out", str(folder), "--workers", "0"]) == 0
        shutil.copytree(pictures, folder / "images")
    source = open_source(folder, "val", kind="mask")
    assert (source.classes, source.palette) == (load(run, device="cpu").classes, load(run, device="cpu").palette)
    words = ["--data", str(folder), "--workers", "0", "--pictures", "0", "--out", str(tmp_path / "scores")]
    assert main(["validate", str(run), *words]) == 0
    scores = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert (scores["pictures"], scores["miou"], scores["aacc"]) == (3, 100, 100)


def test_predicted_masks_of_ade20k_open_as_labels(tmp_path):
    """Its palette has one colour twice."""
    folder = tmp_path / "ADEChallengeData2016"
    for number, split in enumerate(("training", "validation")):
        scene = draw_scene("train", number, 64, 64)
        for kind, values in (("images", scene.image), ("annotations", scene.labels + 1)):
            (folder / kind / split).mkdir(parents=True)
            Image.fromarray(values).save(folder / kind / split / "a.png")
    (tmp_path / "tiny.yaml").write_text(
        RECIPE.replace("shapes:8@96x64", str(folder)).replace("batch_size: 4", "batch_size: 1")
    )
    assert main(["fit", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "run")]) == 0
    out = tmp_path / "out"
    words = ["--out", str(out), "--workers", "0", "--overlays", "none", "--sheet", "0"]
    assert main(["predict", str(tmp_path / "run"), str(folder / "images" / "training"), *words]) == 0
    shutil.copytree(folder / "images" / "training", out / "images")
    source, labels = open_source(out, None, kind="mask"), open_source(folder, "train", kind="mask")
    assert (source.classes, source.palette) == (labels.classes, labels.palette)
    assert np.array_equal(source.target(0), np.asarray(Image.open(out / "masks" / "a.png")))


def test_predict_names_what_cannot_be_read_and_goes_on(run, pictures, tmp_path, capsys):
    (pictures / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    words = ["--format", "jsonl", "--overlays", "none", "--sheet", "0", "--workers", "0"]
    assert main(["predict", str(run), str(pictures), "--out", str(tmp_path / "out"), *words]) == 1
    assert "broken.jpg: begins as a JPEG" in capsys.readouterr().err
    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    (bad,) = [row for row in rows if "error" in row]
    assert bad["file"].endswith("broken.jpg")
    assert sum(rows[-1]["shares"].values()) == pytest.approx(1, abs=1e-5)
    names = sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("."))
    assert names == ["classes.csv", "masks", "predictions.jsonl"]


def test_predict_says_what_cannot_be_written(run, pictures, tmp_path, capsys):
    words = ["predict", str(run), str(pictures), "--out", str(tmp_path / "out"), "--workers", "0"]
    assert main(words) == 0
    shutil.rmtree(tmp_path / "out" / "masks")
    (tmp_path / "out" / "masks").write_text("in the way")
    capsys.readouterr()
    assert main(words) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "could not be written (" in said
    assert "name another folder with --out" in said


def test_predict_takes_a_picture_on_standard_input_and_rows_on_standard_output(run, monkeypatch, capsys):
    content = io.BytesIO()
    Image.fromarray(draw_scene("val", 0, 64, 64).image).save(content, "PNG")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.getvalue())))
    assert main(["predict", str(run), "-", "--out", "-", "--format", "jsonl", "--workers", "0"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["file"] == "-"
    assert (row["height"], row["width"]) == (64, 64)


@pytest.mark.parametrize("split", ["val", None], ids=["val", "all"])
def test_predict_takes_drawn_scenes(run, tmp_path, split):
    out = tmp_path / "out"
    words = ["--workers", "0", "--overlays", "none", "--sheet", "1", *(["--split", split] if split else [])]
    assert main(["predict", str(run), "shapes:8@96x64", "--out", str(out), *words]) == 0
    source = open_source("shapes:8@96x64", split, kind="mask")
    assert [row["file"] for row in rows_of(out / "predictions.csv")] == [source.name(i) for i in range(len(source))]


def test_a_checkpoint_of_another_task_is_refused(tmp_path):
    from volovan.files.checkpoint import write_checkpoint

    write_checkpoint(tmp_path / "x.safetensors", {"task": {"task": "painting"}, "model": {}})
    with pytest.raises(SettingsError, match="is a checkpoint of the task 'painting'; this version knows classify"):
        load(tmp_path / "x.safetensors", device="cpu")
    with pytest.raises(ValueError, match="no run folder, no checkpoint, no recipe and no model"):
        load("van_bee", device="cpu")
