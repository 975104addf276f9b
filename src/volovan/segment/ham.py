"""Light-Ham, the decoder of SegNeXt (arXiv 2209.08575) from Enjoy-Hamburger (Geng et al., arXiv 2109.04553).

Global context by matrix decomposition in place of attention. With the maps of the strides 8, 16, 32, GN a GroupNorm of
32 groups:

    X = ReLU(GN(1x1([C_2, up(C_3), up(C_4)])))     squeeze, stride 8; up: bilinear, corners not aligned
    Z = ReLU(1x1(X))                               lower bread, bias; now Z >= 0
    H = NMF(Z)                                     ham: the best non-negative D x N matrix of rank R
    Y = ReLU(X + GN(1x1(H)))                       upper bread
    logits = 1x1(Dropout2d(ReLU(GN(1x1(Y)))))      align, classifier; stride 8

NMF of each picture, Z as (channels, N = h w), by multiplicative updates (Lee and Seung), eps 1e-6:

    bases D (channels, R): uniform random, columns of length 1;  codes C (N, R) = softmax over R of Z^T D
    6 times in training, 7 in evaluation:
        C <- C * (Z^T D) / (C D^T D + eps)
        D <- D * (Z C) / (D C^T C + eps)
    C once more, then H = D C^T

Gradients go through all updates. Three things of the published code that the papers do not say, or say otherwise: the
softmax has the inverse temperature 1 (100 is the default of its base class, which NMF overwrites); the decomposition
has one group of channels (S = 1), so that the setting D = 512 is never read; bases are drawn anew for every batch, in
evaluation too, so that one picture gives two results. Here evaluation starts from bases drawn once, kept in the
weights: the same picture gives the same result, alone or in a batch.

Published widths: channels 256 with rank 16 (tiny, small), 512 with 64 (base), 1024 with 64 (large).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.models.config import ConfigError
from volovan.models.layers import init_convolution
from volovan.segment.classifier import PixelClassifier

EPS = 1e-6


class HamHead(nn.Module):
    """Maps of the strides 4, 8, 16, 32, of which the first is not used, to logits at stride 8.

    in_chans      channels of the four maps
    channels      within, a multiple of 32
    rank          R, columns of the bases
    train_steps   updates in training; eval_steps: in evaluation
    dropout       probability of dropping a channel before the classifier in training
    """

    def __init__(
        self,
        in_chans: Sequence[int],
        num_classes: int,
        channels: int = 512,
        rank: int = 64,
        train_steps: int = 6,
        eval_steps: int = 7,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.squeeze = ConvGroupNorm(sum(in_chans[1:]), channels)
        self.hamburger = Hamburger(channels, NMF2D(channels, rank, train_steps, eval_steps))
        self.align = ConvGroupNorm(channels, channels)
        self.apply(init_convolution)
        self.classifier = PixelClassifier(channels, num_classes, dropout)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Four maps (B, C_i, ceil(H / s), ceil(W / s)) to (B, num_classes, ceil(H / 8), ceil(W / 8))."""
        finest, *coarser = maps[1:]
        resized = [F.interpolate(m, size=finest.shape[2:], mode="bilinear", align_corners=False) for m in coarser]
        x = self.squeeze(torch.cat([finest, *resized], dim=1)).relu()
        return self.classifier(self.align(self.hamburger(x)).relu())


class Hamburger(nn.Module):
    """A matrix decomposition between two 1x1 convolutions, with a shortcut around the three."""

    def __init__(self, channels: int, ham: nn.Module):
        super().__init__()
        self.ham_in = nn.Conv2d(channels, channels, 1)
        self.ham = ham
        self.ham_out = ConvGroupNorm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.ham_out(self.ham(self.ham_in(x).relu()))).relu()


class NMF2D(nn.Module):
    """(B, C, h, w) without negative values to its non-negative approximation of rank `rank`, picture by picture.

    Computed in float32 at least, under autocast too: the quotients of the updates overflow in half precision.
    """

    bases: Tensor

    def __init__(self, channels: int, rank: int = 64, train_steps: int = 6, eval_steps: int = 7):
        super().__init__()
        for name, value in (("rank", rank), ("train_steps", train_steps), ("eval_steps", eval_steps)):
            if value < 1:
                raise ConfigError(f"{name} of the head ham is {value}; at least 1 is needed")
        self.train_steps, self.eval_steps = train_steps, eval_steps
        self.register_buffer("bases", torch.rand(1, channels, rank))

    def forward(self, x: Tensor) -> Tensor:
        # Costs are counted on meta tensors, for which torch has no autocast.
        kind = "cpu" if x.is_meta else x.device.type
        with torch.autocast(kind, enabled=False):
            z = x.flatten(2).to(torch.promote_types(x.dtype, torch.float32))
            start = torch.rand_like(self.bases.expand(z.shape[0], -1, -1)) if self.training else self.bases
            bases = F.normalize(start.to(z.dtype), dim=1).expand(z.shape[0], -1, -1)
            codes = (z.mT @ bases).softmax(dim=-1)
            for _ in range(self.train_steps if self.training else self.eval_steps):
                codes = update(codes, z.mT, bases)
                bases = update(bases, z, codes)
            codes = update(codes, z.mT, bases)
            return (bases @ codes.mT).to(x.dtype).view_as(x)


def update(factor: Tensor, data: Tensor, other: Tensor) -> Tensor:
    """Multiplicative update of `factor` (n, R) so that factor other^T comes nearer to `data` (n, m); other (m, R)."""
    return factor * (data @ other) / (factor @ (other.mT @ other) + EPS)


class ConvGroupNorm(nn.Module):
    """1x1 convolution without bias and GroupNorm of 32 groups."""

    def __init__(self, in_chans: int, out_chans: int, groups: int = 32):
        super().__init__()
        if out_chans % groups:
            raise ConfigError(f"channels of the head ham is {out_chans}; a multiple of {groups} is needed")
        self.conv = nn.Conv2d(in_chans, out_chans, 1, bias=False)
        self.gn = nn.GroupNorm(groups, out_chans)

    def forward(self, x: Tensor) -> Tensor:
        return self.gn(self.conv(x))
