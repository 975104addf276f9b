"""The numbers of the recipes, row by row against what the authors published."""

import pytest

from volovan.models.weights import get_entry
from volovan.use.recipes import packaged

# Name -> network, size, label size, batch, rate, lowest rate, epochs, cool-down, warm-up, decay, drop path, crop,
# dense weight, ground-truth mixing, EMA.
TOKEN_LABELS = {
    # VOLO's commands and the paper's table of settings
    "volo_d1": ("volo_d1", 224, 14, 1024, 1.6e-3, 1e-5, 300, 10, 20, 0.05, 0.1, 0.96, 0.5, False, None),
    "volo_d2": ("volo_d2", 224, 14, 1024, 1e-3, 1e-5, 300, 10, 20, 0.05, 0.2, 0.96, 0.5, False, None),
    "volo_d3": ("volo_d3", 224, 14, 1024, 1e-3, 1e-5, 300, 10, 20, 0.05, 0.5, 0.96, 0.5, False, None),
    "volo_d4": ("volo_d4", 224, 14, 1024, 1e-3, 1e-5, 300, 10, 20, 0.05, 0.5, 1.15, 0.5, False, None),
    "volo_d5": ("volo_d5", 224, 14, 1024, 8e-4, 1e-5, 300, 10, 20, 0.05, 0.75, 1.15, 0.5, False, None),
    "volo_d1_384": ("volo_d1", 384, 24, 512, 8e-6, 4e-6, 30, 10, 5, 1e-8, 0.1, 0.96, 0.5, True, None),
    "volo_d2_384": ("volo_d2", 384, 24, 384, 8e-6, 4e-6, 30, 10, 5, 1e-8, 0.2, 0.96, 0.5, True, None),
    "volo_d3_448": ("volo_d3", 448, 28, 240, 8e-6, 4e-6, 30, 10, 5, 1e-8, 0.5, 0.96, 0.5, True, None),
    "volo_d4_448": ("volo_d4", 448, 28, 512, 5e-6, 4e-6, 30, 10, 5, 1e-8, 0.5, 1.15, 0.5, True, None),
    "volo_d5_448": ("volo_d5", 448, 28, 512, 5e-6, 4e-6, 30, 10, 5, 1e-8, 0.75, 1.15, 0.5, True, None),
    "volo_d5_512": ("volo_d5", 512, 32, 512, 5e-6, 4e-6, 30, 10, 5, 1e-8, 0.75, 1.15, 0.5, True, None),
    # LV-ViT's commands
    "lvvit_s": ("lvvit_s", 224, 14, 1024, 1.6e-3, 1e-5, 300, 10, 5, 0.05, 0.1, 0.9, 1.0, False, 0.99992),
    "lvvit_m": ("lvvit_m", 224, 14, 1024, 1.6e-3, 1e-5, 300, 10, 5, 0.05, 0.2, 1.0, 1.0, False, 0.99992),
    "lvvit_l": ("lvvit_l", 224, 14, 1024, 1e-3, 1e-5, 300, 10, 5, 0.05, 0.3, 1.0, 1.0, False, 0.99992),
    "lvvit_s_384": ("lvvit_s", 384, 24, 512, 5e-6, 5e-6, 30, 10, 5, 1e-8, 0.1, 0.9, 1.0, False, None),
}


@pytest.mark.parametrize("name", TOKEN_LABELS)
def test_token_label_recipe_has_the_published_numbers(name, settings_of):
    recipe = settings_of(name)
    found = (
        recipe.model.name,
        recipe.data.size,
        recipe.labels.size,
        recipe.train.batch_size,
        recipe.optim.lr,
        recipe.schedule.min_lr,
        recipe.schedule.epochs,
        recipe.schedule.cooldown_epochs,
        recipe.schedule.warmup_epochs,
        recipe.optim.weight_decay,
        recipe.model.drop_path_rate,
        recipe.data.crop_pct,
        recipe.labels.dense_weight,
        recipe.labels.ground_truth,
        recipe.train.ema,
    )
    assert found == TOKEN_LABELS[name]
    assert recipe.train.ema_buffers == "average"  # timm's ModelEmaV2


