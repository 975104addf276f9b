"""Measures of saliency maps: of one picture, in NumPy and float64, and summed over many, so that processes add up.

pysodmetrics agrees with them (the tests).

prediction (H, W) from 0 to 1, truth (H, W) of bool. Sources: van.md 5; Achanta 2009 (F), Fan 2017 (S, arXiv
1708.00786), Fan 2018 (E, arXiv 1805.10421), Margolin 2014 (weighted F). The F- and E-measure depend on a threshold;
for speed they come from two histograms of the prediction, over the object and over the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.data.masks.maps import SALIENT
from volovan.room import ready
from volovan.room.ready import zeros

EPS = float(np.spacing(1.0))
BETA2 = 0.3
"""weight of precision against recall in the F-measure; the weighted F-measure has 1"""
FIFTY = np.arange(1, 51) / 51
"""thresholds of maxf50, with which EDN and the VAN paper report (van.md 5)"""
LEVELS = 256
"""thresholds 0/255, 1/255 ... 255/255 of the other curves"""
SUMS = dict.fromkeys(("count", "mae", "adaptive_f", "adaptive_e"), 1)
SUMS |= dict.fromkeys(("precision50", "recall50"), len(FIFTY))
SUMS |= dict.fromkeys(("precision", "recall", "f", "e"), LEVELS)
STRUCTURE = {"s": 1, "weighted_f": 1}
"""sums of the measures that take two thirds of the time"""


def truth_of(mask: np.ndarray) -> np.ndarray:
    """Mask (H, W) uint8 -> bool: above SALIENT is object, as in the field's tools, in soft masks too."""
    return mask > SALIENT


def prepare(prediction: np.ndarray, quantise: bool = True, stretch: bool = False) -> np.ndarray:
    """What is scored of a map from 0 to 1.

    quantise  to 256 levels, as if it had been written to a PNG and read back
    stretch   so that its least value becomes 0 and its largest 1, as the MATLAB code of the measures and pysodmetrics
              do with what they read; a constant map stays as it is
    """
    prediction = prediction.astype(np.float64)
    if quantise:
        prediction = np.rint(255 * prediction) / 255
    low, high = prediction.min(), prediction.max()
    return (prediction - low) / (high - low) if stretch and high > low else prediction


