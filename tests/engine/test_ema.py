"""The moving average of the weights: its formula, what becomes of BatchNorm's statistics, and what is validated."""

from collections.abc import Iterator

import pytest
import torch
from timm.utils import ModelEmaV2
from torch import nn

from volovan.engine.checkpoint import CheckpointFolder
from volovan.engine.optim import EMA


def linear_and_norm() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))


def steps(model: nn.Module) -> Iterator[int]:
    """25 steps: each has moved the parameters, and the statistics by a batch of 8."""
    for step in range(25):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        model(torch.randn(8, 3))
        yield step


@pytest.mark.parametrize("warmup", [False, True])
def test_ema_follows_its_formula_and_copies_statistics(warmup):
    model = linear_and_norm()
    ema = EMA(model, 0.9, warmup, average_buffers=False)
    want = {name: p.detach().clone() for name, p in model.named_parameters()}
    for step in steps(model):
        ema.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step)) if warmup else 0.9
        for name, p in model.named_parameters():
            want[name] = decay * want[name] + (1 - decay) * p.detach()
    for name, p in ema.model.named_parameters():
        assert torch.allclose(p, want[name], atol=1e-5), name
        assert not p.requires_grad
    assert torch.equal(ema.model[1].running_mean, model[1].running_mean)
    assert ema.model[1].num_batches_tracked == 25
    assert not ema.model.training


def test_ema_averages_statistics_if_asked_as_timm_does():
    model = linear_and_norm()
    ours, theirs = EMA(model, 0.9, average_buffers=True), ModelEmaV2(model, 0.9)
    for step in steps(model):
        ours.update(model, step)
        theirs.update(model)
    expected = theirs.module.state_dict()
    for name, tensor in ours.model.state_dict().items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, expected[name], atol=1e-5), name
    assert not torch.equal(ours.model[1].running_mean, model[1].running_mean)
    assert ours.model[1].num_batches_tracked == 25  # a counter is copied; timm's stays at 0, and nobody reads it


@pytest.mark.parametrize("buffers", ["copy", "average"])
def test_a_run_with_averaged_statistics_is_resumed_exactly(tmp_path, make_trainer, buffers):
    values = {"train.ema": 0.9, "train.ema_buffers": buffers, "train.checkpoint_steps": 2}
    whole = make_trainer(tmp_path / "whole", None, {**values, "train.max_steps": 6})
    whole.fit()
    make_trainer(tmp_path / "run", None, {**values, "train.max_steps": 4}).fit()
    resumed = make_trainer(tmp_path / "run", None, {**values, "train.max_steps": 6})
    resumed.fit(resume=True)
    for name, tensor in whole.ema.model.state_dict().items():
        assert torch.equal(tensor, resumed.ema.model.state_dict()[name]), name
    norms = [name for name, _ in whole.model.named_buffers() if name.endswith("running_mean")]
    assert norms
    for name in norms:
        same = torch.equal(whole.model.get_buffer(name), whole.ema.model.get_buffer(name))
        assert same == (buffers == "copy"), name


def test_the_average_is_what_is_validated(tmp_path, make_trainer):
    trainer = make_trainer(tmp_path / "run", None, {"train.ema": 0.5, "train.max_steps": 3})
    seen = []
    update = trainer.task.new_metric

    def watch(device):
        metric = update(device)
        metric.update = lambda model, batch: (seen.append(model), type(metric).update(metric, model, batch))
        return metric

    trainer.task.new_metric = watch
    trainer.fit()
    assert {id(model) for model in seen} == {id(trainer.ema.model)}
    tree = CheckpointFolder(tmp_path / "run" / "checkpoints", 1).load_newest()
    for part, model in (("ema", trainer.ema.model), ("model", trainer.model)):
        assert tree[part].keys() == model.state_dict().keys()
        assert all(torch.equal(tensor, tree[part][name]) for name, tensor in model.state_dict().items())
