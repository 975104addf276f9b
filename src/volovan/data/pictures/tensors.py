"""Pictures as tensors, for every task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

Stats = tuple[float, ...]


def to_tensor(image: Image.Image | np.ndarray, mean: Stats, std: Stats) -> Tensor:
    """RGB picture, or its pixels (H, W, 3) uint8 -> (3, H, W) float32, (value / 255 - mean) / std."""
    offset, scale = _of_bytes(mean, std)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return pixels.to(torch.float32, memory_format=torch.contiguous_format).sub_(offset).div_(scale)


@cache
def _of_bytes(mean: Stats, std: Stats) -> tuple[Tensor, Tensor]:
    """mean and std of values from 0 to 255, each (3, 1, 1)."""
    offset, scale = (255 * torch.tensor(values, device="cpu").view(-1, 1, 1) for values in (mean, std))
    return offset, scale


@contextmanager
def _one_thread() -> Iterator[None]:
    """For passes that take a fraction of a millisecond: threads that share the cores with a loader's processes wait for
    each other's turn, a hundred times as long (of two loaders on two cores a third of the time went there)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _normalise_here(images: Tensor, values: Tensor, offset: Tensor, scale: Tensor) -> None:
    """images = (values - offset) / scale on a CPU, one picture at a time, which stays in its cache."""
    if images.is_contiguous(memory_format=torch.channels_last):  # by rows: three numbers fill no vector instruction
        width = images.shape[3]
        offset, scale = (each.flatten().repeat(width) for each in (offset, scale))
        images, values = (each.permute(0, 2, 3, 1).flatten(2) for each in (images, values))
    with _one_thread():
        for own, bytes_ in zip(images, values, strict=True):
            own.copy_(bytes_).sub_(offset).div_(scale)


_NOWHERE, _NOTHING = torch.empty((0, 5), dtype=torch.int64, device="cpu"), torch.empty(0, device="cpu")


@dataclass(frozen=True)
class Pixels:
    """Pictures of one size that are not normalised yet: a quarter of the bytes, on the way from a loader's process, and
    to the device.

    values  (B, H, W, 3) uint8
    places  (K, 5) int64: rectangles of noise that are laid over pictures once they are normalised (random erasing):
            number of the picture, top, left, height, width
    noise   (N,) float32: their values, each (3, height, width), in a row
    before  of each picture what is done to it on the device before it is normalised, (3, H, W) uint8 -> the same;
            or None
    """

    values: Tensor
    mean: Stats
    std: Stats
    places: Tensor = field(default=_NOWHERE)
    noise: Tensor = field(default=_NOTHING)
    before: tuple[Callable[[Tensor], Tensor] | None, ...] = ()

    @classmethod
    def of(cls, image: Image.Image, mean: Stats, std: Stats) -> Pixels:
        """A single picture, RGB."""
        return cls(torch.from_numpy(np.array(image))[None], mean, std)

    @classmethod
    def together(cls, single: Sequence[Pixels]) -> Pixels:
        """The batch of single pictures."""
        first = single[0]
        # In a worker default_collate writes straight into shared memory; torch.stack would be copied once more.
        values = default_collate([pixels.values[0] for pixels in single])
        before = tuple(done for pixels in single for done in pixels.before or (None,))
        laid = [(number, pixels) for number, pixels in enumerate(single) if len(pixels.places)]
        if not laid:
            return cls(values, first.mean, first.std, before=before)
        places = torch.cat([pixels.places + torch.tensor([number, 0, 0, 0, 0]) for number, pixels in laid])
        noise = torch.cat([pixels.noise for _, pixels in laid])
        return cls(values, first.mean, first.std, places, noise, before)

    def normalised(self, device: torch.device | str = "cpu", channels_last: bool = False) -> Tensor:
        """(B, 3, H, W) float32, (value / 255 - mean) / std, on the device."""
        values = self.values.to(device, non_blocking=True).permute(0, 3, 1, 2)
        if any(self.before):
            values = torch.stack([done(own) if done else own for done, own in zip(self.before, values, strict=True)])
        offset, scale = (values_.to(device) for values_ in _of_bytes(self.mean, self.std))
        layout = torch.channels_last if channels_last else torch.contiguous_format
        images = torch.empty(values.shape, device=device, memory_format=layout)
        if images.is_cpu:
            _normalise_here(images, values, offset, scale)
        else:
            images.copy_(values).sub_(offset).div_(scale)
        noise = self.noise.to(device, non_blocking=True)
        for number, top, left, height, width in self.places.tolist():
            own, noise = noise[: 3 * height * width], noise[3 * height * width :]
            images[number, :, top : top + height, left : left + width] = own.view(3, height, width)
        return images

    def pin_memory(self, device: Any = None) -> Pixels:
        """Called by the loader, which looks into dicts, but not into dataclasses."""
        return replace(self, values=self.values.pin_memory(), noise=self.noise.pin_memory())
