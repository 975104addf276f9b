"""Settings of a segmentation run. Without torch: `--help` must be instant."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from volovan.engine.settings import SettingsError
from volovan.room.settings import (
    LARGEST,
    LEAST,
    DenseSettings,
    RoomRecipe,
    Size,
    SourceSettings,
    at_least,
    between,
    pair,
    rising,
    sides_at_least,
)


@dataclass
class ModelSettings(DenseSettings):
    """The network: a trunk, and a head on its maps of strides 4, 8, 16 and 32."""

    head: Literal["fpn", "upernet", "ham"] = "fpn"
    """fpn: Semantic FPN; upernet: UperNet, with an auxiliary head while training; ham: Light-Ham"""


@dataclass
class DataSettings(SourceSettings):
    """Where pictures and masks come from."""

    source: str = "shapes"
    """ADE20K, Cityscapes, CamVid, Pascal VOC, COCO-Stuff or GRAZ-02 as their authors lay them out; a folder with
    pictures and a folder with masks (docs/data.md); or shapes, scenes that are drawn"""
    drawn_on: Literal["shown", "stored"] = "shown"
    """where EXIF turns pictures: masks were drawn on them as viewers show them, or on their pixels as stored"""


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
class Recipe(RoomRecipe):
    """A segmentation run: all settings."""

    RESERVED: ClassVar[Mapping[str, str]] = {"img_size": "augment.crop"}
    ELSEWHERE: ClassVar[Mapping[str, str]] = {
        "data.size": "augment.crop, the window that is trained on, and test.size for validation",
        "data.eval_size": "test.size",
        "data.mixed_sizes": "augment.scale, the range of a random factor",
        "augment.crop_scale": "augment.scale, a factor of the sides",
        "augment.color_jitter": "augment.photometric",
        "augment.randaugment": "augment.photometric",
        "loss.target": "nothing: every pixel has a class",
    }
    task: Literal["segment"] = "segment"
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    test: TestSettings = field(default_factory=TestSettings)

    def network_size(self) -> Size | None:
        crop = self.augment.crop
        return None if crop is None or self.model.weights == "pretrained" else pair(crop)

    def check(self) -> None:
        super().check()
        augment = self.augment
        rising("augment.scale", augment.scale)
        for key in ("resize", "crop"):
            sides_at_least(f"augment.{key}", getattr(augment, key), LEAST)
        between("augment.hflip", augment.hflip, 0, 1)
        if not 0 < augment.class_ratio <= 1:
            raise SettingsError(f"augment.class_ratio is {augment.class_ratio}; a share above 0, up to 1, is expected")
        loss = self.loss
        if loss.ohem is not None and not 0 < loss.ohem <= 1:
            raise SettingsError(f"loss.ohem is {loss.ohem}; a probability above 0, up to 1, is expected, such as 0.7")
        at_least("loss.ohem_min_kept", loss.ohem_min_kept, 1)
        for key in ("focal_gamma", "dice", "aux_weight"):
            at_least(f"loss.{key}", getattr(loss, key), 0)
        if loss.average == "all" and loss.ohem is not None:
            raise SettingsError(
                f"loss.average is all and loss.ohem is {loss.ohem}; set one of them: both say what counts"
            )
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
        check_test(self.test)


def check_test(test: TestSettings) -> None:
    """Refuse test settings that cannot work; validate and predict call it too."""
    window, stride = pair(test.window), pair(test.stride)
    if test.mode == "slide":
        sides_at_least("test.window", test.window, LEAST)
        if not all(0 < step <= side for step, side in zip(stride, window, strict=True)):
            raise SettingsError(
                f"test.stride is {test.stride} for test.window {test.window}; a step from 1 to the window's side is "
                "needed, or pixels between the windows would be left out"
            )
    for key in ("window_batch", "multiple"):
        at_least(f"test.{key}", getattr(test, key), 1)
    if not test.scales or min(test.scales) <= 0:
        raise SettingsError(f"test.scales is {list(test.scales)}; at least one factor above 0 is needed")
    for side in test.size or ():
        between("test.size", side, LEAST, LARGEST)
