"""Pictures with detail at every size, as photographs have."""

import numpy as np
from PIL import Image


def waves(width, height, seed=0):
    draw = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 128.0)
    for cells, strength in ((3, 50), (12, 30), (50, 15), (200, 8)):
        coarse = draw.normal(0, strength, (max(2, cells * height // width), cells, 3)).clip(-127, 127) + 128
        layer = Image.fromarray(coarse.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        pixels += np.asarray(layer, float) - 128
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
