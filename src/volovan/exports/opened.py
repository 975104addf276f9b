"""A network in use whose larger part a file computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from volovan.exports.about import About, ExportError
from volovan.predictor import refuse_unfit
from volovan.room.cut import Cut, FileNetwork, Run
from volovan.room.ready import Ready
from volovan.room.settings import Frame, Size
from volovan.room.views import padded_to


def in_use(kind: type[Ready[Any]], about: About, run: Run) -> Ready[Any]:
    """kind: of the task that the file is of."""
    if about.answers:
        raise ExportError(
            f"{about.name} gives answers, for other programs; export the network without --answers to use it here"
        )
    try:
        with torch.device("meta"):  # the network is described, not made
            ready = kind.described(about.said, about.name)
    except Exception as error:  # of whatever its metadata say
        raise ExportError(
            f"{about.name} is described by what this version of volovan cannot make ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:150]}); export the network again"
        ) from None
    ready.model = FileNetwork(ready.model, ready.cut, fitting(run, about, ready.cut)).eval()
    ready.device = torch.device("cpu")
    return at_size(ready, about.size)


def at_size(ready: Ready[Any], size: Size | None) -> Ready[Any]:
    """The same, which brings pictures to the only size that a file takes, or fits them into it."""
    return ready if size is None else ready.using(size=Frame(size))


def fitting(run: Run, about: About, cut: Cut) -> Run:
    """The same for batches of any number of pictures, and for smaller ones than those of its size, which are padded;
    ExportError for others."""
    rows = [name not in cut.shared for name in about.outputs]

    def run_batch(images: Tensor) -> list[Tensor]:
        if about.raw:
            images = as_bytes(images, about)
        found = run_parts(images)
        refuse_unfit(about.name, about.task, about.said["classes"], dict(zip(about.outputs, found, strict=True)))
        return found

    def run_parts(images: Tensor) -> list[Tensor]:
        if about.batch is None:
            return list(run(images))
        parts = []
        for first in range(0, len(images), about.batch):
            part = images[first : first + about.batch]
            missing = about.batch - len(part)
            filled = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
            parts.append([found[: len(part)] if own else found for found, own in zip(run(filled), rows, strict=True)])
        every = zip(zip(*parts, strict=True), rows, strict=True)
        return [torch.cat(found) if own else found[0] for found, own in every]

    def run_size(images: Tensor) -> Sequence[Tensor]:
        size = (images.shape[2], images.shape[3])
        if about.size is None or size == about.size:
            return run_batch(images)
        height, width = about.size
        if cut.cropped is None or size[0] > height or size[1] > width:
            raise ExportError(
                f"{about.name} takes pictures of {height} x {width} only, these are {size[0]} x {size[1]}; leave "
                "--size out, or export the network without it"
            )
        return cut.cropped(run_batch(padded_to(images, about.size)), size, about.size)

    return run_size


def as_bytes(images: Tensor, about: About) -> Tensor:
    """(B, 3, H, W) as they were before they were normalised: (B, H, W, 3) uint8."""
    seen = about.said["preprocessing"]
    mean, std = (255 * torch.tensor(seen[name]) for name in ("mean", "std"))
    return (images.permute(0, 2, 3, 1) * std + mean).round().clamp(0, 255).to(torch.uint8)
