"""What a prediction scores that looks at no picture: the figures that a trained network must be clearly better than."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F

from volovan.data.samples import take
from volovan.data.source import Source
from volovan.data.sources import open_source
from volovan.engine.settings import expand_variables
from volovan.saliency.metrics import SaliencyMetric, truth_of
from volovan.saliency.recipe import Recipe

GRID = 64
Guess = Callable[[tuple[int, int]], np.ndarray]


def mean_mask(source: Source[np.ndarray], side: int = GRID) -> np.ndarray:
    """(side, side): how often each place is salient in the masks of a source, each squashed to that square."""
    total = np.zeros((side, side))
    for index in range(len(source)):
        truth = torch.from_numpy(truth_of(source.target(index)).astype(np.float64))
        total += F.interpolate(truth[None, None], (side, side), mode="area")[0, 0].numpy()
    return total / len(source)


def guesses(prior: np.ndarray) -> dict[str, Guess]:
    """Predictions of a size (H, W), made from the mean training mask: nothing salient, which is the best constant where
    objects cover less than half; the mean value everywhere; the mean mask (centre prior), and the half of it that is
    salient more often than not."""
    share = float(prior.mean())

    def resized(size: tuple[int, int]) -> np.ndarray:
        found = F.interpolate(torch.from_numpy(prior)[None, None], size, mode="bilinear", align_corners=False)
        return found[0, 0].clamp(0, 1).numpy()

    return {
        "all background": np.zeros,
        "all mean": lambda size: np.full(size, share),
        "centre prior": resized,
        "centre prior, cut at 0.5": lambda size: (resized(size) > 0.5).astype(np.float64),
    }


def score_baselines(
    train: Source[np.ndarray], masks: Iterable[np.ndarray], quantise: bool = True
) -> dict[str, dict[str, float]]:
    """Guess -> its measures (`SaliencyMetric.finish`) on masks (H, W) uint8."""
    found = guesses(mean_mask(train))
    metrics = {name: SaliencyMetric(torch.device("cpu"), quantise=quantise) for name in found}
    for mask in masks:
        for name, guess in found.items():
            metrics[name].add(guess((mask.shape[0], mask.shape[1])), mask)
    return {name: metric.finish() for name, metric in metrics.items()}


def score_run_baselines(
    recipe: Recipe, source: Source[np.ndarray], numbers: Iterable[int], quantise: bool = True
) -> dict[str, dict[str, float]]:
    """Those of the training masks of a run, on these samples of a source."""
    data = recipe.data
    other = data.val and expand_variables(data.val)
    spec, how = expand_variables(data.source), data.drawn_on
    trained = open_source(spec, data.train_split, kind="map", beside=other, drawn_on=how)
    train = take(trained, data.limit)
    return score_baselines(train, (source.target(number) for number in numbers), quantise)
