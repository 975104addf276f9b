"""Settings of a segmentation run. Without torch: `--help` must be instant."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from volovan.engine.settings import EngineSettings, SettingsError

HEADS = ("fpn", "upernet", "ham")
RESERVED = ("name", "num_classes", "img_size", "drop_path_rate", "in_chans")
"""fields of a trunk's config that have a key, or a source, of their own"""
LARGEST = 16_384
"""pixels of a side that a picture is scaled to; more would only run out of memory, slowly"""


@dataclass
class ModelSettings:
    """The network: a trunk, and a head on its maps of strides 4, 8, 16 and 32."""

    name: str = "van_b0"
    """trunk: a variant (`volovan models` lists them) or a family: van, volo, lvvit"""
    head: Literal["fpn", "upernet", "ham"] = "fpn"
    """fpn: Semantic FPN; upernet: UperNet, with an auxiliary head while training; ham: Light-Ham"""
    weights: str | None = None
    """start from these: of a trunk or of a whole network; a file, a run folder, a published name, or `pretrained` for
    the published weights of the trunk; the classes may differ, the head is new then"""
    drop_path_rate: float = 0.0
    """stochastic depth of the last block; rises linearly from the first"""
    options: dict[str, Any] = field(default_factory=dict)
    """any field of the trunk's config, e.g. --model.options.depths [2,2,4,2]"""
    head_options: dict[str, Any] = field(default_factory=dict)
    """any setting of the head, e.g. --model.head_options.channels 256; and `pyramid`: how VOLO and LV-ViT make strides
    4 and 32 (docs/segmentation.md)"""


@dataclass
class DataSettings:
    """Where pictures and masks come from."""

    source: str = "shapes"
    """ADE20K, Cityscapes, CamVid, Pascal VOC, COCO-Stuff or GRAZ-02 as their authors lay them out; a folder with
    pictures and a folder with masks (docs/data.md); or shapes, scenes that are drawn"""
    val: str | None = None
    """source of the validation pictures; null: the split `val_split` of `source`"""
    train_split: str = "train"
    """split of `source` to train on"""
    val_split: str = "val"
    """split to validate on"""
    limit: int | None = None
    """train on so many pictures of the split only, drawn at random but always the same; null: all of them"""
    mean: tuple[float, float, float] | None = None
    """of the channels, for values 0 to 1; null: what the weights were made for, or the variant's"""
    std: tuple[float, float, float] | None = None
    """of the channels, likewise"""


@dataclass
class AugmentSettings:
    """Training augmentation, in this order: resize, crop, flip, photometric distortion, normalise, pad."""

    resize: tuple[int, int] | None = None
    """[long, short]: each picture is first scaled to fit into these sides, keeping its shape; null: as it is"""
    scale: tuple[float, float] = (0.5, 2.0)
    """range of a random factor on top of it"""
    crop: int | tuple[int, int] | None = 512
    """random window, or [height, width]; smaller pictures are padded; null: whole pictures, all of one size"""
    class_ratio: float = 0.75
    """draw the window anew, up to ten times, while one class covers more than this share of it; 1: never"""
    hflip: float = 0.5
    """probability of a left-right flip"""
    photometric: bool = True
    """random brightness, contrast, saturation and hue, each with probability 0.5"""


@dataclass
class LossSettings:
    """What is minimised: a sum of losses of the same prediction, and of the auxiliary heads."""

    name: Literal["cross_entropy", "focal"] = "cross_entropy"
    """loss of every pixel"""
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"
    """balanced: 1 / ln(1.02 + share of the class's pixels), mean 1; or one number per class"""
    ohem: float | None = None
    """hard example mining: average only pixels whose true class has a probability below this, e.g. 0.7; null: off"""
    ohem_min_kept: int = 100_000
    """but at least so many pixels of a batch, the hardest"""
    focal_gamma: float = 2.0
    """exponent of the focal loss"""
    dice: float = 0.0
    """weight of the soft dice loss (mean over the classes of a batch) on top; 0: off"""
    smoothing: float = 0.0
    """label smoothing of the cross entropy"""
    average: Literal["labelled", "all"] = "labelled"
    """mean over labelled pixels; all: over ignored ones too, whose loss is 0, as mmsegmentation does by default"""
    aux_weight: float = 0.4
    """weight of the auxiliary head's loss"""


@dataclass
class TestSettings:
    """How a picture is segmented in validation, and later by validate and predict unless they say otherwise."""

    __test__ = False  # or pytest would take the class for tests

    mode: Literal["whole", "slide"] = "whole"
    """the whole picture at once, or by windows that overlap"""
    size: tuple[int, int] | None = None
    """[long, short]: scale to fit into these sides first, keeping the shape; null: as it is"""
    window: int | tuple[int, int] = 512
    """slide: the window, or [height, width]"""
    stride: int | tuple[int, int] = 341
    """slide: its step"""
    window_batch: int = 4
    """slide: windows computed at once"""
    scales: tuple[float, ...] = (1.0,)
    """test at several scales and average the probabilities, e.g. [0.5, 0.75, 1, 1.25, 1.5, 1.75]"""
    flip: bool = False
    """average with the mirrored picture"""
    multiple: int = 32
    """sides are rounded up to a multiple of this by the resize; 1: never"""


