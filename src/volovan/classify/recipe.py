"""Settings of a classification run. Without torch: `--help` must be instant."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from volovan.engine.settings import SettingsError
from volovan.room.settings import RoomRecipe, SizedSettings, at_least, between, of_key, rising


@dataclass
class DataSettings(SizedSettings):
    """Where pictures come from, and how the network sees them."""

    LEAST: ClassVar[int] = 8
    source: str = "digits"
    """class folders, manifest (.csv, .tsv), shards (.tar, .tar.gz, glob), ImageNet, CIFAR, hf:NAME or digits"""
    crop_pct: float | None = None
    """validation: the shorter side is resized to size / crop_pct, then the centre is cut out; above 1 leaves a black
    border; null: what the weights were made for, or the variant's"""
    eval_mode: Literal["center", "squash"] = "center"
    """center: resize the shorter side and crop; squash: resize both sides to the size"""


@dataclass
class AugmentSettings:
    """Training augmentation, in this order: crop, flip, RandAugment or colour jitter, normalise, erase; then mixing."""

    crop: Literal["random_resized", "pad", "none"] = "random_resized"
    """random_resized: a random part, resized; pad: pad by `pad` pixels and cut a random window; none: as validation"""
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """share of the area of a random part"""
    crop_ratio: tuple[float, float] = (0.75, 1.3333333333333333)
    """width / height of a random part"""
    reduced: bool = True
    """decode no more of a large JPEG than a random part needs: a half, a quarter, an eighth of its sides, if the part
    then still has twice the pixels that the network sees; with label maps do RandAugment on no more than the part
    needs, at the resolution of the view; false: all of it, both"""
    on_device: bool = False
    """flip and RandAugment where the network is, not in the loader's processes: by torch, with the same random numbers;
    without label maps, and for what torch knows"""
    pad: int = 4
    """border of `crop: pad`"""
    interpolation: Literal["random", "bicubic", "bilinear", "nearest"] = "random"
    """random: bilinear or bicubic by chance"""
    filter: Literal["quick", "pillow"] = "quick"
    """quick: by torch where the processor has AVX2, within 2 of 255 of what Pillow gives; pillow: by Pillow"""
    hflip: float = 0.5
    """probability of a left-right flip"""
    vflip: float = 0.0
    """probability of an upside-down flip"""
    randaugment: str | None = "rand-m9-mstd0.5-inc1"
    """timm's notation; null: none"""
    color_jitter: float = 0.4
    """brightness, contrast and saturation; without effect while RandAugment is on, as in both papers' scripts"""
    erase: float = 0.25
    """probability of random erasing"""
    erase_mode: Literal["pixel", "rand", "const"] = "pixel"
    """noise per pixel, one random colour, or black"""
    erase_count: int = 1
    """largest number of erased boxes"""
    mixup: float = 0.0
    """alpha of mixup; 0: off"""
    cutmix: float = 0.0
    """alpha of cutmix; 0: off"""
    mix_prob: float = 1.0
    """probability that a batch is mixed at all"""
    switch_prob: float = 0.5
    """probability of cutmix where both are on"""
    mixtoken: float = 0.0
    """alpha of MixToken (VOLO, LV-ViT), which mixes tokens behind the patch embedding; 1 in both papers, 0: off"""
    mixtoken_box: Literal["rank", "shared"] = "rank"
    """each process draws a box of its own, as published, or all use the same"""


@dataclass
class LossSettings:
    """What is learned, and the loss."""

    target: Literal["class", "multi_label", "regression"] = "class"
    """class: one of each picture; multi_label: any number of classes, from a list with the column `labels`; regression:
    one or more numbers, from columns `value:NAME`"""
    name: Literal["cross_entropy", "binary"] = "cross_entropy"
    """cross entropy (soft targets when pictures are mixed), or binary cross entropy of each class"""
    regression: Literal["mse", "l1", "smooth_l1"] = "mse"
    """loss of `target: regression`, on numbers that are standardised over the training data"""
    smoothing: float = 0.1
    """label smoothing; without effect in regression"""
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"
    """balanced: inverse to the class counts, mean 1 over the samples; or one number per class. multi_label: weight of
    the pictures to which a class applies; balanced makes them weigh as much as the others"""


