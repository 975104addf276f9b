"""Sizes of programs for the kernels in Triton, measured on the card at hand; see `volovan.ops.tiles`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from functools import partial

import torch

from volovan.bench.operations import DTYPES, Operation, usual_operations
from volovan.bench.timing import settle
from volovan.engine.settings import SettingsError
from volovan.files.whole import write_text
from volovan.ops.tiles import Chosen, Tiles, card, measured, read_table, table_path, trying

WORTH = 0.98
"""of its time another size must take at most, to be chosen"""
Seconds = Callable[[Operation], float]


def tune(device: torch.device, precisions: Sequence[str], batch: int, rounds: int, say: Callable[[str], None]) -> None:
    """Measure all kernels and keep what is fastest, for their next use on this card."""
    if device.type != "cuda":
        raise SettingsError(f"--tune is for kernels on a GPU, this is {device}; leave it out")
    table = read_table()
    lines = table.setdefault(card(device), {})
    for precision in precisions:
        dtype = DTYPES[precision]
        for tiles, operations in kernels(usual_operations(batch)):
            clock = partial(seconds, device=device, dtype=dtype, rounds=rounds)
            lines[tiles.key(dtype)] = found = choose(tiles, operations, clock)
            changed = {name: value for name, value in found.items() if value != tiles.usual[name]}
            say(f"{tiles.key(dtype)}: {changed or 'as usual'}")
    path = table_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(table, indent=2))
    measured.cache_clear()
    say(f"wrote {path}")


def kernels(operations: Sequence[Operation]) -> list[tuple[Tiles, list[Operation]]]:
    """Each kernel with the operations that it is measured by."""
    from volovan.ops import depthwise_planes_triton, depthwise_triton, outlook_triton, pointwise_triton, residual_triton

    def called(start: str, planes: bool = False) -> list[Operation]:
        return [one for one in operations if one.name.startswith(start) and one.name.endswith("NCHW") == planes]

    return [
        (outlook_triton.PIXELS, called("outlook")),
        (outlook_triton.LOGITS, called("outlook")),
        (depthwise_triton.CONVOLVED, called("depthwise")),
        (depthwise_triton.SUMMED, called("depthwise")),
        (depthwise_planes_triton.CONVOLVED, called("depthwise", planes=True)),
        (depthwise_planes_triton.SUMMED, called("depthwise", planes=True)),
        (pointwise_triton.TILE, called("LKA")),
        (residual_triton.TILE, called("layer scale")),
    ]


def choose(tiles: Tiles, operations: Sequence[Operation], seconds: Seconds) -> Chosen:
    """The constants with which the operations are fastest, their ratios counting alike: one constant after the other,
    the others as they are best so far. What a card cannot run is left out."""

    def times(chosen: Chosen) -> list[float] | None:
        with trying(tiles.kernel, chosen):
            try:
                return [seconds(operation) for operation in operations]
            except RuntimeError:  # too many registers, too much shared memory
                return None

    best: Chosen = dict(tiles.usual)
    known = times(best)
    if known is None:
        return best
    for name, values in tiles.others.items():
        for value in values:
            chosen = {**best, name: value}
            found = None if chosen == best else times(chosen)
            if found and statistics.geometric_mean(a / b for a, b in zip(found, known, strict=True)) < WORTH:
                best, known = chosen, found
    return best


def seconds(operation: Operation, device: torch.device, dtype: torch.dtype, rounds: int) -> float:
    """Of a forward and a backward pass by the kernel: the median."""
    inputs = operation.inputs(device, dtype)
    grad: torch.Tensor | None = None
    taken = []
    for number in range(-2, rounds):
        settle(device)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        out = operation.op(*inputs, *operation.options, backend="triton")
        grad = torch.ones_like(out) if grad is None else grad
        torch.autograd.grad(out, inputs, grad)
        end.record()
        settle(device)
        if number >= 0:
            taken.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(taken)
