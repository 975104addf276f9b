"""How the scenes of shapes.py look: colours, grounds, light, shadow and grain. Masks are none of its business.

Everything is sums, products and quotients of IEEE floats, in a fixed order, so that pictures are the same everywhere.
"""

import numpy as np

Draw = np.random.Generator
LIGHTNESS = 0.22  # by how much light from one side of a picture to the other may add or take
_TEXTURE = (0.10, 0.20)  # how far the stripes and checks of a ground go from its colour, at least and at most
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


def some_colour(draw: Draw) -> np.ndarray:
    """(3,) float64 from 0 to 255: any hue, from pale to full, rarely dark."""
    hue, pale, value = 6 * draw.random(), between(draw, 0.05, 0.6), between(draw, 0.45, 0.95)
    pure = [min(max(abs((hue + turn) % 6 - 3) - 1, 0.0), 1.0) for turn in (0, 4, 2)]
    return np.array([255 * value * (pale + (1 - pale) * share) for share in pure])


def colours_apart(draw: Draw, count: int, apart: float) -> list[np.ndarray]:
    """Colours of which any two differ by at least `apart` in one of the channels, or by as much as can be had."""
    colours: list[np.ndarray] = []
    for _ in range(count):
        tries = [some_colour(draw) for _ in range(8)]
        gaps = [min((float(abs(colour - other).max()) for other in colours), default=255.0) for colour in tries]
        far = next((number for number, gap in enumerate(gaps) if gap >= apart), int(np.argmax(gaps)))
        colours.append(tries[far])
    return colours


def texture(draw: Draw, kind: str, x: np.ndarray, y: np.ndarray, unit: float) -> np.ndarray:
    """(H, W) float32 around 1: the tone of a ground that is "plain", of "stripes" or of "checks".

    x, y  (1, W) and (H, 1): middles of the pixels
    unit  pixels of the short side of the picture: the pattern grows with it
    """
    across, up = any_direction(draw)
    period = between(draw, 0.07, 0.11) * unit
    strength = np.float32(between(draw, *_TEXTURE))
    if kind == "plain":
        return np.ones((y.shape[0], x.shape[1]), dtype=np.float32)
    along = (x * np.float32(across / period) + y * np.float32(up / period)).astype(np.float32)
    tone = _wave(along)
    if kind == "checks":
        tone = tone * _wave((y * np.float32(across / period) - x * np.float32(up / period)).astype(np.float32))
    return 1 + strength * np.sign(tone)


def _wave(phase: np.ndarray) -> np.ndarray:
    """-1 to 1 with period 1: two parabolas that look like a sine."""
    phase = phase - np.floor(phase) - np.float32(0.5)
    return 16 * phase * (np.float32(0.5) - abs(phase))


def curve(draw: Draw, x: np.ndarray, y: np.ndarray, unit: float) -> np.ndarray:
    """(H, W) bool: what lies on one side of a wavy line through the middle part of the picture."""
    across, up = any_direction(draw)
    x, y = (x - x.mean()) / unit, (y - y.mean()) / unit
    along, away = x * across + y * up, y * across - x * up
    wave = between(draw, 0.02, 0.07) * _wave(along / between(draw, 0.5, 1.0) + draw.random())
    return away + wave > between(draw, -0.22, 0.22)


def light(draw: Draw, height: int, width: int) -> np.ndarray:
    """(H, W) float32 around 1: brighter towards one side."""
    across, up = any_direction(draw)
    strength = between(draw, 0.3, 1) * LIGHTNESS
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width - 0.5) * np.float32(strength * across * 2)
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height - 0.5) * np.float32(strength * up * 2)
    return 1 + x[None, :] + y[:, None]


def develop(draw: Draw, segments: np.ndarray, colours: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: each segment in its colour, times the tone, with grain.

    segments  (H, W) numbers of rows of colours
    tone      (H, W) float32
    """
    grain = draw.random(segments.shape, dtype=np.float32)
    grain -= np.float32(0.5)
    grain *= np.float32(_GRAIN)
    pixels = colours.astype(np.float32)[segments]
    pixels *= tone[..., None]
    pixels += grain[..., None]
    return pixels.clip(0, 255, out=pixels).astype(np.uint8)
