"""Flips and RandAugment by torch: what Pillow does with the same random numbers."""

import pickle

import numpy as np
import pytest
import torch
from tests.support.waves import waves
from timm.data.auto_augment import NAME_TO_OP, AugmentOp, RandAugment

from volovan.classify.on_device import KINDS, OnDevice, can_be_done_there, on_device
from volovan.classify.recipe import AugmentSettings
from volovan.classify.regions import Step, draw_steps, flip
from volovan.classify.transforms import EvalTransform, TrainTransform
from volovan.data.pictures.tensors import Pixels
from volovan.data.randomness import seed_everything

STATS = (0.485, 0.456, 0.406)
VIEW = (64, 96)
MOVING = ("ShearX", "ShearY", "Rotate", "TranslateX", "TranslateY", "TranslateXRel", "TranslateYRel")
NAMES = [name for name in NAME_TO_OP if Step(name, flip, (), {}).kind in KINDS or name in MOVING]


def transform(**augment):
    settings = AugmentSettings(**augment)
    return TrainTransform(VIEW, STATS, STATS, settings, EvalTransform(VIEW, STATS, STATS))


def as_tensor(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


@pytest.mark.parametrize("name", [*NAMES, "FlipX", "FlipY"])
def test_each_operation_is_that_of_pillow(name):
    strength = {"translate_const": 20, "img_mean": (120, 110, 100)}
    for seed in range(8):
        seed_everything(1, seed)
        picture = waves(96, 64, seed)
        if name.startswith("Flip"):
            steps = [flip(name)]
        else:
            steps = draw_steps(RandAugment([AugmentOp(name, prob=1.0, magnitude=6, hparams=strength)], 1))
        assert can_be_done_there(steps)
        found = on_device(steps)(as_tensor(picture))
        expected = as_tensor(steps[0](picture)).int()
        assert (found.dtype, found.shape) == (torch.uint8, expected.shape)
        difference = (found.int() - expected).abs().float()
        if name in MOVING:
            assert (difference > 6).any(dim=0).float().mean() < 0.06  # along the edges of what was moved
            assert difference.mean() < 1.2
        else:
            assert difference.max() <= 2


def test_what_pillow_alone_knows_is_not_done_there():
    strength = {"img_mean": (0, 0, 0)}
    for name in ("GaussianBlur", "Desaturate"):
        assert not can_be_done_there(
            draw_steps(RandAugment([AugmentOp(name, prob=1.0, magnitude=5, hparams=strength)], 1))
        )


def test_the_same_random_numbers_give_the_same_pictures_in_either_place():
    here, there = transform(erase=0.5), transform(erase=0.5, on_device=True)
    differences, moved = [], 0
    for seed in range(60):
        picture = waves(140, 120, seed % 5)
        seed_everything(2, seed)
        expected = here.read(lambda least, picture=picture: picture)
        following = torch.rand(1), np.random.random()
        seed_everything(2, seed)
        pixels = there.read(lambda least, picture=picture: picture)
        assert (torch.rand(1), np.random.random()) == following
        assert torch.equal(pixels.places, expected.places)
        moved += bool(pixels.before[0])
        before = pixels.values.clone()
        differences.append((pixels.normalised() - expected.normalised()).abs().mean().item())
        assert torch.equal(pixels.values, before)
    assert moved > 30
    assert np.mean(differences) < 0.02  # of a standard deviation


def test_pictures_of_a_batch_keep_their_own_steps():
    made = transform(on_device=True, erase=1.0)
    single = []
    for seed in range(5):
        seed_everything(3, seed)
        single.append(made.read(lambda least: waves(100, 100)))
    batch = Pixels.together([pickle.loads(pickle.dumps(pixels)) for pixels in single])
    assert torch.equal(batch.normalised(), torch.cat([pixels.normalised() for pixels in single]))
    assert any(isinstance(steps, OnDevice) for steps in batch.before)
    assert torch.equal(batch.pin_memory().normalised(), batch.normalised()) if torch.cuda.is_available() else True


@pytest.mark.gpu
def test_on_a_gpu_it_is_the_same_within_rounding():
    made = transform(on_device=True)
    for seed in range(20):
        seed_everything(4, seed)
        pixels = made.read(lambda least: waves(100, 100))
        off = (pixels.normalised("cuda").cpu() - pixels.normalised()).abs()
        assert off.mean() < 1e-2
