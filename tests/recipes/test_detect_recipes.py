"""The recipes of detection: published numbers, parameters, and costs that follow from the network."""

import re
import subprocess
import sys

import pytest

from volovan.cli import main
from volovan.engine.schedule import check_schedule, learning_rate
from volovan.engine.settings import check_settings
from volovan.use.recipes import packaged
from volovan.use.rehearse import cost

RECIPES = [name.split("/")[1] for name in packaged() if name.startswith("detect/")]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PICTURES = 118_287
# Recipe -> trunk, head, epochs, published AP of boxes and of masks, parameters (van.md, tables 9 to 11 and 4.3)
PUBLISHED = {
    "coco_retinanet_van_b0": ("van_b0", "retinanet", 12, 38.8, None, 13_386_068),
    "coco_retinanet_van_b1": ("van_b1", "retinanet", 12, 42.3, None, 23_598_772),
    "coco_retinanet_van_b2": ("van_b2", "retinanet", 12, 44.9, None, 36_315_444),
    "coco_retinanet_van_b3": ("van_b3", "retinanet", 12, 47.5, None, 54_502_580),
    "coco_mask_rcnn_van_b0": ("van_b0", "mask_rcnn", 12, 40.2, 37.6, 23_885_136),
    "coco_mask_rcnn_van_b1": ("van_b1", "mask_rcnn", 12, 42.6, 38.9, 33_516_208),
    "coco_mask_rcnn_van_b2": ("van_b2", "mask_rcnn", 12, 46.4, 41.8, 46_232_880),
    "coco_mask_rcnn_van_b3": ("van_b3", "mask_rcnn", 12, 48.3, 43.4, 64_420_016),
    "coco_mask_rcnn_van_b2_3x": ("van_b2", "mask_rcnn", 36, 48.8, None, 46_232_880),
    "coco_cascade_mask_rcnn_van_b2_3x": ("van_b2", "cascade_mask_rcnn", 36, 52.0, None, 84_068_082),
    "coco_atss_van_b2_3x": ("van_b2", "atss", 36, 50.2, None, 34_181_018),
    "coco_gfl_van_b2_3x": ("van_b2", "gfl", 36, 50.8, None, 34_326_233),
    "coco_sparse_rcnn_van_b2": ("van_b2", "sparse_rcnn", 12, None, None, None),
    "coco_sparse_rcnn_van_b2_3x": ("van_b2", "sparse_rcnn", 36, None, None, None),
}
SMALLEST = {"embed_dims": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "mlp_ratios": (2, 2, 2, 2)}


@pytest.mark.parametrize("name", RECIPES)
def test_detect_recipe_holds_together(name, settings_of):
    recipe = settings_of(name)
    check_settings(recipe)
    check_schedule(recipe.schedule)
    recipe.check()
    assert recipe.task == "detect"


def test_every_published_pair_has_a_recipe():
    assert {name for name in RECIPES if name.startswith("coco_")} == {*PUBLISHED}


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipe_has_the_published_numbers(name, settings_of, header_of):
    trunk, head, epochs, boxes, masks, _ = PUBLISHED[name]
    recipe, augment, schedule = settings_of(name), settings_of(name).augment, settings_of(name).schedule
    assert (recipe.model.name, recipe.model.head, recipe.model.weights) == (trunk, head, "pretrained")
    assert (recipe.data.mean, recipe.data.std) == IMAGENET
    assert recipe.model.options == {"norm_eps": 1e-5}
    assert (recipe.train.batch_size, schedule.name, schedule.epochs, schedule.gamma) == (16, "step", epochs, 0.1)
    assert (augment.resize, augment.hflip, augment.jitter, augment.crop) == ((1333, 800), 0.5, None, None)
    assert recipe.test.size == (1333, 800)
    if epochs == 12:
        assert (schedule.milestones, schedule.warmup_steps, augment.window, augment.shorts) == ((8, 11), 500, 0, ())
    else:
        assert (schedule.milestones, schedule.warmup_steps, augment.window) == ((27, 33), 1000, 0.5)
        assert augment.shorts == tuple(range(480, 801, 32))
        assert (augment.window_shorts, augment.window_sides) == ((400, 500, 600), (384, 600))
    sparse = head == "sparse_rcnn"
    assert (recipe.optim.lr, recipe.optim.weight_decay) == ((2.5e-5, 1e-4) if sparse else (1e-4, 0.05))
    assert (recipe.optim.no_decay, recipe.optim.clip_norm) == ("norms", 1.0 if sparse else None)
    assert recipe.model.head_options.get("proposals") == ((100 if epochs == 12 else 300) if sparse else None)
    expect = header_of(name)["expect"]
    found = [float(number) for number in re.findall(r"\d+\.\d", expect)]
    assert found == [number for number in (boxes, masks) if number is not None]
    assert "ours: not run" in expect