@dataclass
class LabelSettings:
    """Token labeling: dense labels of a teacher (`volovan label`), followed through every augmentation."""

    source: str | None = None
    """folder of label maps, published or compact layout; null: no token labeling"""
    size: int | None = None
    """rows and columns of the targets; null: the token grid of the model; 1: one soft label per picture"""
    dense_weight: float = 0.5
    """weight of the patch loss: 0.5 VOLO, 1 LV-ViT"""
    class_weight: float = 1.0
    """weight of the class-token loss"""
    ground_truth: bool = False
    """mix the true class into the target of the class token: half of it where the teacher agrees, a tenth where not"""
    order: Literal["right", "official"] = "right"
    """official: rows and columns of the crop exchanged, as in the published code"""
    coverage: Literal["auto", "centre", "image", "official"] = "auto"
    """what of the picture a map covers: its centre square, or all of it; auto: what the maps say of themselves, or the
    centre square; official: crops are laid on a centre-square map as if it covered the picture, as published"""


@dataclass
class Recipe(RoomRecipe):
    """A classification run: all settings."""

    PATHS: ClassVar[tuple[str, ...]] = (*RoomRecipe.PATHS, "labels.source")
    ELSEWHERE: ClassVar[Mapping[str, str]] = {
        "augment.resize": "data.size",
        "augment.scale": "augment.crop_scale, the share of the area of a random part",
        "augment.photometric": "augment.color_jitter",
        "test.size": "data.eval_size",
        "model.head_options": "model.options",
    }
    task: Literal["classify"] = "classify"
    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    labels: LabelSettings = field(default_factory=LabelSettings)

    def check(self) -> None:
        super().check()
        augment = self.augment
        for key in ("hflip", "vflip", "erase", "mix_prob", "switch_prob"):
            between(f"augment.{key}", getattr(augment, key), 0, 1)
        for key in ("mixup", "cutmix", "mixtoken", "color_jitter", "pad"):
            at_least(f"augment.{key}", getattr(augment, key), 0)
        for key in ("crop_scale", "crop_ratio"):
            rising(f"augment.{key}", getattr(augment, key))
        if augment.erase_count < 1:
            raise SettingsError(
                f"augment.erase_count is {augment.erase_count}; at least 1 is needed; augment.erase 0 is off"
            )
        if not 0 <= self.loss.smoothing < 1:
            raise SettingsError(f"loss.smoothing is {self.loss.smoothing}; it must be at least 0 and below 1")
        between("data.crop_pct", self.data.crop_pct, 0.1, 10)
        _check_labels(self)
        _check_target(self)

    def check_paths(self, kind: str) -> None:
        from volovan.labels.errors import existing

        super().check_paths(kind)
        if self.labels.source:
            with of_key("labels.source"):
                existing(self.labels.source)


def _check_labels(recipe: Recipe) -> None:
    labels, augment = recipe.labels, recipe.augment
    for key in ("dense_weight", "class_weight"):
        at_least(f"labels.{key}", getattr(labels, key), 0)
    if labels.size is not None and labels.size < 1:
        raise SettingsError(f"labels.size is {labels.size}; 1 is the least, null takes the tokens of the model")
    if labels.size not in (None, 1) and recipe.data.mixed_sizes:
        raise SettingsError(f"labels.size is {labels.size}, but data.mixed_sizes changes the tokens; leave it null")
    if not labels.source and augment.mixtoken == 0:
        return
    asked = "labels.source" if labels.source else "augment.mixtoken"
    if augment.mixup > 0 or augment.cutmix > 0:
        raise SettingsError(
            f"{asked} does not go together with augment.mixup or augment.cutmix, which mix pictures but no label maps; "
            "set both to 0"
        )
    if recipe.loss.name != "cross_entropy" or recipe.loss.class_weights != "none":
        raise SettingsError(f"{asked} has a loss of its own: leave loss.name cross_entropy and loss.class_weights none")


def _check_target(recipe: Recipe) -> None:
    target = recipe.loss.target
    if target == "class":
        return
    for key in ("mixup", "cutmix", "mixtoken"):
        if getattr(recipe.augment, key) > 0:
            raise SettingsError(f"augment.{key} mixes one-class labels; set it to 0 with loss.target {target}")
    if recipe.labels.source:
        raise SettingsError(f"labels.source is for loss.target class; set it to null with {target}")
    if recipe.train.sampling != "uniform":
        raise SettingsError(f"train.sampling is {recipe.train.sampling}; leave it at uniform with loss.target {target}")
    if target == "regression" and recipe.loss.class_weights != "none":
        raise SettingsError("loss.class_weights is of classes; leave it at none with loss.target regression")
