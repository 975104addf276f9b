import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from volovan.data import check_data, contact_sheet, run_check
from volovan.data.checks.report import render

Tree = Callable[..., Path]


@pytest.fixture
def damaged(class_tree: Tree, jpeg: Callable[..., bytes]) -> Path:
    """train and test with one of every trouble."""
    class_tree({"ant": 6, "cat": 8, "dog": 4}, below="train")
    root = class_tree({"cat": 3, "dog": 3, "eel": 1}, below="test")
    shutil.copy(root / "train/cat/000.jpg", root / "test/cat/leak.jpg")
    Image.open(root / "train/cat/001.jpg").save(root / "train/dog/other.png")  # same pixels, another label and format
    (root / "train/cat/half.jpg").write_bytes(jpeg(5, (200, 200))[:1500])
    (root / "train/cat/page.jpg").write_bytes(b"<html>")
    Image.new("L", (12, 9), 77).save(root / "train/dog/grey.png")
    Image.new("RGB", (60, 9), "red").save(root / "train/dog/long.png")
    Image.new("RGB", (2, 2), "blue").save(root / "train/dog/tiny.png")
    (root / "train/dog/readme.txt").write_text("x")
    return root


def test_check_finds_every_trouble(damaged: Path, tmp_path: Path) -> None:
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in damaged.rglob("*") if path.is_file()}
    report = check_data(str(damaged), out=tmp_path / "out")
    assert not report.ok
    assert [(sample.split, sample.name) for sample in report.broken] == [
        ("train", "train/cat/half.jpg"),
        ("train", "train/cat/page.jpg"),
    ]
    assert "cut off" in report.broken[0].remark
    assert [[sample.name for sample in group] for group in report.leaks] == [["train/cat/000.jpg", "test/cat/leak.jpg"]]
    assert [[s.name for s in g] for g in report.contradictions] == [["train/cat/001.jpg", "train/dog/other.png"]]
    assert {kind.split(",")[0]: [s.name for s in samples] for kind, samples in report.odd.items()} == {
        "4 times longer than wide": ["train/dog/long.png"],
        "grey among coloured ones": ["train/dog/grey.png"],
        "more than 4 times smaller than the median": ["train/dog/tiny.png"],
    }
    assert report.lonely_classes == {"ant": ["train"], "eel": ["test"]}
    train = report.splits["train"]
    assert train.per_class == {"ant": 6, "cat": 10, "dog": 8, "eel": 0}
    assert (train.samples, train.widths, train.heights) == (24, [2, 12, 60], [2, 9, 9])
    assert train.kinds == {"JPEG RGB": 18, "PNG RGB": 3, "PNG L": 1}
    assert report.notes == [
        "1 files are left out since their suffix is not that of a picture (.txt: 1).",
        "There is no val split: test is used in its place.",
    ]
    assert report.cautions == [
        "No picture to train on has the class eel, but 1 in val: they cannot be learned and count as wrong. Put some "
        "of them into train.",
        "No picture in val has the class ant: no figure says how well that is learned.",
    ]
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in before} == before

    text = render(report)
    for line in (
        "Broken pictures: 2",
        "  train train/cat/page.jpg: a web page (HTML), not a picture; the download failed?",
        "Same picture in several splits: 1",
        "  train train/cat/000.jpg = test test/cat/leak.jpg",
        "  ant: only in train",
    ):
        assert line in text.splitlines()
    assert text.endswith("mend or remove them, or skip broken pictures with --train.on_bad skip.")
    kept = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (kept["ok"], kept["broken"][1]["name"]) == (False, "train/cat/page.jpg")


