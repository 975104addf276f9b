"""Pictures that are drawn, not read: `generated:CLASSESxCOUNT`, for dry runs, for timing and for trying things.

`generated:10x500` is 500 pictures of 10 classes, as many again for val, each 500 x 375 pixels or upright, which is what
most pictures of ImageNet are; `generated:10x500@640x480` says another size, width first. Picture i follows from (split,
i) alone. Its class shows in the direction and width of its stripes, so that a network can learn something from them.
"""

import math
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from volovan.data.errors import SourceError

if TYPE_CHECKING:
    from PIL import Image

PREFIX = "generated:"
_SPEC = re.compile(r"generated:(\d+)x(\d+)(?:@(\d+)x(\d+))?")
_SPLITS = ("train", "val")


class Drawn:
    """Numbered pictures of a split that are drawn when they are asked for; size is (height, width)."""

    def __init__(self, split: str, count: int, size: tuple[int, int]) -> None:
        self.split, self.count, self.size = split, count, size

    def __len__(self) -> int:
        return self.count

    def check(self, index: int) -> None:
        """Loops end at an IndexError."""
        if not 0 <= index < self.count:
            raise IndexError(f"index {index} of {self.count} samples")

    def raw(self, index: int) -> bytes | None:
        return None


class GeneratedSource(Drawn):
    """count pictures of (height, width) or (width, height) pixels; picture i is of class i modulo the classes."""

    kind = "class"
    note = "The pictures are generated: figures say nothing about real ones."

    def __init__(self, split: str, classes: int, count: int, size: tuple[int, int]) -> None:
        super().__init__(split, count, size)
        self.classes = tuple(f"g{number:05d}" for number in range(classes))

    def name(self, index: int) -> str:
        """ "g00003/train_00000003.png": class and picture, as a folder of classes would have them."""
        return f"{self.classes[self.target(index)]}/{self.split}_{index:08d}.png"

    def target(self, index: int) -> int:
        return index % len(self.classes)

    def load(self, index: int) -> "Image.Image":
        from PIL import Image

        self.check(index)
        generator = np.random.default_rng([_SPLITS.index(self.split), index])
        height, width = self.size if generator.random() < 0.75 else self.size[::-1]
        coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        ground = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
        noise = generator.normal(scale=8, size=(height, width, 1)).astype(np.float32)
        label, golden = self.target(index), (5**0.5 - 1) / 2  # its multiples spread any classes evenly over directions
        angle, period = math.pi * ((label * golden) % 1), 12 * 2 ** (label % 4)
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        along = rows * math.sin(angle) + columns * math.cos(angle)
        stripes = 0.5 + 0.5 * np.sin(along * np.float32(2 * math.pi / period))
        pixels = 0.7 * ground + 60 * stripes[..., None] + noise
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def generated_splits(spec: str) -> dict[str, Callable[[], GeneratedSource]]:
    """{"train": opener, "val": opener} of a spec that begins with PREFIX."""
    match = _SPEC.fullmatch(spec)
    numbers = [int(group) for group in match.groups() if group] if match else [0]
    if not match or min(numbers) < 1:
        raise SourceError(
            f"{spec} cannot be read; expected generated:CLASSESxCOUNT or generated:CLASSESxCOUNT@WIDTHxHEIGHT, "
            "such as generated:10x500"
        )
    classes, count, width, height = [*numbers, 500, 375][:4]
    return {split: partial(GeneratedSource, split, classes, count, (height, width)) for split in _SPLITS}
