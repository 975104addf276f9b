"""Augmented pictures: boxes and outlines follow what they are around."""

import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from volovan.data.objects.annotated import Annotated, Thing, annotated
from volovan.data.objects.shapes import Affine, Polygons, Raster
from volovan.detect.data import (
    TrainTransform,
    padded,
    paste,
    rasters,
    seen,
    taught_on,
)
from volovan.detect.recipe import AugmentSettings
from volovan.room.views import scaled_size

MEAN = STD = (0.5, 0.5, 0.5)
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
BOXES = [(10, 20, 70, 60), (100, 15, 180, 110), (30, 80, 90, 115)]


def picture(width: int = 200, height: int = 120) -> Image.Image:
    """Three rectangles of full colours on black."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for colour, (left, top, right, bottom) in zip(COLOURS, BOXES, strict=True):
        pixels[top:bottom, left:right] = colour
    return Image.fromarray(pixels)


def objects(raster: bool = False) -> Annotated:
    things = []
    for left, top, right, bottom in BOXES:
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)
        shape = Raster(np.ones((bottom - top, right - left), bool), left, top) if raster else Polygons((corners,))
        things.append(Thing(0, (left, top, right, bottom), shape))
    return annotated(things, [0, 1, 2])


AUGMENTS = {
    "as it is": {"resize": None},
    "resized": {"resize": (133, 80)},
    "short sides": {"resize": (400, 80), "shorts": (64, 96, 160)},
    "jitter and crop": {"resize": (160, 160), "jitter": (0.5, 2.0), "crop": (96, 128)},
    "window": {"resize": (200, 120), "window": 1.0, "window_shorts": (80, 100), "window_sides": (48, 90)},
    "everything": {
        "resize": (200, 120),
        "shorts": (90, 120),
        "window": 0.5,
        "window_shorts": (100,),
        "window_sides": (60, 90),
        "jitter": (0.8, 1.5),
        "crop": 128,
    },
}


@pytest.mark.parametrize("raster", [False, True], ids=["polygons", "pixels"])
@pytest.mark.parametrize("what", AUGMENTS)
def test_boxes_and_outlines_lie_where_the_colour_is(what: str, raster: bool) -> None:
    transform = TrainTransform(AugmentSettings(**AUGMENTS[what]), MEAN, STD)
    shown = Counter[int]()
    for seed in range(40):
        random.seed(seed)
        image, there = transform.view(picture(), objects(raster))
        pixels = np.asarray(image).astype(int)
        for box, label, outline in zip(there.boxes, there.labels, rasters(there), strict=True):
            channel = pixels[..., label]
            rows, columns = np.flatnonzero((channel > 127).any(1)), np.flatnonzero((channel > 127).any(0))
            if len(rows) < 6 or len(columns) < 6:  # a sliver may be less than half a pixel
                continue
            shown[int(label)] += 1
            around = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            assert np.abs(box - around).max() <= 1.01, (seed, label, box, around)
            mask = np.zeros(channel.shape, bool)
            height, width = outline.mask.shape
            mask[outline.y : outline.y + height, outline.x : outline.x + width] = outline.mask
            clear = (channel > 200) | (channel < 55)  # along an edge colours mix
            assert (mask == (channel > 127))[clear].mean() > 0.995, (seed, label)
        # and no object that is plain to see was left out
        for label in range(3):
            if (pixels[..., label] > 200).sum() > 50:
                assert label in there.labels, (seed, label)
    assert min(shown.values()) >= 20
    assert len(shown) == 3


def test_half_of_the_pictures_are_mirrored() -> None:
    transform = TrainTransform(AugmentSettings(resize=None), MEAN, STD)
    lefts = []
    for seed in range(400):
        random.seed(seed)
        lefts.append(transform.view(picture(), objects())[1].boxes[0, 0])
    assert {*lefts} == {10.0, 130.0}
    assert 160 < lefts.count(130.0) < 240


def test_sizes_are_those_of_the_published_runs() -> None:
    assert scaled_size(640, 480, (1333, 800)) == (1067, 800)
    assert scaled_size(480, 640, (1333, 800)) == (800, 1067)
    assert scaled_size(1000, 200, (1333, 800)) == (1333, 267)
    assert scaled_size(3000, 1, (1333, 800)) == (1024, 1)  # as thin as a network sees it: 32 x 32 to 1
    assert scaled_size(640, 480, None) == (640, 480)
    shorts = tuple(range(480, 801, 32))
    transform = TrainTransform(AugmentSettings(resize=(1333, 800), shorts=shorts), MEAN, STD)
    random.seed(0)
    drawn = {min(transform.draw_size(640, 480)) for _ in range(500)}
    assert drawn == {*shorts}


def test_windows_have_the_published_sides() -> None:
    augment = AugmentSettings(window=1.0, window_shorts=(400, 500, 600), window_sides=(384, 600))
    transform = TrainTransform(augment, MEAN, STD)
    random.seed(0)
    for _ in range(300):
        left, top, right, bottom = transform.draw_window(640, 480)
        assert 0 <= left < right <= 640
        assert 0 <= top < bottom <= 480
        scaled = sorted((short / 480) * (right - left) for short in (400, 500, 600))
        assert scaled[0] <= 600
        assert scaled[-1] >= 384


def test_objects_outside_and_crowds_are_not_learned() -> None:
    things = [
        Thing(0, (-20, -20, 0, 10)),
        Thing(0, (-20, -20, 30, 30)),
        Thing(0, (10, 10, 10, 40)),
        Thing(0, (0, 0, 50, 50), crowd=True),
    ]
    there = seen(annotated(things, [0, 0, 0, 0]), 120, 200)
    assert there.boxes.tolist() == [[0, 0, 30, 30], [0, 0, 50, 50]]
    transform = TrainTransform(AugmentSettings(resize=None, hflip=0), MEAN, STD)
    assert len(transform.view(picture(), annotated(things, [0, 0, 0, 0]))[1]) == 1


def test_pasted_objects_hide_what_is_below() -> None:
    white = Image.new("RGB", (200, 120), "white")
    corners = np.array([[60, 0], [120, 0], [120, 120], [60, 120]], float)
    above = annotated([Thing(0, None, Polygons((corners,)))], [7])
    below = objects().drawn(Affine(), 120, 200)
    pasted = 0
    for seed in range(30):
        random.seed(seed)
        image, there = paste(picture(), below, white, above)
        if 7 not in there.labels:
            assert image.tobytes() == picture().tobytes()
            continue
        pasted += 1
        pixels = np.asarray(image)
        assert (pixels[:, 60:120] == 255).all()
        assert (pixels[:, :60] == np.asarray(picture())[:, :60]).all()
        assert there.labels.tolist() == [0, 1, 2, 7]
        assert there.boxes[:3].tolist() == [[10, 20, 60, 60], [120, 15, 180, 110], [30, 80, 60, 115]]
        total = np.zeros((120, 200), int)
        for own in rasters(there):
            total[own.y : own.y + own.mask.shape[0], own.x : own.x + own.mask.shape[1]] += own.mask
        assert total.max() == 1
    assert 5 < pasted < 25


def test_what_is_wholly_hidden_is_gone() -> None:
    cover = np.array([[0, 0], [200, 0], [200, 120], [0, 120]], float)
    above = annotated([Thing(0, None, Polygons((cover,)))], [7])
    random.seed(1)
    labels = {
        tuple(paste(picture(), objects().drawn(Affine(), 120, 200), picture(), above)[1].labels) for _ in range(9)
    }
    assert labels == {(0, 1, 2), (7,)}


def test_smaller_pictures_are_padded_below_and_to_the_right() -> None:
    import torch

    images = [torch.ones(3, 4, 6), torch.ones(3, 5, 2)]
    whole = padded(images)
    assert whole.shape == (2, 3, 5, 6)
    assert whole[0, :, :4].eq(1).all()
    assert whole[0, :, 4:].eq(0).all()
    assert whole[1, :, :, :2].eq(1).all()
    assert whole[1, :, :, 2:].eq(0).all()


class Some:
    """A source of ten pictures: number 0 has the rare class 1, number 9 has nothing, all others class 0."""

    kind, note, classes = "boxes", "", ("often", "rare")

    def __len__(self) -> int:
        return 10

    def target(self, index: int) -> Annotated:
        labels = [0, 1] if index == 0 else [0] if index < 9 else []
        return annotated([Thing(0, (0, 0, 9, 9)) for _ in labels], labels)


@pytest.mark.parametrize(
    ("empty", "repeat", "count"),
    [
        (True, None, dict.fromkeys(range(10), 1)),
        (False, None, dict.fromkeys(range(9), 1)),
        (True, 0.4, {0: 2} | dict.fromkeys(range(1, 10), 1)),  # sqrt(0.4 / 0.1) = 2; of the other class 0.9 have it
        (True, 0.5, {0: 3} | dict.fromkeys(range(1, 10), 1)),  # sqrt(5), rounded up
        (False, 0.4, {0: 2} | dict.fromkeys(range(1, 9), 1)),
    ],
)
def test_pictures_of_rare_classes_come_more_often(empty: bool, repeat: float | None, count: dict[int, int]) -> None:
    source = taught_on(Some(), empty, repeat)  # type: ignore[arg-type]
    chosen = range(10) if source.__class__ is Some else source.indices.tolist()  # type: ignore[attr-defined]
    assert Counter(chosen) == count
