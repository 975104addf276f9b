"""Settings of a saliency run. Without torch: `--help` must be instant."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from volovan.engine.settings import EngineSettings, SettingsError

RESERVED = ("name", "num_classes", "img_size", "drop_path_rate", "in_chans")
"""fields of a trunk's config that have a key, or a source, of their own"""


@dataclass
class ModelSettings:
    """The network: a trunk, and a head on its maps of strides 4, 8, 16 and 32."""

    name: str = "van_b1"
    """trunk: a variant (`volovan models` lists them) or a family: van, volo, lvvit"""
    head: Literal["edn"] = "edn"
    """edn: two extremely downsampled levels, a global gate, a top-down decoder with five trained outputs"""
    weights: str | None = None
    """start from these: of a trunk or of a whole network; a file, a run folder, a published name, or `pretrained` for
    the published weights of the trunk"""
    drop_path_rate: float = 0.0
    """stochastic depth of the last block; rises linearly from the first"""
    options: dict[str, Any] = field(default_factory=dict)
    """any field of the trunk's config, e.g. --model.options.depths [2,2,4,2]"""
    head_options: dict[str, Any] = field(default_factory=dict)
    """any setting of the head, e.g. --model.head_options.extreme 64; and `pyramid`: how VOLO and LV-ViT make strides 4
    and 32 (docs/segmentation.md)"""


@dataclass
class DataSettings:
    """Where pictures and masks come from, and how the network sees them."""

    source: str = "shapes"
    """DUTS, DUT-OMRON, PASCAL-S, ECSSD or HKU-IS as their authors lay them out; a folder with pictures and a folder
    with masks (docs/data.md); or shapes, scenes that are drawn"""
    val: str | None = None
    """source of the validation pictures; null: the split `val_split` of `source`"""
    train_split: str = "train"
    """split of `source` to train on"""
    val_split: str = "val"
    """split to validate on"""
    limit: int | None = None
    """train on so many pictures of the split only, drawn once; null: all of them"""
    size: int | tuple[int, int] = 384
    """both sides are resized to this, or to [height, width], whatever the shape of the picture, as EDN does"""
    mixed_sizes: tuple[int, ...] = ()
    """train at several sizes, e.g. [320, 352, 384]: each optimiser step draws one, the same in all processes"""
    eval_size: int | tuple[int, int] | None = None
    """another size for validation"""
    soft_masks: bool = True
    """keep grey values of masks as they are; false: only white counts, as in the published code, which cuts labels to
    whole numbers"""
    mean: tuple[float, float, float] | None = None
    """of the channels, for values 0 to 1; null: ImageNet's, as EDN does, or that of the saliency network it starts
    from"""
    std: tuple[float, float, float] | None = None
    """of the channels, likewise"""


@dataclass
class AugmentSettings:
    """Training augmentation, in this order: cut, flip, rotate, colours."""

    border: float = 0.5
    """probability of cutting a border away"""
    border_pixels: int = 12
    """at most so many pixels of a picture of 384, drawn for each side"""
    crop_scale: tuple[float, float] = (1.0, 1.0)
    """share of the area of a random part that is cut out before; 1, 1: all of it, as EDN does"""
    hflip: float = 0.5
    """probability of a left-right flip"""
    vflip: float = 0.0
    """probability of an upside-down flip (the published code has this one at 0.5 in place of the other, by mistake)"""
    rotate: float = 0.0
    """largest angle of a random rotation, in degrees"""
    color_jitter: float = 0.0
    """brightness, contrast and saturation"""
    hue: float = 0.0
    """shift of the hue, up to 0.5"""
    gray: float = 0.0
    """probability of a grey picture"""
    cutmix: float = 0.0
    """probability of putting a box of another training picture, with its mask, into this one; for small data, off in
    EDN"""


@dataclass
class LossSettings:
    """What is minimised: the sum over the five maps of binary cross entropy, 1 - dice and absolute error."""

    bce: float = 1.0
    """weight of the binary cross entropy, mean over the pixels"""
    dice: float = 1.0
    """weight of 1 - dice, which is of the whole batch"""
    l1: float = 0.0
    """weight of the mean absolute error of the map, which is what MAE measures: sharper maps; off in EDN"""
    deep: float = 1.0
    """weight of the four deeper maps beside the first"""


@dataclass
class Recipe(EngineSettings):
    """A saliency run: all settings."""

    PATHS: ClassVar[tuple[str, ...]] = ("data.source", "data.val", "model.weights")
    """keys that may name a file or folder; the recipe of a run keeps their full paths"""
    task: Literal["saliency"] = "saliency"
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
    _check_data(recipe.data)
    _check_augment(recipe.augment)
    loss = recipe.loss
    for key in ("bce", "dice", "l1", "deep"):
        if getattr(loss, key) < 0:
            raise SettingsError(f"loss.{key} is {getattr(loss, key)}; 0 or more is expected")
    if loss.bce + loss.dice + loss.l1 == 0:
        raise SettingsError("loss.bce, loss.dice and loss.l1 are all 0; give one of them a weight")
    if recipe.train.sampling != "uniform":
        raise SettingsError(
            f"train.sampling is {recipe.train.sampling}; masks have no class per picture: leave uniform"
        )
    for key in RESERVED:
        if key in recipe.model.options:
            own = {"name": "model.name", "num_classes": "the task, which has one", "img_size": "data.size"}
            raise SettingsError(f"model.options.{key} is not taken; it follows from {own.get(key, f'model.{key}')}")


def _check_data(data: DataSettings) -> None:
    for key in ("size", "eval_size"):
        size = getattr(data, key)
        if size is not None and min(size_of(size)) < 32:
            raise SettingsError(f"data.{key} is {size}; at least 32 pixels are needed")
    if data.mixed_sizes and min(data.mixed_sizes) < 32:
        raise SettingsError(f"data.mixed_sizes has {min(data.mixed_sizes)}; at least 32 pixels are needed")
    if data.limit is not None and data.limit < 1:
        raise SettingsError(f"data.limit is {data.limit}; at least 1 picture is needed")
    if (data.mean is None) != (data.std is None):
        raise SettingsError("data.mean and data.std come together: set both or neither")
    if data.std is not None and min(data.std) <= 0:
        raise SettingsError(f"data.std is {list(data.std)}; numbers above 0 are expected")


def _check_augment(augment: AugmentSettings) -> None:
    for key in ("border", "hflip", "vflip", "gray", "cutmix"):
        if not 0 <= getattr(augment, key) <= 1:
            raise SettingsError(f"augment.{key} is {getattr(augment, key)}; a probability lies between 0 and 1")
    for key, most in (("border_pixels", 128), ("rotate", 180), ("color_jitter", 1), ("hue", 0.5)):
        if not 0 <= getattr(augment, key) <= most:
            raise SettingsError(f"augment.{key} is {getattr(augment, key)}; 0 to {most} is taken")
    low, high = augment.crop_scale
    if not 0 < low <= high <= 1:
        raise SettingsError(f"augment.crop_scale is {[low, high]}; two shares up to 1, the smaller first, are expected")
