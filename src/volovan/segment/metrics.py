"""Metrics of semantic segmentation, summed over the pixels of all pictures: mIoU, mean and overall accuracy.

Own sums, since the library of the field takes ten seconds to import; the tests hold them against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from volovan.data.masks import IGNORE
from volovan.room.ready import PictureScore
from volovan.segment.boundary import BoundarySums

Predictor = Callable[[nn.Module, Tensor, tuple[int, int]], Tensor]
"""model, image (3, h, w), (H, W) -> class numbers (H, W), the argmax of logits resized to (H, W)"""


class SegmentationMetric:
    """mIoU, mAcc, aAcc and the confusion matrix they come from; on demand boundary IoU.

    As ADE20K and mmsegmentation define them: sums over all pictures first, then ratios, then means over classes.
    Pixels labelled 255 do not count. A class that occurs neither in a label nor in a prediction has no IoU and is left
    out of the mean; one without a labelled pixel has no accuracy and is left out of that mean.
    """

    def __init__(
        self,
        num_classes: int,
        device: torch.device,
        predict: Predictor,
        boundary: bool = False,
        pictures: bool = False,
    ) -> None:
        """pictures: whether every single picture is judged too."""
        self.num_classes, self.predict, self.pictures = num_classes, predict, pictures
        self.rows: dict[int, PictureScore] = {}
        self.totals = {
            "count": torch.zeros(1, dtype=torch.long, device=device),
            "confusion": torch.zeros(num_classes, num_classes, dtype=torch.long, device=device),
        }
        self.boundary = BoundarySums(num_classes, device) if boundary else None
        if self.boundary:
            self.totals |= self.boundary.totals

    def update(self, model: nn.Module, batch: dict[str, Any]) -> None:
        """batch: "image", a list of (3, h, w); "mask", a list of (H, W); "index", a list of numbers."""
        for index, image, mask in zip(batch["index"], batch["image"], batch["mask"], strict=True):
            own = self.add(self.predict(model, image, (mask.shape[0], mask.shape[1])), mask)
            if self.pictures:
                miou, right = float(iou_of(own).nanmean()), float(overall_accuracy_of(own))
                said = f"mIoU {miou:.1f} %, {right:.1f} % of the pixels right"
                self.rows[int(index)] = PictureScore(int(index), miou, said)

    def add(self, predicted: Tensor, mask: Tensor) -> Tensor:
        """Class numbers (H, W) of one picture and its label (H, W), any integer types -> its own confusion matrix."""
        own = confusion_of(predicted, mask, self.num_classes)
        self.totals["count"] += 1
        self.totals["confusion"] += own
        if self.boundary:
            self.boundary.add(predicted, mask)
        return own

    def finish(self) -> dict[str, float]:
        """Percentages: miou, macc, aacc (overall accuracy), with boundaries also boundary_miou; nan over no pixel."""
        confusion = self.totals["confusion"]
        ious, accuracies = iou_of(confusion), accuracy_of(confusion)
        values = {"miou": ious.nanmean(), "macc": accuracies.nanmean(), "aacc": overall_accuracy_of(confusion)}
        if self.boundary:
            values["boundary_miou"] = self.boundary.iou().nanmean()
        return {name: float(value) for name, value in values.items()}

    def per_class(self) -> dict[str, Sequence[float]]:
        """Of each class: share of the labelled pixels, IoU, accuracy, with boundaries boundary_iou; all in per cent,
        nan where a class has none."""
        confusion = self.totals["confusion"]
        share = 100 * confusion.sum(1).cpu().double() / confusion.sum().clamp(min=1).cpu()
        table = {"share": share, "iou": iou_of(confusion), "accuracy": accuracy_of(confusion)}
        if self.boundary:
            table["boundary_iou"] = self.boundary.iou()
        return {name: values.tolist() for name, values in table.items()}


def confusion_of(predicted: Tensor, mask: Tensor, num_classes: int) -> Tensor:
    """(K, K) pixels, rows are the true classes. ValueError for a number from K on, but 255 in the mask."""
    known = mask != IGNORE
    truth, answer = mask[known].long(), predicted[known].long()
    flat = torch.bincount(truth * num_classes + answer, minlength=num_classes**2)
    if len(flat) > num_classes**2 or (answer.numel() and int(answer.max()) >= num_classes):
        raise ValueError(f"a mask or a prediction holds class numbers beyond the {num_classes} classes")
    return flat.view(num_classes, num_classes)


def iou_of(confusion: Tensor) -> Tensor:
    """(K,) per cent, float64: I / (L + P - I); nan for a class that is neither labelled nor predicted."""
    sums = confusion.cpu().double()
    right = sums.diagonal()
    return 100 * right / (sums.sum(0) + sums.sum(1) - right)


def accuracy_of(confusion: Tensor) -> Tensor:
    """(K,) per cent, float64: I / L; nan for a class that is not labelled."""
    sums = confusion.cpu().double()
    return 100 * sums.diagonal() / sums.sum(1)


def overall_accuracy_of(confusion: Tensor) -> Tensor:
    """Per cent, float64: share of the labelled pixels that are right (GRAZ-02 calls it pixel accuracy)."""
    sums = confusion.cpu().double()
    return 100 * sums.trace() / sums.sum()
