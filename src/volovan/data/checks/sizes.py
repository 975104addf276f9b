"""How large objects are, as a picture. Drawn by matplotlib."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from volovan.data.pictures.palettes import Colour

AREAS = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
"""pixels, from and below, as COCO calls objects"""
_MOST_CLASSES = 30  # with most objects
_MOST_POINTS = 4000
_PER_OCTAVE = 3  # columns of the histogram


def sizes_figure(sizes: Mapping[str, np.ndarray], palette: Mapping[str, Colour], title: str) -> Image.Image:
    """Left a histogram of the sides of squares of equal area for each class, right widths against heights.

    sizes: of each class (N, 3) float64: width, height and area in pixels, all above 0
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    names = sorted((name for name in sizes if len(sizes[name])), key=lambda name: -len(sizes[name]))
    sides = {name: np.sqrt(sizes[name][:, 2]) for name in names}
    every = np.concatenate([*sides.values()])
    low, high = np.floor(np.log2(every.min())), np.ceil(np.log2(every.max() + 1e-9))
    edges = 2 ** np.linspace(low, max(high, low + 1), round(max(high - low, 1)) * _PER_OCTAVE + 1)
    shown = names[:_MOST_CLASSES]
    counts = np.array([np.histogram(sides[name], edges)[0] for name in shown])
    figure = Figure(figsize=(12, min(12, 3.4 + 0.27 * len(shown))), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.pcolormesh(edges, np.arange(len(shown) + 1), counts / counts.max(axis=1, keepdims=True), cmap="Blues")
    left.set_yticks(np.arange(len(shown)) + 0.5, [f"{_short(name)} ({len(sizes[name]):,})" for name in shown])
    left.invert_yaxis()
    left.set(xscale="log", xlabel="√area in pixels; darkest: most objects of the class", title=title)
    for side in (32, 96):
        left.axvline(side, color="tab:red", linewidth=1)
    points = np.concatenate([sizes[name][:, :2] for name in names])
    colours = np.concatenate([np.full((len(sizes[name]), 3), palette[name]) for name in names]) / 255
    chosen = np.random.default_rng(0).permutation(len(points))[:_MOST_POINTS]
    right.scatter(*points[chosen].T, c=colours[chosen], s=9, alpha=0.6, linewidths=0)
    right.set(xscale="log", yscale="log", xlabel="width of the box in pixels", ylabel="height of the box in pixels")
    right.set_title("small, medium, large: COCO's areas between the lines")
    right.grid(alpha=0.3)
    ends = np.array([points.min(), points.max()])
    for side in (32, 96):
        right.plot(ends, side**2 / ends, color="tab:red", linewidth=1)
    right.set(xlim=(ends[0] / 1.2, ends[1] * 1.2), ylim=(ends[0] / 1.2, ends[1] * 1.2))
    for axis in (left.xaxis, right.xaxis, right.yaxis):
        axis.set_major_locator(LogLocator(2))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _short(name: str) -> str:
    return name.replace("$", r"\$") if len(name) <= 18 else name[:17].replace("$", r"\$") + "…"
