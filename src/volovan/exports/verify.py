"""Whether a file computes what the network computes: on pictures, at two sizes, one at a time and several at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from volovan.data.pictures.tensors import to_tensor
from volovan.exports.about import About, ExportError
from volovan.exports.opened import as_bytes, at_size
from volovan.models.fuse import fuse
from volovan.room.cut import CutOff, Run
from volovan.room.ready import Ready
from volovan.room.settings import Size

ODD: Size = (97, 131)
SEVERAL = 3
SAME = 0.95
"""of what answers say, in fp32, where outputs cannot be compared one by one; else answers are told and not judged:
scores that are all but equal, as those of a network that has learnt little, change places by their last bit"""
CLOSE = 1e-3
LARGEST = 640
"""pixels of a side that is tried"""
REPEATS = 7
PAUSE = 0.2
"""seconds"""


@dataclass(frozen=True)
class Check:
    """What a verification found.

    tried    (pictures, height, width) of each input
    error    largest difference, in parts of the largest value of its output; None: outputs are sorted by scores that
             may be all but equal, and answers are compared
    agree    mean share of what the answers of both say alike, 0 to 1
    ms       of a picture, alone or in the batch of the file, and `torch_ms` by torch, fused
    """

    tried: tuple[tuple[int, int, int], ...]
    error: float | None
    agree: float
    ms: float
    torch_ms: float

    def said(self) -> str:
        sizes = dict.fromkeys(f"{height}x{width}" for _, height, width in self.tried)
        counts = sorted({count for count, _, _ in self.tried})
        return (
            f"checked at {' and '.join(sizes)}, {' and '.join(map(str, counts))} picture(s) at once: {self.differs}; a "
            f"picture takes {self.ms:.1f} ms, by torch {self.torch_ms:.1f}"
        )

    @property
    def differs(self) -> str:
        largest = "" if self.error is None else f"largest error {self.error:.1e}, "
        return f"{largest}answers agree by {100 * self.agree:.2f} %"


def usual_size(ready: Ready[Any]) -> Size:
    """That of the network, bounded."""
    height, width = ready.preprocessing.input_size
    return min(height, LARGEST), min(width, LARGEST)


def inputs(ready: Ready[Any], about: About) -> list[tuple[int, Size]]:
    """(pictures, size) of what is tried."""
    sizes = [about.size] if about.size else [usual_size(ready), ODD]
    counts = [about.batch] if about.batch else [1, SEVERAL]
    return [(count, size) for size in sizes for count in counts]


@torch.no_grad()
def verify(ready: Ready[Any], made: Ready[Any], about: About, pictures: Sequence[Image.Image]) -> Check:
    """Compare the network with the file that was made of it, `made`; ExportError where fp32 deviates."""
    tried, errors, agreements = [], [], [1.0]
    run: Any = made.model.run
    for count, (height, width) in inputs(ready, about):
        chosen = [pictures[number % len(pictures)] for number in range(count)]
        images = prepared(ready, chosen, (height, width))
        tried.append((count, height, width))
        found, expected = run(images), ready.cut.inside(ready.model, images)
        if ready.cut.ordered:  # else the order of what is found hangs on the last bit of a score
            errors += [largest_error(own, right) for own, right in zip(found, expected, strict=True)]
        else:
            at = ready.cut.outputs.index("scores")
            agreements.append(share_alike(found[at], expected[at]))
    shown = list(pictures)
    if about.size:  # of which none has to be padded
        shown = [picture.convert("RGB").resize(about.size[::-1]) for picture in pictures]
    said, told = at_size(ready, about.size).predict(shown), made.predict(shown)
    agreements = [one.agrees(other) for one, other in zip(said, told, strict=True)]
    count, size = inputs(ready, about)[0]
    images = prepared(ready, [pictures[number % len(pictures)] for number in range(count)], size)
    fused = fuse(ready.model)
    ms, torch_ms = side_by_side(lambda: run(images), lambda: ready.cut.inside(fused, images))
    agree = statistics.mean(agreements)
    found = Check(tuple(tried), max(errors, default=None), agree, ms / count, torch_ms / count)
    refuse_deviating(found, about, ready.cut.tolerance, 0 if ready.cut.ordered else SAME)
    return found


@torch.no_grad()
def verify_answers(ready: Ready[Any], part: CutOff, run: Run, about: About, pictures: Sequence[Image.Image]) -> Check:
    """The same for a file that gives answers: numbers of classes are compared by how many are equal."""
    tried, errors, agreements = [], [], [1.0]
    for count, size in inputs(ready, about):
        images = prepared(ready, [pictures[number % len(pictures)] for number in range(count)], size)
        images = as_bytes(images, about) if about.raw else images
        tried.append((count, *size))
        for own, right in zip(run(images), part(images), strict=True):
            if right.is_floating_point():
                errors.append(largest_error(own, right))
            else:
                agreements.append(float((own == right).double().mean()) if own.shape == right.shape else 0.0)
    ms, torch_ms = side_by_side(lambda: run(images), lambda: part(images))
    found = Check(tuple(tried), max(errors, default=None), min(agreements), ms / count, torch_ms / count)
    refuse_deviating(found, about, part.cut.tolerance)
    return found


def refuse_deviating(found: Check, about: About, tolerance: float, least: float = SAME) -> None:
    """ExportError where fp32 does not compute what the network does; fewer bits are judged by what they cost."""
    if about.precision == "fp32" and not ((found.error or 0.0) <= tolerance and found.agree >= least):
        raise ExportError(
            f"the file of {about.name} does not compute what the network does ({found.differs}), and was not kept; "
            "give another format with --to"
        )


def prepared(ready: Ready[Any], pictures: Sequence[Image.Image], size: Size) -> Tensor:
    """(B, 3, H, W), normalised: pictures squeezed into a size."""
    seen = ready.preprocessing
    resized = [picture.convert("RGB").resize(size[::-1]) for picture in pictures]
    return torch.stack([to_tensor(picture, seen.mean, seen.std) for picture in resized])


def largest_error(own: Tensor, right: Tensor) -> float:
    if own.shape != right.shape:
        return float("inf")
    if not right.numel():
        return 0.0
    difference = (own.double() - right.double()).abs().max()
    return float(difference / right.double().abs().max().clamp(min=1e-9))


def share_alike(own: Tensor, right: Tensor) -> float:
    """Of scores, each row of which is sorted."""
    return float(((own - right).abs() <= CLOSE).double().mean()) if own.shape == right.shape else 0.0


def side_by_side(one: Callable[[], Any], other: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds of each: medians of runs, behind one that does not count and a pause: threads of a runtime spin for
    a while behind a call, which halves the speed of another one."""
    medians = []
    for case in (one, other):
        time.sleep(PAUSE)
        taken = []
        for _ in range(REPEATS + 1):
            begin = time.perf_counter()
            case()
            taken.append(1e3 * (time.perf_counter() - begin))
        medians.append(statistics.median(taken[1:]))
    return medians[0], medians[1]
