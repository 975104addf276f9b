"""Cascade R-CNN (Cai and Vasconcelos, arXiv 1712.00726), with boxes alone or with masks, and the box head of Swin.

Three stages ask for IoUs of 0.5, 0.6 and 0.7 and move boxes by ever smaller deltas; their losses weigh 1, 1/2 and 1/4.
Swin's head has four convolutions with BatchNorm (synchronised in the published runs: `train.sync_bn`) and one linear
layer, and learns GIoU of the boxes, ten times. This head, not the usual one of two linear layers, has the published
number of parameters. Scores are means over the stages, and so are masks.
"""

from __future__ import annotations

from collections.abc import Sequence

from volovan.detect.fpn import WIDTH
from volovan.detect.rcnn import PROPOSALS, TAUGHT, RCNNHead, Stage
from volovan.detect.rois import HIDDEN, BoxHead
from volovan.detect.rpn import RPN

STAGES = (
    Stage(0.5, (0.1, 0.1, 0.2, 0.2), box="giou", weight=1.0),
    Stage(0.6, (0.05, 0.05, 0.1, 0.1), box="giou", weight=0.5),
    Stage(0.7, (0.033, 0.033, 0.067, 0.067), box="giou", weight=0.25),
)
BETA = 1 / 9


class CascadeRCNNHead(RCNNHead):
    """Maps of strides 4, 8, 16, 32 to boxes of objects, in three stages. Options as of Faster R-CNN; in training twice
    as many proposals are kept."""

    masks = False

    def __init__(
        self,
        in_chans: Sequence[int],
        num_classes: int,
        width: int = WIDTH,
        taught: int = TAUGHT,
        proposals: int = PROPOSALS,
        hidden: int = HIDDEN,
    ):
        heads = [BoxHead(width, num_classes, convs=4, linear=1, hidden=hidden) for _ in STAGES]
        rpn = RPN(width, BETA, training=(2 * proposals, 2 * proposals), testing=(proposals, proposals))
        super().__init__(in_chans, num_classes, width, rpn, STAGES, heads, taught)


class CascadeMaskRCNNHead(CascadeRCNNHead):
    """The same with masks."""

    masks = True
