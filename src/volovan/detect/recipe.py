"""Settings of a detection run. Without torch: `--help` must be instant."""

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

Sides = tuple[int, int]


@dataclass
class ModelSettings(DenseSettings):
    """The network: a trunk, and a head on its maps of strides 4, 8, 16 and 32."""

    head: Literal[
        "retinanet", "atss", "gfl", "faster_rcnn", "mask_rcnn", "cascade_rcnn", "cascade_mask_rcnn", "sparse_rcnn"
    ] = "retinanet"
    """boxes in one step: retinanet, atss, gfl; from proposals: faster_rcnn, cascade_rcnn, and with masks mask_rcnn,
    cascade_mask_rcnn; from proposals that are learned: sparse_rcnn"""
    frozen_norm: bool = False
    """keep BatchNorm of the trunk as the weights have it, statistics, scale and shift; of batches of a few pictures the
    other way out is train.sync_bn"""


@dataclass
class DataSettings(SourceSettings):
    """Where pictures and their objects come from."""

    source: str = "shapes"
    """a folder with annotations of COCO, YOLO, Pascal VOC, labelme or CVAT (docs/data.md); a JSON of COCO; or shapes,
    scenes that are drawn"""
    drawn_on: Literal["shown", "stored"] = "shown"
    """where EXIF turns pictures: boxes were drawn on them as viewers show them, or on their pixels as stored"""
    empty: bool = True
    """train on pictures without an object too"""
    repeat: float | None = None
    """class-balanced sampling, LVIS's repeat factor: pictures with a class that a share f of all has, below this one,
    come ceil(sqrt(repeat / f)) times an epoch, e.g. 0.001; null: each once"""
    by_shape: bool = False
    """batches of wide or of tall pictures, so that less of them is padding; what fills no batch is left out"""


@dataclass
class AugmentSettings:
    """Training augmentation, in this order: window, resize, jitter, crop, flip, photometric, copy-paste."""

    resize: Sides | None = (1333, 800)
    """[long, short]: each picture is scaled to fit into these sides, keeping its shape; null: as it is"""
    shorts: tuple[int, ...] = ()
    """draw the short side of `resize` from these, e.g. [480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800]"""
    window: float = 0.0
    """probability of a random window of the picture, which is cut out of it before `resize`"""
    window_shorts: tuple[int, ...] = (400, 500, 600)
    """for it the picture is first scaled to one of these short sides"""
    window_sides: Sides = (384, 600)
    """height and width of the window are drawn between these, each for itself"""
    jitter: tuple[float, float] | None = None
    """large-scale jitter: a random factor on top of `resize`, e.g. [0.1, 2.0] with `crop`"""
    crop: int | tuple[int, int] | None = None
    """random window, or [height, width]; smaller pictures are padded; null: whole pictures, padded to the largest"""
    hflip: float = 0.5
    """probability of a left-right flip"""
    photometric: bool = False
    """random brightness, contrast, saturation and hue, each with probability 0.5"""
    copy_paste: float = 0.0
    """probability that objects of another picture are pasted in, by their outlines (simple copy-paste)"""


@dataclass
class TestSettings:
    """How objects are found in validation, and later by validate and predict unless they say otherwise."""

    __test__ = False  # or pytest would take the class for tests

    size: Sides | None = (1333, 800)
    """[long, short]: scale to fit into these sides, keeping the shape; null: as it is"""
    score: float | None = None
    """scores up to this are no detection; null: 0.05, of sparse_rcnn 0"""
    overlap: float | None = None
    """IoU above which the surer of two boxes of a class stays alone; null: 0.5, atss and gfl 0.6, sparse_rcnn 1"""
    most: int | None = None
    """detections of a picture; null: 100, of sparse_rcnn as many as there are proposals"""
    batch: int = 4
    """pictures of one shape, or tiles, that are computed at once"""
    tile: int | tuple[int, int] | None = None
    """look at large pictures in tiles of these pixels, or [height, width], each scaled to `size`; null: at the whole"""
    tile_overlap: float = 0.2
    """part of a tile that its neighbour sees too, at least; objects that are larger than that are put together"""
    shown: float = 0.3
    """score from which on `volovan predict` writes and draws an object"""


@dataclass
class Recipe(RoomRecipe):
    """A detection run: all settings."""

    RESERVED: ClassVar[Mapping[str, str]] = {"img_size": "augment.resize"}
    ELSEWHERE: ClassVar[Mapping[str, str]] = {
        "data.size": "augment.resize, and test.size for validation",
        "data.eval_size": "test.size",
        "data.mixed_sizes": "augment.shorts, the short sides to draw from",
        "augment.scale": "augment.jitter, a range of a random factor",
        "augment.crop_scale": "augment.jitter, a range of a random factor",
        "augment.color_jitter": "augment.photometric",
        "augment.randaugment": "augment.photometric",
        "augment.mixup": "augment.copy_paste",
        "augment.cutmix": "augment.copy_paste",
        "train.sampling": "data.repeat, since a picture has objects of several classes",
    }
    task: Literal["detect"] = "detect"
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    test: TestSettings = field(default_factory=TestSettings)

    def network_size(self) -> Size | None:
        """Of the position embedding of VOLO and LV-ViT; published weights keep theirs."""
        if self.model.weights == "pretrained":
            return None
        return self.cost_size()

    def cost_size(self) -> Size:
        """(height, width) of what the network sees in training, as far as one size says it."""
        return trained_size(self.augment.crop, self.augment.resize)

    def check(self) -> None:
        super().check()
        augment = self.augment
        for key in ("hflip", "window", "copy_paste"):
            between(f"augment.{key}", getattr(augment, key), 0, 1)
        for key in ("resize", "crop", "window_sides"):
            sides_at_least(f"augment.{key}", getattr(augment, key), LEAST)
        for key in ("shorts", "window_shorts"):
            for side in getattr(augment, key):
                between(f"augment.{key}", side, LEAST, LARGEST)
        if augment.shorts and augment.resize is None:
            raise SettingsError(
                f"augment.shorts is {list(augment.shorts)}, but augment.resize is null; give it the longest side that "
                "is allowed, such as [1333, 800]"
            )
        if augment.window and not augment.window_shorts:
            raise SettingsError(f"augment.window is {augment.window}; augment.window_shorts needs a side, such as 400")
        if augment.jitter is not None:
            rising("augment.jitter", augment.jitter)
        if self.data.repeat is not None:
            between("data.repeat", self.data.repeat, 0, 1)
        if self.train.sampling != "uniform":
            raise SettingsError(
                f"train.sampling is {self.train.sampling}, but a picture has objects of several classes; leave it at "
                "uniform and set data.repeat, e.g. to 0.1"
            )
        check_test(self.test)


def check_test(test: TestSettings) -> None:
    """Refuse test settings that cannot work; validate and predict call it too."""
    for side in test.size or ():
        between("test.size", side, LEAST, LARGEST)
    for key in ("score", "overlap", "shown"):
        between(f"test.{key}", getattr(test, key), 0, 1)
    for key in ("most", "batch"):
        at_least(f"test.{key}", getattr(test, key), 1)
    sides_at_least("test.tile", test.tile, LEAST)
    between("test.tile_overlap", test.tile_overlap, 0, 0.9)
