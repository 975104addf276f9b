"""Runs that are killed, folders that are nearly empty, odd sizes. Wrong masks: test_hostile_masks.py."""

import numpy as np
import pytest
from PIL import Image

from volovan.cli import main
from volovan.data.synthetic.shapes import draw_scene

EXACT = ["--train.checkpoint_steps", "2", "--train.ema", "0.9", "--train.log_steps", "1", "--train.batch_size", "4"]


@pytest.fixture
def folder(tmp_path):
    """folder(counts, sizes): pictures and masks, of split number i so many, picture j of the size sizes[j]."""

    def make(counts, sizes):
        root = tmp_path / "set"
        for split, count in zip(("train", "val"), counts, strict=True):
            for number in range(count):
                scene = draw_scene(split, number, *sizes[number % len(sizes)], "salient")
                for kind, pixels in (("images", scene.image), ("masks", scene.salient)):
                    path = root / kind / split / f"{number:02d}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(path)
        return root

    return make


@pytest.mark.slow  # the same of the engine is not
def test_three_kills_at_random_moments_change_no_bit(recipe_file, tmp_path, assert_kills_change_no_bit):
    """With boxes of other pictures and two sizes: all of it is drawn again as it was."""
    words = [str(recipe_file), *EXACT, "--train.workers", "1"]
    assert_kills_change_no_bit(words, tmp_path, at=(1, 3, 6))


@pytest.mark.slow
def test_seven_kills_at_random_moments_change_no_bit(recipe_file, tmp_path, assert_kills_change_no_bit):
    words = [str(recipe_file), *EXACT, "--train.precision", "bf16", "--schedule.epochs", "4"]
    assert_kills_change_no_bit(words, tmp_path, at=(1, 2, 4, 6, 8, 10, 13))


def test_validate_names_a_wrong_mask_or_leaves_it_out(run_folder, folder, capsys):
    root = folder((1, 3), [(64, 72)])
    Image.fromarray(np.zeros((64, 71), np.uint8)).save(root / "masks" / "val" / "01.png")
    words = ["validate", str(run_folder), "--data", str(root), "--workers", "0"]
    assert main(words) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("volovan ")]
    assert len(said) == 1
    assert "val/01.png" in said[0]
    assert main([*words, "--on-bad", "skip"]) == 0
    printed = capsys.readouterr().out
    assert "on 2 pictures" in printed
    assert "val/01.png" in printed


def test_a_folder_with_one_picture_trains(recipe_file, folder, tmp_path, capsys):
    root = folder((1, 1), [(64, 72)])
    assert main(["fit", str(recipe_file), "--data.source", str(root), "--out", str(tmp_path / "run")]) == 0
    assert main(["validate", str(tmp_path / "run"), "--workers", "0"]) == 0
    assert "on 1 pictures" in capsys.readouterr().out


def test_an_empty_folder_is_refused_in_one_sentence(recipe_file, tmp_path, capsys):
    for name in ("images", "masks"):
        (tmp_path / "empty" / name).mkdir(parents=True)
    words = ["--data.source", str(tmp_path / "empty"), "--out", str(tmp_path / "run")]
    assert main(["fit", str(recipe_file), *words]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("volovan ")]
    assert len(said) == 1
    assert "empty" in said[0]


def test_pictures_of_odd_and_mixed_sizes_train_and_are_scored_at_their_size(recipe_file, folder, tmp_path, capsys):
    root = folder((8, 3), [(33, 90), (64, 47), (71, 71)])
    assert main(["fit", str(recipe_file), "--data.source", str(root), "--out", str(tmp_path / "run")]) == 0
    assert main(["validate", str(tmp_path / "run"), "--workers", "0", "--size", "native"]) == 0
    assert "on 3 pictures" in capsys.readouterr().out
    out = tmp_path / "predictions"
    assert main(["predict", str(tmp_path / "run"), str(root / "images" / "val"), "--out", str(out)]) == 0
    assert {Image.open(mask).size for mask in (out / "masks").glob("*.png")} == {(90, 33), (47, 64), (71, 71)}
