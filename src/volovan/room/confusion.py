"""What pixels were taken for what: a confusion matrix, and the ratios that follow from it."""

import torch
from torch import Tensor

from volovan.data.masks.coding import IGNORE


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
