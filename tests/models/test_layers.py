"""BatchNorm where a channel has few values."""

import pytest
import torch
from torch import nn

from volovan.models.layers import ConvNormAct, SteadyBatchNorm2d


def pair(channels: int = 4) -> tuple[SteadyBatchNorm2d, nn.BatchNorm2d]:
    torch.manual_seed(0)
    steady, plain = SteadyBatchNorm2d(channels).double(), nn.BatchNorm2d(channels).double()
    with torch.no_grad():
        steady.weight.uniform_(0.5, 2)
        steady.bias.normal_()
        steady.running_mean.normal_()
        steady.running_var.uniform_(0.5, 2)
    plain.load_state_dict(steady.state_dict())
    return steady, plain


@pytest.mark.parametrize("shape", [(5, 4, 1, 1), (2, 4, 3, 1), (1, 4, 8, 8)])
def test_with_five_values_or_more_it_is_batch_norm(shape):
    steady, plain = pair()
    x = torch.randn(shape, dtype=torch.float64)
    assert torch.equal(steady(x), plain(x))
    assert all(torch.equal(steady.state_dict()[name], value) for name, value in plain.state_dict().items())


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (2, 4, 1, 1), (1, 4, 2, 2)])
def test_in_evaluation_it_is_batch_norm(shape):
    steady, plain = pair()
    x = torch.randn(shape, dtype=torch.float64)
    assert torch.equal(steady.eval()(x), plain.eval()(x))


@pytest.mark.parametrize("shape", [(2, 4, 1, 1), (1, 4, 2, 2)])
def test_few_values_are_normalised_by_the_running_statistics_which_move(shape):
    steady, plain = pair()
    x = torch.randn(shape, dtype=torch.float64)
    mean, values = steady.running_mean.clone(), x.numel() // 4
    got = steady(x)
    plain.load_state_dict(steady.state_dict())  # the values themselves are part of the statistics by then
    torch.testing.assert_close(got, plain.eval()(x))
    share = 0.1 * values / 5
    torch.testing.assert_close(steady.running_mean, (1 - share) * mean + share * x.mean((0, 2, 3)))
    assert int(steady.num_batches_tracked) == 1


def test_one_value_trains_where_batch_norm_refuses():
    steady, plain = pair()
    x = torch.randn(1, 4, 1, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match="more than 1 value"):
        plain(x)
    before = steady.running_var.clone()
    assert torch.isfinite(steady(x)).all()
    assert torch.equal(steady.running_var, before)


def test_gradients_of_a_chain_on_one_position_stay_small():
    torch.manual_seed(0)
    chain = nn.Sequential(*[ConvNormAct(8, 8, 1) for _ in range(12)]).double()
    x = torch.randn(2, 8, 1, 1, dtype=torch.float64)
    x[1] = x[0] + 1e-4 * x[1]  # two pictures that hardly differ there
    x.requires_grad_()
    chain(x).sum().backward()
    assert x.grad is not None
    assert x.grad.norm() < 100
