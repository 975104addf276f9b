"""What looks at no picture: the guesses are made of the training masks and scored like maps."""

import numpy as np
import pytest

from volovan.saliency.baselines import guesses, mean_mask, score_baselines


class Masks:
    """Two masks of different sizes: the left half, and all of it."""

    note = ""

    def __len__(self):
        return 2

    def name(self, index):
        return str(index)

    def target(self, index):
        found = np.full((40, 80), 255, np.uint8) if index else np.zeros((64, 64), np.uint8)
        found[:, : found.shape[1] // 2] = 255
        return found


def test_mean_mask_is_how_often_a_place_is_salient():
    prior = mean_mask(Masks(), side=8)
    np.testing.assert_allclose(prior[:, :4], 1)
    np.testing.assert_allclose(prior[:, 4:], 0.5)


def test_guesses_have_the_size_that_is_asked_for():
    found = guesses(mean_mask(Masks()))
    assert all(guess((30, 41)).shape == (30, 41) for guess in found.values())
    assert found["all mean"]((2, 2)).tolist() == [[0.75, 0.75], [0.75, 0.75]]
    assert not found["all background"]((3, 3)).any()
    prior = found["centre prior"]((10, 100))
    assert prior[5, 10] == pytest.approx(1)
    assert prior[5, 90] == pytest.approx(0.5)


def test_errors_of_the_guesses_are_those_of_arithmetic():
    mask = np.zeros((20, 20), np.uint8)
    mask[:, :5] = 255  # a quarter is salient
    found = score_baselines(Masks(), [mask], quantise=False)
    assert found["all background"]["mae"] == pytest.approx(0.25)
    assert found["all mean"]["mae"] == pytest.approx(0.25 * 0.25 + 0.75 * 0.75)
    assert found["centre prior, cut at 0.5"]["mae"] == pytest.approx(0.25, abs=0.03)
