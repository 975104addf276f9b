"""Figures of a finished metric: what is confused with what, and precision over recall."""

from collections.abc import Sequence
from pathlib import Path

from volovan.data.pictures.palettes import Colour
from volovan.detect.draw import draw_confusion, draw_curves
from volovan.detect.metrics import DetectionMetric


def draw_figures(metric: DetectionMetric, folder: Path, palette: Sequence[Colour]) -> list[Path]:
    """confusion.png and precision_recall_boxes.png, of masks another; returns the files written."""
    found = draw_confusion(metric.confusion(), metric.classes, folder, palette)
    for scores, name in zip(metric.coco(), ("boxes", "masks"), strict=True):
        if scores is not None:
            found += draw_curves(scores.curves(), metric.classes, folder, palette, name)
    return found