@dataclass
class Recipe(EngineSettings):
    """A segmentation run: all settings."""

    PATHS: ClassVar[tuple[str, ...]] = ("data.source", "data.val", "model.weights")
    """keys that may name a file or folder; the recipe of a run keeps their full paths"""
    task: Literal["segment"] = "segment"
    """the room"""
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    test: TestSettings = field(default_factory=TestSettings)


def pair_of(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width)."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def check_recipe(recipe: Recipe) -> None:
    """Refuse values, and pairs of values, that cannot work, each with the key to change."""
    data = recipe.data
    if data.limit is not None and data.limit < 1:
        raise SettingsError(f"data.limit is {data.limit}; at least 1 picture is needed")
    if (data.mean is None) != (data.std is None):
        raise SettingsError("data.mean and data.std come together: set both or neither")
    if data.std is not None and min(data.std) <= 0:
        raise SettingsError(f"data.std is {list(data.std)}; numbers above 0 are expected")
    if recipe.train.sampling != "uniform":
        raise SettingsError(
            f"train.sampling is {recipe.train.sampling}; masks have no class per picture: leave uniform"
        )
    for key in RESERVED:
        if key in recipe.model.options:
            own = {"name": "model.name", "num_classes": "the classes of the data", "img_size": "augment.crop"}
            raise SettingsError(f"model.options.{key} is not taken; it follows from {own.get(key, f'model.{key}')}")
    _check_augment(recipe.augment)
    _check_loss(recipe.loss)
    check_test(recipe.test)


def _check_augment(augment: AugmentSettings) -> None:
    low, high = augment.scale
    if not 0 < low <= high:
        raise SettingsError(f"augment.scale is {[low, high]}; two numbers above 0, the smaller first, are expected")
    for key in ("resize", "crop"):
        value = getattr(augment, key)
        if value is not None and min(pair_of(value)) < 32:
            raise SettingsError(f"augment.{key} is {value}; sides of at least 32 pixels are expected")
    if not 0 <= augment.hflip <= 1:
        raise SettingsError(f"augment.hflip is {augment.hflip}; a probability lies between 0 and 1")
    if not 0 < augment.class_ratio <= 1:
        raise SettingsError(f"augment.class_ratio is {augment.class_ratio}; a share above 0, up to 1, is expected")


def _check_loss(loss: LossSettings) -> None:
    if loss.ohem is not None and not 0 < loss.ohem <= 1:
        raise SettingsError(f"loss.ohem is {loss.ohem}; a probability above 0, up to 1, is expected, such as 0.7")
    if loss.ohem_min_kept < 1:
        raise SettingsError(f"loss.ohem_min_kept is {loss.ohem_min_kept}; at least 1 pixel is needed")
    for key in ("focal_gamma", "dice", "aux_weight"):
        if getattr(loss, key) < 0:
            raise SettingsError(f"loss.{key} is {getattr(loss, key)}; 0 or more is expected")
    if loss.average == "all" and loss.ohem is not None:
        raise SettingsError(f"loss.average is all and loss.ohem is {loss.ohem}; set one of them: both say what counts")
    if not 0 <= loss.smoothing < 1:
        raise SettingsError(f"loss.smoothing is {loss.smoothing}; it must be at least 0 and below 1")
    if loss.smoothing and loss.name == "focal":
        raise SettingsError(
            f"loss.smoothing is {loss.smoothing}; it belongs to the cross entropy, set it to 0 with focal"
        )
    if isinstance(loss.class_weights, tuple) and (min(loss.class_weights) < 0 or max(loss.class_weights) == 0):
        raise SettingsError(
            f"loss.class_weights is {list(loss.class_weights)}; numbers from 0 on, not all 0, are expected"
        )


def check_test(test: TestSettings) -> None:
    """Refuse test settings that cannot work; validate and predict call it too."""
    window, stride = pair_of(test.window), pair_of(test.stride)
    if test.mode == "slide":
        if min(window) < 32:
            raise SettingsError(f"test.window is {test.window}; sides of at least 32 pixels are expected")
        if not all(0 < step <= side for step, side in zip(stride, window, strict=True)):
            raise SettingsError(
                f"test.stride is {test.stride} for test.window {test.window}; a step from 1 to the window's side is "
                "needed, or pixels between the windows would be left out"
            )
    for key in ("window_batch", "multiple"):
        if getattr(test, key) < 1:
            raise SettingsError(f"test.{key} is {getattr(test, key)}; at least 1 is needed")
    if not test.scales or min(test.scales) <= 0:
        raise SettingsError(f"test.scales is {list(test.scales)}; at least one factor above 0 is needed")
    if test.size is not None and not 32 <= min(test.size) <= max(test.size) <= LARGEST:
        raise SettingsError(f"test.size is {list(test.size)}; sides from 32 to {LARGEST} pixels are expected")
