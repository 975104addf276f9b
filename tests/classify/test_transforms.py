import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.random_erasing import RandomErasing
from torchvision.transforms import functional as tv

from volovan.classify.recipe import AugmentSettings
from volovan.classify.transforms import EvalTransform, Mixing, TrainTransform
from volovan.data.pictures.resizing import Filter
from volovan.data.pictures.tensors import to_tensor
from volovan.data.randomness import seed_everything

ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def test_to_tensor_normalises_each_channel():
    image = Image.new("RGB", (2, 3), (255, 0, 51))
    tensor = to_tensor(image, (0.5, 0.25, 0.2), (0.5, 0.5, 0.1))
    assert tensor.shape == (3, 3, 2)
    torch.testing.assert_close(tensor[:, 0, 0], torch.tensor([1.0, -0.5, 0.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("size", "crop", "shorter"),
    [
        (224, 0.96, 233),
        (384, 0.96, 400),
        (448, 0.96, 466),
        (512, 0.96, 533),
        (224, 1.15, 194),
        (384, 1.15, 333),
        (448, 1.15, 389),
        (512, 1.15, 445),
        (224, 0.9, 248),
    ],
)
def test_eval_transform_resizes_the_shorter_side_as_tabulated(size, crop, shorter, monkeypatch):
    seen = []
    monkeypatch.setattr(Filter, "resize", lambda self, image, wanted: seen.append(wanted) or image.resize((8, 8)))
    EvalTransform((size, size), ZERO, ONE, crop).view(noise(400, 500))
    assert seen[0] == (shorter, int(shorter * 500 / 400))


def test_eval_transform_above_one_leaves_the_black_border_of_volo_d4():
    view = np.asarray(EvalTransform((448, 448), ZERO, ONE, 1.15).view(Image.new("RGB", (500, 400), "white")))
    black_rows = (view == 0).all(axis=(1, 2)).sum()
    assert view.shape == (448, 448, 3)
    assert black_rows == 59  # volo.md 5.4: 400x500 becomes 389x486
    assert (view == 0).all(axis=(0, 2)).sum() == 0


def test_eval_transform_takes_rectangles_and_squashes():
    image = noise(50, 80)
    assert EvalTransform((32, 64), ZERO, ONE, 1.0)(image).shape == (3, 32, 64)
    squashed = EvalTransform((40, 24), ZERO, ONE, 0.9, mode="squash").view(image)
    assert squashed.size == (24, 40)


def test_eval_transform_is_the_identity_at_equal_size():
    image = noise(32, 32)
    torch.testing.assert_close(EvalTransform((32, 32), ZERO, ONE, 1.0)(image), to_tensor(image, ZERO, ONE))


@pytest.mark.parametrize("crop", ["random_resized", "pad", "none"])
@pytest.mark.parametrize("shape", [(40, 60), (1, 90), (33, 33)], ids=str)
def test_train_transform_gives_the_size_for_every_picture(crop, shape):
    augment = AugmentSettings(crop=crop, erase=0.5)
    evaluate = EvalTransform((32, 48), ZERO, ONE, 1.0)
    transform = TrainTransform((32, 48), (0.5,) * 3, (0.5,) * 3, augment, evaluate)
    for seed in range(5):
        random.seed(seed)
        tensor = transform(noise(*shape))
        assert tensor.shape == (3, 32, 48)
        assert torch.isfinite(tensor).all()


def test_train_transform_without_augmentation_equals_validation():
    augment = AugmentSettings(crop="none", hflip=0, vflip=0, randaugment=None, color_jitter=0, erase=0)
    evaluate = EvalTransform((32, 32), ZERO, ONE, 0.9)
    image = noise(70, 50)
    torch.testing.assert_close(TrainTransform((32, 32), ZERO, ONE, augment, evaluate)(image), evaluate(image))


def test_train_transform_flips_as_often_as_asked():
    augment = AugmentSettings(crop="none", hflip=0.5, randaugment=None, color_jitter=0, erase=0)
    image = noise(32, 32)
    evaluate = EvalTransform((32, 32), ZERO, ONE, 1.0)
    transform = TrainTransform((32, 32), ZERO, ONE, augment, evaluate)
    random.seed(1)
    flipped = sum(not torch.equal(transform(image), evaluate(image)) for _ in range(400))
    assert 160 < flipped < 240


def test_to_tensor_equals_torchvision():
    image, mean, std = noise(20, 30), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = tv.normalize(tv.to_tensor(image), list(mean), list(std))
    tensor = to_tensor(image, mean, std)
    assert tensor.is_contiguous()
    torch.testing.assert_close(tensor, expected, atol=1e-6, rtol=0)


def test_randaugment_at_its_strongest_level_leaves_a_black_picture_instead_of_failing():
    augment = AugmentSettings(crop="none", hflip=0, randaugment="rand-m10-inc1", erase=0)
    evaluate = EvalTransform((32, 32), ZERO, ONE, 1.0)
    randaugment = TrainTransform((32, 32), ZERO, ONE, augment, evaluate).color
    posterize = next(op for op in randaugment.ops if op.name == "PosterizeIncreasing")
    posterize.prob = 1.0
    assert not np.asarray(posterize(noise(32, 32))).any()
    posterize.magnitude = 5  # of 10: two bits stay
    assert np.array_equal(np.asarray(posterize(noise(32, 32))), np.asarray(noise(32, 32)) & 0b11000000)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("settings", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}], ids=str)
