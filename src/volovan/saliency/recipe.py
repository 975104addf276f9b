"""Settings of a saliency run. Without torch: `--help` must be instant."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from volovan.engine.settings import SettingsError
from volovan.room.settings import DenseSettings, RoomRecipe, SizedSettings, at_least, between, rising


@dataclass
class ModelSettings(DenseSettings):
    """The network: a trunk, and a head on its maps of strides 4, 8, 16 and 32."""

    name: str = "van_b1"
    """trunk: a variant (`volovan models` lists them) or a family: van, volo, lvvit"""
    head: Literal["edn"] = "edn"
    """edn: two extremely downsampled levels, a global gate, a top-down decoder with five trained outputs"""


@dataclass
class DataSettings(SizedSettings):
    """Where pictures and masks come from, and how the network sees them."""

    source: str = "shapes"
    """DUTS, DUT-OMRON, PASCAL-S, ECSSD or HKU-IS as their authors lay them out; a folder with pictures and a folder
    with masks (docs/data.md); or shapes, scenes that are drawn"""
    drawn_on: Literal["shown", "stored"] = "shown"
    """where EXIF turns pictures: masks were drawn on them as viewers show them, or on their pixels as stored"""
    size: int | tuple[int, int] = 384
    """both sides are resized to this, or to [height, width], whatever the shape of the picture, as EDN does"""
    mixed_sizes: tuple[int, ...] = ()
    """train at several sizes, e.g. [320, 352, 384]: each optimiser step draws one, the same in all processes"""
    soft_masks: bool = True
    """keep grey values of masks as they are; false: only white counts, as in the published code, which cuts labels to
    whole numbers"""
    mean: tuple[float, float, float] | None = None
    """of the channels, for values 0 to 1; null: ImageNet's, as EDN does, or that of the saliency network it starts
    from"""


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
class Recipe(RoomRecipe):
    """A saliency run: all settings."""

    RESERVED: ClassVar[Mapping[str, str]] = {"num_classes": "the task, which has one"}
    ELSEWHERE: ClassVar[Mapping[str, str]] = {
        "augment.crop": "data.size; augment.crop_scale cuts a random part out before",
        "augment.resize": "data.size",
        "augment.scale": "augment.crop_scale, the share of the area of a random part",
        "augment.photometric": "augment.color_jitter and augment.hue",
        "augment.randaugment": "augment.color_jitter, augment.hue and augment.rotate",
        "test.size": "data.eval_size",
        "loss.name": "loss.bce, loss.dice and loss.l1, the weights of the losses",
    }
    task: Literal["saliency"] = "saliency"
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    loss: LossSettings = field(default_factory=LossSettings)

    def check(self) -> None:
        super().check()
        for key in ("border", "hflip", "vflip", "gray", "cutmix"):
            between(f"augment.{key}", getattr(self.augment, key), 0, 1)
        for key, most in (("border_pixels", 128), ("rotate", 180), ("color_jitter", 1), ("hue", 0.5)):
            between(f"augment.{key}", getattr(self.augment, key), 0, most)
        rising("augment.crop_scale", self.augment.crop_scale, 1)
        for key in ("bce", "dice", "l1", "deep"):
            at_least(f"loss.{key}", getattr(self.loss, key), 0)
        if self.loss.bce + self.loss.dice + self.loss.l1 == 0:
            raise SettingsError("loss.bce, loss.dice and loss.l1 are all 0; give one of them a weight")
