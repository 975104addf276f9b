"""Maps of what is salient, 0 to 255: how one map file is read safely. Soft values are allowed.

Decisions, each of them tested in tests/data/test_map_sources.py:
- grey, one bit, 16 bits and equal channels are read as grey values; a palette by its colours, which must be grey.
- of a file with transparent pixels the alpha channel is the map: of a cut-out, and of white with a matte.
- floats go from 0 to 1, or from 0 to 255 if one is above 1, as in decoding.py.
- JPEG is allowed: values in between are soft, and every measure cuts at a threshold.
- maps that all hold 0 and 1 only are scaled to 0 and 255, and the note says so; one such map among others is refused.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from volovan.data.errors import BadImage
from volovan.data.pictures.decoding import decode_stored

SALIENT = 128
"""a pixel of a map above this is salient where it must be yes or no, as in the measures of the field"""


def read_map(path: Path, name: str, scale: int = 1) -> np.ndarray:
    """(H, W) uint8: 255 salient, 0 not.

    name    how errors call the file
    scale   255 where maps hold 0 and 1
    raises  BadImage: it cannot be decoded, is coloured, or holds another range than scale says
    """
    values = grey_values(path, name)
    largest = int(values.max())
    if scale == 1 and largest == 1:
        raise BadImage(name, "values 0 and 1, where other masks go up to 255; multiply it by 255")
    if scale != 1 and largest > 1:
        raise BadImage(name, f"values up to {largest}, where other masks hold 0 and 1; save all masks with 0 to 255")
    return values if scale == 1 else values * np.uint8(scale)


def grey_values(path: Path, name: str) -> np.ndarray:
    """(H, W) uint8: grey values as a viewer shows them; where pixels are transparent, the alpha channel."""
    return grey_of(decode_stored(path, name), name)


def grey_of(image: Image.Image, name: str) -> np.ndarray:
    """grey_values of a picture as stored."""
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise BadImage(name, f"grey values from {values.min()} to {values.max()}; save it with 8 bits")
        if 0 < values.max() < 257:  # 8-bit values in a 16-bit file: its object would be read as nothing
            raise BadImage(name, f"16-bit grey values up to {values.max()}, expected up to 65535; save it with 8 bits")
        return (values // 257).astype(np.uint8)
    if image.mode == "F":
        shares = np.asarray(image)
        if shares.min() < 0 or shares.max() > 255:
            raise BadImage(name, f"values from {shares.min():g} to {shares.max():g}, expected 0 to 1 or 0 to 255")
        return np.round(shares * (255 if shares.max() <= 1 else 1)).astype(np.uint8)
    pixels = np.asarray(image.convert("RGB"))
    if image.mode in ("RGBA", "LA", "PA"):
        alpha = np.asarray(image.getchannel("A"))
        if alpha.min() < 255:
            return _matte(pixels, alpha, name)
    coloured = (pixels != pixels[..., :1]).any(-1)
    if coloured.any():
        row, column = divmod(int(coloured.argmax()), coloured.shape[1])
        raise BadImage(
            name,
            f"colour {tuple(pixels[row, column].tolist())} at row {row}, column {column}, expected grey from 0 to 255; "
            "save it as 8-bit grey PNG",
        )
    return pixels[..., 0].copy()


def _matte(pixels: np.ndarray, alpha: np.ndarray, name: str) -> np.ndarray:
    """alpha (H, W), unless pixels (H, W, 3) hold another grey mask where they show."""
    seen = pixels[alpha > 0]
    grey = (seen == seen[:, :1]).all()
    if grey and len(seen) and seen.min() != seen.max():
        raise BadImage(
            name,
            "a grey mask in its colours and another one in its alpha channel, so which is meant is unknown; save the "
            "right one as 8-bit grey PNG",
        )
    return alpha.copy()
