"""Pictures that a program has in its hands: paths, bytes, PIL images, arrays, read as those on the disk are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from volovan.data.decoding import decode, to_rgb
from volovan.data.errors import BadImage

if TYPE_CHECKING:
    from PIL import Image


def read_picture(given: Any, name: str) -> "Image.Image":
    """RGB, upright, of a path, encoded bytes, a binary file, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4).

    Whatever mode or type it has becomes RGB as it would from a file: 16 bits, floats, CMYK, alpha, palettes.
    raises  BadImage: it cannot be used, and why
    """
    from PIL import Image

    if isinstance(given, Image.Image):
        return to_rgb(given, name)
    if isinstance(given, str | Path | bytes | bytearray | memoryview) or hasattr(given, "read"):
        return decode(given, name)
    values = np.asarray(given)
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 3, 4)) or not values.size:
        raise BadImage(name, f"is an array of shape {values.shape}; (H, W), (H, W, 3) or (H, W, 4) is expected")
    values = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    try:
        image = Image.fromarray(np.ascontiguousarray(values))
    except TypeError:
        raise BadImage(name, f"is an array of {values.dtype}; colours are expected as uint8, from 0 to 255") from None
    return to_rgb(image, name)


class GivenPictures:
    """A source of such pictures. Without targets; see `volovan.data.source.Source`."""

    kind, note = "none", ""
    classes: tuple[str, ...] = ()

    def __init__(self, pictures: Sequence[Any]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def name(self, index: int) -> str:
        """The path of a file; else of a PIL image that of the file that it is of, or "picture 0" and so on."""
        given = self.pictures[index]
        if isinstance(given, str | Path):
            return str(given)
        return str(getattr(given, "filename", "") or f"picture {index}")

    def load(self, index: int) -> "Image.Image":
        return read_picture(self.pictures[index], self.name(index))

    def raw(self, index: int) -> bytes | None:
        return None

    def target(self, index: int) -> None:
        return None