def test_warm_up_and_steps_follow_the_published_schedule(settings_of):
    schedule, steps = settings_of("coco_retinanet_van_b0").schedule, PICTURES // 16
    rates = [learning_rate(schedule, 1e-4, step, steps) for step in (0, 250, 500, 8 * steps, 11 * steps)]
    assert rates == pytest.approx([1e-7, 1e-4 * (0.001 + 0.999 / 2), 1e-4, 1e-5, 1e-6], rel=0.01)


@pytest.mark.parametrize("name", PUBLISHED)
def test_cost_follows_from_the_network(name, settings_of, header_of):
    recipe, parameters = settings_of(name), PUBLISHED[name][-1]
    found = cost(recipe, 80)
    assert found.size == (800, 1333)
    assert parameters is None or found.parameters == parameters
    said = header_of(name)["cost"]
    gmacs, hours = (
        float(re.search(r"6 x ([\d.]+) GMACs", said)[1]),
        float(re.search(r"estimated ([\d.]+) GPU", said)[1]),
    )
    assert found.gmacs == pytest.approx(gmacs, rel=1e-4)
    assert hours == pytest.approx(6e9 * gmacs * PICTURES * recipe.schedule.epochs / 8e12 / 3600, rel=0.06)


# (trunk, head) -> printed GMACs at 1280 x 800 (table 11), "FLOPs" there; ours are those of convolutions and matrix
# products as torch's FlopCounterMode counts them, with 1000 boxes and 100 masks
PRINTED = {"mask_rcnn": 273, "cascade_mask_rcnn": 752, "atss": 221, "gfl": 224}


@pytest.mark.parametrize("head", PRINTED)
def test_operations_are_those_of_the_paper(head):
    import torch

    from volovan.detect.network import create_detector
    from volovan.detect.rehearse import Worked
    from volovan.models.cost import cost_of

    with torch.device("meta"):
        model, images = Worked(create_detector("van_b2", head, 80)), torch.empty(1, 3, 800, 1280)
    assert cost_of(model, images).gmacs == pytest.approx(PRINTED[head], rel=0.015)


def shrunk(recipe):
    """Words that make a recipe small."""
    head = {"width": 16}
    if recipe["model"]["head"].endswith("rcnn"):
        head |= {"proposals": 20} | ({"stages": 1} if "sparse" in recipe["model"]["head"] else {"taught": 16})
    words = [
        "--model.options",
        str({key: list(value) for key, value in SMALLEST.items()}),
        "--model.drop_path_rate",
        "0",
    ]
    words += ["--model.head_options", str(head), "--augment.resize", "[96,64]", "--test.size", "[96,64]"]
    augment = recipe["augment"]
    words += ["--augment.shorts", "[48,64]"] if "shorts" in augment else []
    words += ["--augment.window_shorts", "[64]", "--augment.window_sides", "[32,64]"] if "window" in augment else []
    return words + (["--augment.crop", "96"] if "crop" in augment else [])


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty folder that stays empty, and no data packs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOLOVAN_DATA", raising=False)
    yield
    assert not list(tmp_path.iterdir()), "a rehearsal has written something"


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize(
    "name",
    [
        "coco_cascade_mask_rcnn_van_b2_3x",
        "finetune_yolo",
        *(pytest.param(name, marks=pytest.mark.slow) for name in RECIPES),
    ],
)
def test_dry_run_of_detection_takes_two_steps(name, written, capsys):
    recipe = written(name)
    assert main(["fit", name, "--dry-run", *shrunk(recipe)]) == 0
    said = capsys.readouterr().out
    losses = [float(text) for text in re.findall(r"^step \d     loss ([\d.e+-]+),", said, flags=re.M)]
    assert len(losses) == 2
    assert all(0 < loss < 200 for loss in losses)
    assert "validated  2 pictures" in said
    assert ("random weights" in said) == ("weights" in recipe["model"])
    if name.startswith("coco"):
        assert "118,287 pictures to train on (known of coco)" in said


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_dry_run_of_detection_at_full_size(name):
    """Each in a process of its own, which gives its memory back."""
    command = [sys.executable, "-m", "volovan", "fit", name, "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    assert "validated  2 pictures" in done.stdout
