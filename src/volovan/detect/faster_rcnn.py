"""Faster R-CNN (Ren et al., arXiv 1506.01497) and Mask R-CNN (He et al., arXiv 1703.06870) on a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

from volovan.detect.fpn import WIDTH
from volovan.detect.rcnn import PROPOSALS, TAUGHT, RCNNHead, Stage
from volovan.detect.rois import HIDDEN, BoxHead
from volovan.detect.rpn import RPN


class FasterRCNNHead(RCNNHead):
    """Maps of strides 4, 8, 16, 32 to boxes of objects: one stage, two linear layers.

    width      channels of the pyramid
    taught     proposals of a picture that the stage learns from
    proposals  that are kept of a picture
    hidden     channels of the linear layers; fewer for small networks
    """

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
        stage = Stage(own=self.masks)  # of Mask R-CNN, where every object has the proposals of its own largest IoU too
        rpn = RPN(width, training=(2 * proposals, proposals), testing=(proposals, proposals))
        head = BoxHead(width, num_classes, hidden=hidden)
        super().__init__(in_chans, num_classes, width, rpn, [stage], [head], taught)


class MaskRCNNHead(FasterRCNNHead):
    """The same with masks."""

    masks = True
