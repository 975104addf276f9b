"""How the scenes of shapes.py look: colours, grounds, light, shadow and grain. Masks are none of its business.

Everything is sums, products and quotients of IEEE floats, in a fixed order, so that pictures are the same everywhere.
"""

from collections.abc import Sequence

import numpy as np

Draw = np.random.Generator
LIGHTNESS = 0.22  # by how much light from one side of a picture to the other may add or take
_TEXTURE = (0.16, 0.28)  # how far the stripes and checks of a ground go from its colour, at least and at most
_HUES = 0.06  # how much of the circle of hues a thing may take
_GRAIN = 18  # grey levels from the darkest to the lightest grain


def direction(tangent: float) -> tuple[float, float]:
    """Cosine and sine of the angle of which tangent is that of the half: exact where cos() and sin() are not."""
    square = tangent * tangent
    return (1 - square) / (1 + square), 2 * tangent / (1 + square)


def between(draw: Draw, low: float, high: float) -> float:
    return low + (high - low) * draw.random()


def any_direction(draw: Draw) -> tuple[float, float]:
    """A unit vector; the diagonals are met a little more often."""
    cosine, sine = direction(between(draw, -1, 1))
    return (cosine, sine) if draw.random() < 0.5 else (-cosine, -sine)


def colours_apart(draw: Draw, hues: Sequence[float | None], apart: float) -> np.ndarray:
    """(count, 3) from 0 to 255: any two differ by at least `apart` in one channel, or by what eight tries give.

    hues  of a thing, from 0 to 1, which its colour stays near; None for a ground, which is pale and of any hue
    """
    tries = np.stack([_some_colours(draw, hue, 8) for hue in hues])
    colours = tries[:, 0]
    for number in range(1, len(hues)):
        gaps = abs(tries[number, :, None] - colours[None, :number]).max(-1).min(-1)
        far = gaps >= apart
        colours[number] = tries[number, np.argmax(far) if far.any() else np.argmax(gaps)]
    return colours


def _some_colours(draw: Draw, near: float | None, count: int) -> np.ndarray:
    """(count, 3): full colours near a hue, or pale ones of any; rarely dark."""
    hue, pale, value = draw.random((3, count, 1))
    if near is not None:
        hue, pale = near + _HUES * (hue - 0.5), 0.4 * pale
    else:
        pale = 0.68 + 0.27 * pale
    pure = (abs((6 * hue + np.array([0, 4, 2])) % 6 - 3) - 1).clip(0, 1)
    value = 0.45 + 0.52 * value
    return 255 * value * (pale + (1 - pale) * pure)


def texture(draw: Draw, kind: str, x: np.ndarray, y: np.ndarray, unit: float) -> np.ndarray:
    """(H, W) float32 around 1: the tone of a ground that is "plain", of "stripes" or of "checks".

    x, y  (1, W) and (H, 1) float32: middles of the pixels
    unit  pixels of the short side of the picture: the pattern grows with it
    """
    across, up = any_direction(draw)
    period = between(draw, 0.07, 0.11) * unit
    strength = between(draw, *_TEXTURE)
    if kind == "plain":
        return np.ones((y.shape[0], x.shape[1]), dtype=np.float32)
    tone = _wave(x * (across / period) + y * (up / period))
    if kind == "checks":
        tone *= _wave(y * (across / period) - x * (up / period))
    return 1 + strength * np.sign(tone)


def _wave(phase: np.ndarray) -> np.ndarray:
    """-1 to 1 with period 1: two parabolas that look like a sine."""
    phase = phase - np.floor(phase) - 0.5
    return 16 * phase * (0.5 - abs(phase))


def curve(draw: Draw, x: np.ndarray, y: np.ndarray, unit: float) -> np.ndarray:
    """(H, W) bool: what lies on one side of a wavy line through the middle part of the picture."""
    across, up = any_direction(draw)
    x, y = x / unit - x.size / unit / 2, y / unit - y.size / unit / 2
    along, away = x * across + y * up, y * across - x * up
    wave = between(draw, 0.02, 0.07) * _wave(along / between(draw, 0.5, 1.0) + draw.random())
    return away + wave > between(draw, -0.22, 0.22)


def light(draw: Draw, height: int, width: int) -> np.ndarray:
    """(H, W) float32 around 1: brighter towards one side."""
    across, up = any_direction(draw)
    strength = between(draw, 0.3, 1) * LIGHTNESS
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width - 0.5) * (strength * across * 2)
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height - 0.5) * (strength * up * 2)
    return 1 + x[None, :] + y[:, None]


def develop(draw: Draw, segments: np.ndarray, colours: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: each segment in its colour, times the tone, with grain.

    segments  (H, W) numbers of rows of colours
    tone      (H, W) float32
    """
    grain = draw.random(segments.shape, dtype=np.float32)
    grain -= 0.5
    grain *= _GRAIN
    pixels = colours.astype(np.float32)[segments]
    pixels *= tone[..., None]
    pixels += grain[..., None]
    return pixels.clip(0, 255, out=pixels).astype(np.uint8)
