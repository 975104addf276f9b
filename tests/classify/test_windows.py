"""The random part of a picture: how it is drawn, and that it is the same of a picture that was decoded smaller."""

import io

import numpy as np
import pytest
from PIL import Image
from tests.support.waves import waves
from torchvision.transforms import RandomResizedCrop

from volovan.classify.recipe import AugmentSettings
from volovan.classify.transforms import EvalTransform, TrainTransform
from volovan.classify.windows import MARGIN, Window, draw_window
from volovan.data.pictures.decoding import decode
from volovan.data.pictures.resizing import Filter
from volovan.data.randomness import seed_everything

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
STATS = (0.5,) * 3
PLAIN = AugmentSettings(hflip=0, randaugment=None, color_jitter=0, erase=0, interpolation="bilinear", filter="pillow")


def jpeg(picture, **how):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=92, **how)
    return file.getvalue()


def transform(size=(64, 64), **augment):
    settings = AugmentSettings(**{**vars(PLAIN), **augment})
    return TrainTransform(size, STATS, STATS, settings, EvalTransform(size, STATS, STATS))


@pytest.mark.parametrize(("width", "height"), [(500, 375), (100, 20), (7, 900), (1, 1)])
def test_windows_are_those_of_torchvision(width, height):
    for seed in range(50):
        seed_everything(seed)
        ours = draw_window(width, height, SCALE, RATIO)
        seed_everything(seed)
        assert ours[:4] == RandomResizedCrop.get_params(Image.new("RGB", (width, height)), SCALE, RATIO)
        assert ours.picture == (width, height)


def test_a_window_of_the_whole_picture_is_cut_and_resized_as_published():
    picture = waves(90, 60)
    seen = Window(10, 20, 30, 40, (90, 60)).of(picture, (16, 24), Filter("bicubic"))
    expected = picture.crop((20, 10, 60, 40)).resize((24, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(seen), np.asarray(expected))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_reduced_picture_shows_the_same_part(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(waves(1200, 800), exif=exif)
    made = transform()
    differences, contrasts, reduced = [], [], set()
    for seed in range(40):
        seed_everything(seed)
        picture, window = made.load(lambda least: decode(data, least=least))
        assert window is not None
        divisor = picture.info.get("reduced", 1)
        reduced.add(divisor)
        wide, tall = window.picture
        assert (wide, tall) == ((1200, 800) if orientation in (1, 3) else (800, 1200))
        assert picture.size == (-(-wide // divisor), -(-tall // divisor))
        assert min(window.width, window.height) / divisor >= MARGIN * 64 or divisor == 1
        whole = window.of(decode(data), (64, 64), Filter("bilinear"))
        part = np.asarray(made.view(picture, window), float)
        differences.append(np.abs(part - np.asarray(whole, float)).mean())
        contrasts.append(part.std() / np.asarray(whole, float).std())
    assert reduced == {1, 2, 4} or reduced == {2, 4}
    assert np.mean(differences) < 1  # of 255
    assert np.mean(contrasts) == pytest.approx(1, abs=2e-3)


def test_what_is_not_reduced_draws_its_window_from_what_was_decoded():
    picture = waves(300, 200)
    file = io.BytesIO()
    picture.save(file, "PNG")
    made = transform()
    loaded, window = made.load(lambda least: decode(file.getvalue(), least=least))
    assert window is None
    assert loaded.size == (300, 200)
    assert made.view(loaded, window).size == (64, 64)


@pytest.mark.parametrize("augment", [{"reduced": False}, {"crop": "none"}, {"crop": "pad"}], ids=str)
def test_all_of_a_picture_is_decoded_where_that_is_asked_for_or_needed(augment):
    picture, window = transform(**augment).load(lambda least: decode(jpeg(waves(1200, 800)), least=least))
    assert window is None
    assert picture.size == (1200, 800)


def test_validation_decodes_all_of_a_picture():
    data = jpeg(waves(1200, 800))
    evaluate = EvalTransform((64, 64), STATS, STATS, 0.9)
    pixels = evaluate.read(lambda least: decode(data, least=least))
    assert np.array_equal(pixels.values[0].numpy(), np.asarray(evaluate.view(decode(data))))


def test_the_same_random_numbers_give_the_same_view_whether_a_window_was_drawn_before_or_not():
    data = jpeg(waves(120, 80))
    made = transform()
    seed_everything(3)
    asked = made.read(lambda least: decode(data, least=least))
    seed_everything(3)
    window = made.draw(120, 80)
    assert np.array_equal(asked.values[0].numpy(), np.asarray(made.view(decode(data), window)))
