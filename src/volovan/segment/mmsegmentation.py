"""Segmenters in the names of mmsegmentation, where VAN's authors trained theirs. Its files are read by `weights=`."""

from __future__ import annotations

import logging

from volovan.models.van import VAN
from volovan.models.weights.dense import THEIR_EPS, TRUNK
from volovan.models.weights.keymaps import State, translate
from volovan.models.weights.reading import WeightsError
from volovan.segment.network import Segmenter

logger = logging.getLogger("volovan")


def to_mmsegmentation(model: Segmenter) -> State:
    """State dict of VAN with Semantic FPN or UperNet in the names of mmsegmentation (0.x, as the authors' files).

    Tensors are detached, on the CPU. A LayerNorm eps other than mmsegmentation's 1e-5 cannot be written into names and
    is warned about: there the network would compute something else.
    """
    if not isinstance(model.trunk, VAN):
        raise WeightsError(f"mmsegmentation has VAN only, found {type(model.trunk).__name__}")
    theirs = model.find_head(model.config.head).theirs
    if not theirs:
        raise WeightsError(f"VAN in mmsegmentation has the heads fpn and upernet, found {model.config.head}")
    if model.trunk.config.norm_eps != THEIR_EPS:
        logger.warning(
            "mmsegmentation runs VAN with a LayerNorm eps of %g, this network has %g: its results will differ there",
            THEIR_EPS,
            model.trunk.config.norm_eps,
        )
    state = {key: tensor.detach().cpu() for key, tensor in model.state_dict().items()}
    return translate(state, (*theirs, *TRUNK), back=False, strict="mmsegmentation")
