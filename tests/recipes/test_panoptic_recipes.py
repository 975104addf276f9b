"""The recipes of panoptic segmentation: published numbers, parameters, and costs that follow from the network."""

import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from volovan.cli import main
from volovan.engine.optim import parameter_groups
from volovan.engine.schedule import check_schedule, learning_rate
from volovan.engine.settings import check_settings
from volovan.use.recipes import packaged
from volovan.use.rehearse import cost
from volovan.use.rooms import ROOMS

RECIPES = [name.split("/")[1] for name in packaged() if name.startswith("panoptic/")]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PICTURES, CLASSES = 118_287, 133
# Recipe -> trunk, its weights, drop path, queries, published PQ, of things, of stuff (van.md, table 14 and 4.5)
PUBLISHED = {
    "coco_mask2former_van_b2": ("van_b2", "pretrained", 0.1, 100, 54.9, 61.2, 45.3),
    "coco_mask2former_van_b6_22k": ("van_b6", "van_b6_in22k", 0.3, 200, 58.2, 64.8, 48.2),
}
# Trunk -> channels and blocks of its stages (van.md, section 2)
STAGES = {"van_b2": ((64, 128, 320, 512), (3, 3, 12, 3)), "van_b6": ((96, 192, 384, 768), (6, 6, 90, 6))}
WIDTH, FFN, DECODER_FFN, LAYERS, HEADS, LEVELS, POINTS, DECODER_LAYERS = 256, 1024, 2048, 6, 8, 3, 4, 9
SMALL = ["--model.name", "van", "--model.options", "{embed_dims: [8, 8, 16, 16], depths: [1, 1, 1, 1]}"]
SMALL += ["--model.drop_path_rate", "0", "--loss.points", "64"]
SMALL += ["--augment.resize", "[64,64]", "--augment.crop", "64", "--test.size", "[64,64]"]
SMALL += ["--model.head_options", "{queries: 5, width: 32, encoder_layers: 1, decoder_layers: 2}"]


@pytest.mark.parametrize("name", RECIPES)
def test_panoptic_recipe_holds_together(name, settings_of):
    recipe = settings_of(name)
    check_settings(recipe)
    check_schedule(recipe.schedule)
    recipe.check()
    assert recipe.task == "panoptic"


def test_every_published_row_has_a_recipe():
    assert {name for name in RECIPES if name.startswith("coco_")} == {*PUBLISHED}


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipe_has_the_published_numbers(name, settings_of, header_of):
    trunk, weights, drop_path, queries, *qualities = PUBLISHED[name]
    recipe = settings_of(name)
    augment, loss, optim, schedule, test = recipe.augment, recipe.loss, recipe.optim, recipe.schedule, recipe.test
    assert (recipe.model.name, recipe.model.head, recipe.model.weights) == (trunk, "mask2former", weights)
    assert (recipe.model.head_options, recipe.model.drop_path_rate) == ({"queries": queries}, drop_path)
    assert (recipe.data.mean, recipe.data.std) == IMAGENET
    assert (augment.resize, augment.scale, augment.crop) == ((1024, 1024), (0.1, 2.0), 1024)
    assert (augment.hflip, augment.photometric) == (0.5, False)
    assert (loss.class_weight, loss.mask_weight, loss.dice_weight, loss.no_object) == (2, 5, 5, 0.1)
    assert (loss.points, loss.oversample, loss.importance) == (12_544, 3, 0.75)
    assert (optim.name, optim.lr, optim.weight_decay) == ("adamw", 1e-4, 0.05)
    assert (optim.trunk_lr, optim.clip_norm) == (0.1, 0.01)
    assert (recipe.train.batch_size, schedule.name, schedule.epochs, schedule.gamma) == (16, "step", 50, 0.1)
    assert (test.size, test.score, test.visible) == ((1333, 800), 0.8, 0.8)
    expect = header_of(name)["expect"]
    assert [float(number) for number in re.findall(r"\d+\.\d", expect)] == qualities
    assert "ours: not run" in expect


def test_steps_follow_the_published_schedule(settings_of):
    """Of 368,750 iterations at batch 16 the rate falls after 327,778 and 355,092; the first ten are as the others."""
    schedule, steps = settings_of("coco_mask2former_van_b2").schedule, 368_750 / 50
    assert steps == pytest.approx(PICTURES / 16, rel=0.003)

    def rate(step):
        return learning_rate(schedule, 1e-4, step, round(steps))

    assert [rate(step) for step in (0, 9, 10, 327_000)] == pytest.approx([1e-4] * 4)
    assert [rate(step) for step in (328_500, 354_500, 356_000)] == pytest.approx([1e-5, 1e-5, 1e-6])


# Parameters, from the shapes of the layers: weights and biases of what the papers name


def linear(inner, outer):
    return inner * outer + outer


def trunk_parameters(widths, depths):
    """van.md, sections 1 and 2: patches with BatchNorm, blocks of attention and MLP, a LayerNorm behind each stage."""
    total = 0
    for stage, (width, depth, ratio) in enumerate(zip(widths, depths, (8, 8, 4, 4), strict=True)):
        kernel, before = (7, 3) if stage == 0 else (3, widths[stage - 1])
        hidden, norm = ratio * width, 2 * width
        patches = kernel**2 * before * width + width + norm
        large_kernel = (25 + 1) * width + (49 + 1) * width + linear(width, width)
        attention = linear(width, width) + large_kernel + linear(width, width)
        mlp = linear(width, hidden) + (9 + 1) * hidden + linear(hidden, width)
        scales = 2 * width
        total += patches + depth * (norm + attention + norm + mlp + scales) + norm
    return total


