"""What of a segmenter is written into a file: all up to the logits at the stride of the head."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from volovan.models.pyramid import resize_to_picture, whole_strides
from volovan.room.cut import Cut, answers
from volovan.room.settings import Size


def inside(model: Any, images: Tensor) -> tuple[Tensor, ...]:
    return (model(images, deep=True)[0],)


def outside(shell: Any, found: list[Tensor], images: Tensor, deep: bool = False) -> Tensor | list[Tensor]:
    return found if deep else resize_to_picture(found[0], (images.shape[-2], images.shape[-1]))


def masks(model: Any, images: Tensor) -> tuple[Tensor, ...]:
    return (model(images).argmax(dim=1).to(torch.uint8),)


def cropped(found: Sequence[Tensor], size: Size, padded: Size) -> list[Tensor]:
    """Maps of whole strides, as the network pads pictures itself."""
    (maps,) = found
    stride = whole_strides(padded[0]) // maps.shape[-2]
    return [maps[..., : whole_strides(size[0]) // stride, : whole_strides(size[1]) // stride]]


CUT = Cut(("logits",), inside, outside, cropped=cropped)
ANSWERS = answers(masks, "mask")
