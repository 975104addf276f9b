"""Names of parameters in mmdetection (2.x and 3.x are alike) and in torchvision (0.25 and later), for each head.

Pairs (ours, theirs); the placeholders are those of models/weights/keymaps.py. mmdetection has the same parts, so every
name has a pair there. So have RetinaNet, Faster and Mask R-CNN of torchvision, but its background is class 0, one of
the classes: those rows move behind the others, or are left out where ours has none. What its networks compute differs
all the same: a ReLU before P7, half a pixel in RoIAlign, strides of anchors from the sizes of maps.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from volovan.detect.towers import PRIOR
from volovan.models.weights.keymaps import State, Table, translate
from volovan.models.weights.reading import WeightsError

ANCHORS = 9  # of a place, of RetinaNet
_DEPTH = 4  # convolutions of a tower, and of a mask head


def _of_towers(norm: bool) -> Table:
    step = 3 if norm else 2  # convolution, GroupNorm perhaps, ReLU
    pairs = []
    for ours, theirs in (("class_tower", "cls_convs"), ("box_tower", "reg_convs")):
        for place in range(_DEPTH):
            pairs.append((f"head.{ours}.{place * step}.{{rest}}", f"bbox_head.{theirs}.{place}.conv.{{rest}}"))
            pairs += [(f"head.{ours}.{place * step + 1}.{{rest}}", f"bbox_head.{theirs}.{place}.gn.{{rest}}")] * norm
    return tuple(pairs)


def _of_outputs(name: str) -> Table:
    return (
        ("head.class_out.{rest}", f"bbox_head.{name}_cls.{{rest}}"),
        ("head.box_out.{rest}", f"bbox_head.{name}_reg.{{rest}}"),
    )


def _of_stage(number: int, theirs: str) -> Table:
    """Box and mask head of a stage, which has no number there if it is the only one."""
    box, their_box = f"head.box_heads.{number}.", f"roi_head.bbox_head.{theirs}"
    mask, their_mask = f"head.mask_heads.{number}.", f"roi_head.mask_head.{theirs}"
    return (
        (box + "convs.{j}.{rest}", their_box + "shared_convs.{j}.{rest}"),
        (box + "linear.{j}.{rest}", their_box + "shared_fcs.{j}.{rest}"),
        (box + "class_out.{rest}", their_box + "fc_cls.{rest}"),
        (box + "box_out.{rest}", their_box + "fc_reg.{rest}"),
        (mask + "convs.{j}.{rest}", their_mask + "convs.{j}.conv.{rest}"),
        (mask + "upsample.{rest}", their_mask + "upsample.{rest}"),
        (mask + "mask_out.{rest}", their_mask + "conv_logits.{rest}"),
    )


_FPN: Table = (
    ("head.fpn.lateral_convs.{j}.{rest}", "neck.lateral_convs.{j}.conv.{rest}"),
    ("head.fpn.fpn_convs.{j}.{rest}", "neck.fpn_convs.{j}.conv.{rest}"),
)
_SCALES: Table = (("head.scales.{j}", "bbox_head.scales.{j}.scale"),)
_RPN: Table = (
    ("head.rpn.conv.{rest}", "rpn_head.rpn_conv.{rest}"),
    ("head.rpn.class_out.{rest}", "rpn_head.rpn_cls.{rest}"),
    ("head.rpn.box_out.{rest}", "rpn_head.rpn_reg.{rest}"),
)
RETINANET: Table = (*_FPN, *_of_towers(norm=False), *_of_outputs("retina"))
ATSS: Table = (
    *(*_FPN, *_of_towers(norm=True), *_SCALES, *_of_outputs("atss")),
    ("head.centre_out.{rest}", "bbox_head.atss_centerness.{rest}"),
)
GFL: Table = (*_FPN, *_of_towers(norm=True), *_SCALES, *_of_outputs("gfl"))
FASTER_RCNN: Table = (*_FPN, *_RPN, *_of_stage(0, ""))
CASCADE_RCNN: Table = (*_FPN, *_RPN, *_of_stage(0, "0."), *_of_stage(1, "1."), *_of_stage(2, "2."))
_STAGE = "head.stages.{j}."
_THEIR_STAGE = "roi_head.bbox_head.{j}."
SPARSE_RCNN: Table = (
    *_FPN,
    ("head.boxes.{rest}", "rpn_head.init_proposal_bboxes.{rest}"),
    ("head.features.{rest}", "rpn_head.init_proposal_features.{rest}"),
    *(
        (_STAGE + ours + "{rest}", _THEIR_STAGE + theirs + "{rest}")
        for ours, theirs in (
            ("attention.", "attention.attn."),
            ("attention_norm.", "attention_norm."),
            ("interaction.dynamic.", "instance_interactive_conv.dynamic_layer."),
            ("interaction.linear.", "instance_interactive_conv.fc_layer."),
            ("interaction.norm_in.", "instance_interactive_conv.norm_in."),
            ("interaction.norm_out.", "instance_interactive_conv.norm_out."),
            ("interaction.norm.", "instance_interactive_conv.fc_norm."),
            ("interaction_norm.", "instance_interactive_conv_norm."),
            ("ffn.0.", "ffn.layers.0.0."),
            ("ffn.2.", "ffn.layers.1."),
            ("ffn_norm.", "ffn_norm."),
            ("class_layers.", "cls_fcs."),
            ("box_layers.", "reg_fcs."),
            ("class_out.", "fc_cls."),
            ("box_out.", "fc_reg."),
        )
    ),
)

_OF_TRUNK = "trunk.{rest}", "backbone.body.{rest}"
_FPN_TORCHVISION: Table = (
    ("head.fpn.lateral_convs.{j}.{rest}", "backbone.fpn.inner_blocks.{j}.0.{rest}"),
    ("head.fpn.fpn_convs.{j}.{rest}", "backbone.fpn.layer_blocks.{j}.0.{rest}"),
    _OF_TRUNK,
)
TORCHVISION: dict[str, Table] = {
    "retinanet": (
        ("head.fpn.fpn_convs.3.{rest}", "backbone.fpn.extra_blocks.p6.{rest}"),
        ("head.fpn.fpn_convs.4.{rest}", "backbone.fpn.extra_blocks.p7.{rest}"),
        *_FPN_TORCHVISION,
        *(
            (f"head.class_tower.{2 * k}.{{rest}}", f"head.classification_head.conv.{k}.0.{{rest}}")
            for k in range(_DEPTH)
        ),
        *((f"head.box_tower.{2 * k}.{{rest}}", f"head.regression_head.conv.{k}.0.{{rest}}") for k in range(_DEPTH)),
        ("head.class_out.{rest}", "head.classification_head.cls_logits.{rest}"),
        ("head.box_out.{rest}", "head.regression_head.bbox_reg.{rest}"),
    ),
    "mask_rcnn": (
        *_FPN_TORCHVISION,
        ("head.rpn.conv.{rest}", "rpn.head.conv.0.0.{rest}"),
        ("head.rpn.class_out.{rest}", "rpn.head.cls_logits.{rest}"),
        ("head.rpn.box_out.{rest}", "rpn.head.bbox_pred.{rest}"),
        ("head.box_heads.0.linear.0.{rest}", "roi_heads.box_head.fc6.{rest}"),
        ("head.box_heads.0.linear.1.{rest}", "roi_heads.box_head.fc7.{rest}"),
        ("head.box_heads.0.class_out.{rest}", "roi_heads.box_predictor.cls_score.{rest}"),
        ("head.box_heads.0.box_out.{rest}", "roi_heads.box_predictor.bbox_pred.{rest}"),
        *((f"head.mask_heads.0.convs.{k}.{{rest}}", f"roi_heads.mask_head.{k}.0.{{rest}}") for k in range(_DEPTH)),
        ("head.mask_heads.0.upsample.{rest}", "roi_heads.mask_predictor.conv5_mask.{rest}"),
        ("head.mask_heads.0.mask_out.{rest}", "roi_heads.mask_predictor.mask_fcn_logits.{rest}"),
    ),
}
TORCHVISION["faster_rcnn"] = TORCHVISION["mask_rcnn"]
THEIRS: dict[str, Table] = {
    "retinanet": RETINANET,
    "atss": ATSS,
    "gfl": GFL,
    "faster_rcnn": FASTER_RCNN,
    "mask_rcnn": FASTER_RCNN,
    "cascade_rcnn": CASCADE_RCNN,
    "cascade_mask_rcnn": CASCADE_RCNN,
    "sparse_rcnn": SPARSE_RCNN,
}
"""of mmdetection"""


def from_torchvision(state: Mapping[str, Tensor], head: str) -> State:
    """State dict of torchvision in our names, background moved behind the classes or left out."""
    found = translate(dict(state), TORCHVISION[head], back=True)
    moved = {}
    for key, tensor in found.items():
        if key.startswith("head.box_heads.0.class_out."):
            tensor = tensor.roll(-1, dims=0)
        elif key.startswith("head.box_heads.0.box_out."):
            tensor = tensor[4:]
        elif key.startswith("head.mask_heads.0.mask_out."):
            tensor = tensor[1:]
        elif key.startswith("head.class_out."):
            tensor = tensor.unflatten(0, (ANCHORS, -1))[:, 1:].flatten(0, 1)
        moved[key] = tensor
    return moved


def to_torchvision_names(state: Mapping[str, Tensor], head: str) -> State:
    """The way back; what ours does not have of background is drawn as torchvision draws what never learns: zeros, and
    of RetinaNet the prior of all classes."""
    if head not in TORCHVISION:
        raise WeightsError(
            f"torchvision has the heads {', '.join(TORCHVISION)}, found {head}; to_mmdetection takes all"
        )
    moved = {}
    for key, tensor in state.items():
        if key.startswith("head.box_heads.0.class_out."):
            tensor = tensor.roll(1, dims=0)
        elif key.startswith("head.box_heads.0.box_out."):
            tensor = torch.cat((torch.zeros_like(tensor[:4]), tensor))
        elif key.startswith("head.mask_heads.0.mask_out."):
            tensor = torch.cat((torch.zeros_like(tensor[:1]), tensor))
        elif key.startswith("head.class_out."):
            blocks = tensor.unflatten(0, (ANCHORS, -1))
            tensor = torch.cat((_unlearned(blocks[:, :1]), blocks), dim=1).flatten(0, 1)
        moved[key] = tensor
    return translate(moved, TORCHVISION[head], back=False, strict="torchvision")


def _unlearned(rows: Tensor) -> Tensor:
    """Logits of the prior: no weight, and the bias that stands for 0.01."""
    return torch.full_like(rows, -math.log((1 - PRIOR) / PRIOR)) if rows.ndim == 2 else torch.zeros_like(rows)
