"""Class numbers of pixels -> pictures: masks with a palette, overlays with a legend, panels, figures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from volovan.data.masks.coding import IGNORE
from volovan.data.masks.overlay import overlay, shown_picture
from volovan.data.pictures.panel import panel
from volovan.data.pictures.sheet import Legend, contact_sheet, share_text
from volovan.engine.figures import MOST_CLASSES, confusion_figure
from volovan.room.confusion import accuracy_of, iou_of, overall_accuracy_of

Palette = Sequence[tuple[int, int, int]]
_CELL = 224


def shares_of(mask: np.ndarray, num_classes: int) -> np.ndarray:
    """(K,) share of each class among the pixels that are not ignored; zeros where there is none."""
    counts = np.bincount(mask.reshape(-1), minlength=IGNORE + 1)[:num_classes]
    return counts / max(1, counts.sum())


def entries_of(classes: Sequence[str], palette: Palette, shares: np.ndarray) -> Legend:
    """Of the legend: the classes that occur, the largest first."""
    order = [number for number in np.argsort(-shares, kind="stable").tolist() if shares[number] > 0]
    return [(classes[number], palette[number], share_text(shares[number])) for number in order]


def draw_prediction(picture: Image.Image, mask: np.ndarray, classes: Sequence[str], palette: Palette) -> Image.Image:
    """The picture with its classes laid over it, and the legend with the share of each."""
    shown = overlay(picture, mask, palette)
    return panel([shown], [""], entries_of(classes, palette, shares_of(mask, len(classes))))


def draw_comparison(
    picture: Image.Image,
    predicted: np.ndarray,
    truth: np.ndarray,
    classes: Sequence[str],
    palette: Palette,
    title: str = "",
) -> Image.Image:
    """Picture, prediction and truth side by side; the legend is of the prediction and the truth together."""
    pictures = [shown_picture(picture), overlay(picture, predicted, palette), overlay(picture, truth, palette)]
    shares = (shares_of(predicted, len(classes)) + shares_of(truth, len(classes))) / 2
    return panel(pictures, ["picture", "prediction", "truth"], entries_of(classes, palette, shares), title)


def draw_confusion(confusion: Tensor, classes: Sequence[str], folder: Path, palette: Palette = ()) -> list[Path]:
    """Confusion matrix (K, K; rows are the true classes) as confusion.png, in per cent of the true class; nothing where
    there are too many."""
    if len(classes) > MOST_CLASSES:
        return []
    scores = f"mIoU {iou_of(confusion).nanmean():.2f}, mAcc {accuracy_of(confusion).nanmean():.2f}, "
    title = f"{scores}aAcc {overall_accuracy_of(confusion):.2f} %; cells in % of the true class's pixels"
    return [confusion_figure(confusion, classes, title, folder / "confusion.png", palette)]


def thumbnail(picture: Image.Image, mask: np.ndarray, palette: Palette) -> Image.Image:
    """The overlay of a picture at the size of a cell of the contact sheet."""
    small = overlay(picture, mask, palette)
    small.thumbnail((_CELL, _CELL), Image.Resampling.LANCZOS)
    return small


def draw_sheet(
    shown: Sequence[tuple[Image.Image, str, np.ndarray]], classes: Sequence[str], palette: Palette
) -> Image.Image:
    """Contact sheet of thumbnails, names and shares, with one legend below."""
    captions = []
    for _, name, shares in shown:
        best = [number for number in np.argsort(-shares, kind="stable")[:3].tolist() if shares[number] > 0]
        captions.append([name, ", ".join(f"{classes[number]} {100 * shares[number]:.0f} %" for number in best)])
    mean = np.mean([shares for _, _, shares in shown], axis=0)
    images = [image for image, _, _ in shown]
    return contact_sheet(images, captions, cell=_CELL, legend=entries_of(classes, palette, mean))
