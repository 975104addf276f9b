"""From a network in use to the graph of operations that every format is written from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from volovan.exports.about import About, ExportError
from volovan.exports.quiet import quiet
from volovan.models.fuse import fuse
from volovan.predictor import one_line
from volovan.room.cut import CutOff
from volovan.room.ready import Ready
from volovan.room.settings import Size

BATCH, SIZE = 2, (288, 416)
"""of the example that a network is traced with: no side is equal to another at any stride, and none is 1"""
AXES = ("batch", "height", "width")


def part_of(ready: Ready[Any], raw: bool = False, answers: bool = False) -> CutOff:
    """What is written: fused, in eval mode, on the CPU."""
    return CutOff(fuse(ready.model).cpu(), ready.answering() if answers else ready.cut, raw).eval()


DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def in_precision(part: CutOff, about: About) -> CutOff:
    """Weights and sums in the dtype of `about`; pictures and answers stay float32."""
    dtype = DTYPES.get(about.precision)
    return part if dtype is None else InPrecision(part.to(dtype), dtype).eval()


class InPrecision(CutOff):
    """Another part, whose pictures come as float32."""

    def __init__(self, part: CutOff, dtype: torch.dtype) -> None:
        super().__init__(part.model, part.cut, part.raw)
        self.dtype = dtype

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.cut.inside(self.model, self.prepared(images).to(self.dtype))
        return tuple(one.float() if one.is_floating_point() else one for one in found)


def example(about: About) -> Tensor:
    """Pictures to trace with."""
    batch, size = about.batch or BATCH, about.size or SIZE
    if about.raw:
        return torch.zeros(batch, *size, 3, dtype=torch.uint8)
    return torch.zeros(batch, 3, *size)


def traced(part: CutOff, about: About) -> torch.export.ExportedProgram:
    """The graph, for any batch, height and width that `about` leaves open."""
    axes: dict[int, Any] = {}
    if about.batch is None:
        axes[0] = torch.export.Dim.DYNAMIC
    if about.size is None:
        axes |= dict.fromkeys((1, 2) if about.raw else (2, 3), torch.export.Dim.DYNAMIC)
    with torch.no_grad(), sizes_of_one(), quiet():
        try:
            return torch.export.export(part, (example(about),), dynamic_shapes=({"images": axes} if axes else None))
        except Exception as error:  # of a network of one's own, nearly anything
            raise ExportError(f"{about.name} cannot be traced ({one_line(error)}); give --size and --batch") from error


@contextmanager
def sizes_of_one() -> Iterator[None]:
    """Within it a graph is not bound to two pictures and two cells of a map at least, as it is by default."""
    from torch.fx.experimental import _config

    settings: Any = _config
    with settings.patch(backed_size_oblivious=True):
        yield


def open_axes(about: About) -> dict[int, str]:
    """Axis of the input -> its name."""
    places = (0, 1, 2) if about.raw else (0, 2, 3)
    left: tuple[int | Size | None, ...] = (about.batch, about.size, about.size)
    return {place: name for place, name, fixed in zip(places, AXES, left, strict=True) if fixed is None}