@pytest.mark.parametrize("name", [*TOKEN_LABELS, "volo_d1_image_level"])
def test_volo_and_lvvit_share_the_rest(name, settings_of):
    recipe, schedule = settings_of(name), settings_of(name).schedule
    ops = 3 if name == "lvvit_l" else 2  # RandAugment's default is two
    spec = "rand-m9-n3-mstd0.5-inc1" if ops == 3 else "rand-m9-mstd0.5-inc1"
    assert recipe.augment.randaugment == spec
    assert (recipe.augment.erase, recipe.augment.erase_mode, recipe.augment.erase_count) == (0.25, "pixel", 1)
    assert (recipe.augment.crop, recipe.augment.crop_scale) == ("random_resized", (0.08, 1.0))
    assert recipe.augment.crop_ratio == pytest.approx((3 / 4, 4 / 3))
    assert (recipe.augment.interpolation, recipe.augment.hflip) == ("random", 0.5)
    assert (recipe.optim.name, recipe.optim.betas, recipe.optim.eps) == ("adamw", (0.9, 0.999), 1e-8)
    assert (recipe.optim.clip_norm, recipe.optim.layer_decay, recipe.train.seed) == (None, 1.0, 42)
    assert (schedule.name, schedule.per, schedule.warmup_lr) == ("cosine", "epoch", 1e-6)
    assert recipe.loss.smoothing == 0.1
    if name == "volo_d1_image_level":
        assert (recipe.augment.mixup, recipe.augment.cutmix, recipe.augment.mixtoken) == (0.2, 1.0, 0.0)
        assert recipe.labels.source is None
    else:
        assert (recipe.augment.mixup, recipe.augment.cutmix, recipe.augment.mixtoken) == (0.0, 0.0, 1.0)
        assert (recipe.labels.class_weight, recipe.labels.order) == (1.0, "right")
        assert recipe.labels.size == recipe.data.size / 16


# Name -> drop path (B4: a public reproduction's).
VAN_1K = {"van_b0": 0.1, "van_b1": 0.1, "van_b2": 0.1, "van_b3": 0.2, "van_b4": 0.2}


@pytest.mark.parametrize("name", VAN_1K)
def test_van_on_imagenet_1k_is_the_authors_script(name, settings_of):
    recipe, schedule = settings_of(name), settings_of(name).schedule
    assert (recipe.model.name, recipe.model.drop_path_rate) == (name, VAN_1K[name])
    assert (recipe.data.size, recipe.data.crop_pct) == (224, 0.9)
    assert recipe.data.mean == recipe.data.std == (0.5, 0.5, 0.5)
    assert (recipe.train.batch_size, recipe.optim.lr, recipe.optim.weight_decay) == (1024, 1e-3, 0.05)
    assert (schedule.epochs, schedule.cooldown_epochs, schedule.warmup_epochs) == (300, 10, 5)
    assert (schedule.warmup_lr, schedule.min_lr, schedule.per) == (1e-6, 1e-6, "epoch")
    assert (recipe.augment.mixup, recipe.augment.cutmix, recipe.augment.switch_prob) == (0.8, 1.0, 0.5)
    assert (recipe.augment.mix_prob, recipe.augment.erase, recipe.loss.smoothing) == (1.0, 0.25, 0.1)
    assert recipe.augment.randaugment == "rand-m9-mstd0.5-inc1"
    assert (recipe.optim.clip_norm, recipe.train.ema, recipe.train.precision) == (None, None, "fp32")


