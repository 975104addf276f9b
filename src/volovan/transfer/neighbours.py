"""Classification by nearest neighbours of frozen features, as self-supervised networks are evaluated.

A query's k neighbours of largest cosine similarity s vote for their classes: with weight exp(s / T) (Wu et al. 2018,
arXiv 1805.01978, section 3.4; T = 0.07 there and since), or each with one vote.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

CELLS = 2**25
"""similarities held at once: 128 MiB in float32"""


def nearest(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(similarities, rows of the bank), each (Q, k), most similar first; fewer where the bank is smaller.

    queries (Q, C), bank (N, C): any length, they are normalised here.
    """
    bank = F.normalize(bank.float(), dim=1)
    rows = max(1, CELLS // max(1, len(bank)))
    found = [(F.normalize(part.float(), dim=1) @ bank.T).topk(min(k, len(bank)), dim=1) for part in queries.split(rows)]
    return torch.cat([values for values, _ in found]), torch.cat([places for _, places in found])


def weighted_votes(similarities: Tensor, labels: Tensor, num_classes: int, temperature: float) -> Tensor:
    """(Q, K) votes, exp(s / T) of each neighbour for its class.

    similarities, labels (Q, k): of the neighbours. Relative to the nearest one, so that no exponential overflows.
    """
    weights = ((similarities - similarities[:, :1]) / temperature).exp()
    return similarities.new_zeros(len(labels), num_classes).scatter_add_(1, labels, weights)


def majority_votes(similarities: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """(Q, K) votes, one of each neighbour for its class; the larger sum of 1 + s decides between equal ones."""
    zeros = similarities.new_zeros(len(labels), num_classes)
    counts = zeros.scatter_add(1, labels, torch.ones_like(similarities))
    closeness = zeros.scatter_add(1, labels, 1 + similarities)
    return counts + closeness / (4 * similarities.shape[1])  # at most one half


def classify(
    queries: Tensor, bank: Tensor, labels: Tensor, num_classes: int, k: int = 20, temperature: float | None = 0.07
) -> Tensor:
    """(Q, <= 5) classes, best first, -1 where the neighbours name no further one. temperature None: plain majority.

    labels (N,): classes of the bank.
    """
    ranked = []
    similarities, places = nearest(queries, bank, k)
    rows = max(1, CELLS // num_classes)
    for near, row in zip(similarities.split(rows), places.split(rows), strict=True):
        votes = (
            majority_votes(near, labels[row], num_classes)
            if temperature is None
            else weighted_votes(near, labels[row], num_classes, temperature)
        )
        values, classes = votes.topk(min(5, num_classes), dim=1)
        ranked.append(torch.where(values > 0, classes, -1))
    return torch.cat(ranked)
