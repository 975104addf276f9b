"""Settings of a panoptic run. Without torch: `--help` must be instant."""

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
    rising,
    sides_at_least,
    trained_size,
)


@dataclass
class ModelSettings(DenseSettings):
    """The network: a trunk, and a head on its maps of strides 4, 8, 16 and 32."""

    name: str = "van_b2"
    """trunk: a variant (`volovan models` lists them) or a family: van, volo, lvvit"""
    head: Literal["mask2former"] = "mask2former"
    """mask2former: queries, each of which says a class and a mask"""
    frozen_norm: bool = False
    """keep BatchNorm of the trunk as the weights have it, statistics, scale and shift; of batches of a few pictures the
    other way out is train.sync_bn"""


@dataclass
class DataSettings(SourceSettings):
    """Where pictures and their segments come from."""

    source: str = "shapes"
    """a folder with panoptic PNGs and a JSON, as COCO, ADE20K and Cityscapes have them; a folder with masks of classes
    (nothing is counted) or with outlines of objects (all is); or shapes, scenes that are drawn (docs/data.md)"""
    drawn_on: Literal["shown", "stored"] = "shown"
    """where EXIF turns pictures: segments were drawn on them as viewers show them, or on their pixels as stored"""


@dataclass
class AugmentSettings:
    """Training augmentation, in this order: resize, crop, flip, photometric distortion, normalise, pad."""

    resize: tuple[int, int] | None = (1024, 1024)
    """[long, short]: each picture is scaled to fit into these sides, keeping its shape; null: as it is"""
    scale: tuple[float, float] = (0.1, 2.0)
    """range of a random factor on top of it (large-scale jitter)"""
    crop: int | tuple[int, int] | None = 1024
    """random window, or [height, width]; smaller pictures are padded; null: whole pictures, padded to the largest"""
    hflip: float = 0.5
    """probability of a left-right flip"""
    photometric: bool = False
    """random brightness, contrast, saturation and hue, each with probability 0.5"""


@dataclass
class LossSettings:
    """What is minimised: the weighted sum of three losses, of the queries and of what each layer makes of them."""

    class_weight: float = 2.0
    """of the class, or no object"""
    mask_weight: float = 5.0
    """of the cross entropy of masks"""
    dice_weight: float = 5.0
    """of the dice loss of masks"""
    no_object: float = 0.1
    """weight of queries that are no object, in the loss of the class"""
    points: int = 12_544
    """points at which a mask is compared"""
    oversample: float = 3.0
    """so many times as many are looked at, for those where the mask is least sure"""
    importance: float = 0.75
    """share of the least sure points, the rest is anywhere"""


@dataclass
class TestSettings:
    """How segments are found in validation, and later by validate and predict unless they say otherwise."""

    __test__ = False  # or pytest would take the class for tests

    size: tuple[int, int] | None = (1333, 800)
    """[long, short]: scale to fit into these sides, keeping the shape; null: as it is"""
    score: float = 0.8
    """queries up to this score are no segment"""
    visible: float = 0.8
    """a segment of which others leave less than this share of its mask is none"""
    most: int = 100
    """of instance answers: objects of a picture"""
    shown: float = 0.3
    """of instance answers: score from which on `volovan predict` writes an object"""
    batch: int = 4
    """pictures of one shape that are computed at once"""


@dataclass
class Recipe(RoomRecipe):
    """A panoptic run: all settings."""

    RESERVED: ClassVar[Mapping[str, str]] = {"img_size": "augment.crop"}
    ELSEWHERE: ClassVar[Mapping[str, str]] = {
        "data.size": "augment.crop, the window that is trained on, and test.size for validation",
        "data.eval_size": "test.size",
        "data.mixed_sizes": "augment.scale, a range of a random factor",
        "augment.jitter": "augment.scale, a range of a random factor",
        "augment.crop_scale": "augment.scale, a range of a random factor",
        "augment.shorts": "augment.scale, a range of a random factor",
        "augment.color_jitter": "augment.photometric",
        "augment.randaugment": "augment.photometric",
        "test.overlap": "test.visible, what others must leave of a segment",
        "train.sampling": "nothing: a picture has segments of several classes",
    }
    task: Literal["panoptic"] = "panoptic"
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    test: TestSettings = field(default_factory=TestSettings)

    def network_size(self) -> Size | None:
        """Of the position embedding of VOLO and LV-ViT; published weights keep theirs."""
        return None if self.model.weights == "pretrained" else self.cost_size()

    def cost_size(self) -> Size:
        """(height, width) of what the network sees in training, as far as one size says it."""
        return trained_size(self.augment.crop, self.augment.resize)

    def check(self) -> None:
        super().check()
        augment, loss = self.augment, self.loss
        for key in ("resize", "crop"):
            sides_at_least(f"augment.{key}", getattr(augment, key), LEAST)
        rising("augment.scale", augment.scale)
        between("augment.hflip", augment.hflip, 0, 1)
        for key in ("class_weight", "mask_weight", "dice_weight", "no_object"):
            at_least(f"loss.{key}", getattr(loss, key), 0)
        at_least("loss.points", loss.points, 1)
        at_least("loss.oversample", loss.oversample, 1)
        between("loss.importance", loss.importance, 0, 1)
        if self.train.sampling != "uniform":
            raise SettingsError(
                f"train.sampling is {self.train.sampling}, but a picture has segments of several classes; leave it at "
                "uniform"
            )
        check_test(self.test)


def check_test(test: TestSettings) -> None:
    """Refuse test settings that cannot work; validate and predict call it too."""
    for side in test.size or ():
        between("test.size", side, LEAST, LARGEST)
    for key in ("score", "visible", "shown"):
        between(f"test.{key}", getattr(test, key), 0, 1)
    for key in ("most", "batch"):
        at_least(f"test.{key}", getattr(test, key), 1)
