"""Fitting a state dict to a model without touching the model: what is copied, what is adapted, what does not fit.

Adapted are the heads (another number of classes), the first convolution (another number of input channels) and the
position embedding (another size). Every other difference of shape is a misfit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, isqrt

import torch
from torch import Tensor, nn

from volovan.models.config import image_size
from volovan.models.layers import resize_position
from volovan.models.weights.keymaps import State

LISTED = 10
HEADS = ("head.", "aux_head.")
POSITION = "pos_embed"


@dataclass
class Fit:
    """What would be loaded into a model: `tensors` with the shapes of the model, and everything to be said about it."""

    tensors: State = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong_shape: list[str] = field(default_factory=list)
    new_head: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fits(self, strict: bool) -> bool:
        return bool(self.tensors) and not self.wrong_shape and not (strict and (self.missing or self.unexpected))

    def misfits(self) -> str:
        """The three lists of misfits, at most ten of each."""
        lists = (("missing", self.missing), ("unexpected", self.unexpected), ("wrong shape", self.wrong_shape))
        return "\n".join(f"  {name} ({len(keys)}): {shorten(keys)}" for name, keys in lists if keys)


def shorten(names: list[str]) -> str:
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest} more" if rest > 0 else "")


def fit(model: nn.Module, state: State, built_for: tuple[int, int] | None = None) -> Fit:
    """Compare a state dict in our names with a model.

    built_for  (height, width) of the picture that the file's position embedding was built for, where the file says it;
               needed only for LV-ViT that is not square
    """
    result = Fit()
    target = model.state_dict()
    stem = first_convolution(model)
    for key, tensor in state.items():
        if key not in target:
            if key.startswith(HEADS) and not model.config.num_classes:  # type: ignore[union-attr]
                result.new_head.append(key)
            else:
                result.unexpected.append(key)
            continue
        wanted = target[key].shape
        if key == POSITION:
            _fit_position(result, model, tensor, built_for)
        elif tensor.shape == wanted:
            result.tensors[key] = tensor
        elif key.startswith(HEADS) and tensor.shape[1:] == wanted[1:]:
            result.new_head.append(key)
        elif key == stem and (tensor.shape[0], *tensor.shape[2:]) == (wanted[0], *wanted[2:]):
            result.tensors[key] = adapt_channels(tensor, wanted[1])
            result.notes.append(
                f"the first convolution was adapted from {tensor.shape[1]} to {wanted[1]} input channels"
            )
        else:
            result.wrong_shape.append(f"{key} {_shape(tensor.shape)} instead of {_shape(wanted)}")
    _look_for_missing(result, model, state, target)
    return result


def _look_for_missing(result: Fit, model: nn.Module, state: State, target: State) -> None:
    """Parameters that the file lacks. A file without any head is a trunk: its head is new too."""
    has_head = any(key.startswith(HEADS) for key in state)
    for key in target:
        if key in state or key.endswith("num_batches_tracked"):  # a counter that no forward pass reads here
            continue
        if key.startswith(HEADS) and not has_head:
            result.new_head.append(key)
        else:
            result.missing.append(key)
    if not result.new_head:
        return
    classes = model.config.num_classes  # type: ignore[union-attr]
    in_file = next((len(t) for key, t in state.items() if key.startswith(HEADS)), None)
    if not classes:
        result.notes.append("the head of the file was left out: the model has none")
    elif in_file is None:
        result.notes.append(f"the head for {classes} classes is new: the file has none")
    else:
        result.notes.append(f"the head for {classes} classes is new: that of the file has {in_file}")


def _shape(shape: torch.Size) -> str:
    return "x".join(map(str, shape)) or "scalar"


def first_convolution(model: nn.Module) -> str:
    """Name of the weight that reads the picture."""
    return next(f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d))


def adapt_channels(weight: Tensor, in_chans: int) -> Tensor:
    """A first convolution (O, I, k, k) for `in_chans` channels: the sum for one, else repeated in turn and rescaled by
    I / in_chans, so that a grey picture keeps its size of response."""
    have = weight.shape[1]
    if in_chans == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight.repeat(1, ceil(in_chans / have), 1, 1)[:, :in_chans] * (have / in_chans)


# Position embedding: VOLO (1, h, w, C); LV-ViT (1, 1 + h * w, C), the class token first


def _fit_position(result: Fit, model: nn.Module, tensor: Tensor, built_for: tuple[int, int] | None) -> None:
    target = model.state_dict()[POSITION]
    config = model.config
    grid = config.token_grid(image_size(config))  # type: ignore[union-attr, operator]
    if tensor.dim() != target.dim() or tensor.shape[-1] != target.shape[-1]:
        result.wrong_shape.append(f"{POSITION} {_shape(tensor.shape)} instead of {_shape(target.shape)}")
        return
    source: tuple[int, int] | None
    if tensor.dim() == 4:
        source, token, maps = (tensor.shape[1], tensor.shape[2]), None, tensor
    else:
        source = config.token_grid(built_for) if built_for else square_grid(tensor.shape[1] - 1)  # type: ignore[union-attr, operator]
        if source is None and tensor.shape == target.shape:
            source = grid
        if source is None or source[0] * source[1] != tensor.shape[1] - 1:
            result.wrong_shape.append(f"{POSITION} of {tensor.shape[1] - 1} tokens, whose grid is unknown")
            return
        token, maps = tensor[:, :1], tensor[:, 1:].unflatten(1, source)
    if source == grid:
        result.tensors[POSITION] = tensor
        return
    resized = resize_position(maps, grid)
    result.tensors[POSITION] = resized if token is None else torch.cat([token, resized.flatten(1, 2)], dim=1)
    result.notes.append(
        f"the position embedding was resized from {_shape(torch.Size(source))} to {_shape(torch.Size(grid))}"
    )


def square_grid(tokens: int) -> tuple[int, int] | None:
    side = isqrt(tokens)
    return (side, side) if side * side == tokens else None