@pytest.mark.parametrize("name", ["van_b4", "van_b5", "van_b6"])
def test_van_on_imagenet_22k_is_the_authors_script(name, settings_of):
    recipe, schedule = settings_of(f"{name}_22k"), settings_of(f"{name}_22k").schedule
    assert (recipe.model.name, recipe.model.drop_path_rate, recipe.model.weights) == (name, 0.1, None)
    assert recipe.train.batch_size == 64 * 64 * 2
    assert (recipe.train.accumulate, recipe.train.ema) == (2, None)
    assert (recipe.optim.lr, recipe.optim.weight_decay, recipe.optim.layer_decay) == (4e-3, 0.05, 1.0)
    assert (schedule.epochs, schedule.cooldown_epochs, schedule.warmup_epochs) == (90, 0, 5)
    assert (schedule.warmup_lr, schedule.min_lr, schedule.per) == (0.0, 1e-6, "step")
    assert (recipe.augment.mixup, recipe.augment.cutmix) == (0.8, 1.0)
    assert (recipe.data.mean, recipe.data.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("size", [224, 384])
@pytest.mark.parametrize(("name", "drop_path"), [("van_b4", 0.2), ("van_b5", 0.2), ("van_b6", 0.3)])
def test_van_fine_tuned_from_22k_is_the_authors_script(name, drop_path, size, settings_of):
    recipe, schedule = settings_of(f"{name}_22k_{size}"), settings_of(f"{name}_22k_{size}").schedule
    assert (recipe.model.name, recipe.model.drop_path_rate, recipe.data.size) == (name, drop_path, size)
    assert (recipe.train.batch_size, recipe.train.ema) == (512, None)
    assert (recipe.optim.lr, recipe.optim.weight_decay, recipe.optim.layer_decay) == (5e-5, 1e-8, 1.0)
    assert (schedule.epochs, schedule.cooldown_epochs, schedule.warmup_epochs, schedule.min_lr) == (30, 0, 0, 1e-6)
    assert (recipe.augment.mixup, recipe.augment.cutmix, recipe.augment.erase) == (0.0, 0.0, 0.25)
    assert (recipe.augment.randaugment, recipe.loss.smoothing) == ("rand-m9-mstd0.5-inc1", 0.1)
    assert (recipe.data.mean, recipe.data.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    # 224: the shorter side to 256, then the centre; 384: both sides to 384, nothing cut off
    assert recipe.data.eval_mode == ("center" if size == 224 else "squash")
    assert recipe.data.crop_pct == (224 / 256 if size == 224 else 1.0)


def test_cub200_recipes_have_the_published_numbers(settings_of):
    paper, script = settings_of("cub200_van_b4"), settings_of("cub200_van_b2")
    assert (paper.optim.name, paper.optim.lr, paper.optim.weight_decay) == ("adamw", 5e-5, 5e-4)
    assert (paper.schedule.name, paper.schedule.epochs, paper.train.batch_size) == ("cosine", 100, 16)
    assert (paper.data.size, paper.data.crop_pct) == (384, pytest.approx(384 / 510, abs=1e-3))
    assert paper.augment.crop_scale == (pytest.approx((384 / 510) ** 2, abs=1e-3),) * 2
    assert (paper.model.weights, paper.data.mean) == ("van_b4_in22k", (0.485, 0.456, 0.406))
    assert (script.optim.name, script.optim.lr, script.optim.weight_decay) == ("adam", 1e-4, 2e-5)
    assert (script.schedule.epochs, script.schedule.cooldown_epochs, script.schedule.min_lr) == (25, 5, 1e-5)
    assert (script.train.batch_size, script.augment.mixup, script.augment.cutmix) == (24, 0.2, 1.0)
    assert (script.data.size, script.data.crop_pct, script.loss.smoothing) == (224, 224 / 256, 0.1)


@pytest.mark.parametrize("name", [name.split("/")[1] for name in packaged()])
def test_weights_to_start_from_are_in_the_table_and_of_the_network(name, settings_of):
    model = settings_of(name).model
    if str(model.weights).startswith("runs/"):  # what another recipe leaves
        assert str(model.weights).removeprefix("runs/") in {full.split("/")[1] for full in packaged()}
    elif model.weights not in (None, "pretrained"):
        entry = get_entry(model.weights)
        assert (entry.name, entry.model) == (model.weights, model.name)