def curves(prediction: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """All that rising thresholds give; a pixel counts as found where the prediction is not below.

    precision, recall       (256,)
    precision50, recall50   (50,)
    f, e                    (256,) F- and E-measure
    adaptive_f, adaptive_e  (1,) at twice the mean of the prediction, at most 1
    """
    size, inside = truth.size, int(truth.sum())
    # Cut off, not rounded, as pysodmetrics does: a value between two levels has passed the lower one only.
    levels = (prediction * (LEVELS - 1)).astype(np.uint8)
    found, right = _at_least(levels, truth, LEVELS)
    precision, recall = _precision_recall(found, right, inside)
    passed = np.searchsorted(FIFTY, prediction.ravel(), side="right").reshape(prediction.shape)
    found50, right50 = _at_least(passed, truth, len(FIFTY) + 1)
    precision50, recall50 = _precision_recall(found50[1:], right50[1:], inside)
    at_mean = prediction >= min(2 * prediction.mean(), 1)
    found1, right1 = np.array([at_mean.sum()]), np.array([(at_mean & truth).sum()])
    return {
        "precision": precision,
        "recall": recall,
        "precision50": precision50,
        "recall50": recall50,
        "f": f_measure(precision, recall),
        "e": e_measure(found, right, inside, size),
        "adaptive_f": f_measure(*_precision_recall(found1, right1, inside)),
        "adaptive_e": e_measure(found1, right1, inside, size),
    }


def _at_least(levels: np.ndarray, truth: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(pixels, object pixels) whose level is i or more, for i in 0 .. count - 1."""
    everywhere = np.bincount(levels.ravel(), minlength=count)
    inside = np.bincount(levels[truth], minlength=count)
    return everywhere[::-1].cumsum()[::-1], inside[::-1].cumsum()[::-1]


def _precision_recall(found: np.ndarray, right: np.ndarray, inside: int) -> tuple[np.ndarray, np.ndarray]:
    """Where nothing is found precision is 0, where there is no object recall is 0."""
    return right / np.maximum(found, 1), right / max(inside, 1)


def f_measure(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """1.3 P R / (0.3 P + R); 0 where both are."""
    product = (1 + BETA2) * precision * recall
    return product / np.where(product == 0, 1, BETA2 * precision + recall)


def e_measure(found: np.ndarray, right: np.ndarray, inside: int, size: int) -> np.ndarray:
    """Enhanced alignment of a binary prediction: mean over the pixels of (a + 1)^2 / 4, a = 2 g p / (g^2 + p^2).

    g and p are mask and prediction less their means. Both are binary, so that there are four kinds of pixels only;
    without object, or with nothing else, each right pixel counts 1. The published code divides by the pixels less one.
    """
    if inside in (0, size):
        return (found if inside else size - found) / (size - 1 + EPS)
    total = np.zeros(len(found))
    for is_found, is_object, count in (
        (1, 1, right),
        (1, 0, found - right),
        (0, 1, inside - right),
        (0, 0, size - inside - (found - right)),
    ):
        p, g = is_found - found / size, is_object - inside / size
        total += ((2 * p * g / (p**2 + g**2 + EPS) + 1) ** 2 / 4) * count
    return total / (size - 1 + EPS)


def s_measure(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Structure: half of it how alike the values are on the object and off it, half SSIM of four quarters that meet in
    the object's centre. Without object 1 - mean, with nothing else the mean of the prediction."""
    share = truth.mean()
    if share in (0, 1):
        return float(prediction.mean() if share else 1 - prediction.mean())
    objects = share * _alike(prediction[truth]) + (1 - share) * _alike(1 - prediction[~truth])
    return float(max(0.0, 0.5 * objects + 0.5 * _regions(prediction, truth)))


def _alike(values: np.ndarray) -> float:
    """2 m / (m^2 + 1 + s): 1 where all values are 1."""
    mean, spread = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
    return float(2 * mean / (mean**2 + 1 + spread + EPS))


def _regions(prediction: np.ndarray, truth: np.ndarray) -> float:
    """SSIM of the four quarters, weighted by their areas."""
    rows, columns = np.nonzero(truth)
    bottom, right = int(rows.mean().round()) + 1, int(columns.mean().round()) + 1
    total = 0.0
    for down in (slice(0, bottom), slice(bottom, None)):
        for across in (slice(0, right), slice(right, None)):
            part, quarter = prediction[down, across], truth[down, across]
            if quarter.size:
                total += quarter.size / truth.size * _ssim(part, quarter)
    return total


def _ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Structural similarity of two regions as a whole."""
    mean_x, mean_y, rest = x.mean(), y.mean(), x.size - 1 + EPS
    spread_x, spread_y = ((x - mean_x) ** 2).sum() / rest, ((y - mean_y) ** 2).sum() / rest
    together = ((x - mean_x) * (y - mean_y)).sum() / rest
    above, below = 4 * mean_x * mean_y * together, (mean_x**2 + mean_y**2) * (spread_x + spread_y)
    if above != 0:
        return float(above / (below + EPS))
    return 1.0 if below == 0 else 0.0


def weighted_f(prediction: np.ndarray, truth: np.ndarray) -> float:
    """F-measure, beta 1, of errors with weights: those near the object count less, and those on the object are taken
    together with their neighbours (a Gaussian of 7 x 7, sigma 5). 0 without object."""
    if not truth.any():
        return 0.0
    from scipy.ndimage import correlate1d, distance_transform_edt

    distance, nearest = distance_transform_edt(~truth, return_indices=True)
    error = np.abs(prediction - truth)
    off = ~truth
    spread = error.copy()  # outside, the error at the nearest pixel of the object
    spread[off] = error[nearest[0][off], nearest[1][off]]
    kernel = np.exp(-(np.arange(-3.0, 4.0) ** 2) / (2 * 5**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        spread = correlate1d(spread, kernel, axis=axis, mode="constant")
    error = np.where(truth & (spread < error), spread, error)
    error[off] *= 2 - 0.5 ** (distance[off] / 5)
    missed, wrong = error[truth], error[off].sum()
    right = truth.sum() - missed.sum()
    recall, precision = 1 - missed.mean(), right / (right + wrong + EPS)
    return float(2 * recall * precision / (recall + precision + EPS))


@dataclass(frozen=True)
class PictureScore(ready.PictureScore):
    """Of one picture, with its own measures (F and E at their best thresholds for it)."""

    values: dict[str, float]


class SaliencyMetric:
    """MAE, F-, E-, S- and weighted F-measure of maps at the size of their masks.

    structure  also S and weighted F, which are slow: `volovan validate` has them, the validation in training has not
    quantise, stretch  see `prepare`
    """

    def __init__(self, device: torch.device, structure: bool = False, quantise: bool = True, stretch: bool = False):
        self.structure, self.quantise, self.stretch = structure, quantise, stretch
        self.totals = zeros(SUMS | (STRUCTURE if structure else {}), device)
        self.rows: dict[int, PictureScore] = {}

    def update(self, model: nn.Module, batch: dict[str, Any]) -> None:
        """batch: "image" (B, 3, h, w); "mask", a list of (H, W) uint8, each at its own size; "index", numbers."""
        masks = batch["mask"]
        found = saliency_maps(model, batch["image"], [(mask.shape[0], mask.shape[1]) for mask in masks])
        for index, one, mask in zip(batch["index"], found, masks, strict=True):
            self.add(one.cpu().numpy(), mask.cpu().numpy(), int(index))

    def add(self, prediction: np.ndarray, mask: np.ndarray, index: int = -1) -> PictureScore:
        """prediction (H, W) from 0 to 1, mask (H, W) uint8."""
        if prediction.shape != mask.shape:
            raise ValueError(f"a map is {prediction.shape} and its mask {mask.shape}; both need the mask's size")
        truth = truth_of(mask)
        prediction = prepare(prediction, self.quantise, self.stretch)
        by_threshold = curves(prediction, truth)
        values = {"mae": float(np.abs(prediction - truth).mean())}
        if self.structure:
            values |= {"s": s_measure(prediction, truth), "weighted_f": weighted_f(prediction, truth)}
        sums: dict[str, Any] = {"count": 1.0, **values, **by_threshold}
        for name, total in self.totals.items():
            total += torch.as_tensor(sums[name], dtype=total.dtype, device=total.device)
        f, e = by_threshold["f"], by_threshold["e"]
        own = {**values, "maxf": float(f.max()), "meanf": float(f.mean()), "maxe": float(e.max())}
        self.rows[index] = PictureScore(index, -values["mae"], f"MAE {values['mae']:.3f}", own)
        return self.rows[index]

    def own_measures(self) -> list[str]:
        """Names of the measures of a single picture."""
        return ["mae", *(STRUCTURE if self.structure else ()), "maxf", "meanf", "maxe"]

    def means(self) -> dict[str, np.ndarray]:
        """Every sum over the number of pictures: arrays of one number, or of one for each threshold; nan over none."""
        count = self.totals["count"]
        return {name: (total / count).cpu().numpy() for name, total in self.totals.items() if name != "count"}

    def finish(self) -> dict[str, float]:
        """mae, then larger is better, all from 0 to 1; nan over no picture.

        maxf50    precision and recall averaged over the pictures at each of 50 thresholds, F of them, the largest (EDN)
        maxf255   F of each picture averaged at each of the 8-bit thresholds, the largest (pysodmetrics); meanf their
                  mean, adpf F at twice the mean of each map
        maxe, meane, adpe   the E-measure likewise
        s, weighted_f       where asked for
        """
        means = self.means()
        values = {
            "mae": means["mae"],
            "maxf50": f_measure(means["precision50"], means["recall50"]).max(),
            "maxf255": means["f"].max(),
            "meanf": means["f"].mean(),
            "adpf": means["adaptive_f"],
            "maxe": means["e"].max(),
            "meane": means["e"].mean(),
            "adpe": means["adaptive_e"],
        }
        values |= {name: means[name] for name in STRUCTURE if name in means}
        return {name: float(np.squeeze(value)) for name, value in values.items()}


def saliency_maps(model: nn.Module, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Images (B, 3, h, w) -> for each a map (H, W) in float32 from 0 to 1 at its own size, resized bilinearly."""
    probabilities = model(images).float().sigmoid()
    return [
        F.interpolate(one[None], size=size, mode="bilinear", align_corners=False)[0, 0]
        for one, size in zip(probabilities, sizes, strict=True)
    ]
