"""Cut-outs: alpha, hard edges, box, colour behind."""

import io

import numpy as np
import pytest
from PIL import Image

from volovan.data import decode
from volovan.engine.settings import SettingsError
from volovan.saliency.cutouts import cut_out, object_box, parse_background
from volovan.saliency.draw import checkerboard, on_checkerboard

PICTURE = Image.new("RGB", (6, 4), (200, 100, 50))


def grey(values=(0, 90, 127, 128, 200, 255)):
    return np.tile(np.array(values, np.uint8), (4, 1))


def test_alpha_is_the_map():
    found = np.asarray(cut_out(PICTURE, grey()))
    np.testing.assert_array_equal(found[..., 3], grey())
    assert (found[..., :3] == (200, 100, 50)).all()


def test_threshold_makes_all_or_nothing():
    found = np.asarray(cut_out(PICTURE, grey(), threshold=0.5))
    assert found[0, :, 3].tolist() == [0, 0, 0, 255, 255, 255]


def test_crop_goes_to_the_box_and_keeps_all_where_there_is_none():
    assert cut_out(PICTURE, grey(), crop=True).size == (3, 4)
    assert cut_out(PICTURE, grey(), threshold=0.9, crop=True).size == (1, 4)
    assert cut_out(PICTURE, grey((0,) * 6), crop=True).size == (6, 4)


def test_box_is_half_open():
    values = np.zeros((9, 7), np.uint8)
    values[3:5, 2:6] = 255
    assert object_box(values) == (2, 3, 6, 5)
    assert object_box(np.zeros((3, 3), np.uint8)) is None


def test_background_shines_through_in_proportion():
    found = np.asarray(cut_out(PICTURE, grey(), background=(0, 0, 0)))
    assert found.shape == (4, 6, 3)
    np.testing.assert_allclose(found[0, :, 0], grey()[0] / 255 * 200, atol=1)


def test_background_is_a_colour_by_name_or_number():
    assert parse_background("transparent") is None
    assert parse_background("white") == (255, 255, 255)
    assert parse_background("#102030") == (16, 32, 48)
    with pytest.raises(SettingsError, match="a colour's name"):
        parse_background("glass")


def test_checkerboard_shows_behind_transparent_pixels_only():
    assert np.unique(np.asarray(checkerboard((16, 16), 8))).tolist() == [214, 255]
    found = np.asarray(on_checkerboard(cut_out(PICTURE, grey((0, 0, 0, 255, 255, 255)))))
    assert (found[:, 3:] == (200, 100, 50)).all()
    assert (found[:, 0, 0] == found[:, 0, 1]).all()


def decoded(alpha):
    """A picture of one colour as it comes from a PNG with this alpha channel."""
    file = io.BytesIO()
    picture = PICTURE.convert("RGBA")
    picture.putalpha(Image.fromarray(alpha))
    picture.save(file, "PNG")
    return decode(file.getvalue())


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_what_is_transparent_in_a_picture_stays_so(threshold):
    own = grey((0, 40, 120, 255, 255, 200))
    found = np.asarray(cut_out(decoded(own), grey((255, 255, 255, 255, 90, 0)), threshold))
    assert (found[..., 3] <= own).all()
    assert found[0, :, 3].tolist() == ([0, 40, 120, 255, 90, 0] if threshold is None else [0, 40, 120, 255, 0, 0])
    np.testing.assert_allclose(found[0, 2:, :3], [(200, 100, 50)] * 4, atol=2)  # without the white behind


def test_a_transparent_ground_takes_the_background_and_no_place_in_the_crop():
    picture = decoded(grey((0, 0, 255, 255, 0, 0)))
    assert cut_out(picture, grey((255,) * 6), crop=True).size == (2, 4)
    found = np.asarray(cut_out(picture, grey((255,) * 6), background=(0, 0, 255)))
    assert found[0].tolist() == [[0, 0, 255]] * 2 + [[200, 100, 50]] * 2 + [[0, 0, 255]] * 2
