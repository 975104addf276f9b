"""Fitting a state dict to a model without touching the model: what is copied, what is adapted, what does not fit.

Adapted are the heads (another number of classes), the first convolution (another number of input channels) and the
position embedding (another size). Every other difference of shape is a misfit.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from math import ceil, isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from volovan.models.backbone import Backbone
from volovan.models.config import image_size
from volovan.models.layers import resize_position
from volovan.models.variants import find_config, list_models, shapes
from volovan.models.weights.networks import State
from volovan.models.weights.reading import WeightsError

logger = logging.getLogger("volovan")

LISTED = 10
HEADS = ("head.", "aux_head.")
POSITION = "pos_embed"
# Beside the heads: what may differ in shape between two networks of one variant.
ADAPTED = (POSITION, "patch_embed1.proj.weight", "patch_embed.conv.0.weight", "patch_embed.conv1.weight")


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
        lists = {"missing": self.missing, "unexpected": self.unexpected, "wrong shape": self.wrong_shape}
        lines = []
        for name, keys in lists.items():
            more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
            if keys:
                lines.append(f"  {name} ({len(keys)}): {', '.join(keys[:LISTED])}{more}")
        return "\n".join(lines)


@dataclass(frozen=True)
class LoadReport:
    """What load_weights did.

    source      the file
    layout      whose names it used
    loaded      number of tensors copied
    missing, unexpected   names left aside (strict=False only)
    notes       sentences: new head, resized position embedding, adapted channels, averaged weights
    """

    source: Path
    layout: str
    loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.loaded} tensors from {self.source.name} ({self.layout})"
        aside = [f"{len(n)} {word}" for word, n in (("missing", self.missing), ("unexpected", self.unexpected)) if n]
        return "; ".join([text, *aside, *self.notes])


def report(path: Path, layout: str, result: Fit, notes: list[str], alarm: str) -> LoadReport:
    """What was loaded; every note is logged, as a warning where it has the word `alarm`."""
    for note in notes:
        logger.log(logging.WARNING if alarm in note else logging.INFO, "%s: %s", path.name, note)
    aside = tuple(result.missing), tuple(result.unexpected)
    return LoadReport(path, layout, len(result.tensors), *aside, tuple(notes))


def take(model: nn.Module, path: Path, result: Fit) -> None:
    """Load what fits; WeightsError where a number is not finite."""
    refuse_not_finite(path, result.tensors)
    model.load_state_dict(result.tensors, strict=False)


def refuse_not_finite(path: Path, tensors: State) -> None:
    """WeightsError if a tensor holds a number that is not finite: such a network answers nothing but that."""
    spoilt = [key for key, t in tensors.items() if t.is_floating_point() and not bool(t.isfinite().all())]
    if spoilt:
        first = tensors[spoilt[0]]
        value = first[~first.isfinite()][0].item()
        more = f", and {len(spoilt) - 1} more of {len(tensors)} tensors are like it" if spoilt[1:] else ""
        raise WeightsError(
            f"{path}: {spoilt[0]} holds {int((~first.isfinite()).sum())} of {first.numel()} numbers that are not "
            f"finite ({value}){more}; nothing was loaded. The run that wrote it diverged: take an earlier checkpoint"
        )


def fit(model: Backbone, state: State, built_for: tuple[int, int] | None = None) -> Fit:
    """Compare a state dict in our names with a model.

    built_for  (height, width) of the picture that the file's position embedding was built for, where the file says it;
               needed only for LV-ViT that is not square
    """
    result, target = Fit(), model.state_dict()
    # the weight that reads the picture
    stem = next(f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
    classes = model.config.num_classes
    plain: State = {}
    for key, tensor in state.items():
        if key.startswith(HEADS) and not classes:
            result.new_head.append(key)
        elif key == POSITION and key in target:
            _fit_position(result, model.config, tensor, target[key], built_for)
        elif key == stem and _other_channels(tensor.shape, target[key].shape):
            have, wanted = tensor.shape[1], target[key].shape[1]
            result.tensors[key] = adapt_channels(tensor, wanted)
            result.notes.append(f"the first convolution was adapted from {have} to {wanted} input channels")
        else:
            plain[key] = tensor
    new = () if any(key.startswith(HEADS) for key in state) else HEADS  # a file without any head is a trunk
    compare(result, plain, {key: t for key, t in target.items() if key in plain or key not in state}, HEADS, new)
    result.new_head += [key for key in target if key.startswith(new)]
    if result.new_head:
        in_file = next((len(t) for key, t in state.items() if key.startswith(HEADS)), None)
        if not classes:
            note = "the head of the file was left out: the model has none"
        elif in_file is None:
            note = f"the head for {classes} classes is new: the file has none"
        else:
            note = f"the head for {classes} classes is new: that of the file has {in_file}"
        result.notes.append(note)
    return result


def compare(
    result: Fit, state: State, target: State, classifiers: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    """Name by name into `result`. What begins with one of `classifiers` may differ in its number of classes, what
    begins with one of `optional` may be missing."""
    for key, tensor in state.items():
        if key not in target:
            result.unexpected.append(key)
        elif tensor.shape == target[key].shape:
            result.tensors[key] = tensor
        elif key.startswith(classifiers) and tensor.shape[1:] == target[key].shape[1:]:
            result.new_head.append(key)
        else:
            result.wrong_shape.append(f"{key} {_shape(tensor.shape)} instead of {_shape(target[key].shape)}")
    for key in target:
        if key not in state and not key.startswith(optional) and not key.endswith("num_batches_tracked"):
            result.missing.append(key)  # the counter is read by no forward pass here


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _other_channels(found: torch.Size, wanted: torch.Size) -> bool:
    return found != wanted and found[:1] + found[2:] == wanted[:1] + wanted[2:]


def adapt_channels(weight: Tensor, in_chans: int) -> Tensor:
    """A first convolution (O, I, k, k) for `in_chans` channels: the sum for one, else repeated in turn and rescaled by
    I / in_chans, so that a grey picture keeps its size of response."""
    have = weight.shape[1]
    if in_chans == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight.repeat(1, ceil(in_chans / have), 1, 1)[:, :in_chans] * (have / in_chans)


# Position embedding: VOLO (1, h, w, C); LV-ViT (1, 1 + h * w, C), the class token first


def _fit_position(result: Fit, config: Any, tensor: Tensor, target: Tensor, built_for: tuple[int, int] | None) -> None:
    grid = config.token_grid(image_size(config))
    if tensor.dim() != target.dim() or tensor.shape[-1] != target.shape[-1]:
        result.wrong_shape.append(f"{POSITION} {_shape(tensor.shape)} instead of {_shape(target.shape)}")
        return
    source: tuple[int, int] | None
    if tensor.dim() == 4:
        source, token, maps = (tensor.shape[1], tensor.shape[2]), None, tensor
    else:
        source = config.token_grid(built_for) if built_for else square_grid(tensor.shape[1] - 1)
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
    result.notes.append(f"the position embedding was resized from {_shape(source)} to {_shape(grid)}")


def square_grid(tokens: int) -> tuple[int, int] | None:
    side = isqrt(tokens)
    return (side, side) if side * side == tokens else None


# Which published variant a state dict is


def recognise(state: State) -> str | None:
    """The published variant that a state dict in our names is, by its shapes; None if it is another network."""
    held = trunk_shapes(state)
    return next((name for name, shapes in _published_trunks().items() if shapes == held), None)


@cache
def _published_trunks() -> dict[str, dict[str, torch.Size]]:
    return {name: trunk_shapes(shapes(find_config(name))) for name in list_models()}


def trunk_shapes(state: State) -> dict[str, torch.Size]:
    """Names and shapes, those aside that are adapted while loading."""
    return {
        key: tensor.shape
        for key, tensor in state.items()
        if not key.startswith(HEADS) and key not in ADAPTED and not key.endswith("num_batches_tracked")
    }
