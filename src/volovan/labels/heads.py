"""Dense maps of classifiers: the head applied at every position before the pooling, as a 1 x 1 convolution would be.

Where the pooling is a mean and what follows is affine, the mean of the map over its positions is the teacher's logit.
A LayerNorm after the pooling (ConvNeXt, ViT with fc_norm) is affine only once its statistics are fixed: those of the
pooled vector are used at every position.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from volovan.labels.errors import LabelError
from volovan.models.lvvit import LVViT
from volovan.models.van import VAN
from volovan.models.variants import Model
from volovan.models.volo import VOLO


class Features(NamedTuple):
    """What the head reads, in the layout of its model, and rows and columns of its positions."""

    values: Tensor
    grid: tuple[int, int]


def dense_head(name: str, model: nn.Module) -> OwnHead | PooledHead:
    """The way to dense maps that suits the model; LabelError with the reason if there is none."""
    if hasattr(model, "forward_head"):
        return PooledHead(name, model)
    if isinstance(model, Model):
        return OwnHead(name, model)
    raise LabelError(
        f"{name}: it is neither a classifier of timm nor of volovan with its weights, so its head cannot be found; of "
        "an exported file name the run"
    )


class OwnHead:
    """VAN, and VOLO with a mean head: the linear head at each position, whose mean is the logit.

    VOLO and LV-ViT with their dense head: that head's logits of each token, which it was trained to give. They are not
    the logits of the class token, so their mean is not the model's logit either.
    """

    def __init__(self, name: str, model: Model) -> None:
        if not model.config.num_classes:
            raise LabelError(f"{name}: it has no classes, only features; take a classifier")
        self.model = model
        self.mean_is_logits = isinstance(model, VAN) or (isinstance(model, VOLO) and model.post_network is None)
        head = model.head if self.mean_is_logits else getattr(model, "aux_head", None)
        if head is None:
            raise LabelError(
                f"{name}: its only head reads the class token, which has no position; train it with dense_head, or "
                "take a teacher with average pooling"
            )
        self.head = head

    def features(self, images: Tensor) -> Features:
        """Of VAN its last map, of the others the tokens of the last block, (B, h * w, C) both; no class tokens."""
        if isinstance(self.model, VAN):
            final = self.model.forward_features(images)[-1]
            return Features(final.flatten(2).transpose(1, 2), (final.shape[2], final.shape[3]))
        if isinstance(self.model, LVViT):
            tokens, grid, _ = self.model.trunk(images)
            return Features(self.model.norm(tokens[:, 1:]), grid)
        tokens = self.model.norm(
            self.model.trunk(images)[0]
        )  # class blocks leave patch tokens as they are (volo.md 1.3)
        return Features(tokens.flatten(1, 2), (tokens.shape[1], tokens.shape[2]))

    def dense(self, features: Features) -> Tensor:
        """(B, num_classes, h, w) float32."""
        rows = self.head(features.values.float())  # (B, h * w, num_classes)
        return rows.transpose(1, 2).unflatten(2, features.grid)


class PooledHead:
    """A classifier of timm with average pooling, whatever its architecture.

    Its own `forward_head` is called on maps of a single position, whose mean is that position. Norms in it are given
    the statistics that they have on the pooled vector of the whole picture.
    """

    mean_is_logits = True

    def __init__(self, name: str, model: Any) -> None:
        self.name, self.model = name, model
        _refuse_pooling(name, model)
        self.last_channels = getattr(model, "output_fmt", "NCHW") != "NCHW"
        self.prefix = getattr(model, "num_prefix_tokens", 0)
        self.norms: tuple[nn.Module, ...] | None = None

    def features(self, images: Tensor) -> Features:
        values = self.model.forward_features(images)
        if not isinstance(values, Tensor) or values.ndim not in (3, 4):
            raise LabelError(f"{self.name}: its trunk gives neither one map nor tokens, so there are no positions")
        if values.ndim == 3:
            height, width = images.shape[2:]
            count = values.shape[1] - self.prefix
            rows = round((count * height / width) ** 0.5)  # in the proportion of the picture
            if rows < 1 or count % rows:
                raise LabelError(f"{self.name}: {count} tokens of a picture of {width} x {height} pixels make no grid")
            return Features(values, (rows, count // rows))
        first = 1 if self.last_channels else 2
        return Features(values, (values.shape[first], values.shape[first + 1]))

    def dense(self, features: Features) -> Tensor:
        """(B, num_classes, h, w) float32; every position goes through the head as a picture of its own."""
        values, (rows, columns) = features.values.float(), features.grid
        if self.norms is None:
            self.norms = _norms_after_pooling(self.name, self.model, values[:1])
        pooled: dict[nn.Module, Tensor] = {}
        with _hooked(self.norms, lambda norm, inputs, _: pooled.__setitem__(norm, inputs[0])):
            self.model.forward_head(values)
        if values.ndim == 3:  # tokens; the head leaves class tokens and registers out of its mean
            prefix = values[:, : self.prefix].repeat_interleave(rows * columns, 0)
            positions = torch.cat([prefix, values[:, self.prefix :].reshape(-1, 1, values.shape[2])], 1)
        elif self.last_channels:
            positions = values.reshape(-1, 1, 1, values.shape[3])
        else:
            positions = values.permute(0, 2, 3, 1).reshape(-1, values.shape[1], 1, 1)
        with _hooked(self.norms, lambda norm, inputs, _: _with_statistics(norm, inputs[0], pooled[norm])):
            logits = self.model.forward_head(positions)
        return logits.reshape(len(values), rows, columns, -1).permute(0, 3, 1, 2)


def _refuse_pooling(name: str, model: Any) -> None:
    """Say which pooling makes a dense map impossible, as far as the model tells."""
    pools = [getattr(owner, "global_pool", None) for owner in (model, getattr(model, "head", None))]
    kinds = [pool if isinstance(pool, str) else getattr(pool, "pool_type", "") for pool in pools if pool is not None]
    pools.append(getattr(model, "head", None))  # some heads are the attention pooling themselves
    attention = getattr(model, "attn_pool", None) is not None or any(
        "Attention" in type(pool).__name__ for pool in pools
    )
    reason = ""
    if not getattr(model, "num_classes", 0):
        reason = "it has no classes, only features; take a classifier"
    elif attention or "map" in kinds:
        reason = "it pools by attention, which weighs positions together; take a teacher with average pooling"
    elif "token" in kinds:
        reason = "its head reads the class token, which has no position; take a teacher with average pooling"
        if "VOLO" in type(model).__name__:
            reason += ", or volovan's own VOLO, which reads the same weights and gives the logits of its dense head"
    elif any("max" in str(kind) for kind in kinds):
        reason = "it pools by the maximum, whose logits are no mean over positions; take one with average pooling"
    if reason:
        raise LabelError(f"{name}: {reason}")


def _norms_after_pooling(name: str, model: Any, values: Tensor) -> tuple[nn.Module, ...]:
    """The norms in the head, in order; LabelError if it holds what is not affine once their statistics are fixed."""
    used: list[nn.Module] = []
    leaves = [module for module in model.modules() if not list(module.children())]
    with _hooked(leaves, lambda module, inputs, output: used.append(module)):
        model.forward_head(values)
    for module in used:
        kind = type(module).__name__
        if "Attention" in kind:
            raise LabelError(f"{name}: it pools by attention, which weighs positions together; take another teacher")
        if "Max" in kind:
            raise LabelError(f"{name}: its head has a {kind}, whose logits are no mean over positions; take another")
        if isinstance(module, nn.Conv2d) and not _is_affine(module):
            size = " x ".join(map(str, module.kernel_size))
            raise LabelError(f"{name}: its head has a convolution of {size} positions; take a teacher without one")
        if not _is_affine(module) and not _is_norm(module):
            raise LabelError(
                f"{name}: its head has a {kind} after the pooling, which is not linear, so there are no logits at "
                "positions whose mean is the teacher's; take another teacher"
            )
    return tuple(module for module in used if _is_norm(module))


def _is_affine(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1)
    kinds = (nn.Linear, nn.Identity, nn.Flatten, nn.Dropout, nn.AdaptiveAvgPool2d, nn.modules.batchnorm._BatchNorm)
    return isinstance(module, kinds) or "AvgPool" in type(module).__name__


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm) or "rmsnorm" in type(module).__name__.lower()


def _with_statistics(norm: Any, x: Tensor, pooled: Tensor) -> Tensor:
    """norm(x) with mean and variance of `pooled`; x has B * n rows, pooled B."""
    shape = [1] * x.ndim
    axis = 1 if x.ndim == 4 and x.shape[1] == norm.weight.numel() else x.ndim - 1
    shape[axis] = -1
    mean = pooled.mean(axis, keepdim=True)
    if not isinstance(norm, nn.LayerNorm):
        mean = torch.zeros_like(mean)  # RMSNorm does not centre
    variance = (pooled - mean).square().mean(axis, keepdim=True)
    repeats = len(x) // len(pooled)
    mean, variance = mean.repeat_interleave(repeats, 0), variance.repeat_interleave(repeats, 0)
    normed = (x - mean) * torch.rsqrt(variance + norm.eps) * norm.weight.reshape(shape)
    bias = getattr(norm, "bias", None)
    return normed if bias is None else normed + bias.reshape(shape)


def _hooked(modules: Any, hook: Callable[[nn.Module, Any, Any], Any]) -> ExitStack:
    """Call hook(module, inputs, output) for each of the modules until the block ends."""
    stack = ExitStack()
    for module in modules:
        stack.callback(module.register_forward_hook(hook).remove)
    return stack
