"""Masks that cannot be used: one sentence with the file's name, and nothing of the user's is touched."""

import hashlib
import re

import numpy as np
import pytest
from PIL import Image

from volovan.cli import main
from volovan.data import check_data
from volovan.data.synthetic.shapes_sources import SalientShapes


@pytest.fixture
def folder(tmp_path):
    """Twelve scenes to train on and two for val, as a folder of images and one of masks."""
    for split, count in (("train", 12), ("val", 2)):
        scenes = SalientShapes(split, count, (64, 72))
        for kind in ("images", "masks"):
            (tmp_path / "data" / kind / split).mkdir(parents=True)
        for index in range(count):
            scenes.load(index).save(tmp_path / "data/images" / split / f"{index}.jpg")
            Image.fromarray(scenes.target(index)).save(tmp_path / "data/masks" / split / f"{index}.png")
    return tmp_path / "data"


def digest(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def spoil(folder, kind):
    mask = folder / "masks/train/5.png"
    if kind == "size":
        Image.fromarray(np.zeros((64, 70), np.uint8)).save(mask)
    elif kind == "colour":
        Image.new("RGB", (72, 64), (255, 0, 0)).save(mask)
    elif kind == "cut off":
        mask.write_bytes(mask.read_bytes()[:60])
    elif kind == "no mask":
        mask.unlink()


@pytest.mark.parametrize("kind", ["size", "colour", "cut off", "no mask"])
def test_a_bad_mask_stops_the_run_with_its_name(folder, recipe_file, tmp_path, capsys, kind):
    spoil(folder, kind)
    before = digest(folder)
    words = ["--data.source", str(folder), "--out", str(tmp_path / "run"), "--train.batch_size", "12"]
    assert main(["fit", str(recipe_file), *words]) != 0
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "train/5." in error
    assert digest(folder) == before


def test_a_bad_mask_is_skipped_where_asked(folder, recipe_file, tmp_path, capsys):
    spoil(folder, "size")
    words = ["--data.source", str(folder), "--out", str(tmp_path / "run"), "--train.batch_size", "6"]
    assert main(["fit", str(recipe_file), *words, "--train.on_bad", "skip"]) == 0
    printed = capsys.readouterr().out
    assert "1 unreadable sample(s) were skipped" in printed


def test_a_16_bit_mask_is_read(folder, recipe_file, tmp_path):
    mask = folder / "masks/train/5.png"
    values = np.asarray(Image.open(mask)).astype(np.uint16) * 257
    Image.fromarray(values).save(mask)
    words = ["--data.source", str(folder), "--out", str(tmp_path / "run"), "--train.max_steps", "1"]
    assert main(["fit", str(recipe_file), *words, "--train.batch_size", "12"]) == 0


@pytest.mark.parametrize("largest", [1, 255, 256])
def test_a_16_bit_mask_with_the_values_of_8_bits_is_refused(folder, recipe_file, tmp_path, capsys, largest):
    mask = folder / "masks/train/5.png"
    values = np.asarray(Image.open(mask)) > 128
    Image.fromarray(values.astype(np.uint16) * np.uint16(largest)).save(mask)
    words = ["--data.source", str(folder), "--out", str(tmp_path / "run"), "--train.batch_size", "12"]
    assert main(["fit", str(recipe_file), *words]) != 0
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"train/5.png: 16-bit grey values up to {largest}, expected up to 65535" in error


def test_a_16_bit_mask_of_nothing_is_read(folder, recipe_file, tmp_path):
    Image.fromarray(np.zeros((64, 72), np.uint16)).save(folder / "masks/train/5.png")
    words = ["--data.source", str(folder), "--out", str(tmp_path / "run"), "--train.max_steps", "1"]
    assert main(["fit", str(recipe_file), *words, "--train.batch_size", "12"]) == 0


def test_masks_of_class_numbers_are_refused(folder, recipe_file, tmp_path, capsys):
    for mask in (folder / "masks").rglob("*.png"):
        Image.fromarray((np.asarray(Image.open(mask)) // 50).astype(np.uint8)).save(mask)
    words = ["--data.source", str(folder), "--out", str(tmp_path / "run")]
    assert main(["fit", str(recipe_file), *words]) == 2
    error = capsys.readouterr().err
    assert re.search(r"train split \(\d+ masks\) is 5, but what is salient lies above 128", error)
    assert "finetune_masks" in error
    report = check_data(str(folder), "map")
    assert not report.ok
    assert report.stops[0] in error
