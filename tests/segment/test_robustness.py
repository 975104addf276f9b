"""What a user meets: runs that are killed, masks that are wrong, folders that are nearly empty, odd sizes."""

import csv
import hashlib

import numpy as np
import pytest
from PIL import Image

from volovan.cli import main
from volovan.data.synthetic.shapes import draw_scene
from volovan.data.synthetic.shapes_classes import SHAPE_CLASSES

RECIPE = """\
task: segment
model:
  name: {trunk}
  head: {head}
  drop_path_rate: 0.1
  options: {options}
  head_options: {head_options}
data: {{source: "shapes:24@80x64"}}
augment: {{crop: 64, scale: [0.7, 1.4], class_ratio: 0.75, photometric: true}}
optim: {{lr: 2.0e-3}}
schedule: {{name: poly, epochs: 2, warmup_epochs: 0.5, per: step}}
train: {{batch_size: 4, workers: 1, ema: 0.9, checkpoint_steps: 2, log_steps: 1, tensorboard: false, device: cpu}}
"""
VAN = {
    "trunk": "van",
    "head": "fpn",
    "options": "{embed_dims: [8, 8, 16, 16], depths: [1, 1, 1, 1], mlp_ratios: [2, 2, 2, 2]}",
    "head_options": "{pyramid_channels: 16, channels: 16}",
}
UPERNET = VAN | {"head": "upernet", "head_options": "{channels: 16}"}
VOLO = VAN | {
    "trunk": "volo",
    "options": "{layers: [1, 1], embed_dims: [16, 32], num_heads: [1, 2], mlp_ratios: [2, 2], stem_width: 8, "
    "mixers: [outlook, attention], downsamples: [true, false]}",
}


@pytest.fixture
def recipe(tmp_path):
    """recipe(**VOLO): a recipe file that takes seconds."""

    def make(**blanks):
        path = tmp_path / "tiny.yaml"
        path.write_text(RECIPE.format(**(VAN | blanks)))
        return str(path)

    return make


@pytest.fixture
def folder(tmp_path):
    """Eight pictures to train on and two for val, with masks of ids and a classes.txt."""
    root = tmp_path / "set"
    for split, count in (("train", 8), ("val", 2)):
        for number in range(count):
            scene = draw_scene(split, number, 64, 72)
            for kind, pixels in (("images", scene.image), ("masks", scene.labels)):
                path = root / kind / split / f"{number:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    (root / "classes.txt").write_text("\n".join(about.name for about in SHAPE_CLASSES))
    return root


def hurt(mask, how):
    """Make a mask wrong in one of the ways that are met."""
    if how == "torn":
        mask.write_bytes(mask.read_bytes()[:-60])
    elif how == "missing":
        mask.unlink()
    else:
        Image.fromarray(WRONG[how](np.array(Image.open(mask)))).save(mask)


WRONG = {
    "wrong-size": lambda ids: ids[:-1],
    "colours": lambda ids: np.array([about.colour for about in SHAPE_CLASSES], np.uint8)[ids],
    "id-out-of-range": lambda ids: np.where(np.arange(ids.size).reshape(ids.shape) == 300, 77, ids).astype(np.uint8),
    "16-bit": lambda ids: ids.astype(np.uint16) * 257,
}
SAID = {
    "wrong-size": "72 x 63",
    "colours": "colours instead of ids",
    "id-out-of-range": "id 77 in 1 pixel",
    "16-bit": "expected 0 to 9",
    "torn": "",
    "missing": "has no mask",
}


def digests(root):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


def one_sentence(captured, name):
    """What a user sees of an error: one line on standard error, with the name of the file."""
    lines = [line for line in captured.err.splitlines() if line.startswith("volovan ")]
    assert len(lines) == 1
    assert name in lines[0]
    assert "Traceback" not in captured.err
    return lines[0]


def words(recipe, folder, out, *more):
    keys = ["--data.source", str(folder), "--train.workers", "0", "--augment.crop", "32", "--schedule.epochs", "1"]
    return ["fit", recipe, "--out", str(out), *keys, *more]


# ---- killed ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # the same of the engine is not
def test_three_kills_at_random_moments_change_no_bit(recipe, tmp_path, assert_kills_change_no_bit):
    assert_kills_change_no_bit([recipe()], tmp_path, at=(1, 5, 9))


@pytest.mark.slow
@pytest.mark.parametrize("blanks", [VAN | {"head": "ham"}, UPERNET, VOLO], ids=["ham", "upernet", "volo"])
def test_seven_kills_at_random_moments_change_no_bit(recipe, tmp_path, assert_kills_change_no_bit, blanks):
    if blanks["head"] == "ham":
        blanks = blanks | {"head_options": "{channels: 32, rank: 8}"}
    words = [recipe(**blanks), "--train.precision", "bf16", "--schedule.epochs", "3"]
    assert_kills_change_no_bit(words, tmp_path, at=(1, 2, 4, 6, 9, 13, 17))


