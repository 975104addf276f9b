"""The measures over many pictures: sums that processes can add up, and a row for each picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.saliency.metrics import (
    FIFTY,
    LEVELS,
    Curves,
    curves,
    f_measure,
    mean_absolute_error,
    prepare,
    s_measure,
    truth_of,
    weighted_f,
)

SUMS = {
    "count": 1,
    "mae": 1,
    "precision50": len(FIFTY),
    "recall50": len(FIFTY),
    "precision": LEVELS,
    "recall": LEVELS,
    "f": LEVELS,
    "e": LEVELS,
    "adaptive_f": 1,
    "adaptive_e": 1,
}
STRUCTURE = {"s": 1, "weighted_f": 1}
"""sums of the measures that take two thirds of the time"""


@dataclass(frozen=True)
class PictureScore:
    """Of one picture: its number in the data, and its own measures (F and E at their best thresholds for it)."""

    index: int
    values: dict[str, float]

    @property
    def score(self) -> float:
        return -self.values["mae"]

    @property
    def said(self) -> str:
        return f"MAE {self.values['mae']:.3f}"


class SaliencyMetric:
    """MAE, F-, E-, S- and weighted F-measure of maps at the size of their masks.

    structure  also S and weighted F, which are slow: `volovan validate` has them, the validation in training has not
    quantise, stretch  see `prepare`
    """

    def __init__(self, device: torch.device, structure: bool = False, quantise: bool = True, stretch: bool = False):
        self.structure, self.quantise, self.stretch = structure, quantise, stretch
        precise = torch.float32 if device.type == "mps" else torch.float64
        sizes = SUMS | (STRUCTURE if structure else {})
        self.totals = {name: torch.zeros(size, dtype=precise, device=device) for name, size in sizes.items()}
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
        values = {"mae": mean_absolute_error(prediction, truth)}
        if self.structure:
            values |= {"s": s_measure(prediction, truth), "weighted_f": weighted_f(prediction, truth)}
        self._sum({"count": 1.0, **values, **vars(by_threshold)})
        row = PictureScore(index, {**values, **_own(by_threshold)})
        self.rows[index] = row
        return row

    def _sum(self, values: dict[str, Any]) -> None:
        for name, total in self.totals.items():
            total += torch.as_tensor(values[name], dtype=total.dtype, device=total.device)

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


def _own(found: Curves) -> dict[str, float]:
    """Of a single picture."""
    return {"maxf": float(found.f.max()), "meanf": float(found.f.mean()), "maxe": float(found.e.max())}


def saliency_maps(model: nn.Module, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Images (B, 3, h, w) -> for each a map (H, W) in float32 from 0 to 1 at its own size, resized bilinearly."""
    probabilities = model(images).float().sigmoid()
    return [
        F.interpolate(one[None], size=size, mode="bilinear", align_corners=False)[0, 0]
        for one, size in zip(probabilities, sizes, strict=True)
    ]
