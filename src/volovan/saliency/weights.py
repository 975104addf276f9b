"""Weights of saliency networks: our runs, and trunks alone, those in mmsegmentation's files and segmenters among them.

Loading is that of all dense networks (models/weights/dense.py). Mean and standard deviation are those of a saliency
network; a trunk alone brings none, since EDN normalises by ImageNet's whatever the trunk was trained with (van.md 4.8).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from volovan.models.weights.dense import Room, load_dense_weights
from volovan.models.weights.keymaps import unnested_state
from volovan.models.weights.load import LoadReport
from volovan.models.weights.reading import safe_read

if TYPE_CHECKING:
    from volovan.saliency.network import SaliencyModel

SALIENCY = Room("saliency", "create_saliency_model", signs={"edn": "head.conv6."}, statistics_of_trunk=False)


def load_saliency_weights(model: SaliencyModel, source: str | Path, ema: bool = True) -> LoadReport:
    """Load a whole network, or a trunk alone, into a saliency network; see `load_dense_weights`."""
    return load_dense_weights(model, source, SALIENCY, ema)


def holds_network(source: str | Path) -> bool:
    """Whether a file holds a saliency network with its head; False for a trunk, and for names that are no file."""
    path = Path(source).expanduser()
    return path.is_file() and SALIENCY.head_of(unnested_state(safe_read(path))[0]) is not None
