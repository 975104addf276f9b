"""volovan check-data for pictures with masks: what it finds, what it writes, what it exits with."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from volovan.cli import main
from volovan.data import check_data, contact_sheet, run_check
from volovan.data.checks.recognise import recognise
from volovan.data.checks.report import render
from volovan.data.errors import SourceError
from volovan.data.masks.overlay import salient_overlay

Jpeg = Callable[..., bytes]
Make = Callable[..., Path]
SIZE = (12, 9)


@pytest.fixture
def mask_folder(tmp_path: Path, jpeg: Jpeg) -> Make:
    """mask_folder({"train/a": [0, 1], ...}): <split>/images/a.jpg and <split>/masks/a.png that holds 0 and 1."""

    def make(content: dict[str, list[int]], classes: str = "sky\nroad\ncar\n", root: Path = tmp_path / "set") -> Path:
        for place, (key, values) in enumerate(content.items()):
            split, name = key.split("/")
            for kind in ("images", "masks"):
                (root / split / kind).mkdir(parents=True, exist_ok=True)
            (root / split / "images" / f"{name}.jpg").write_bytes(jpeg(place, SIZE))
            mask = np.resize(np.array(values, np.uint8), SIZE[::-1])
            Image.fromarray(mask).save(root / split / "masks" / f"{name}.png")
        if classes:
            (root / "classes.txt").write_text(classes)
        return root

    return make


def hashes(root: Path) -> dict[Path, bytes]:
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def damaged(mask_folder: Make) -> Path:
    """train and val with one of every trouble."""
    root = mask_folder(
        {
            "train/a": [0, 1, 1],
            "train/b": [0, 255],
            "train/void": [255],
            "train/small": [0],
            "train/page": [0],
            "train/odd": [0, 7, 7, 9],
            "train/too": [7, 1, 1],
            "train/alone": [0],
            "val/c": [0],
        }
    )
    shutil.copy(root / "train/images/a.jpg", root / "val/images/leak.jpg")
    shutil.copy(root / "train/masks/a.png", root / "val/masks/leak.png")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(root / "train/masks/small.png")
    (root / "train/images/page.jpg").write_bytes(b"<html>")
    (root / "train/masks/alone.png").unlink()
    shutil.copy(root / "val/masks/c.png", root / "val/masks/nobody.png")
    return root


def test_check_masks_finds_every_trouble(damaged: Path, tmp_path: Path) -> None:
    before = hashes(damaged)
    report = check_data(str(damaged), "mask", out=tmp_path / "out")
    assert hashes(damaged) == before
    assert not report.ok
    assert [(sample.split, sample.name) for sample in report.broken] == [("train", "train/images/page.jpg")]
    assert {sample.name: sample.remark for sample in report.bad_masks} == {
        "train/masks/odd.png": "id 7 in 54 pixels, id 9 in 27 pixels, expected 0 to 2 (ignored: 255); mend the mask, "
        "or name the id in classes.txt",
        "train/masks/small.png": "4 x 4, but train/images/small.jpg is 12 x 9; a mask needs the size of its picture; "
        "draw it again at that size, or scale it without smoothing",
        "train/masks/too.png": "id 7 in 36 pixels, expected 0 to 2 (ignored: 255); mend the mask, or name the id in "
        "classes.txt",
    }
    assert report.unknown_ids == {"7": [2, 90], "9": [1, 27]}
    assert report.unpaired == [
        "train/images/alone.jpg has no mask in train/masks",
        "val/masks/nobody.png has no picture in val/images",
    ]
    assert [[sample.name for sample in group] for group in report.leaks] == [
        ["train/images/a.jpg", "val/images/leak.jpg"]
    ]
    assert report.lonely_classes == {}
    assert report.empty_classes == ["car"]
    assert [s.name for s in report.odd["masks of which every pixel is ignored"]] == ["train/images/void.jpg"]
    train = report.splits["train"]
    assert (train.samples, train.checked, train.widths) == (7, 7, [12, 12, 12])
    # a: 36 + 72, b: 54 + 54 ignored, void: 108 ignored; the mask of a broken picture does not count
    assert train.pixels == {"sky": 36 + 54, "road": 72, "car": 0}
    assert train.pictures == {"sky": 2, "road": 1, "car": 0}
    assert (train.counted, train.ignored) == (3 * 108, 54 + 108)

    text = render(report)
    for line in (
        "Classes without pictures: 1",
        "Same picture in several splits: 1",
        "  train train/images/a.jpg = val val/images/leak.jpg",
        "Without partner: 2",
        "  7: in 2 masks, 90 pixels",
        "Masks that cannot be used: 3",
        "Broken pictures: 1",
        "  train train/images/page.jpg: a web page (HTML), not a picture; the download failed?",
    ):
        assert line in text.splitlines()
    assert text.endswith(
        "A run would stop there; mend or remove them, or skip broken pictures with --train.on_bad skip."
    )
    kept = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (kept["ok"], kept["unknown_ids"]["7"]) == (False, [2, 90])
    assert (tmp_path / "out" / "samples.png").is_file()


def test_check_masks_of_a_good_folder(mask_folder: Make, tmp_path: Path) -> None:
    root = mask_folder({"train/a": [0, 1], "train/b": [2, 255], "val/c": [0, 1]})
    report = check_data(str(root), "mask", out=tmp_path / "out")
    assert report.ok
    assert report.lonely_classes == {"car": ["train"]}
    assert report.empty_classes == []
    text = render(report)
    rows = [line.split() for line in text.splitlines()]
    assert ["sky", "25.00", "%", "1", "50.00", "%", "1"] in rows
    assert ["(ignored)", "25.00", "%", "-", "0.00", "%", "-"] in rows
    assert text.endswith("Nothing is wrong that would stop or spoil a run.")
    assert check_data(str(root), "mask", split="val").empty_classes == []  # one split alone may lack a class
    assert check_data(str(root), "mask", limit=1).splits["train"].checked == 1


def test_check_masks_stops_where_fit_would(mask_folder: Make, tmp_path: Path) -> None:
    def stops(content: dict[str, list[int]], name: str, classes: str = "sky\nroad\n") -> list[str]:
        report = check_data(str(mask_folder(content, classes, tmp_path / name)), "mask")
        assert report.ok == (not report.stops)
        assert all(sentence in render(report) for sentence in report.stops)
        return [sentence.removeprefix(str(tmp_path / name)) for sentence in report.stops]

    assert stops({"train/a": [0, 1], "val/b": [1]}, "fine") == []
    assert stops({"train/a": [0], "train/b": [1], "test/b": [1]}, "test") == []  # which a run takes for val
    assert stops({"train/a": [0], "val/b": [0, 1]}, "same") == [
        ": all labelled pixels of the train split (1 mask) are 'sky', so there is nothing to tell apart; label some of "
        "another class"
    ]
    assert stops({"train/a": [0, 1]}, "alone") == [
        " has no val split, it has train; ask for one of these or add it, or name other data (fit --data.val, validate "
        "--data)"
    ]
    assert stops({"train/a": [0], "val/b": [0]}, "one", "sky\n") == [" has 1 class ('sky'); at least 2 are needed"]
    assert stops({"train/a": [255], "val/b": [0]}, "void") == [
        ": all pixels of the train split (1 mask) are ignored (255), so nothing can be learned or scored; label some "
        "of them"
    ]


@pytest.mark.parametrize("place", [None, 0, 77, 149], ids=["nowhere", "first", "within", "last"])
def test_check_masks_looks_at_all_of_them_for_a_label(mask_folder: Make, place: int | None) -> None:
    """As fit does, whatever the limit says."""
    content = {f"train/{number:03}": [0, 1] if number == place else [255] for number in range(150)}
    root = mask_folder({**content, "val/a": [0, 1]})
    for limit in (None, 10):
        stops = check_data(str(root), "mask", limit=limit).stops
        assert [sentence.split(", so")[0] for sentence in stops] == (
            [f"{root}: all pixels of the train split (150 masks) are ignored (255)"] if place is None else []
        )


def test_check_of_saliency_masks(mask_folder: Make, tmp_path: Path) -> None:
    content = {"train/a": [0, 0, 255], "train/empty": [0, 128], "train/full": [255, 129], "val/b": [0, 255]}
    root = mask_folder(content, classes="")
    report = check_data(str(root), "map", out=tmp_path / "out")
    assert report.ok
    assert {kind.split(" ")[0]: [s.name for s in found] for kind, found in report.odd.items()} == {
        "empty": ["train/images/empty.jpg"],
        "full": ["train/images/full.jpg"],
    }
    assert report.splits["train"].pixels == {"salient": 36 + 108}
    assert ["salient", "44.44", "%", "2", "50.00", "%", "1"] in [line.split() for line in render(report).splitlines()]
    assert "  train train/images/full.jpg" in render(report).splitlines()


# ---------------------------------------------------------------------------------------------------------------------
# the command


def test_check_data_finds_the_task_by_the_layout(
    mask_folder: Make, class_tree: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    named = mask_folder({"train/a": [0, 1], "val/b": [2]}, root=tmp_path / "named")
    assert recognise(str(named)) == ("mask", "")
    assert main(["check-data", str(named), *out]) == 0
    assert f"{named}: 3 classes" in capsys.readouterr().out

    hard = mask_folder({"train/a": [0, 255], "val/b": [255]}, classes="", root=tmp_path / "hard")
    assert main(["check-data", str(hard), *out]) == 0
    text = capsys.readouterr().out
    assert f"{hard}: masks of what is salient" in text
    assert "--task segment reads them as ids." in text
    assert main(["check-data", str(hard), "--task", "segment", *out]) == 0
    assert "2 classes" in capsys.readouterr().out

    ids = mask_folder({"train/a": [0, 3], "val/b": [1, 255]}, classes="", root=tmp_path / "ids")
    assert recognise(str(ids))[0] == "mask"

    classes = class_tree({"cat": 3, "dog": 3}, root=tmp_path / "classes")
    assert recognise(str(classes)) == ("class", "")
    assert main(["check-data", str(classes), *out]) == 0
    assert "2 classes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("digits", "class"),
        ("shapes", "mask"),
        ("generated:2x3", "class"),
        ("gone", "class"),
        ("shapes_of_mine", "class"),
        ("", "class"),
    ],
    ids=["digits", "shapes", "generated", "gone", "like-shapes", "empty"],
)
def test_recognise_what_is_no_folder(spec: str, kind: str) -> None:
    assert recognise(spec)[0] == kind


def test_recognise_lists_by_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("image,mask\na.jpg,a.png\n")
    assert recognise(str(path))[0] == "mask"
    path.write_text("image,label\na.jpg,cat\n")
    assert recognise(str(path))[0] == "class"


def test_check_data_of_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, out = "shapes:6@64x48", ["--out", str(tmp_path / "out")]
    assert main(["check-data", spec, *out]) == 0
    assert "Scenes of shapes are read with class masks" in capsys.readouterr().out
    assert main(["check-data", spec, "--task", "saliency", "--split", "val", "--json", *out]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "map"


def test_run_check_of_masks_says_by_its_code_how_it_went(
    damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert run_check(str(damaged), "mask", out=out) == 1
    assert run_check(str(tmp_path / "gone"), "mask", out=out) == 2
    assert "there is no such file or folder" in capsys.readouterr().err
    (tmp_path / "file").write_text("in the way")
    assert run_check("shapes:2@64x48", "map", out=str(tmp_path / "file")) == 2
    assert "samples.png could not be written (Not a directory)" in capsys.readouterr().err
    with pytest.raises(SourceError, match="no test split"):
        check_data("shapes:2@64x48", "mask", split="test")


# ---------------------------------------------------------------------------------------------------------------------
# pictures


def test_salient_overlay_keeps_the_salient() -> None:
    picture = Image.new("RGB", (2, 1), (200, 100, 0))
    shown = np.asarray(salient_overlay(picture, np.array([[255, 0]], np.uint8)))
    assert shown[0, 0].tolist() == [200, 100, 0]
    assert shown[0, -1].max() < 100
    large = salient_overlay(Image.new("RGB", (4000, 10)), np.zeros((10, 4000), np.uint8))
    assert large.size == (1600, 4)


def test_sheet_names_the_colours_of_the_classes() -> None:
    images = [Image.new("RGB", (30, 20), "grey")] * 7
    plain = contact_sheet(images, ["a"] * 7, title="title")
    colours = [(f"class {number}", (number, 99, 200), "") for number in range(30)]
    sheet = contact_sheet(images, ["a"] * 7, title="title", legend=colours)
    assert sheet.width == plain.width
    assert sheet.height > plain.height
    legend = np.asarray(sheet)[plain.height :].reshape(-1, 3)
    assert all((legend == colour).all(1).sum() > 100 for _, colour, _ in colours)
