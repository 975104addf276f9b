"""Pictures that travel as bytes are, on arrival, what `to_tensor` would have made of them."""

import numpy as np
import pytest
import torch
from PIL import Image

from volovan.data.pictures.tensors import Pixels, to_tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8))


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_batch_is_normalised_to_the_last_bit_as_single_pictures_are(channels_last):
    pictures = [picture(seed) for seed in range(3)]
    batch = Pixels.together([Pixels.of(one, MEAN, STD) for one in pictures])
    images = batch.normalised(channels_last=channels_last)
    assert torch.equal(images, torch.stack([to_tensor(one, MEAN, STD) for one in pictures]))
    assert images.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def test_noise_lies_over_its_own_picture():
    plain = Pixels.of(picture(0), MEAN, STD)
    noise = torch.arange(3 * 4 * 5, dtype=torch.float32)
    places = torch.tensor([[0, 2, 7, 4, 5]])
    laid = Pixels(plain.values, MEAN, STD, places, noise)
    small = Pixels(plain.values, MEAN, STD, torch.tensor([[0, 0, 0, 1, 1]]), torch.tensor([7.0, 8.0, 9.0]))
    images = Pixels.together([plain, laid, small, laid]).normalised()
    expected = plain.normalised()[0]
    assert torch.equal(images[0], expected)
    assert images[2, :, 0, 0].tolist() == [7, 8, 9]
    over = expected.clone()
    over[:, 2:6, 7:12] = noise.view(3, 4, 5)
    assert torch.equal(images[1], over)
    assert torch.equal(images[3], over)
