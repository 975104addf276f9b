"""Settings of a classification run. Without torch: `--help` must be instant."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from volovan.engine.settings import EngineSettings, SettingsError


@dataclass
class ModelSettings:
    """The network."""

    name: str = "van_b0"
    """a variant (`volovan models` lists them) or a family: van, volo, lvvit"""
    weights: str | None = None
    """start from these: a file, a run folder, a name that `volovan models NAME` shows, or `pretrained` for the
    published weights of the variant; the classes may differ, the head is new then"""
    drop_path_rate: float = 0.0
    """stochastic depth of the last block; rises linearly from the first"""
    options: dict[str, Any] = field(default_factory=dict)
    """any field of the model's config, e.g. --model.options.depths [2,2,4]"""


@dataclass
class DataSettings:
    """Where pictures come from, and how the network sees them."""

    source: str = "digits"
    """class folders, manifest (.csv, .tsv), shards (.tar, .tar.gz, glob), ImageNet, CIFAR, hf:NAME or digits"""
    val: str | None = None
    """source of the validation pictures; null: the split `val_split` of `source`"""
    train_split: str = "train"
    """split of `source` to train on"""
    val_split: str = "val"
    """split to validate on"""
    size: int | tuple[int, int] = 224
    """training and validation size, or [height, width]"""
    eval_size: int | tuple[int, int] | None = None
    """another size for validation"""
    crop_pct: float | None = None
    """validation: the shorter side is resized to size / crop_pct, then the centre is cut out; above 1 leaves a black
    border; null: what the weights were made for, or the variant's"""
    eval_mode: Literal["center", "squash"] = "center"
    """center: resize the shorter side and crop; squash: resize both sides to the size"""
    mean: tuple[float, float, float] | None = None
    """of the channels, for values 0 to 1; null: what the weights were made for, or the variant's"""
    std: tuple[float, float, float] | None = None
    """of the channels, likewise"""


@dataclass
class AugmentSettings:
    """Training augmentation, in this order: crop, flip, RandAugment or colour jitter, normalise, erase; then mixing."""

    crop: Literal["random_resized", "pad", "none"] = "random_resized"
    """random_resized: a random part, resized; pad: pad by `pad` pixels and cut a random window; none: as validation"""
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """share of the area of a random part"""
    crop_ratio: tuple[float, float] = (0.75, 1.3333333333333333)
    """width / height of a random part"""
    pad: int = 4
    """border of `crop: pad`"""
    interpolation: Literal["random", "bicubic", "bilinear", "nearest"] = "random"
    """random: bilinear or bicubic by chance"""
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


@dataclass
class LossSettings:
    """The loss."""

    name: Literal["cross_entropy", "binary"] = "cross_entropy"
    """cross entropy (soft targets when pictures are mixed), or binary cross entropy of each class"""
    smoothing: float = 0.1
    """label smoothing"""
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"
    """balanced: inverse to the class counts, mean 1 over the samples; or one number per class"""


@dataclass
class Recipe(EngineSettings):
    """A classification run: all settings."""

    task: Literal["classify"] = "classify"
    """the room"""
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    loss: LossSettings = field(default_factory=LossSettings)


def size_of(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width)."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def check_recipe(recipe: Recipe) -> None:
    """Refuse values, and pairs of values, that cannot work, each with the key to change."""
    augment, loss = recipe.augment, recipe.loss
    for key, value in (("hflip", augment.hflip), ("vflip", augment.vflip), ("erase", augment.erase)):
        if not 0 <= value <= 1:
            raise SettingsError(f"augment.{key} is {value}; a probability lies between 0 and 1")
    if not 0 <= loss.smoothing < 1:
        raise SettingsError(f"loss.smoothing is {loss.smoothing}; it must be at least 0 and below 1")
    low, high = augment.crop_scale
    if not 0 < low <= high:
        raise SettingsError(f"augment.crop_scale is {augment.crop_scale}; two shares, the smaller first, are expected")
    for key in ("size", "eval_size"):
        size = getattr(recipe.data, key)
        if size is not None and min(size_of(size)) < 8:
            raise SettingsError(f"data.{key} is {size}; at least 8 pixels are needed")
    if (recipe.data.mean is None) != (recipe.data.std is None):
        raise SettingsError("data.mean and data.std come together: set both or neither")
