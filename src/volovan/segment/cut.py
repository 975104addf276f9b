"""What of a segmenter is written into a file: all up to the logits at the stride of the head."""

from typing import Any

import torch
from torch import Tensor

from volovan.models.pyramid import resize_to_picture
from volovan.room.cut import Cut, answers


def inside(model: Any, images: Tensor) -> tuple[Tensor, ...]:
    return (model(images, deep=True)[0],)


def outside(shell: Any, found: list[Tensor], images: Tensor, deep: bool = False) -> Tensor | list[Tensor]:
    return found if deep else resize_to_picture(found[0], (images.shape[-2], images.shape[-1]))


def masks(model: Any, images: Tensor) -> tuple[Tensor, ...]:
    return (model(images).argmax(dim=1).to(torch.uint8),)


CUT = Cut(("logits",), inside, outside)
ANSWERS = answers(masks, "mask")
