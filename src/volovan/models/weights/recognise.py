"""Which published variant a state dict is, by its shapes."""

from __future__ import annotations

from functools import cache

import torch

from volovan.models.variants import build, find_config, list_models
from volovan.models.weights.fit import HEADS, POSITION
from volovan.models.weights.keymaps import State

# Beside the heads: what may differ in shape between two networks of one variant.
ADAPTED = (POSITION, "patch_embed1.proj.weight", "patch_embed.conv.0.weight", "patch_embed.conv1.weight")


def recognise(state: State) -> str | None:
    """The published variant that a state dict in our names is, by its shapes; None if it is another network."""
    held = trunk_shapes(state)
    return next((name for name, shapes in _published_trunks().items() if shapes == held), None)


@cache
def _published_trunks() -> dict[str, dict[str, torch.Size]]:
    with torch.device("meta"):
        return {name: trunk_shapes(build(find_config(name)).state_dict()) for name in list_models()}


def trunk_shapes(state: State) -> dict[str, torch.Size]:
    """Names and shapes, those aside that are adapted while loading."""
    return {
        key: tensor.shape
        for key, tensor in state.items()
        if not key.startswith(HEADS) and key not in ADAPTED and not key.endswith("num_batches_tracked")
    }
