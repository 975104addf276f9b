"""Metrics of semantic segmentation, summed over the pixels of all pictures: mIoU, mean and overall accuracy.

Own sums, since the library of the field takes ten seconds to import; the tests hold them against it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.data.masks.coding import IGNORE
from volovan.room.confusion import accuracy_of, confusion_of, iou_of, overall_accuracy_of
from volovan.room.ready import PictureScore

Predictor = Callable[[nn.Module, Tensor, tuple[int, int]], Tensor]
"""model, image (3, h, w), (H, W) -> class numbers (H, W), the argmax of logits resized to (H, W)"""
DILATION = 0.02
"""width of a boundary, of the diagonal, as the paper sets it"""


class SegmentationMetric:
    """mIoU, mAcc, aAcc and the confusion matrix they come from; on demand boundary IoU.

    As ADE20K and mmsegmentation define them: sums over all pictures first, then ratios, then means over classes.
    Pixels labelled 255 do not count. A class that occurs neither in a label nor in a prediction has no IoU and is left
    out of the mean; one without a labelled pixel has no accuracy and is left out of that mean. Nor has a class that the
    data do not know: pixels that are taken for it count against the classes that they are of.
    """

    def __init__(
        self,
        num_classes: int,
        device: torch.device,
        predict: Predictor,
        boundary: bool = False,
        pictures: bool = False,
        absent: Sequence[int] = (),
    ) -> None:
        """pictures: whether every single picture is judged too; absent: classes that the data do not know."""
        self.num_classes, self.predict, self.pictures, self.absent = num_classes, predict, pictures, list(absent)
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
                miou, right = float(self.known(iou_of(own)).nanmean()), float(overall_accuracy_of(own))
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

    def known(self, values: Tensor) -> Tensor:
        """Values of all classes (K,) with nan for those that the data do not know."""
        values[self.absent] = float("nan")
        return values

    def finish(self) -> dict[str, float]:
        """Percentages: miou, macc, aacc (overall accuracy), with boundaries also boundary_miou; nan over no pixel."""
        confusion = self.totals["confusion"]
        ious, accuracies = self.known(iou_of(confusion)), accuracy_of(confusion)
        values = {"miou": ious.nanmean(), "macc": accuracies.nanmean(), "aacc": overall_accuracy_of(confusion)}
        if self.boundary:
            values["boundary_miou"] = self.known(self.boundary.iou()).nanmean()
        return {name: float(value) for name, value in values.items()}

    def per_class(self) -> dict[str, Sequence[float]]:
        """Of each class: share of the labelled pixels, IoU, accuracy, with boundaries boundary_iou; all in per cent,
        nan where a class has none."""
        confusion = self.totals["confusion"]
        share = 100 * confusion.sum(1).cpu().double() / confusion.sum().clamp(min=1).cpu()
        table = {"share": share, "iou": self.known(iou_of(confusion)), "accuracy": accuracy_of(confusion)}
        if self.boundary:
            table["boundary_iou"] = self.known(self.boundary.iou())
        return {name: values.tolist() for name, values in table.items()}


class BoundarySums:
    """Intersections and unions of boundaries, per class over all pictures: boundary IoU (Cheng et al. 2021, arXiv
    2103.16562), IoU of the pixels that lie near the edge of their class.

    Of the region of a class, the pixels that an erosion by d pixels takes away are its boundary; d is 2 % of the
    diagonal of the picture, and what lies beyond the picture counts as another class. Here the boundaries of all
    classes are found at once: a pixel belongs to one if the square of 2 d + 1 pixels around it holds another number.
    """

    def __init__(self, num_classes: int, device: torch.device, dilation: float = DILATION) -> None:
        self.num_classes, self.dilation = num_classes, dilation
        names = ("boundary_intersection", "boundary_union")
        self.totals = {name: torch.zeros(num_classes, dtype=torch.long, device=device) for name in names}

    def add(self, predicted: Tensor, mask: Tensor) -> None:
        """Class numbers (H, W) and labels (H, W). What is ignored in the label is so in the prediction."""
        predicted = torch.where(mask == IGNORE, mask, predicted.to(mask.dtype))
        width = boundary_width(mask.shape[0], mask.shape[1], self.dilation)
        of_mask = boundary(mask, width) & (mask != IGNORE)
        of_prediction = boundary(predicted, width) & (predicted != IGNORE)
        both = self._count(mask[of_mask & of_prediction & (mask == predicted)])
        self.totals["boundary_intersection"] += both
        self.totals["boundary_union"] += self._count(mask[of_mask]) + self._count(predicted[of_prediction]) - both

    def iou(self) -> Tensor:
        """(K,) per cent, float64; nan for a class without a pixel."""
        sums = {name: total.cpu().double() for name, total in self.totals.items()}
        return 100 * sums["boundary_intersection"] / sums["boundary_union"]

    def _count(self, numbers: Tensor) -> Tensor:
        return torch.bincount(numbers.long(), minlength=self.num_classes)


def boundary_width(height: int, width: int, dilation: float = DILATION) -> int:
    """d in pixels, at least 1."""
    return max(1, round(dilation * (height**2 + width**2) ** 0.5))


def boundary(classes: Tensor, width: int) -> Tensor:
    """(H, W) bool: whether a pixel with another number, or the edge of the picture, is at most `width` pixels away,
    diagonal steps counting as one (as repeated erosions by 3 x 3 do)."""
    outside = F.pad(classes.short(), (width, width, width, width), value=-1)
    lowest = highest = outside
    for axis in (0, 1):
        lowest = _slide(lowest, axis, 2 * width + 1, torch.minimum)
        highest = _slide(highest, axis, 2 * width + 1, torch.maximum)
    return lowest != highest


def _slide(values: Tensor, axis: int, window: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The least or the largest of each `window` neighbours along an axis, in log2(window) steps: each doubles what
    has been combined, the last overlaps."""
    done = 1
    while done < window:
        step = min(done, window - done)
        kept = values.shape[axis] - step
        values = combine(values.narrow(axis, 0, kept), values.narrow(axis, step, kept))
        done += step
    return values
