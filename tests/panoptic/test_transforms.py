"""Training views: picture and ids go through scale, window and mirror together."""

import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from volovan.data.panoptic.segments import VOID, Panoptic, Segment
from volovan.panoptic.data import TrainTransform
from volovan.panoptic.recipe import AugmentSettings
from volovan.panoptic.targets import segments_of

MEAN = STD = (0.5, 0.5, 0.5)
COLOURS = {VOID: (0, 0, 0), 5: (255, 0, 0), 300: (0, 255, 0), 70_000: (0, 0, 255), 16_777_215: (255, 255, 0)}


def pattern(width: int = 200, height: int = 120) -> Panoptic:
    """A ground, three rectangles on it, one over the other, and a hole of which nothing is known."""
    ids = np.full((height, width), 5, np.int32)
    ids[height // 2 :] = 300
    ids[10:90, 20:80], ids[40:110, 60:150], ids[20:50, 150:190] = 70_000, 16_777_215, VOID
    return Panoptic(ids, tuple(Segment(id, number) for number, id in enumerate(COLOURS) if id != VOID))


def shown(told: Panoptic) -> Image.Image:
    pixels = np.zeros((*told.ids.shape, 3), np.uint8)
    for id, colour in COLOURS.items():
        pixels[told.ids == id] = colour
    return Image.fromarray(pixels)


AUGMENTS = {
    "as it is": {"resize": None, "scale": (1.0, 1.0), "crop": None},
    "scaled": {"resize": (133, 80), "scale": (0.4, 2.5), "crop": None},
    "jitter and crop": {"resize": (160, 160), "scale": (0.3, 2.0), "crop": 96},
    "window of another shape": {"resize": None, "scale": (0.8, 3.0), "crop": (64, 130)},
}


@pytest.mark.parametrize("what", AUGMENTS)
def test_ids_are_where_their_colours_are(what: str) -> None:
    """75 draws of each, 300 together."""
    transform = TrainTransform(AugmentSettings(**AUGMENTS[what]), MEAN, STD)
    seen = Counter[int]()
    told = pattern()
    picture = shown(told)
    for seed in range(75):
        random.seed(f"{what} {seed}")
        image, there = transform.view(picture, told)
        assert there.ids.shape == (image.height, image.width)
        assert there.ids.dtype == np.int32
        assert there.segments == told.segments
        pixels = np.asarray(image).astype(int)
        for id, colour in COLOURS.items():
            clear = (abs(pixels - colour) < 40).all(axis=2)  # along an edge colours mix
            assert (there.ids[clear] == id).all(), (seed, id)
            seen[id] += int(clear.sum())
            if (there.ids == id).sum() > 400:  # and what is large is to be seen
                assert clear.sum() > 0.5 * (there.ids == id).sum(), (seed, id)
    assert min(seen.values()) > 5000
    assert len(seen) == len(COLOURS)


def test_half_of_the_pictures_are_mirrored() -> None:
    transform = TrainTransform(AugmentSettings(resize=None, scale=(1, 1), crop=None), MEAN, STD)
    lefts = Counter[int]()
    for seed in range(300):
        random.seed(seed)
        lefts[int(np.nonzero((transform.view(shown(pattern()), pattern())[1].ids == 70_000).any(axis=0))[0][0])] += 1
    assert lefts.keys() == {20, 120}
    assert 110 < lefts[20] < 190


def test_colours_are_distorted_without_the_ids() -> None:
    plain, told = AugmentSettings(resize=None, scale=(1, 1), crop=None, hflip=0), pattern()
    distorted = TrainTransform(
        AugmentSettings(resize=None, scale=(1, 1), crop=None, hflip=0, photometric=True), MEAN, STD
    )
    random.seed(3)
    image, there = distorted.view(shown(told), told)
    same, _ = TrainTransform(plain, MEAN, STD).view(shown(told), told)
    assert image.tobytes() != same.tobytes() == shown(told).tobytes()
    assert np.array_equal(there.ids, told.ids)


def test_scales_are_those_of_large_scale_jitter() -> None:
    """0.1 to 2 of a picture that fits into 100 x 100: from 1 on it is as wide as the window, the rest is padded."""
    transform = TrainTransform(AugmentSettings(resize=(100, 100), scale=(0.1, 2.0), crop=100, hflip=0), MEAN, STD)
    told = Panoptic(np.ones((50, 100), np.int32), (Segment(1, 0),))
    widths, heights = [], []
    for seed in range(400):
        random.seed(seed)
        image, _ = transform.view(Image.new("RGB", (100, 50)), told)
        widths.append(image.width)
        heights.append(image.height)
        assert tuple(transform.tensor(image).shape) == (3, 100, 100)
    assert max(widths) == 100
    assert max(heights) > 95
    assert min(widths) < 20
    assert np.mean([width < 100 for width in widths]) == pytest.approx(0.9 / 1.9, abs=0.08)


def test_padding_has_the_mean_colour() -> None:
    transform = TrainTransform(
        AugmentSettings(resize=None, scale=(1, 1), crop=(48, 64)), (0.2, 0.4, 0.6), (0.1, 0.2, 0.3)
    )
    found = transform.tensor(Image.new("RGB", (40, 30), (255, 255, 255)))
    assert found.shape == (3, 48, 64)
    assert found[:, :30, :40].amin() > 1
    assert not found[:, 30:].any()
    assert not found[:, :, 40:].any()


def test_what_the_window_lacks_is_not_learned() -> None:
    transform = TrainTransform(AugmentSettings(resize=None, scale=(1, 1), crop=(40, 40)), MEAN, STD)
    counts = Counter[int]()
    for seed in range(60):
        random.seed(seed)
        there = transform.view(shown(pattern()), pattern())[1]
        learned = segments_of(there)
        present = [one.label for one in there.segments if (there.ids == one.id).any()]
        assert learned.labels.tolist() == present
        for row, label in enumerate(present):
            (id,) = (one.id for one in there.segments if one.label == label)
            assert np.array_equal(learned.rows.numpy() == row, there.ids == id)
        counts[len(present)] += 1
    assert min(counts) == 1
    assert len(counts) > 2


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000), (7, 5)])
def test_thin_and_tiny_pictures_have_a_view(size: tuple[int, int]) -> None:
    width, height = size
    told = Panoptic(np.full((height, width), 300, np.int32), (Segment(300, 0),))
    for crop in (None, 64):
        transform = TrainTransform(AugmentSettings(resize=(128, 128), scale=(0.1, 2.0), crop=crop), MEAN, STD)
        for seed in range(20):
            random.seed(seed)
            image, there = transform.view(Image.new("RGB", size), told)
            assert there.ids.shape == (image.height, image.width)
            assert (there.ids == 300).all()
            assert transform.tensor(image).isfinite().all()
