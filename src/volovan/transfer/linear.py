"""Multinomial logistic regression on frozen features: the linear probe.

    J(W, b) = mean_i CE(W z_i + b, y_i) + lambda / 2 |W|^2,    z = (x - mean) / std over the training rows

minimised by L-BFGS from zero over all rows at once, so that the result depends on the data only; lambda is chosen on a
tenth of the training data. Convex: there is one minimum, whatever the way to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

STRENGTHS = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""values of lambda that are tried, strong to weak, each started from the minimum of the one before"""
CELLS = 2**25
"""logits held at once: 128 MiB in float32"""


@dataclass(frozen=True)
class LinearProbe:
    """logits = features @ weight.T + bias: weight (K, C), bias (K,); the standardisation is folded in."""

    weight: Tensor
    bias: Tensor
    strength: float

    def logits(self, features: Tensor) -> Tensor:
        """(N, C) -> (N, K)."""
        return features.float() @ self.weight.T + self.bias


@dataclass(frozen=True)
class Trial:
    """One strength on the rows held out: top-1 in per cent, mean cross entropy."""

    strength: float
    top1: float
    loss: float


def fit_probe(features: Tensor, labels: Tensor, num_classes: int, strength: float, steps: int = 300) -> LinearProbe:
    """The minimum of J for one lambda. features (N, C), labels (N,)."""
    return _fit(features, labels, num_classes, (strength,), steps)[0]


def choose_probe(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    strengths: Sequence[float] = STRENGTHS,
    steps: int = 300,
    seed: int = 0,
) -> tuple[LinearProbe, list[Trial]]:
    """The probe over all rows at the lambda that does best on a tenth of them held out, and what each did there."""
    kept, held = held_out(labels, seed)
    if not len(held):  # a single picture of each class: nothing to choose by
        return fit_probe(features, labels, num_classes, strengths[len(strengths) // 2], steps), []
    trials = []
    for probe in _fit(features[kept], labels[kept], num_classes, strengths, steps):
        logits = probe.logits(features[held])
        top1 = 100 * (logits.argmax(1) == labels[held]).float().mean()
        trials.append(Trial(probe.strength, float(top1), float(F.cross_entropy(logits, labels[held]))))
    best = max(trials, key=lambda trial: (trial.top1, -trial.loss))
    return fit_probe(features, labels, num_classes, best.strength, steps), trials


def held_out(labels: Tensor, seed: int, share: float = 0.1) -> tuple[Tensor, Tensor]:
    """(rows to fit, rows to choose by): of each class a tenth, at least one of two or more."""
    draw = np.random.default_rng(seed)
    held = []
    for members in torch.argsort(labels, stable=True).split(torch.bincount(labels).tolist()):
        count = max(round(share * len(members)), 1) if len(members) > 1 else 0
        held.append(members[torch.from_numpy(draw.permutation(len(members))[:count]).to(members.device)])
    out = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    out[torch.cat(held)] = True
    return (~out).nonzero()[:, 0], out.nonzero()[:, 0]


def _fit(
    features: Tensor, labels: Tensor, num_classes: int, strengths: Sequence[float], steps: int
) -> list[LinearProbe]:
    """The minima for several strengths, each started from the one before."""
    mean = features.float().mean(0)
    std = features.float().std(0, correction=0)
    scale = torch.where(std > 1e-6 * std.max(), std, torch.inf)  # a feature that never changes says nothing
    weight = torch.zeros(num_classes, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(num_classes, device=features.device, requires_grad=True)
    rows = max(1, CELLS // num_classes)

    def objective(strength: float, optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.zero_grad()
        total = strength / 2 * weight.square().sum()
        total.backward()
        total = total.detach()
        for part, target in zip(features.split(rows), labels.split(rows), strict=True):
            logits = ((part.float() - mean) / scale) @ weight.T + bias
            loss = F.cross_entropy(logits, target, reduction="sum") / len(labels)
            loss.backward()
            total += loss.detach()
        return total

    probes = []
    for strength in strengths:
        optimizer = torch.optim.LBFGS(
            [weight, bias],
            max_iter=steps,
            history_size=20,
            tolerance_grad=1e-6,
            tolerance_change=1e-10,
            line_search_fn="strong_wolfe",
        )
        optimizer.step(partial(objective, strength, optimizer))
        raw = weight.detach() / scale
        probes.append(LinearProbe(raw, bias.detach() - raw @ mean, strength))
    return probes
