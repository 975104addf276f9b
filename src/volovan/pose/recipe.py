"""Settings of a pose run. Without torch: `--help` must be instant."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from volovan.engine.settings import SettingsError
from volovan.room.settings import (
    LEAST,
    DenseSettings,
    RoomRecipe,
    Size,
    SourceSettings,
    at_least,
    between,
    rising,
    sides_at_least,
)


@dataclass
class ModelSettings(DenseSettings):
    """The network: a trunk, and a head on its last map."""

    name: str = "van_b2"
    """trunk: a variant (`volovan models` lists them) or a family: van, volo, lvvit"""
    head: Literal["simple"] = "simple"
    """simple: SimpleBaseline, transposed convolutions to heat maps of stride 4"""


@dataclass
class DataSettings(SourceSettings):
    """Where pictures and the points of their objects come from, and what the network sees of them."""

    source: str = "shapes"
    """a folder with a JSON of COCO with keypoints, or with pose labels of YOLO (docs/data.md); a JSON of COCO; or
    shapes, scenes that are drawn, whose figures have seven points"""
    drawn_on: Literal["shown", "stored"] = "shown"
    """where EXIF turns pictures: points were placed on them as viewers show them, or on their pixels as stored"""
    size: tuple[int, int] = (256, 192)
    """[height, width] of what the network sees: one object, whose box is widened to this shape"""
    padding: float = 1.25
    """by which a box is larger than the object"""
    least_points: int = 1
    """train on objects with at least so many known points"""


@dataclass
class TargetSettings:
    """What the network learns: a Gaussian around each point."""

    sigma: float = 2.0
    """its standard deviation, in pixels of the heat map, whose stride is 4"""
    coding: Literal["plain", "dark"] = "plain"
    """plain: around the nearest pixel, read by the largest value and a quarter of a pixel, as published; dark: around
    the place itself, read by a parabola through the logarithm (DARK)"""
    aligned: bool = False
    """lay the middles of the map's pixels over those of the picture, so that maps of a mirrored picture fit; false: as
    published, where they are shifted by a pixel"""


@dataclass
class AugmentSettings:
    """Training augmentation, in this order: half body, shift, scale, rotate, flip."""

    half_body: float = 0.3
    """probability of the upper or the lower half alone, of objects with many known points"""
    half_body_points: int = 9
    """as many of them are needed"""
    shift: float = 0.16
    """of the box's sides, at most"""
    shift_probability: float = 0.3
    """of a shift"""
    scale: tuple[float, float] = (0.5, 1.5)
    """a random factor, mostly near 1"""
    rotate: float = 80.0
    """degrees at most, mostly less than half of them"""
    rotate_probability: float = 0.6
    """of a turn"""
    hflip: float = 0.5
    """probability of a left-right flip, in which left and right points change places"""


@dataclass
class TestSettings:
    """How points are found in validation, and later by validate and predict unless they say otherwise."""

    __test__ = False  # or pytest would take the class for tests

    flip: bool = True
    """look at the mirrored object too, and take the mean"""
    coding: Literal["plain", "dark"] | None = None
    """how maps are read; null: as they are taught, `target.coding`"""
    sure: float = 0.2
    """points up to this do not count for how sure an object is"""
    similar: float = 0.9
    """of two objects of a picture whose points are more alike (OKS) the surer one stays; 1: both"""
    batch: int = 32
    """objects that are computed at once"""
    shown: float = 0.3
    """from which on `volovan predict` draws a point"""


@dataclass
class Recipe(RoomRecipe):
    """A pose run: all settings."""

    RESERVED: ClassVar[Mapping[str, str]] = {"num_classes": "the points of the data"}
    ELSEWHERE: ClassVar[Mapping[str, str]] = {
        "data.eval_size": "data.size",
        "data.mixed_sizes": "augment.scale, a range of a random factor",
        "augment.resize": "data.size",
        "augment.crop": "data.size, and data.padding",
        "augment.jitter": "augment.scale, a range of a random factor",
        "test.size": "data.size",
        "test.aligned": "target.aligned",
        "train.sampling": "nothing: objects of one kind have no classes to be balanced",
    }
    task: Literal["pose"] = "pose"
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    target: TargetSettings = field(default_factory=TargetSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    test: TestSettings = field(default_factory=TestSettings)

    def network_size(self) -> Size:
        return self.data.size

    def check(self) -> None:
        super().check()
        data, augment = self.data, self.augment
        sides_at_least("data.size", data.size, LEAST)
        at_least("data.padding", data.padding, 0.1)
        at_least("data.least_points", data.least_points, 1)
        at_least("target.sigma", self.target.sigma, 0.1)
        for key in ("half_body", "shift_probability", "rotate_probability", "hflip"):
            between(f"augment.{key}", getattr(augment, key), 0, 1)
        between("augment.shift", augment.shift, 0, 1)
        between("augment.rotate", augment.rotate, 0, 180)
        at_least("augment.half_body_points", augment.half_body_points, 2)
        rising("augment.scale", augment.scale)
        if self.train.sampling != "uniform":
            raise SettingsError(
                f"train.sampling is {self.train.sampling}, but objects of one kind have no classes to be balanced; "
                "leave it at uniform"
            )
        check_test(self.test)


def check_test(test: TestSettings) -> None:
    """Refuse test settings that cannot work; validate and predict call it too."""
    for key in ("sure", "similar", "shown"):
        between(f"test.{key}", getattr(test, key), 0, 1)
    at_least("test.batch", test.batch, 1)
