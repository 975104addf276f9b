"""The scoring rules.

One rule serves every set: a prediction is right if it is among the classes accepted for the picture. Ordinary labels
accept one class; ReaL and VizWiz accept several. A set gives one or more figures ("rows"): ImageNet val and ReaL come
from the same pictures, ImageNet-C has a row for each severity, VizWiz one for each flaw. Letters: B pictures, G rows,
K = 1000 classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

ALEXNET_ERROR = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""Top-1 error of AlexNet, mean over the five severities, as the authors of ImageNet-C (arXiv 1903.12261) give it."""
CORRUPTIONS = tuple(ALEXNET_ERROR)
EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Handed out for tuning; not part of mCE."""
SEVERITIES = (1, 2, 3, 4, 5)


def hits(logits: Tensor, accepted: Tensor, subset: Tensor | None = None) -> Tensor:
    """Whether the first prediction, and one of the first five, is accepted.

    logits    (B, K); a row with a value that is not finite is never right
    accepted  (B, G, K) bool
    subset    (S,) class numbers: only these outputs compete, the others are left out before the ranking
    returns   (B, G, 2) bool: top-1, top-5
    """
    usable = logits.isfinite().all(1)
    if subset is not None:
        logits, accepted = logits[:, subset], accepted[:, :, subset]
    ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices
    found = accepted.gather(2, ranked[:, None].expand(-1, accepted.shape[1], -1))
    return torch.stack([found[..., 0], found.any(2)], dim=2) & usable[:, None, None]


@dataclass(frozen=True)
class Score:
    """Pictures that counted, and top-1 and top-5 accuracy in per cent (nan over no picture)."""

    pictures: int
    top1: float
    top5: float


class AcceptedMetric:
    """Sums of `hits` over batches {"image", "accepted" (B, G, K), "counts" (B, G), "index" (B,)}.

    figures  what the G are called
    keep     whether `rows` shall hold the class predicted for each picture
    order    the output of the network that each class is; None: they are the classes
    """

    def __init__(
        self,
        figures: Sequence[str],
        device: torch.device,
        subset: Sequence[int] | None = None,
        keep: bool = False,
        order: Sequence[int] | None = None,
    ) -> None:
        self.figures, self.keep = tuple(figures), keep
        self.subset = None if subset is None else torch.tensor(subset, device=device)
        self.order = None if order is None else torch.tensor(order, device=device)
        self.totals = {
            "right": torch.zeros(len(self.figures), 2, dtype=torch.long, device=device),
            "count": torch.zeros(len(self.figures), dtype=torch.long, device=device),
            "not_finite": torch.zeros(1, dtype=torch.long, device=device),
        }
        self.rows: dict[int, int] = {}

    def update(self, model: nn.Module, batch: dict[str, Tensor]) -> None:
        logits = model(batch["image"])
        self.add(
            logits if self.order is None else logits[:, self.order], batch["accepted"], batch["counts"], batch["index"]
        )

    def add(self, logits: Tensor, accepted: Tensor, counts: Tensor, index: Tensor) -> None:
        """counts (B, G) bool: in which figures a picture counts; index (B,): its place in the whole set."""
        logits = logits.float()
        right = hits(logits, accepted, self.subset) & counts[:, :, None]
        self.totals["right"] += right.sum(0)
        self.totals["count"] += counts.sum(0)
        self.totals["not_finite"] += (~logits.isfinite().all(1)).sum()
        if self.keep:
            best = logits.argmax(1) if self.subset is None else self.subset[logits[:, self.subset].argmax(1)]
            self.rows |= zip(index.tolist(), best.tolist(), strict=True)

    def finish(self) -> dict[str, float]:
        """{figure: top-1 in per cent}"""
        return {figure: score.top1 for figure, score in self.scores().items()}

    def scores(self) -> dict[str, Score]:
        """{figure: Score}"""
        count = self.totals["count"].double().cpu()
        shares = 100 * self.totals["right"].double().cpu() / count[:, None]
        return {
            figure: Score(int(n), top1, top5)
            for figure, n, (top1, top5) in zip(self.figures, count.tolist(), shares.tolist(), strict=True)
        }


def corruption_error(errors: Sequence[float], corruption: str) -> float:
    """CE of ImageNet-C in per cent: the errors over the five severities, summed, over AlexNet's.

    errors: top-1 errors in per cent, one for each severity.
    """
    if len(errors) != len(SEVERITIES):
        raise ValueError(f"{corruption}: {len(errors)} errors, expected one for each of {len(SEVERITIES)} severities")
    return sum(errors) / len(errors) / ALEXNET_ERROR[corruption]


def mean_corruption_error(errors: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """(mCE, mean error) over the 15 corruptions, in per cent; the second is not normalised.

    errors: {corruption: its five errors}; further corruptions are left out of both. KeyError if one of the 15 lacks.
    """
    normalised = [corruption_error(errors[name], name) for name in CORRUPTIONS]
    plain = [sum(errors[name]) / len(SEVERITIES) for name in CORRUPTIONS]
    return sum(normalised) / len(normalised), sum(plain) / len(plain)


def corrupted_accuracy(flaws: Mapping[str, float]) -> float:
    """VizWiz's figure for corrupted pictures: the mean of the accuracies of the six flaws, each with equal weight.

    So the authors' script has it; a picture with two flaws counts in both. nan if a flaw has no picture.
    """
    return sum(flaws.values()) / len(flaws)
