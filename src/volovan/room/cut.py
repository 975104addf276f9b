"""Where a network is cut in two, so that its larger part can be written into a file that other programs run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from volovan.engine.settings import SettingsError
from volovan.room.settings import Size

Run = Callable[[Tensor], Sequence[Tensor]]
"""images (B, 3, H, W), normalised, on a CPU -> what a file gives"""
Crop = Callable[[Sequence[Tensor], Size, Size], Sequence[Tensor]]


@dataclass(frozen=True)
class Cut:
    """The two parts of a network.

    outputs  names of what the file gives
    inside   (model, images) -> these, by operations on tensors alone, for any batch and size: what is written
    outside  (shell, these, images, **what forward takes) -> what forward of the model gives. shell: the model without
             weights, which knows its settings
    tolerance  what outputs may differ by in float32, in parts of the largest of them
    shared   outputs that pictures have in common, and which are no rows of them
    ordered  whether rows of outputs stand where they stand; False: they are sorted by scores that may be all but equal
    cropped  (outputs of pictures that were padded below and to the right, (height, width) without padding, and with it)
             -> those of the pictures; None: what the network says of a padded picture is no answer for it
    """

    outputs: tuple[str, ...]
    inside: Callable[[Any, Tensor], tuple[Tensor, ...]]
    outside: Callable[..., Any]
    shared: tuple[str, ...] = ()
    ordered: bool = True
    tolerance: float = 1e-4
    cropped: Crop | None = None


def answers(inside: Callable[[Any, Tensor], tuple[Tensor, ...]], *outputs: str) -> Cut:
    """A network that is all in the file, with what is made of its output."""

    def nothing(shell: Any, found: Sequence[Tensor], images: Tensor, **how: Any) -> Any:
        raise TypeError("a file of answers has no outer part; take `Ready.cut`")

    return Cut(outputs, inside, nothing)


def whole(output: str) -> Cut:
    """Of a network whose one answer comes out of the file as it is."""
    return Cut((output,), lambda model, images: (model(images),), lambda shell, found, images: found[0])


def as_they_are(found: Sequence[Tensor], size: Size, padded: Size) -> Sequence[Tensor]:
    """Of outputs that are cropped later, or of which nothing lies in the padding."""
    return found


class CutOff(nn.Module):
    """The part of a network that is written into a file.

    raw  whether it takes pictures as they are, (B, H, W, 3) uint8, and normalises them
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, cut: Cut, raw: bool = False) -> None:
        super().__init__()
        self.model, self.cut, self.raw = model, cut, raw
        seen = model.preprocessing
        for name, values in (("mean", seen.mean), ("std", seen.std)):
            self.register_buffer(name, 255 * torch.tensor(values), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.cut.inside(self.model, self.prepared(images))

    def prepared(self, images: Tensor) -> Tensor:
        """As the network takes them."""
        if not self.raw:
            return images
        return ((images.to(torch.float32) - self.mean) / self.std).permute(0, 3, 1, 2)


ASKED = ("choose", "masks")
"""what rooms ask a network besides its answers; the shell knows it"""


class NoWeightsError(SettingsError, AttributeError):
    """Something of a network that a file does not have."""


class FileNetwork(nn.Module):
    """What stands in the place of a network of which a file computes the larger part.

    shell  the network without weights, on the device "meta"
    run    runs the file
    """

    def __init__(self, shell: Any, cut: Cut, run: Run) -> None:
        super().__init__()
        self.preprocessing, self.config = shell.preprocessing, shell.config
        self.cut, self.run = cut, run
        self._held = (shell,)  # not as a part of this network: it has no weights that could be moved
        self.register_parameter("place", nn.Parameter(torch.empty(0), requires_grad=False))  # tells the device

    @property
    def shell(self) -> Any:
        return self._held[0]

    def forward(self, images: Tensor, **how: Any) -> Any:
        found = [tensor.to(images.device) for tensor in self.run(images.float().cpu())]
        return self.cut.outside(self.shell, found, images, **how)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in ASKED:
                return getattr(self.shell, name)
            raise NoWeightsError(
                "an exported file computes answers alone, and holds no weights that could be taken apart; name the run "
                "or the model that it was made of"
            ) from None

    def __deepcopy__(self, memo: dict[int, Any]) -> FileNetwork:
        return self  # what runs the file cannot be copied, and nothing of it changes
