"""Picture and mask go through the same geometry; samples and batches have the shapes that task and metric expect."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from volovan.data.samples import take
from volovan.data.sources import open_source
from volovan.engine.settings import SettingsError
from volovan.saliency.data import EvalSamples, EvalTransform, TrainSamples, TrainTransform, random_box
from volovan.saliency.recipe import AugmentSettings, DataSettings, Recipe
from volovan.saliency.task import SaliencyTask

ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def pair(height=60, width=80):
    """A picture whose red channel is its mask."""
    mask = np.zeros((height, width), np.uint8)
    mask[10:30, 20:70] = 255
    mask[40:50, 5:15] = 100
    pixels = np.stack([mask, np.full_like(mask, 40), np.full_like(mask, 90)], 2)
    return Image.fromarray(pixels), mask


def transform(size=(48, 64), soft=True, **augment):
    off = {"border": 0.0, "hflip": 0.0}
    return TrainTransform(size, ZERO, ONE, AugmentSettings(**{**off, **augment}), soft)


@pytest.mark.parametrize(
    "augment",
    [{}, {"border": 1.0}, {"hflip": 1.0}, {"vflip": 1.0}, {"rotate": 40.0}, {"crop_scale": (0.3, 0.6)}],
    ids=["none", "border", "hflip", "vflip", "rotate", "crop"],
)
def test_mask_follows_its_picture(augment):
    random.seed(1)
    image, mask = transform(**augment)(*pair())
    assert image.shape == (3, 48, 64)
    assert mask.shape == (48, 64)
    assert 0.05 < mask.mean() < 0.9
    assert (image[0] - mask).abs().max() < 0.01


def test_flip_is_left_right_unless_the_other_is_asked_for():
    plain = transform()(*pair())[1]
    torch.testing.assert_close(transform(hflip=1.0)(*pair())[1], plain.flip(1))
    torch.testing.assert_close(transform(vflip=1.0)(*pair())[1], plain.flip(0))


def test_border_is_at_most_twelve_pixels_of_384():
    random.seed(0)
    boxes = [transform(border=1.0).box((384, 768)) for _ in range(300)]
    left, top, right, bottom = np.array(boxes).T
    assert left.min() == 0
    assert left.max() == pytest.approx(12)
    assert top.max() == pytest.approx(24)
    assert right.min() == pytest.approx(384 - 12)
    assert bottom.max() == pytest.approx(768)


def test_soft_masks_stay_soft_unless_the_published_cut_is_asked_for():
    soft = transform()(*pair())[1]
    hard = transform(soft=False)(*pair())[1]
    assert soft[36, 8] == pytest.approx(100 / 255, abs=0.01)
    assert hard[36, 8] == 0
    assert set(hard.unique().tolist()) == {0.0, 1.0}


def test_colours_change_the_picture_alone():
    torch.manual_seed(0)
    image, mask = transform(color_jitter=0.4, hue=0.2, gray=1.0)(*pair())
    torch.testing.assert_close(image[0], image[1])
    torch.testing.assert_close(mask, transform()(*pair())[1])


def test_evaluation_squashes_or_keeps_the_size():
    image = pair()[0]
    assert EvalTransform((32, 40), ZERO, ONE)(image).shape == (3, 32, 40)
    assert EvalTransform(None, ZERO, ONE)(image).shape == (3, 60, 80)
    normal = EvalTransform((60, 80), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))(image)
    assert normal[0, 15, 30] == pytest.approx(2.0)


def test_samples_and_batches_have_their_shapes():
    source = open_source("shapes:8@72x64", "train", kind="map")
    sized = {32: transform((32, 32))}
    train = TrainSamples(source, transform((64, 64)), sized)
    assert train.collate([train.read(i) for i in range(3)])["mask"].shape == (3, 64, 64)
    assert train.collate([train.read(i, 32) for i in range(3)])["image"].shape == (3, 3, 32, 32)
    samples = EvalSamples(source, EvalTransform((32, 32), ZERO, ONE))
    batch = samples.collate([samples.read(i) for i in (2, 5)])
    assert batch["index"].tolist() == [2, 5]
    assert batch["image"].shape == (2, 3, 32, 32)
    assert [(mask.shape, mask.dtype) for mask in batch["mask"]] == [((64, 72), torch.uint8)] * 2


def test_cutmix_takes_picture_and_mask_of_the_same_box():
    class Two:
        note = ""

        def __len__(self):
            return 2

        def load(self, index):
            return Image.new("RGB", (40, 40), (255 * index,) * 3)

        def target(self, index):
            return np.full((40, 40), 255 * index, np.uint8)

        def name(self, index):
            return str(index)

    random.seed(3)
    shares = set()
    for _ in range(20):
        sample = TrainSamples(Two(), transform((40, 40), cutmix=1.0)).read(0)
        torch.testing.assert_close(sample["image"][0], sample["mask"])
        shares.add(round(sample["mask"].mean().item(), 3))
    assert len(shares) > 3
    assert all(share == 0 or 0.08 < share < 0.5 for share in shares)


def test_random_box_lies_inside():
    random.seed(0)
    for _ in range(100):
        rows, columns = random_box(50, 33)
        assert 0 <= rows.start < rows.stop <= 50
        assert 0 <= columns.start < columns.stop <= 33


def test_limit_takes_the_same_pictures_each_time():
    source = open_source("shapes:8@72x64", "train", kind="map")
    names = [[take(source, 3).name(i) for i in range(3)] for _ in range(2)]
    assert names[0] == names[1]
    assert len(take(source, None)) == 8


def test_an_unset_variable_is_named(monkeypatch):
    monkeypatch.delenv("NOWHERE_DATA", raising=False)
    with pytest.raises(SettingsError, match="NOWHERE_DATA is not set"):
        SaliencyTask(Recipe(data=DataSettings(source="$NOWHERE_DATA/duts"))).build_data()