def pixel_decoder_parameters(widths):
    """van.md 4.5: three maps through 1x1 and GroupNorm, six layers of deformable attention, a step to stride 4."""
    norm = 2 * WIDTH
    projections = sum(linear(width, WIDTH) + norm for width in widths[1:])
    samples = HEADS * LEVELS * POINTS
    attention = linear(WIDTH, 2 * samples) + linear(WIDTH, samples) + 2 * linear(WIDTH, WIDTH)
    layer = attention + norm + linear(WIDTH, FFN) + linear(FFN, WIDTH) + norm
    lateral = widths[0] * WIDTH + norm
    output = 9 * WIDTH**2 + norm
    return projections + LEVELS * WIDTH + LAYERS * layer + lateral + output + linear(WIDTH, WIDTH)


def transformer_decoder_parameters(queries):
    """Queries and what says where they look, levels, nine layers: to the map, among themselves, an FFN."""
    norm, attention = 2 * WIDTH, 4 * linear(WIDTH, WIDTH)
    layer = 2 * (attention + norm) + linear(WIDTH, DECODER_FFN) + linear(DECODER_FFN, WIDTH) + norm
    return 2 * queries * WIDTH + LEVELS * WIDTH + DECODER_LAYERS * layer + norm


PREDICTORS = linear(WIDTH, CLASSES + 1) + 3 * linear(WIDTH, WIDTH)


@pytest.mark.parametrize("name", PUBLISHED)
def test_cost_follows_from_the_network(name, settings_of, header_of):
    recipe, trunk, queries = settings_of(name), PUBLISHED[name][0], PUBLISHED[name][3]
    widths, depths = STAGES[trunk]
    found = cost(recipe, CLASSES)
    parts = trunk_parameters(widths, depths), pixel_decoder_parameters(widths), transformer_decoder_parameters(queries)
    assert (found.size, found.parameters) == ((1024, 1024), sum(parts) + PREDICTORS)
    said = header_of(name)["cost"]
    gmacs, hours = (float(re.search(rf"{what} ([\d.,]+)", said)[1].replace(",", "")) for what in ("6 x", "estimated"))
    assert found.gmacs == pytest.approx(gmacs, rel=1e-4)
    assert hours == pytest.approx(6e9 * gmacs * PICTURES * recipe.schedule.epochs / 8e12 / 3600, rel=0.06)


@pytest.mark.parametrize("name", PUBLISHED)
def test_trunk_learns_slower_and_queries_and_norms_do_not_decay(name, settings_of):
    recipe = settings_of(name)
    with torch.device("meta"):
        model = ROOMS["panoptic"].rehearsal().example(recipe, CLASSES).model
    groups = parameter_groups(model, recipe.optim)
    rates = {parameter: group["lr_scale"] for group in groups for parameter in group["names"]}
    decays = {parameter: group["weight_decay"] for group in groups for parameter in group["names"]}
    assert rates.keys() == dict(model.named_parameters()).keys()
    assert {rate for parameter, rate in rates.items() if parameter.startswith("trunk.")} == {0.1}
    assert {rate for parameter, rate in rates.items() if parameter.startswith("head.")} == {1}
    norms = [
        f"{layer}.{parameter}"
        for layer, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm)
        for parameter, _ in module.named_parameters()
    ]
    queries = [f"head.transformer_module.queries_{what}.weight" for what in ("embedder", "features")]
    levels = ["head.transformer_module.level_embed.weight", "head.pixel_decoder.level_embed"]
    assert {decays[parameter] for parameter in (*norms, *queries, *levels)} == {0}
    for parameter, weight in model.named_parameters():
        if weight.ndim > 1 and parameter not in (*queries, *levels):
            assert decays[parameter] == 0.05, parameter


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty folder that stays empty, and no data packs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOLOVAN_DATA", raising=False)
    yield
    assert not list(tmp_path.iterdir()), "a rehearsal has written something"


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("name", RECIPES)
def test_dry_run_of_panoptic_made_small(name, capsys):
    assert main(["fit", name, "--dry-run", *SMALL]) == 0
    said = capsys.readouterr().out
    losses = [float(text) for text in re.findall(r"^step \d     loss ([\d.e+-]+),", said, flags=re.M)]
    assert len(losses) == 2
    assert all(0 < loss < 200 for loss in losses)
    assert "validated  2 pictures" in said
    assert (", of the trunk times 0.1; weight decay 0.05 on" in said) == (name != "shapes_panoptic")
    if name.startswith("coco_"):
        assert "van with mask2former at 64 x 64, 133 outputs" in said
        assert "118,287 pictures to train on (known of coco)" in said


@pytest.mark.usefixtures("empty")
def test_plan_of_panoptic_says_what_a_run_costs(capsys):
    assert main(["fit", "coco_mask2former_van_b2", "--plan", "--batch", "2", *SMALL]) == 0
    said = capsys.readouterr().out
    assert "measured   on " in said
    assert re.search(rf"^estimate   .* for {50 * (PICTURES // 16) * 16:,} pictures", said, flags=re.M)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_dry_run_of_panoptic_at_full_size(name, tmp_path):
    """Each in a process of its own, which gives its memory back."""
    command = [sys.executable, "-m", "volovan", "fit", name, "--dry-run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "step 2" in done.stdout
