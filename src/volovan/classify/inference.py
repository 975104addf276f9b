"""Pictures through a network in eval mode: batches of one size, answers in the order of the input.

What waits in memory is bounded, however many pictures there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from volovan.classify.transforms import EvalTransform
from volovan.data import BadImage, Source
from volovan.data.loader import evaluation_loader
from volovan.data.tensors import to_tensor
from volovan.engine.evaluate import autocast
from volovan.engine.progress import bar

SMALLEST = 32
"""pixels of a side; smaller pictures are not put through a network at their own size"""


class PictureSamples:
    """Pictures as {"index", "image"}, or {"index", "error"} for one that cannot be read.

    native: each picture at its own size. piped: the file that standard input was kept in, which is called `-`.
    """

    def __init__(
        self, source: Source, transform: EvalTransform, native: bool = False, piped: str | None = None
    ) -> None:
        self.source, self.transform, self.native, self.piped = source, transform, native, piped

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        name = self.source.name(index)
        return "-" if name == self.piped else name

    def read(self, index: int) -> dict[str, Any]:
        try:
            image = self.source.load(index)
        except BadImage as error:
            return {"index": index, "error": error.reason}
        if not self.native:
            return {"index": index, "image": self.transform(image)}
        if min(image.size) < SMALLEST:
            return {"index": index, "error": _too_small(image)}
        return {"index": index, "image": to_tensor(image, self.transform.mean, self.transform.std)}

    def collate(self, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As they are: sizes may differ."""
        return samples


def _too_small(image: Image.Image) -> str:
    return f"is {image.width}x{image.height}; at its own size a picture needs {SMALLEST} pixels a side"


@dataclass(frozen=True)
class Answer:
    """What the network says of one picture, or why the picture could not be read."""

    index: int
    value: Any = None
    error: str = ""


def answers(
    forward: Callable[[Tensor], Sequence[Any]],
    samples: PictureSamples,
    device: torch.device,
    *,
    batch_size: int = 32,
    workers: int = 0,
    precision: str = "fp32",
    label: str = "predict",
) -> Iterator[Answer]:
    """One answer for each picture, as they are ready; `forward` turns (B, 3, H, W) into B values.

    Pictures of one size make a batch; at most five batches of them wait.
    """
    loader = evaluation_loader(samples, batch_size=batch_size, workers=workers)
    waiting: dict[tuple[int, ...], list[dict[str, Any]]] = {}

    def through(group: list[dict[str, Any]]) -> Iterator[Answer]:
        images = torch.stack([sample["image"] for sample in group]).to(device)
        with torch.no_grad(), autocast(precision, device):
            values = forward(images)
        for sample, value in zip(group, values, strict=True):
            yield Answer(sample["index"], value)

    for batch in bar(loader, len(loader), label, "batch", leads=True):
        if batch.failed:
            raise batch.failed
        for sample in batch.data or ():
            if "error" in sample:
                yield Answer(sample["index"], error=sample["error"])
                continue
            shape = tuple(sample["image"].shape)
            waiting.setdefault(shape, []).append(sample)
            if len(waiting[shape]) == batch_size:
                yield from through(waiting.pop(shape))
        while sum(map(len, waiting.values())) > 4 * batch_size:
            yield from through(waiting.pop(max(waiting, key=lambda shape: len(waiting[shape]))))
    for group in waiting.values():
        yield from through(group)


def in_order(found: Iterator[Answer]) -> Iterator[Answer]:
    """Answers in the order of the input, each as soon as all before it are there."""
    early: dict[int, Answer] = {}
    wanted = 0
    for answer in found:
        early[answer.index] = answer
        while wanted in early:
            yield early.pop(wanted)
            wanted += 1
