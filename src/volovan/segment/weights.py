"""Weights of segmenters: our runs, the mmsegmentation files of VAN's authors, and trunks alone.

Loading is that of all dense networks (models/weights/dense.py). Here is what segmenters have of their own: the names
of their heads in mmsegmentation, where Semantic FPN has neck.* beside decode_head.*, UperNet auxiliary_head.*, and the
way back to these names.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from volovan.models.van import VAN
from volovan.models.weights.dense import THEIR_EPS, TRUNK, Room, load_dense_weights
from volovan.models.weights.keymaps import State, Table, translate
from volovan.models.weights.load import LoadReport
from volovan.models.weights.reading import WeightsError

if TYPE_CHECKING:
    from volovan.segment.network import Segmenter

logger = logging.getLogger("volovan")

# Pairs (ours, theirs), the first that matches wins; the placeholders are those of models/weights/keymaps.py.
_UPERNET = "head.decoder."
MMSEGMENTATION: Table = (
    ("head.lateral_convs.{j}.{rest}", "neck.lateral_convs.{j}.conv.{rest}"),
    ("head.fpn_convs.{j}.{rest}", "neck.fpn_convs.{j}.conv.{rest}"),
    ("head.scale_heads.{rest}", "decode_head.scale_heads.{rest}"),
    ("head.classifier.conv.{rest}", "decode_head.conv_seg.{rest}"),
    *(
        (f"{_UPERNET}{part}.{ours}.{{rest}}", f"decode_head.{part}.{theirs}.{{rest}}")
        for part in ("psp_modules.{j}.1", "bottleneck", "lateral_convs.{j}", "fpn_convs.{j}", "fpn_bottleneck")
        for ours, theirs in (("conv", "conv"), ("batch_norm", "bn"))
    ),
    ("aux_head.conv.{rest}", "auxiliary_head.convs.0.{rest}"),
    ("aux_head.classifier.conv.{rest}", "auxiliary_head.conv_seg.{rest}"),
)
SEGMENTATION = Room(
    "segmentation",
    "create_segmenter",
    signs={"fpn": "head.scale_heads.", "upernet": "head.decoder.", "ham": "head.hamburger."},
    classifiers=("head.classifier.", "aux_head.classifier."),
    mmsegmentation=MMSEGMENTATION,
)


def load_segmenter_weights(model: Segmenter, source: str | Path, ema: bool = True) -> LoadReport:
    """Load a whole network, or a trunk alone, into a segmenter; see `load_dense_weights`."""
    return load_dense_weights(model, source, SEGMENTATION, ema)


def to_mmsegmentation(model: Segmenter) -> State:
    """State dict of VAN with Semantic FPN or UperNet in the names of mmsegmentation (0.x, as the authors' files).

    Tensors are detached, on the CPU. A LayerNorm eps other than mmsegmentation's 1e-5 cannot be written into names and
    is warned about: there the network would compute something else.
    """
    if not isinstance(model.trunk, VAN):
        raise WeightsError(f"mmsegmentation has VAN only, found {type(model.trunk).__name__}")
    if model.config.head not in ("fpn", "upernet"):
        raise WeightsError(f"VAN in mmsegmentation has the heads fpn and upernet, found {model.config.head}")
    if model.trunk.config.norm_eps != THEIR_EPS:
        logger.warning(
            "mmsegmentation runs VAN with a LayerNorm eps of %g, this network has %g: its results will differ there",
            THEIR_EPS,
            model.trunk.config.norm_eps,
        )
    state = {key: tensor.detach().cpu() for key, tensor in model.state_dict().items()}
    return translate(state, (*MMSEGMENTATION, *TRUNK), back=False, strict="mmsegmentation")
