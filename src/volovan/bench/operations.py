"""Single operations: every backend beside the plain formulation, and beside the roofline of the machine.

An operation has to read its inputs and write its results once: that is its least traffic. With the copy speed and the
peak arithmetic of the machine, measured in the same run, it gives the rate that no formulation can exceed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from volovan.bench.machine import copy_speed, peak_arithmetic
from volovan.bench.timing import Ratio, interleave, settle
from volovan.ops import add_branch, backends, depthwise_conv2d, large_kernel_attention, outlook_attention

Row = dict[str, Any]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Operation:
    """An operation of some inputs.

    run      (inputs, backend) -> result, an operation of volovan.ops
    plain    inputs -> the same by operations of torch
    shapes   of the inputs
    options  what follows the inputs
    work     multiply-accumulates of the forward pass
    """

    name: str
    op: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...], ...]
    options: tuple[Any, ...]
    work: float
    result: tuple[int, ...]
    channels_last: bool = False

    def inputs(self, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
        random = torch.Generator().manual_seed(0)
        found = [torch.randn(shape, generator=random) for shape in self.shapes]
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        found[0] = found[0].contiguous(memory_format=layout)
        return [tensor.to(device, dtype).requires_grad_() for tensor in found]

    def least_bytes(self, dtype: torch.dtype, backward: bool) -> int:
        """Inputs read, result written; with the backward pass, its gradient and the inputs read, theirs written."""
        numbers = sum(torch.Size(shape).numel() for shape in self.shapes)
        result = torch.Size(self.result).numel()
        return torch.empty((), dtype=dtype).element_size() * (numbers + result) * (3 if backward else 1)

    def operations(self, backward: bool) -> float:
        """Additions and multiplications; a backward pass has two products where the forward pass has one."""
        return 2 * self.work * (3 if backward else 1)


def unfold_fold(value: Tensor, logits: Tensor, heads: int, k: int, s: int, padding: int) -> Tensor:
    """Outlook attention as the paper writes it, with F.unfold and F.fold."""
    B, H, W, C = value.shape
    h, w = logits.shape[1:3]
    source = F.unfold(value.permute(0, 3, 1, 2), k, padding=padding, stride=s)
    source = source.view(B, heads, C // heads, k * k, h * w).permute(0, 1, 4, 3, 2)
    weights = logits.reshape(B, h * w, heads, k * k, k * k).permute(0, 2, 1, 3, 4) * (C // heads) ** -0.5
    target = (weights.softmax(dim=-1) @ source).permute(0, 1, 4, 3, 2).reshape(B, C * k * k, h * w)
    return F.fold(target, (H, W), k, padding=padding, stride=s).permute(0, 2, 3, 1)


def plain_depthwise(x: Tensor, weight: Tensor, bias: Tensor, dilation: int, act: str = "none") -> Tensor:
    padding = [dilation * (size - 1) // 2 for size in weight.shape[2:]]
    out = F.conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=weight.shape[0])
    return F.gelu(out) if act == "gelu" else out


def plain_shortcut(x: Tensor, branch: Tensor, scale: Tensor) -> Tensor:
    return x + branch * scale


def plain_lka(x: Tensor, *rest: Any) -> Tensor:
    dw, dw_bias, dwd, dwd_bias, pw, pw_bias, dilation = rest
    attention = plain_depthwise(plain_depthwise(x, dw, dw_bias, 1), dwd, dwd_bias, dilation)
    return F.conv2d(attention, pw, pw_bias) * x


def outlook(batch: int, side: int, channels: int = 192, heads: int = 6, k: int = 3, s: int = 2) -> Operation:
    windows = -(-side // s)
    map_, logits = (batch, side, side, channels), (batch, windows, windows, heads * k**4)
    work = batch * windows**2 * k**4 * channels
    name = f"outlook {side}x{side}x{channels}"
    return Operation(name, outlook_attention, unfold_fold, (map_, logits), (heads, k, s, k // 2), work, map_)


def depthwise(
    batch: int, side: int, channels: int, k: int, dilation: int, act: str = "none", planes: bool = False
) -> Operation:
    """planes: in torch's default layout."""
    map_ = (batch, channels, side, side)
    then = f" dilation {dilation}" if dilation > 1 else f", {act.upper()}" if act != "none" else ""
    shapes = (map_, (channels, 1, k, k), (channels,))
    return Operation(
        f"depthwise {k}x{k}{then} {side}x{side}x{channels}{', NCHW' if planes else ''}",
        depthwise_conv2d,
        plain_depthwise,
        shapes,
        (dilation, act),
        batch * channels * side**2 * k**2,
        map_,
        not planes,
    )


