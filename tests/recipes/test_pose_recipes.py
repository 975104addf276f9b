"""The recipes of pose: published numbers, parameters, and costs that follow from the network."""

import re
import subprocess
import sys

import pytest

from volovan.cli import main
from volovan.engine.schedule import check_schedule, learning_rate
from volovan.engine.settings import check_settings
from volovan.use.recipes import packaged
from volovan.use.rehearse import cost

RECIPES = [name.split("/")[1] for name in packaged() if name.startswith("pose/")]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PEOPLE = 149_813
# Recipe -> height and width, published AP and AR, printed GMACs (van.md, table 15)
PUBLISHED = {
    "coco_simple_van_b2_256x192": ((256, 192), 74.9, 80.3, 6.1),
    "coco_simple_van_b2_384x288": ((384, 288), 76.7, 81.7, 13.6),
}
SMALL = ["--model.name", "van", "--model.options", "{embed_dims: [8, 8, 16, 16], depths: [1, 1, 1, 1]}"]
SMALL += ["--model.head_options", "{width: 8}", "--model.drop_path_rate", "0", "--data.size", "[64,32]"]


@pytest.mark.parametrize("name", RECIPES)
def test_pose_recipe_holds_together(name, settings_of):
    recipe = settings_of(name)
    check_settings(recipe)
    check_schedule(recipe.schedule)
    recipe.check()
    assert recipe.task == "pose"


def test_every_published_row_has_a_recipe():
    assert {name for name in RECIPES if name.startswith("coco_")} == {*PUBLISHED}


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipe_has_the_published_numbers(name, settings_of, header_of):
    size, ap, ar, _ = PUBLISHED[name]
    recipe = settings_of(name)
    augment, target, schedule = recipe.augment, recipe.target, recipe.schedule
    assert (recipe.model.name, recipe.model.head, recipe.model.weights) == ("van_b2", "simple", "pretrained")
    assert (recipe.data.mean, recipe.data.std, recipe.data.size, recipe.data.padding) == (*IMAGENET, size, 1.25)
    assert (target.sigma, target.coding, target.aligned) == (2, "plain", False)
    assert (augment.half_body, augment.half_body_points, augment.hflip) == (0.3, 9, 0.5)
    assert (augment.scale, augment.rotate, augment.rotate_probability) == ((0.5, 1.5), 80, 0.6)
    assert (augment.shift, augment.shift_probability) == (0.16, 0.3)
    assert (recipe.optim.name, recipe.optim.lr, recipe.optim.weight_decay) == ("adam", 5e-4, 0)
    assert (schedule.name, schedule.epochs, schedule.milestones, schedule.gamma) == ("step", 210, (170, 200), 0.1)
    assert (recipe.test.flip, recipe.test.sure, recipe.test.similar) == (True, 0.2, 0.9)
    found = [float(number) for number in re.findall(r"\d+\.\d", header_of(name)["expect"])]
    assert found == [ap, ar]
    assert "ours: not run" in header_of(name)["expect"]


def test_warm_up_and_steps_follow_the_published_schedule(settings_of):
    schedule, steps = settings_of("coco_simple_van_b2_256x192").schedule, PEOPLE // 512
    rates = [learning_rate(schedule, 5e-4, step, steps) for step in (0, 250, 500, 170 * steps, 200 * steps)]
    assert rates == pytest.approx([5e-7, 5e-4 * (0.001 + 0.999 / 2), 5e-4, 5e-5, 5e-6], rel=0.01)


@pytest.mark.parametrize("name", PUBLISHED)
def test_cost_follows_from_the_network(name, settings_of, header_of):
    size, *_, printed = PUBLISHED[name]
    recipe = settings_of(name)
    found = cost(recipe, 17)
    assert (found.size, found.parameters) == (size, 30_265_681)
    assert found.gmacs == pytest.approx(printed, rel=0.015)
    said = header_of(name)["cost"]
    gmacs, hours = (float(re.search(rf"{what} ([\d.]+)", said)[1]) for what in ("6 x", "estimated"))
    assert found.gmacs == pytest.approx(gmacs, rel=1e-3)
    assert hours == pytest.approx(6e9 * gmacs * PEOPLE * recipe.schedule.epochs / 8e12 / 3600, rel=0.06)


@pytest.mark.parametrize("name", RECIPES)
def test_dry_run_of_every_recipe_made_small(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOLOVAN_DATA", raising=False)
    assert main(["fit", name, "--dry-run", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "points for" in out
    assert "step 2" in out
    if name.startswith("coco_"):
        assert "149,813 pictures to train on (known of coco)" in out
    assert not list(tmp_path.iterdir()), "a rehearsal has written something"


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_dry_run_of_pose_at_full_size(name, tmp_path):
    command = [sys.executable, "-m", "volovan", "fit", name, "--dry-run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "step 2" in done.stdout