def test_check_draws_what_the_network_sees(class_tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_tree({"ant": 30, "bee": 3})
    seen: list[tuple[int, int]] = []

    def view(image: Image.Image, size: tuple[int, int]) -> Image.Image:
        seen.append(image.size)
        return Image.new("RGB", (20, 20), (1, 200, 3))

    monkeypatch.setattr(ImageOps, "fit", view)
    report = check_data(str(root), out=tmp_path / "out")
    sheet = np.asarray(Image.open(tmp_path / "out" / "samples.png"))
    assert report.files[0] == str(tmp_path / "out" / "samples.png")
    assert len(seen) == 20 + 2  # half of the sheet each, as far as there are so many in train
    assert (sheet == (1, 200, 3)).all(-1).sum() == len(seen) * 160 * 160


def test_check_tells_what_a_run_would_hold_out(class_tree: Tree) -> None:
    report = check_data(str(class_tree({"ant": 30, "bee": 30})))
    assert sum(split.samples for split in report.splits.values()) == 60
    assert list(report.splits) == ["train", "val"]
    assert "held out as val" in report.notes[0]
    assert report.ok


def test_check_lists_labels_without_a_class(tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
    (tmp_path / "classes.txt").write_text("a\nb\n")
    (tmp_path / "list.csv").write_text("0.jpg,0,train\n1.jpg,7,train\n2.jpg,2,train\n3.jpg,,val\n")
    report = check_data(str(tmp_path / "list.csv"))
    assert [(sample.name, sample.label) for sample in report.labels_out_of_range] == [("1.jpg", 7), ("2.jpg", 2)]
    assert not report.ok
    assert "Labels without a class (known: 0 to 1): 2" in render(report)
    assert "val: 1 samples have no label." in render(report)


def test_check_of_a_flat_folder_and_with_a_limit(tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}.jpg").write_bytes(jpeg(number) if number % 4 else b"")
    report = check_data(str(tmp_path), limit=5, out=tmp_path / "out")
    assert (list(report.splits), report.splits["all"].samples, report.splits["all"].checked) == (["all"], 20, 5)
    assert [sample.name for sample in report.broken] == ["00.jpg", "04.jpg", "08.jpg", "12.jpg", "16.jpg"]
    assert (tmp_path / "out" / "samples.png").is_file()


def test_check_stops_where_fit_would(class_tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stops(source: Path, split: str | None = None) -> list[str]:
        report = check_data(str(source), split=split)
        assert report.ok == (not report.stops)
        assert all(sentence in render(report) for sentence in report.stops)
        return [sentence.removeprefix(f"{source} has ") for sentence in report.stops]

    assert stops(class_tree({"cat": 9, "dog": 9}, root=tmp_path / "fine")) == []
    (flat,) = (tmp_path / "fine" / "cat",)
    unlabelled = (
        "no labels: good for predict, not for fit; put the pictures of each class into a folder of its name, or give a "
        "list with the columns path and label"
    )
    assert stops(flat) == [unlabelled]
    assert run_check(str(flat), out=str(tmp_path / "out")) == 1
    assert capsys.readouterr().out.endswith(f"{unlabelled}\n")
    one = class_tree({"cat": 9}, root=tmp_path / "one")
    assert stops(one) == ["1 class ('cat'); at least 2 are needed"]
    few = class_tree({"cat": 1, "dog": 1}, root=tmp_path / "few")
    assert [split.samples for split in check_data(str(few)).splits.values()] == [2, 0]
    assert stops(few) == [
        "no pictures in the val split; add some, at least two of each class, or name data for val with --data.val"
    ]
    trained = class_tree({"cat": 2, "dog": 2}, below="train", root=tmp_path / "trained")
    assert stops(trained) == [
        "no val split, it has train; ask for one of these or add it, or name other data (fit --data.val, validate "
        "--data)"
    ]
    assert stops(trained, "train") == []
    listed = tmp_path / "list.csv"
    rows = [
        f"fine/{name}/00{n}.jpg,{name},{split}" for name in ("cat", "dog") for n, split in ((1, "train"), (2, "val"))
    ]
    listed.write_text("\n".join([*rows, "fine/cat/003.jpg,,test"]))
    assert stops(listed) == []  # fit does not open test
    listed.write_text("\n".join([*rows, "fine/cat/003.jpg,,train"]))
    assert stops(listed) == [
        f"1 of 3 pictures in the train split of {listed} have no label, the first is fine/cat/003.jpg; fit needs a "
        "label for every picture"
    ]


def test_check_names_classes_without_pictures(class_tree: Tree) -> None:
    report = check_data(str(class_tree({"cat": 9, "daisy": 0, "eel": 9})))
    assert (report.empty_classes, report.lonely_classes, report.ok) == (["daisy"], {}, True)
    assert "Classes without pictures: 1\n  daisy\n" in render(report)
    assert report.cautions == ["No picture has the class daisy: fit would learn it from nothing. Remove what names it."]
    assert render(report).endswith("Nothing else is wrong that would stop or spoil a run.")


def test_check_lists_labels_beyond_the_limit(tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
    (tmp_path / "classes.txt").write_text("a\nb\n")
    (tmp_path / "list.csv").write_text("0.jpg,0,train\n1.jpg,1,train\n2.jpg,7,train\n3.jpg,1,val\n")
    assert [sample.name for sample in check_data(str(tmp_path / "list.csv"), limit=1).labels_out_of_range] == ["2.jpg"]


def test_run_check_says_by_its_code_how_it_went(
    damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert run_check("digits", split="val", out=out, limit=30) == 0
    assert "Nothing is wrong" in capsys.readouterr().out
    assert run_check(str(damaged), out=out, json=True) == 1
    assert json.loads(capsys.readouterr().out)["source"] == str(damaged)
    assert run_check("", out=out) == 2
    assert "the source is empty" in capsys.readouterr().err
    assert run_check(str(tmp_path / "gone"), out=out) == 2
    assert "gone: there is no such file or folder" in capsys.readouterr().err
    (tmp_path / "file").write_text("in the way")
    assert run_check("digits", split="val", out=str(tmp_path / "file"), limit=3) == 2
    assert "samples.png could not be written (Not a directory)" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------------
# contact sheets


def test_sheet_keeps_pixels_of_small_pictures_sharp() -> None:
    dots = Image.fromarray(np.indices((8, 8)).sum(0).astype(np.uint8) % 2 * 255)
    sheet = np.asarray(contact_sheet([dots], ["x"], cell=80))
    inside = sheet[20:100, 20:100]
    assert set(np.unique(inside)) == {0, 255}
    assert (inside[::10, ::10, 0] == np.asarray(dots)).all()


def test_sheet_fits_every_shape_and_caption() -> None:
    sizes = [(1, 1), (1, 5000), (4000, 3), (160, 160), (300, 200), (7, 5)]
    captions = ["", "ünïcödé Ω Ж →", "日本語 🎈", "bad \udcff \n\t name", ["one", "two " * 99], "x" * 500]
    images = [Image.new("RGB", size, "red") for size in sizes]
    sheet = contact_sheet(images, captions, columns=3, title="long title " * 30)
    assert sheet.size == (2 * 20 + 3 * 160 + 2 * 14, 20 + 34 + 2 * (160 + 6 + 2 * 19 + 14) - 14 + 20)
    pixels = np.asarray(sheet)
    edge = np.concatenate([pixels[:, :19].reshape(-1, 3), pixels[:, -19:].reshape(-1, 3)])
    assert (edge == 255).all()  # nothing, not even a long caption, runs into the margin
    assert (pixels == (255, 0, 0)).all(-1).sum() > 160 * 160


def test_sheet_refuses_what_does_not_match() -> None:
    with pytest.raises(ValueError, match="got 1 pictures and 2 captions; expected one caption each"):
        contact_sheet([Image.new("L", (3, 3))], ["a", "b"])
    with pytest.raises(ValueError, match="got 0 pictures"):
        contact_sheet([], [])
