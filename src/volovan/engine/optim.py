"""Parameter groups by the papers' no-decay rules, layer decay, the optimisers, and the average of the weights."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from volovan.engine.distributed import Place, average_statistics
from volovan.engine.settings import OptimSettings, SettingsError


def freeze(model: nn.Module, prefixes: Iterable[str]) -> list[str]:
    """Switch off the gradient of every parameter whose name begins with a prefix; `trunk` is all but `model.heads`.

    A number ends where it ends: `blocks.1` does not freeze `blocks.10`. Returns the names of the frozen parameters.
    A prefix that fits nothing is a SettingsError, since it would silently train what somebody wanted to keep.
    """
    frozen = []
    for prefix in prefixes:
        fits = [(name, parameter) for name, parameter in model.named_parameters() if _frozen_by(prefix, name, model)]
        if not fits:
            first = sorted({name.split(".")[0] for name, _ in model.named_parameters()})
            raise SettingsError(f"train.freeze {prefix!r} fits no parameter; names begin with {', '.join(first)}")
        for name, parameter in fits:
            parameter.requires_grad_(False)
            frozen.append(name)
    return frozen


def _frozen_by(prefix: str, name: str, model: nn.Module) -> bool:
    if prefix != "trunk":
        rest = name.removeprefix(prefix)
        return name.startswith(prefix) and not (prefix[-1:].isdigit() and rest[:1].isdigit())
    heads: tuple[str, ...] = getattr(model, "heads", ())
    if not heads:
        raise SettingsError(f"train.freeze trunk: {type(model).__name__} names no heads; name what to freeze")
    return name.split(".")[0] not in heads


def keep_frozen_statistics(model: nn.Module) -> None:
    """Put BatchNorms whose weight is frozen into eval mode: a frozen trunk keeps its statistics too."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine and not module.weight.requires_grad:
            module.eval()


def parameter_groups(model: nn.Module, settings: OptimSettings) -> list[dict[str, Any]]:
    """Groups with `weight_decay` and `lr_scale`, deepest layer first.

    No decay by default (volo.md 5.1, van.md 4.1): 1-D tensors, biases and what the model lists in `no_weight_decay()`
    (position embedding, class token); `no_decay` may ask otherwise (van.md 4.4).
    Layer decay d: a parameter of layer i of n (stem 0, head n) learns at d^(n - i) times the rate; the layers come from
    the model's `layer_groups()`. The trunk, all but `model.heads`, learns at `trunk_lr` times that.
    """
    skip: set[str] = set(model.no_weight_decay()) if hasattr(model, "no_weight_decay") else set()  # type: ignore[operator]
    layers: list[list[str]] = model.layer_groups() if hasattr(model, "layer_groups") else []  # type: ignore[operator]
    if settings.layer_decay != 1.0 and not layers:
        raise SettingsError(
            f"optim.layer_decay {settings.layer_decay}: {type(model).__name__} has no layer_groups(); leave it at 1"
        )
    heads: tuple[str, ...] = getattr(model, "heads", ())
    if settings.trunk_lr != 1.0 and not heads:
        raise SettingsError(f"optim.trunk_lr {settings.trunk_lr}: {type(model).__name__} names no heads; leave it at 1")
    deepest = len(layers) - 1
    groups: dict[tuple[int, bool, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        layer = _layer_of(name, layers) if settings.layer_decay != 1.0 else 0
        plain = {
            "vectors": parameter.ndim <= 1 or name.endswith(".bias") or name in skip,
            "norms": any(part.startswith("norm") for part in name.split(".")),
            "none": False,
        }[settings.no_decay]
        of_trunk = settings.trunk_lr != 1.0 and name.split(".")[0] not in heads
        scale = settings.layer_decay ** (deepest - layer) if settings.layer_decay != 1.0 else 1.0
        group = groups.setdefault(
            (layer, plain, of_trunk),
            {
                "params": [],
                "names": [],
                "weight_decay": 0.0 if plain else settings.weight_decay,
                "lr_scale": scale * (settings.trunk_lr if of_trunk else 1.0),
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    if not groups:
        raise SettingsError("train.freeze leaves no parameter to train; take some beginnings out of it")
    return [groups[key] for key in sorted(groups)]


def _layer_of(name: str, layers: list[list[str]]) -> int:
    """Number of the layer with the longest prefix of the name; a name in no layer belongs to the head (the last)."""
    best, length = len(layers) - 1, -1
    for number, prefixes in enumerate(layers):
        for prefix in prefixes:
            if (name == prefix or name.startswith(prefix.rstrip(".") + ".")) and len(prefix) > length:
                best, length = number, len(prefix)
    return best


def build_optimizer(model: nn.Module, settings: OptimSettings) -> Optimizer:
    """The optimiser over `parameter_groups`; the loop sets each group's lr = schedule x lr_scale at every step."""
    groups = [{k: v for k, v in group.items() if k != "names"} for group in parameter_groups(model, settings)]
    match settings.name:
        case "adamw":
            return AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)
        case "adam":
            return Adam(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)
        case "sgd":
            return SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0)
        case "lamb":
            from timm.optim import Lamb

            # Without its built-in clipping of the whole gradient at 1: that is what optim.clip_norm says, or not.
            return Lamb(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, max_grad_norm=None)
    raise SettingsError(f"optim.name is {settings.name!r}; known: adamw, adam, sgd, lamb")


class EMA:
    """A copy of the model whose weights follow ema <- decay ema + (1 - decay) weights.

    With warm-up the decay of update t (from 0) is min(decay, (1 + t) / (10 + t)), so that a short run is not
    dominated by its random start. BatchNorm's running statistics follow as the weights do (timm's ModelEmaV2) or,
    without `average_buffers`, are copied, being an average already. Counters are copied.
    """

    def __init__(self, model: nn.Module, decay: float, warmup: bool = False, average_buffers: bool = True) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.warmup = warmup
        self.average_buffers = average_buffers

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay
        torch._foreach_lerp_(list(self.model.parameters()), [p.detach() for p in model.parameters()], 1 - decay)
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            if self.average_buffers and mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)

    @torch.no_grad()
    def share_statistics(self, model: nn.Module, place: Place) -> None:
        """Before the average is saved: statistics that were copied become those of `model`, which all processes share
        by now; averaged ones become their mean over the processes."""
        if self.average_buffers:
            average_statistics(self.model, place, frozen=True)  # the average itself is never trained
        else:
            for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
                mine.copy_(theirs)
