"""Convolution over resized maps: against resizing, concatenating and convolving."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from volovan.ops.convolution_resized import concatenate_resized, convolve_resized, mixes_first
from volovan.ops.onednn import BFLOAT16

PYRAMID = ((24, 32), (12, 16), (6, 8), (3, 4))
SIZES = {
    "pyramid": PYRAMID,
    "odd": ((25, 33), (13, 17), (7, 9), (4, 5)),
    "pooled": ((9, 7), (1, 1), (2, 2), (3, 3), (6, 6)),
    "one row": ((1, 40), (1, 20), (1, 3)),
    "not smaller": ((8, 8), (7, 8), (9, 30), (2, 1)),
}


def some(sizes, dtype=torch.float64, kernel=(3, 3), chans=5, outputs=6, bias=True):
    torch.manual_seed(0)
    maps = [torch.randn(2, chans + i, *size, dtype=torch.float64) for i, size in enumerate(sizes)]
    weight = torch.randn(outputs, sum(map_.shape[1] for map_ in maps), *kernel, dtype=torch.float64)
    tensors = [*maps, weight, *([torch.randn(outputs, dtype=torch.float64)] if bias else [])]
    tensors = [tensor.to(dtype).requires_grad_() for tensor in tensors]
    return tensors[: len(maps)], tensors[len(maps)], tensors[-1] if bias else None


def reference(maps, weight, bias):
    padding = tuple(side // 2 for side in weight.shape[2:])
    return F.conv2d(concatenate_resized(maps), weight, bias, padding=padding)


def result(way, maps, weight, bias):
    """What comes of it, and the gradients of all that it is made of."""
    out = way(maps, weight, bias)
    pull = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).to(out.dtype).view_as(out)
    inputs = [*maps, weight, *([] if bias is None else [bias])]
    return [out.detach(), *torch.autograd.grad(out, inputs, pull)]


@pytest.mark.parametrize("kernel", [(3, 3), (1, 1), (5, 1), (1, 3)], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "none"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_it_is_convolution_of_resized_maps_with_its_gradients(sizes, bias, kernel):
    given = some(sizes, kernel=kernel, bias=bias)
    for ours, theirs in zip(result(convolve_resized, *given), result(reference, *given), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_twenty_random_pyramids():
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        count, height, width = torch.randint(1, 40, (3,), generator=generator).tolist()
        sides = torch.randint(1, 40, (count % 4 + 1, 2), generator=generator).tolist()
        given = some(((height, width), *map(tuple, sides)))
        torch.testing.assert_close(convolve_resized(*given), reference(*given), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sizes", [PYRAMID, SIZES["odd"]], ids=["pyramid", "odd"])
def test_errors_in_fewer_bits_are_at_most_twice_those_of_the_reference(sizes, dtype):
    found = some(sizes, dtype, chans=64)
    maps, weight, bias = some(sizes, chans=64)
    with torch.no_grad():  # the numbers that both were given
        for exact, rounded in zip([*maps, weight, bias], [*found[0], *found[1:]], strict=True):
            exact.copy_(rounded)
    ours, theirs = result(convolve_resized, *found), result(reference, *found)
    for a, b, right in zip(ours, theirs, result(reference, maps, weight, bias), strict=True):
        assert (a - right).square().mean().sqrt() <= 2 * (b - right).square().mean().sqrt()


def test_under_autocast_it_computes_in_fewer_bits():
    given = some(PYRAMID, torch.float32, chans=64)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = convolve_resized(*given), reference(*given)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.5)


def test_gradients_can_be_differentiated_again():
    maps, weight, bias = some(((4, 4), (2, 2)), chans=1, outputs=2)
    assert torch.autograd.gradgradcheck(lambda *t: convolve_resized(t[:2], *t[2:]), (*maps, weight, bias))


def test_what_comes_out_is_in_channels_last_layout():
    assert convolve_resized(*some(PYRAMID)).is_contiguous(memory_format=torch.channels_last)


def test_it_stands_in_where_products_are_what_takes_long():
    maps, weight, _ = some(PYRAMID)
    assert mixes_first(maps, weight)
    assert not mixes_first(maps[:1] * 4, weight)  # nothing is smaller
    assert not mixes_first(maps, weight[..., :1, :1])
    rough = [map_.bfloat16() for map_ in maps]
    assert mixes_first(rough, weight.bfloat16()) == BFLOAT16
    assert not mixes_first([maps[0], *rough[1:]], weight)
    assert not mixes_first([map_.half() for map_ in maps], weight.half())
    with torch.autocast("cpu", torch.bfloat16):
        assert mixes_first([maps[0].float(), *rough[1:]], weight.float()) == BFLOAT16
    with FlopCounterMode(display=False):
        assert not mixes_first(maps, weight)
    moved = [map_.to("meta") for map_ in maps]
    assert not mixes_first(moved, weight.to("meta"))