def shortcut(batch: int, side: int, channels: int) -> Operation:
    map_ = (batch, side, side, channels)
    name = f"layer scale, shortcut {side}x{side}x{channels}"
    return Operation(name, add_branch, plain_shortcut, (map_, map_, (channels,)), (), torch.Size(map_).numel(), map_)


def lka(batch: int, side: int, channels: int) -> Operation:
    map_ = (batch, channels, side, side)
    shapes = (map_, (channels, 1, 5, 5), (channels,), (channels, 1, 7, 7), (channels,), (channels, channels, 1, 1),
              (channels,))  # fmt: skip
    work = batch * channels * side**2 * (25 + 49 + channels)
    name = f"LKA {side}x{side}x{channels}"
    return Operation(name, large_kernel_attention, plain_lka, shapes, (3,), work, map_, True)


def usual_operations(batch: int) -> list[Operation]:
    """Those of VOLO-D1 and VAN-B2, and outlook attention of a map four times as large."""
    return [
        outlook(batch, 28),
        outlook(batch, 56),
        depthwise(batch, 56, 64, 5, 1),
        depthwise(batch, 56, 64, 7, 3),
        depthwise(batch, 14, 320, 7, 3),
        depthwise(batch, 56, 512, 3, 1),
        depthwise(batch, 56, 512, 3, 1, "gelu"),
        depthwise(batch, 56, 64, 5, 1, planes=True),
        depthwise(batch, 56, 64, 7, 3, planes=True),
        shortcut(batch, 56, 64),
        lka(batch, 56, 64),
        lka(batch, 14, 320),
    ]


def measure_operations(
    operations: Sequence[Operation], device: torch.device, precision: str, rounds: int, backward: bool = False
) -> list[Row]:
    """A row for each backend of each operation, and for the plain formulation; their results are compared first."""
    dtype = DTYPES[precision]
    speed, peak = copy_speed(device), peak_arithmetic(device, dtype)
    rows: list[Row] = []
    for operation in operations:
        inputs = operation.inputs(device, dtype)
        cases = _cases(operation, inputs, backward, device)
        rates = interleave(cases, rounds)
        traffic, work = operation.least_bytes(dtype, backward), operation.operations(backward)
        floor = max(traffic / speed, work / peak)
        for name, found in rates.items():
            ratio = Ratio.of(found, rates["plain"])
            seconds = 1 / statistics.median(found)
            rows.append(
                {
                    "operation": operation.name,
                    "backend": name,
                    "part": "forward + backward" if backward else "forward",
                    "precision": precision,
                    "batch": operation.shapes[0][0],
                    "ms": round(1e3 * seconds, 3),
                    "floor_ms": round(1e3 * floor, 3),
                    "of_floor": round(floor / seconds, 3),
                    "gflop_per_s": round(work / seconds / 1e9, 2),
                    "flop_per_byte": round(work / traffic, 2),
                    "of_plain": round(ratio.median, 3),
                    "from": round(ratio.low, 3),
                    "to": round(ratio.high, 3),
                    "verdict": "" if name == "plain" else ratio.verdict,
                    "copy_gb_per_s": round(speed / 1e9, 2),
                    "peak_gflop_per_s": round(peak / 1e9, 1),
                }
            )
    return rows


def _cases(
    operation: Operation, inputs: list[Tensor], backward: bool, device: torch.device
) -> dict[str, Callable[[], int]]:
    """The plain formulation, and every backend that "auto" may take or that only has not been measured yet."""
    forms: dict[str, Callable[..., Tensor]] = {"plain": lambda *given: operation.plain(*given, *operation.options)}
    with torch.no_grad():
        want = forms["plain"](*(tensor.detach().double() for tensor in inputs))
    with torch.set_grad_enabled(backward):  # as it is timed
        there = backends(operation.op, *inputs, *operation.options)
    for name, state in there.items():
        if state == "ok" or "not been measured" in state:
            forms[name] = lambda *given, name=name: operation.op(*given, *operation.options, backend=name)
    layout = torch.channels_last if operation.channels_last else torch.contiguous_format
    grad = torch.randn(operation.result, device=device).to(inputs[0].dtype).contiguous(memory_format=layout)

    def case(form: Callable[..., Tensor]) -> Callable[[], int]:
        def run() -> int:
            if backward:
                torch.autograd.grad(form(*inputs), inputs, grad)
            else:
                with torch.no_grad():
                    form(*inputs)
            settle(device)
            return 1

        return run

    for name, form in forms.items():
        with torch.no_grad():
            error = (form(*inputs).double() - want).abs().max() / want.abs().max()
        if error > 100 * torch.finfo(inputs[0].dtype).eps:
            raise AssertionError(f"{operation.name}: backend {name} is off by {error:.1e}; it is not timed")
    return {name: case(form) for name, form in forms.items()}
