"""Faster R-CNN (Ren et al., arXiv 1506.01497) and Mask R-CNN (He et al., arXiv 1703.06870) on a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

from volovan.detect.fpn import WIDTH
from volovan.detect.rcnn import RCNNHead, Stage
from volovan.detect.rois import BoxHead
from volovan.detect.rpn import RPN


class FasterRCNNHead(RCNNHead):
    """Maps of strides 4, 8, 16, 32 to boxes of objects: one stage, two linear layers of 1024."""

    def __init__(self, in_chans: Sequence[int], num_classes: int, width: int = WIDTH):
        super().__init__(
            in_chans, num_classes, width, RPN(width), [Stage()], [BoxHead(width, num_classes)], masks=False
        )


class MaskRCNNHead(RCNNHead):
    """The same with masks; here every object has the proposals of its own largest IoU too."""

    def __init__(self, in_chans: Sequence[int], num_classes: int, width: int = WIDTH):
        stage, head = Stage(own=True), BoxHead(width, num_classes)
        super().__init__(in_chans, num_classes, width, RPN(width), [stage], [head], masks=True)