def test_mixing_keeps_every_picture_and_the_smoothing(settings, count):
    mix = Mixing(AugmentSettings(**settings), 0.1, 7)
    images, labels = torch.rand(count, 3, 8, 8), torch.arange(count) % 7
    mixed, target = mix(images.clone(), labels)
    assert (mixed.shape, target.shape) == ((count, 3, 8, 8), (count, 7))
    torch.testing.assert_close(target.sum(1), torch.ones(count))
    assert target.min() == pytest.approx(0.1 / 7)  # as smoothing wants it, of what is in no picture
    if count % 2:  # it has no partner but itself
        torch.testing.assert_close(mixed[0], images[0])
        assert target[0].max() == pytest.approx(0.9 + 0.1 / 7)


@pytest.mark.parametrize(("width", "height"), [(1320, 40), (40, 1320), (1321, 41), (9000, 7)])
def test_a_thin_picture_is_seen_as_if_all_of_it_were_resized(monkeypatch, width, height):
    picture = noise(width, height)
    evaluate = EvalTransform((64, 48), ZERO, ONE, 0.9)
    view, box = evaluate.crop(picture)
    monkeypatch.setattr("volovan.classify.transforms.LONGEST", 10**9)
    whole, expected = evaluate.crop(picture)
    assert view.size == whole.size == (48, 64)
    assert box == pytest.approx(expected, abs=0.6 / min(width, height) / 1000 + 2e-4)
    difference = np.abs(np.asarray(view, np.float32) - np.asarray(whole, np.float32))
    assert difference.mean() < 16  # half a pixel of noise at most


def test_a_thin_picture_takes_no_more_memory_than_others(monkeypatch):
    """30,000 x 1 would be 7.7 million x 256 pixels."""
    made = []
    resize = Filter.resize
    monkeypatch.setattr(Filter, "resize", lambda self, image, size: made.append(size) or resize(self, image, size))
    for size in ((30_000, 1), (1, 30_000), (100_000, 3)):
        assert EvalTransform((224, 224), ZERO, ONE, 0.875)(Image.new("RGB", size)).shape == (3, 224, 224)
    assert max(height * width for height, width in made) <= 32 * 256 * 256


@pytest.mark.parametrize("mode", ["pixel", "rand", "const"])
def test_what_is_erased_is_what_timm_erases_of_the_normalised_picture(mode):
    augment = AugmentSettings(
        crop="none", hflip=0, randaugment=None, color_jitter=0, erase=0.8, erase_mode=mode, erase_count=3
    )
    stats = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    transform = TrainTransform((40, 48), *stats, augment, EvalTransform((40, 48), *stats))
    erase = RandomErasing(0.8, mode=mode, max_count=3, device="cpu")
    changed = 0
    for seed in range(30):
        image = noise(40, 48, seed)
        seed_everything(seed)
        ours = transform(image)
        seed_everything(seed)
        theirs = erase(to_tensor(transform.view(image), *stats))
        assert torch.equal(ours, theirs)
        changed += not torch.equal(ours, transform.evaluate(image))
    assert 15 < changed < 30
