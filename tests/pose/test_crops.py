"""Crops: points and pixels go the same way; a drawn pattern proves it."""

import random

import numpy as np
import pytest
from PIL import Image

from volovan.pose.crops import Crop, crop_of, half_body, varied
from volovan.pose.recipe import AugmentSettings

SIZE = (96, 72)


def test_a_box_is_widened_to_the_shape_of_the_input() -> None:
    crop = crop_of((10, 20, 30, 100), (256, 192), 1.25)
    assert crop.centre == (20, 60)
    assert crop.sides == pytest.approx((80 * 0.75 * 1.25, 80 * 1.25))
    wide = crop_of((0, 0, 90, 10), (256, 192), 1.0)
    assert wide.sides == pytest.approx((90, 120))
    assert crop_of((5, 5, 5, 5), (64, 64), 1.0).sides == (1, 1)


def test_corners_of_the_box_fill_the_input() -> None:
    crop = crop_of((10, 20, 40, 60), (256, 192), 1.0)
    assert crop.points(np.array([[10, 20], [40, 60]])) == pytest.approx(np.array([[0, 0], [192, 256]]))


def test_a_quarter_turn_and_a_mirror_by_hand() -> None:
    crop = Crop((50, 50), (40, 40), (80, 80), angle=90)
    assert crop.points(np.array([60.0, 50.0])) == pytest.approx([40, 60])  # from the right to below: clockwise
    mirrored = Crop((50, 50), (40, 40), (80, 80), mirror=True)
    assert mirrored.points(np.array([60.0, 45.0])) == pytest.approx([20, 30])


def pattern(places: np.ndarray) -> Image.Image:
    """A blob at each place, of one colour each, on black; smooth, so that its middle can be measured."""
    rows, columns = np.mgrid[:200, :240] + 0.5
    pixels = np.zeros((200, 240, 3))
    for channel, (x, y) in enumerate(places):
        pixels[..., channel] = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 4.0**2))
    return Image.fromarray(pixels.round().astype(np.uint8))


def middles(image: Image.Image) -> np.ndarray:
    """(3, 2): the centre of mass of each channel, in pixels whose cell is [x, x + 1)."""
    pixels = np.asarray(image, float)
    rows, columns = np.mgrid[: image.height, : image.width] + 0.5
    weights = pixels.sum(axis=(0, 1))
    return (
        np.stack(((pixels * columns[..., None]).sum((0, 1)), (pixels * rows[..., None]).sum((0, 1))), 1)
        / weights[:, None]
    )


def wholly_inside(placed: np.ndarray, reach: float) -> bool:
    return bool((placed > reach).all() and (placed < np.array([SIZE[1], SIZE[0]]) - reach).all())


def test_picture_and_points_go_together_a_thousand_times() -> None:
    """Shifted, scaled, turned and mirrored by chance: points stay within half a pixel of what they name."""
    random.seed(0)
    draw = np.random.default_rng(0)
    augment = AugmentSettings(shift_probability=1, rotate_probability=0.8, rotate=80, hflip=0.5, scale=(0.6, 1.4))
    worst = seen = 0.0
    for _ in range(1000):
        places = draw.uniform((80, 70), (160, 130), (3, 2))
        crop = varied(crop_of((60, 40, 180, 160), SIZE, 1.25), augment)
        placed = crop.points(places)
        scale = SIZE[1] / crop.sides[0]
        if not wholly_inside(placed, 3.5 * 4 * scale):
            continue
        worst = max(worst, float(np.abs(middles(crop.cut(pattern(places))) - placed).max()))
        assert crop.back(placed) == pytest.approx(places, abs=1e-9)
        seen += 1
    assert seen > 300
    assert worst < 0.5, worst


def test_a_mirrored_crop_is_the_crop_mirrored() -> None:
    picture = pattern(np.array([[100.0, 90.0], [130, 80], [90, 120]]))
    crop = crop_of((60, 40, 180, 160), SIZE, 1.0)
    mirrored = Crop(crop.centre, crop.sides, crop.size, mirror=True)
    flipped = crop.cut(picture).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert np.abs(np.asarray(mirrored.cut(picture), int) - np.asarray(flipped, int)).max() <= 1


def test_settings_that_are_off_change_nothing() -> None:
    crop = crop_of((10, 20, 40, 60), SIZE, 1.25)
    off = AugmentSettings(shift_probability=0, rotate_probability=0, hflip=0, scale=(1.0, 1.0))
    assert varied(crop, off) == crop


def test_ranges_are_kept() -> None:
    random.seed(1)
    crop = crop_of((10, 20, 40, 60), SIZE, 1.25)
    drawn = [varied(crop, AugmentSettings()) for _ in range(2000)]
    scales = [one.sides[0] / crop.sides[0] for one in drawn]
    angles = [one.angle for one in drawn]
    assert 0.5 <= min(scales) < 0.55 < 1.45 < max(scales) <= 1.5
    assert -80 <= min(angles) < -60 < 60 < max(angles) <= 80
    assert 0.55 < np.mean([angle != 0 for angle in angles]) < 0.65
    assert 0.45 < np.mean([one.mirror for one in drawn]) < 0.55
    away = [abs(one.centre[0] - crop.centre[0]) / crop.sides[0] for one in drawn]
    assert 0.14 < max(away) <= 0.16
    assert 0.27 < np.mean([value > 0 for value in away]) < 0.33


def body(known: int) -> np.ndarray:
    """(8, 3): four points above, four below, of which the first are known."""
    points = np.zeros((8, 3))
    points[:, 0], points[:, 1] = np.tile([10, 20, 30, 40], 2), np.repeat([10, 90], 4)
    points[:known, 2] = 2
    return points


def test_half_a_body_by_hand() -> None:
    random.seed(0)
    assert half_body(body(8), [0, 1, 2, 3], 9, SIZE) is None  # too few are known
    assert half_body(body(8), [], 2, SIZE) is None  # nothing says which are above
    seen = {half_body(body(8), [0, 1, 2, 3], 8, SIZE).centre for _ in range(40)}  # type: ignore[union-attr]
    assert seen == {(25.0, 10.0), (25.0, 90.0)}
    alone = {half_body(body(5), [0, 1, 2, 3], 5, SIZE).centre for _ in range(40)}  # type: ignore[union-attr]
    assert alone == {(25.0, 10.0)}  # one point below is no half
    found = half_body(body(8), [0, 1, 2, 3], 8, SIZE)
    assert found is not None
    assert found.sides == pytest.approx((45, 60))  # 30 wide, in the shape of the input, half as large again
