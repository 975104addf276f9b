"""The head of every packaged recipe: data, run, cost, expect, differs; costs follow from stated figures."""

import re
from pathlib import Path

import pytest

from volovan.use.recipes import packaged

ALL = [name.split("/")[1] for name in packaged()]
RECIPES = [name.split("/")[1] for name in packaged() if name.startswith("classify/")]
DENSE = [  # those of shapes and CamVid are described in docs/segmentation.md, detection.md, panoptic.md and pose.md
    name.split("/")[1]
    for name in packaged()
    if re.match("segment/(ade20k|cityscapes|graz02|finetune)|(detect|panoptic|pose)/(coco|finetune)", name)
]
PUBLISHED = {  # top-1 in per cent; VOLO's and LV-ViT's READMEs, VAN's tables 7, 8 and 16, VAN-Jittor's log
    "volo_d1": 84.2, "volo_d2": 85.2, "volo_d3": 85.4, "volo_d4": 85.7, "volo_d5": 86.1,
    "volo_d1_384": 85.2, "volo_d2_384": 86.0, "volo_d3_448": 86.3,
    "volo_d4_448": 86.79, "volo_d5_448": 87.0, "volo_d5_512": 87.07,
    "lvvit_s": 83.3, "lvvit_m": 84.0, "lvvit_s_384": 84.4,
    "van_b0": 75.4, "van_b1": 81.1, "van_b2": 82.8, "van_b3": 83.9, "van_b4": 84.2,
    "van_b4_22k_224": 85.7, "van_b5_22k_224": 86.3, "van_b6_22k_224": 86.9,
    "van_b4_22k_384": 86.6, "van_b5_22k_384": 87.0, "van_b6_22k_384": 87.8,
    "cub200_van_b4": 91.3, "cub200_van_b2": 87.6,
}  # fmt: skip
# Pictures/s of a prediction on an RTX 3090 (VAN, table 4); others: what 8 TFLOP/s give, as those figures amount to.
SPEED = {"van_b0": 2140, "van_b1": 1420, "van_b2": 762, "van_b3": 452, "van_b4": 341}
PICTURES = {"imagenet": 1_281_167, "imagenet22k": 14_197_122, "cub200": 5_994, "flowers102": 1_020, "vizwiz": 8_900}
GMACS = {  # at the size of the recipe (tests/models/test_counts.py counts them)
    "volo_d1": {224: 6.919, 384: 22.680}, "volo_d2": {224: 14.305, 384: 46.064}, "volo_d3": {224: 20.732, 448: 96.129},
    "volo_d4": {224: 44.263, 448: 196.841}, "volo_d5": {224: 72.301, 448: 314.651, 512: 424.558},
    "lvvit_s": {224: 6.552, 384: 21.896}, "lvvit_m": {224: 12.678}, "lvvit_l": {224: 34.637},
    "van_b4": {224: 12.1438, 384: 35.6868}, "van_b5": {224: 17.1291, 384: 50.3372},
    "van_b6": {224: 38.7101, 384: 113.7588},
}  # fmt: skip
ESTIMATED = [name for name in RECIPES if not name.startswith(("cifar10", "digits", "finetune", "small"))]


@pytest.mark.parametrize("name", ALL)
def test_header_says_data_run_cost_expect(name, header_of):
    header = header_of(name)
    assert len(header["title"]) > 20
    assert all(header.get(field) for field in ("data", "run", "cost", "expect"))
    assert re.search(rf"volovan fit {name}\b", header["run"])


@pytest.mark.parametrize("name", ESTIMATED)
def test_header_of_a_published_run_says_where_sources_differ(name, header_of):
    assert len(header_of(name)["differs"]) > 40


@pytest.mark.parametrize("name", ESTIMATED)
def test_header_expects_what_is_published(name, header_of):
    expect = header_of(name)["expect"]
    assert expect.endswith("ours: not run") or name == "vizwiz_volo_d5"
    found = re.match(r"top-1 ([\d.]+)", expect)
    if name in PUBLISHED:
        assert float(found[1]) == PUBLISHED[name]
    elif name == "volo_d1_image_level":
        assert float(found[1]) == 82.6
    else:
        assert found is None, "a figure that nobody has published"


@pytest.mark.parametrize("name", ESTIMATED)
def test_cost_of_a_header_follows_from_the_figures_it_names(name, header_of, settings_of):
    cost, recipe = header_of(name)["cost"], settings_of(name)
    hours = float(re.search(r"estimated ([\d.,]+) GPU hours of an RTX 3090", cost)[1].replace(",", ""))
    epochs = recipe.schedule.epochs + recipe.schedule.cooldown_epochs
    speed = SPEED.get(recipe.model.name)
    if "times the published inference time" in cost:
        assert f"{speed:,} pictures/s" in cost
    else:
        gmacs = float(re.search(r"6 x ([\d.]+) GMACs", cost)[1])
        assert gmacs == pytest.approx(GMACS[recipe.model.name][recipe.data.size], rel=1e-5)
        speed = 8e12 / (2e9 * gmacs)
    # Training is taken as three times the forward pass.
    assert hours == pytest.approx(3 * PICTURES[recipe.data.source] * epochs / speed / 3600, rel=0.06)
    assert "not measured" in cost


def row_of(name, header):
    """The row of a recipe in the table of docs/recipes.md."""
    expect = header["expect"].removesuffix("; ours: not run")
    hours = re.search(r"estimated ([\d.,]+) GPU hours", header["cost"])
    cost = f"{hours[1]} h" if hours else header["cost"]
    return f"| `{name}` | {header['title']} | {expect} | {cost} |"


def test_table_of_the_documents_is_that_of_the_headers(header_of):
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    found = [line for line in page.splitlines() if re.match(r"\| `\w+` \| .* \| .* \| .* \|$", line)]
    expected = [row_of(name, header_of(name)) for name in (*RECIPES, *DENSE)]
    assert sorted(found) == sorted(expected), "docs/recipes.md should have these rows:\n" + "\n".join(expected)
