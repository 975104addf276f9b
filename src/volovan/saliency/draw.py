"""Measures and maps -> pictures: curves, and sheets of picture, map and mask."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from volovan.engine.figures import new_figure, save_figure
from volovan.saliency.metrics import FIFTY, LEVELS, SaliencyMetric, f_measure

LIGHT, DARK = 255, 214


def draw_curves(metric: SaliencyMetric, path: Path) -> Path:
    """Precision over recall, and F- and E-measure over the threshold, as a PNG."""
    means, values = metric.means(), metric.finish()
    figure, (left, right) = new_figure(9, 3.6, columns=2)
    left.plot(means["recall"], means["precision"])
    left.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    left.set_title(f"MAE {values['mae']:.4f}")
    thresholds = np.arange(LEVELS) / (LEVELS - 1)
    right.plot(thresholds, means["f"], label=f"F of each picture, largest {values['maxf255']:.3f}")
    pooled = f_measure(means["precision50"], means["recall50"])
    right.plot(FIFTY, pooled, ".", ms=3, label=f"F of mean P and R, largest {values['maxf50']:.3f}")
    right.plot(thresholds, means["e"], label=f"E, largest {values['maxe']:.3f}")
    right.set(xlabel="threshold", xlim=(0, 1), ylim=(0, 1.02))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    right.legend(loc="lower center", fontsize=8)
    return save_figure(figure, path)


def checkerboard(size: tuple[int, int], cell: int = 8) -> Image.Image:
    """(width, height) of light squares, what image editors show behind transparent pixels."""
    width, height = size
    rows, columns = np.arange(height)[:, None] // cell, np.arange(width)[None] // cell
    odd = ((rows + columns) % 2).astype(bool)
    return Image.fromarray(np.where(odd, np.uint8(DARK), np.uint8(LIGHT))).convert("RGB")


def on_checkerboard(cutout: Image.Image, cell: int | None = None) -> Image.Image:
    """RGBA picture -> RGB, as an image editor shows it."""
    ground = checkerboard(cutout.size, cell or max(4, max(cutout.size) // 40)).convert("RGBA")
    return Image.alpha_composite(ground, cutout).convert("RGB")


def beside(parts: list[Image.Image], gap: int = 4) -> Image.Image:
    """Pictures of one height in a row, on white."""
    width = sum(part.width for part in parts) + gap * (len(parts) - 1)
    row = Image.new("RGB", (width, max(part.height for part in parts)), "white")
    x = 0
    for part in parts:
        row.paste(part.convert("RGB"), (x, 0))
        x += part.width + gap
    return row


def framed(mask: Image.Image) -> Image.Image:
    """A grey map with a thin frame, so that black ones are seen."""
    framed = mask.convert("RGB")
    ImageDraw.Draw(framed).rectangle((0, 0, framed.width - 1, framed.height - 1), outline=(150, 150, 150))
    return framed
