"""Flips and RandAugment of a view on the device where the network is, in place of the loader's processes.

What is done was drawn before, by the same random numbers (volovan.classify.regions), and goes along with the bytes of
the picture. The results are those of Pillow but for rounding; where a move reads between pixels, torch's bicubic filter
is a little softer (a = -0.75, Pillow's -1), and the edge of what was moved is half a pixel wide.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from volovan.classify.regions import FLIPS, Step

FILTERS = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}


@dataclass(frozen=True)
class OnDevice:
    """Steps of one picture; called with its pixels (3, H, W) uint8 it gives those that come out."""

    steps: tuple[Step, ...]

    def __call__(self, pixels: Tensor) -> Tensor:
        for step in self.steps:
            pixels = move(pixels, step) if step.moves else KINDS[step.kind](pixels, *step.arguments)
        return pixels


def can_be_done_there(steps: Sequence[Step]) -> bool:
    return all(step.moves or step.kind in KINDS for step in steps)


def on_device(steps: Sequence[Step]) -> OnDevice:
    """Steps without their functions, which other processes need not know."""
    return OnDevice(tuple(step._replace(function=_nothing) for step in steps))


def _nothing(image: Any) -> Any:
    return image


def move(pixels: Tensor, step: Step) -> Tensor:
    """A flip, or a move that reads between pixels and fills what lies outside."""
    if step.name in FLIPS:
        return pixels.flip(2 if step.name == "FlipX" else 1)
    height, width = pixels.shape[1:]
    # Places from -1 to 1 of the picture that comes out -> the same of the one that went in.
    pixel = np.array([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0, 0, 1]])
    places = np.linalg.solve(pixel, step.matrix((width, height)) @ pixel)
    theta = torch.tensor(places[None, :2], dtype=torch.float32, device=pixels.device)
    fill = torch.tensor(step.options["fillcolor"], dtype=torch.float32, device=pixels.device)[:, None, None]
    grid = F.affine_grid(theta, [1, 3, height, width], align_corners=False)
    # Outside lies 0, which is the fill colour of what is left when it is taken away.
    found = F.grid_sample((pixels - fill)[None], grid, mode=FILTERS[step.options["resample"]], align_corners=False)
    return _bytes(found[0] + fill)


def _bytes(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, 255).to(torch.uint8)


def _of_torchvision(name: str) -> Callable[..., Tensor]:
    def run(pixels: Tensor, *arguments: Any) -> Tensor:
        from torchvision.transforms.v2 import functional  # slow to import, and only training needs it

        done: Tensor = getattr(functional, name)(pixels, *arguments)
        return done

    return run


def _posterize(pixels: Tensor, bits: int) -> Tensor:
    return pixels & (0xFF << (8 - min(bits, 8)) & 0xFF)


def _solarize(pixels: Tensor, threshold: int) -> Tensor:
    return torch.where(pixels < threshold, pixels, 255 - pixels)


def _solarize_add(pixels: Tensor, add: int, threshold: int = 128) -> Tensor:
    return torch.where(pixels < threshold, (pixels.int() + add).clamp(max=255).to(torch.uint8), pixels)


KINDS: dict[str, Callable[..., Tensor]] = {
    "AutoContrast": _of_torchvision("autocontrast"),
    "Equalize": _of_torchvision("equalize"),
    "Invert": lambda pixels: 255 - pixels,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "SolarizeAdd": _solarize_add,
    "Color": _of_torchvision("adjust_saturation"),
    "Contrast": _of_torchvision("adjust_contrast"),
    "Brightness": _of_torchvision("adjust_brightness"),
    "Sharpness": _of_torchvision("adjust_sharpness"),
}
"""timm's operations that leave pixels where they are, by its names without Increasing and Original"""
