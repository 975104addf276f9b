"""BatchNorm of few values: as torch has it from eight values of a channel on, by running statistics below."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn
from torch.testing import assert_close

from volovan.engine.optim import keep_frozen_statistics
from volovan.models.layers import SteadyBatchNorm2d, run_block


def norms():
    """A norm with statistics and weights of its own, and torch's with the same."""
    torch.manual_seed(0)
    steady, plain = SteadyBatchNorm2d(3), nn.BatchNorm2d(3)
    for tensor in (steady.weight, steady.running_var):
        tensor.data.uniform_(0.5, 1.5)
    for tensor in (steady.bias, steady.running_mean):
        tensor.data.uniform_(-1, 1)
    plain.load_state_dict(steady.state_dict())
    return steady, plain


def step(norm, x):
    """Result, gradients and statistics of a step."""
    x = x.clone().requires_grad_()
    out = norm(x)
    (out * torch.arange(out.numel()).view_as(out).sin()).sum().backward()
    return [out, x.grad, norm.weight.grad, norm.bias.grad, *norm.buffers()]


@pytest.mark.parametrize("shape", [(8, 3, 1, 1), (2, 3, 2, 2), (1, 3, 2, 4), (3, 3, 5, 7)])
def test_enough_values_are_normalised_as_torch_does_to_the_bit(shape):
    steady, plain = norms()
    x = torch.randn(shape)
    assert all(map(torch.equal, step(steady, x), step(plain, x)))


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 1, 1), (2, 3, 9, 9)])
def test_evaluation_is_that_of_torch_to_the_bit(shape):
    steady, plain = norms()
    x = torch.randn(shape)
    assert all(map(torch.equal, step(steady.eval(), x), step(plain.eval(), x)))


def test_few_values_are_normalised_by_the_moved_statistics():
    steady, plain = norms()
    x = torch.randn(2, 3, 1, 2)
    mean, var = plain.running_mean, plain.running_var
    mean = mean + 0.1 * 4 / 8 * (x.mean((0, 2, 3)) - mean)
    var = var + 0.1 * 4 / 8 * (x.var((0, 2, 3)) - var)
    out, gradient, *_, moved_mean, moved_var, batches = step(steady, x)
    assert_close([moved_mean, moved_var], [mean, var])
    assert batches == 1
    scale = (plain.weight / (var + plain.eps).sqrt())[:, None, None]
    assert_close(out, (x - mean[:, None, None]) * scale + plain.bias[:, None, None])
    assert_close(gradient, torch.arange(12.0).view_as(x).sin() * scale)


def test_equal_values_leave_the_gradient_small():
    steady, plain = norms()
    x = torch.full((2, 3, 1, 1), 0.3)
    x[0, 0] += 1e-4
    assert step(plain, x)[1].abs().max() > 50
    assert step(steady, x)[1].abs().max() < 3


def test_statistics_of_pairs_come_to_those_of_all():
    torch.manual_seed(0)
    norm = SteadyBatchNorm2d(64)
    for _ in range(400):
        norm(torch.randn(2, 64, 1, 1) * 2 + 3)
    assert_close(norm.running_mean.mean(), torch.tensor(3.0), atol=0.1, rtol=0)
    assert_close(norm.running_var.mean(), torch.tensor(4.0), atol=0.3, rtol=0)
    assert norm.running_var.min() > 1.5


def test_a_single_value_is_refused_as_by_torch():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        SteadyBatchNorm2d(3)(torch.randn(1, 3, 1, 1))


def test_two_batches_may_come_before_the_backward_pass():
    norm, _ = norms()
    first, second = torch.randn(2, 2, 3, 1, 1)
    (norm(first).sum() + norm(second).sum()).backward()
    assert norm.weight.grad is not None


def test_averaging_over_all_batches():
    batches = torch.randn(5, 3, 3, 1, 1)
    norm = nn.Sequential(SteadyBatchNorm2d(3))
    update_bn(batches, norm)
    assert_close(norm[0].running_mean, batches.mean((0, 1, 3, 4)))
    assert_close(norm[0].running_var, batches.var(1).mean((0, 2, 3)))


def test_recomputing_changes_nothing():
    block = nn.Sequential(nn.Conv2d(3, 3, 1), SteadyBatchNorm2d(3), nn.ReLU(), SteadyBatchNorm2d(3))
    again, x = copy.deepcopy(block), torch.randn(2, 3, 1, 1)
    for each, checkpointing in ((block, False), (again, True)):
        run_block(each, x, checkpointing).square().sum().backward()
    for kind in ("parameters", "buffers"):
        assert_close(list(getattr(again, kind)()), list(getattr(block, kind)()), rtol=0, atol=0)
    assert_close([p.grad for p in again.parameters()], [p.grad for p in block.parameters()])


@pytest.mark.parametrize("size", [1, 4])
def test_compiled_equals_eager_without_graph_break(size):
    steady, _ = norms()
    other, x = copy.deepcopy(steady), torch.randn(2, 3, size, size)
    assert_close(step(torch.compile(other, fullgraph=True, backend="aot_eager"), x), step(steady, x))


def test_half_precision_keeps_its_type():
    steady, _ = norms()
    x = torch.randn(2, 3, 1, 1)
    assert_close(copy.deepcopy(steady)(x.bfloat16()).float(), steady(x), atol=0.05, rtol=0.05)


def test_it_counts_as_a_batch_norm():
    steady, plain = norms()
    assert list(steady.state_dict()) == list(plain.state_dict())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(steady))
    assert type(converted) is nn.SyncBatchNorm
    assert_close(converted.state_dict(), steady.state_dict())
    steady.requires_grad_(False)
    keep_frozen_statistics(steady)
    assert not steady.training
