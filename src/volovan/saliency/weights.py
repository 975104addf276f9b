"""Weights of a whole saliency network: checkpoints of our runs, and files of `torch.save(model.state_dict())`."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import nn

from volovan.models.weights.fit import shorten
from volovan.models.weights.keymaps import State, unnested_state
from volovan.models.weights.reading import WeightsError, safe_read

logger = logging.getLogger("volovan")
TRUNK, HEAD = "trunk.", "head.conv6."
"""beginnings of names that a whole network has, and a trunk alone has not"""


def holds_network(source: str | Path) -> bool:
    """Whether a file holds trunk and head; False for one of a trunk alone, and for names that are no file."""
    path = Path(source).expanduser()
    return path.is_file() and any(key.startswith(TRUNK) for key in read_state(path))


def read_state(path: Path) -> State:
    """The tensors of a file by name, the averaged ones of a run in place of the others."""
    return unnested_state(safe_read(path))[0]


def load_network(model: nn.Module, path: Path) -> None:
    """Copy a whole network; WeightsError, and nothing is copied, if it is not the same one.

    A trunk under another head (of segmentation) is taken without it: the head stays new, and that is said.
    """
    state, target = read_state(path), model.state_dict()
    if not any(key.startswith(HEAD) for key in state):
        state = {key: tensor for key, tensor in state.items() if key.startswith((TRUNK, "pyramid."))}
        target = {key: tensor for key, tensor in target.items() if key.startswith((TRUNK, "pyramid."))}
        logger.warning("%s: the head is new: the file has one of another task", path.name)
    missing = [key for key in target if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in target]
    shaped = [key for key in state if key in target and state[key].shape != target[key].shape]
    problems = (("missing", missing), ("unexpected", unexpected), ("wrong shape", shaped))
    if any(keys for _, keys in problems):
        listed = "\n".join(f"  {name} ({len(keys)}): {shorten(keys)}" for name, keys in problems if keys)
        raise WeightsError(
            f"{path.name} holds another network than the one asked for; nothing was loaded. Give trunk, trunk_options "
            f"and head_options that it was made with\n{listed}"
        )
    model.load_state_dict(state, strict=False)