# ---- wrong masks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", SAID)
@pytest.mark.parametrize("split", ["train", "val"])
def test_fit_names_a_wrong_mask_in_one_sentence_and_loses_nothing(recipe, folder, tmp_path, capsys, split, how):
    hurt(folder / "masks" / split / "01.png", how)
    before = digests(folder)
    assert main(words(recipe(), folder, tmp_path / "run")) == 2
    said = one_sentence(capsys.readouterr(), f"{split}/01.png")
    assert SAID[how] in said
    assert digests(folder) == before


@pytest.mark.parametrize("how", [how for how in SAID if how != "missing"])
def test_fit_goes_on_without_a_wrong_mask_where_that_is_asked_for(recipe, folder, tmp_path, capsys, how):
    for split in ("train", "val"):
        hurt(folder / "masks" / split / "01.png", how)
    assert main(words(recipe(), folder, tmp_path / "run", "--train.on_bad", "skip")) == 0
    said = capsys.readouterr().out
    assert "train/01.png" in said
    assert "val/01.png" in said
    assert (tmp_path / "run" / "checkpoints" / "best.safetensors").is_file()


def test_a_run_that_a_wrong_mask_stopped_goes_on_when_it_is_mended(recipe, folder, tmp_path, capsys, assert_same_run):
    epochs = ["--schedule.epochs", "2", "--train.checkpoint_steps", "1"]
    assert main(words(recipe(), folder, tmp_path / "whole", *epochs)) == 0
    mask = folder / "masks" / "val" / "01.png"
    sound = mask.read_bytes()
    hurt(mask, "id-out-of-range")
    assert main(words(recipe(), folder, tmp_path / "cut", *epochs)) == 2
    capsys.readouterr()
    mask.write_bytes(sound)
    assert main(["fit", "--resume", str(tmp_path / "cut")]) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_validate_names_a_wrong_mask_or_leaves_it_out(recipe, folder, tmp_path, capsys):
    assert main(words(recipe(), folder, tmp_path / "run")) == 0
    mask = folder / "masks" / "val" / "01.png"
    sound = mask.read_bytes()
    for how in SAID:
        mask.write_bytes(sound)
        hurt(mask, how)
        capsys.readouterr()
        assert main(["validate", str(tmp_path / "run"), "--workers", "0"]) == 2
        assert SAID[how] in one_sentence(capsys.readouterr(), "val/01.png")
        if how != "missing":
            assert main(["validate", str(tmp_path / "run"), "--workers", "0", "--on-bad", "skip"]) == 0
            said = capsys.readouterr().out
            assert "on 1 pictures" in said
            assert "val/01.png" in said


# ---- folders and sizes ----------------------------------------------------------------------------------------------


def test_16_bit_masks_of_known_ids_are_masks_like_others(recipe, folder, tmp_path):
    for mask in folder.glob("masks/*/*.png"):
        Image.fromarray(np.array(Image.open(mask)).astype(np.uint16)).save(mask)
    assert main(words(recipe(), folder, tmp_path / "run")) == 0


def test_a_folder_with_one_picture_trains(recipe, folder, tmp_path, capsys):
    for path in folder.glob("*/*/*.png"):
        if path.stem != "00":
            path.unlink()
    assert main(words(recipe(), folder, tmp_path / "run")) == 0
    assert main(["validate", str(tmp_path / "run"), "--workers", "0"]) == 0
    assert "on 1 pictures" in capsys.readouterr().out


def test_an_empty_folder_is_refused_in_one_sentence(recipe, tmp_path, capsys):
    for name in ("images", "masks"):
        (tmp_path / "empty" / name).mkdir(parents=True)
    assert main(words(recipe(), tmp_path / "empty", tmp_path / "run")) == 2
    one_sentence(capsys.readouterr(), "empty")


def test_pictures_of_odd_and_mixed_sizes_train_and_keep_their_size(recipe, folder, tmp_path):
    sizes = {}
    for path in sorted(folder.glob("images/*/*.png")):
        mask = folder / "masks" / path.relative_to(folder / "images")
        height, width = sizes[str(path)] = (33 + 7 * int(path.stem), 90 - 5 * int(path.stem))
        Image.open(path).resize((width, height)).save(path)
        Image.open(mask).resize((width, height), Image.Resampling.NEAREST).save(mask)
    out = tmp_path / "predictions"
    assert main(words(recipe(), folder, tmp_path / "run")) == 0
    assert main(["predict", str(tmp_path / "run"), str(folder / "images"), "--out", str(out), "--workers", "0"]) == 0
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(sizes)
    for row in rows:
        assert Image.open(out / row["mask"]).size == sizes[row["file"]][::-1]
