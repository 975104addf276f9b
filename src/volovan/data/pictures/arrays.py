"""Masks and maps as NumPy arrays: .npy files, as a PIL image with the numbers that are in them. No pickle is loaded."""

from pathlib import Path

import numpy as np
from PIL import Image

from volovan.data.errors import BadImage

SUFFIX = ".npy"


def read_array(path: Path, name: str, max_pixels: int) -> Image.Image:
    """An array (H, W), or (H, W, 3) and (H, W, 4) of uint8, as an image; axes of one number are left out.

    Whole numbers get mode L (I;16, I where they do not fit), other floats F, bool 1. info is as in decode_stored.
    raises  BadImage: it cannot be read, or is no array of a picture's shape
    """
    try:
        stored = np.lib.format.open_memmap(path, mode="r")  # the header; objects, which are pickles, are refused
    except FileNotFoundError:
        raise BadImage(name, "there is no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise BadImage(
            name, f"no array of numbers can be read from it ({' '.join(str(error).split())[:150]})"
        ) from None
    shape = stored.shape
    values: np.ndarray = stored
    while values.ndim > 2 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    colours = values.ndim == 3 and values.shape[2] in (3, 4) and values.dtype == np.uint8
    if (values.ndim != 2 and not colours) or values.dtype.kind not in "buif" or not values.size:
        raise BadImage(name, f"an array of {values.dtype} with the shape {shape}, expected numbers (height, width)")
    if values.shape[0] * values.shape[1] > max_pixels:
        raise BadImage(name, f"an array with the shape {shape}, more than the limit of {max_pixels:,} pixels")
    image = Image.fromarray(np.ascontiguousarray(_smallest(values, name)))
    image.info = {"format": "NPY", "mode": str(values.dtype), "compression": None, "step": 1}
    return image


def _smallest(values: np.ndarray, name: str) -> np.ndarray:
    """The same numbers in a type that Pillow knows."""
    if values.dtype == bool or values.dtype == np.uint8:
        return values
    if not np.isfinite(values).all():
        raise BadImage(name, "numbers that are not finite; write 255 where nothing is labelled")
    if values.dtype.kind == "f" and (values != np.floor(values)).any():
        return values.astype(np.float32)
    low, high = values.min(), values.max()
    if low < np.iinfo(np.int32).min or high > np.iinfo(np.int32).max:
        raise BadImage(name, f"numbers from {low} to {high}, expected 0 to 65535")
    fits = next((kind for kind in (np.uint8, np.uint16) if low >= 0 and high <= np.iinfo(kind).max), np.int32)
    return values.astype(fits)
