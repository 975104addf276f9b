"""create_detector: a trunk, a head, and the objects of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

from torch import Tensor

from volovan.detect.atss import ATSSHead
from volovan.detect.cascade_rcnn import CascadeMaskRCNNHead, CascadeRCNNHead
from volovan.detect.faster_rcnn import FasterRCNNHead, MaskRCNNHead
from volovan.detect.gfl import GFLHead
from volovan.detect.objects import Detections, Objects, Size
from volovan.detect.retinanet import RetinaNetHead
from volovan.detect.sparse_rcnn import SparseRCNNHead
from volovan.models.dense import DenseModel, Head
from volovan.models.factory import DenseOptions, create_dense

DEFAULT_CLASSES = 80
"""of COCO"""


class Detector(DenseModel):
    """Objects of pictures. See `create_detector`."""

    HEADS: ClassVar = {  # where one head has all names of another, it comes first
        "cascade_mask_rcnn": Head(CascadeMaskRCNNHead, "head.mask_heads.2."),
        "cascade_rcnn": Head(CascadeRCNNHead, "head.box_heads.2."),
        "mask_rcnn": Head(MaskRCNNHead, "head.mask_heads."),
        "faster_rcnn": Head(FasterRCNNHead, "head.box_heads."),
        "sparse_rcnn": Head(SparseRCNNHead, "head.stages."),
        "atss": Head(ATSSHead, "head.centre_out.", finest=8),
        "gfl": Head(GFLHead, "head.scales", finest=8),
        "retinanet": Head(RetinaNetHead, "head.class_tower.", finest=8),
    }
    task = "detection"
    create = "create_detector"

    def forward(
        self, images: Tensor, objects: Sequence[Objects] | None = None, sizes: Sequence[Size] | None = None
    ) -> list[Detections] | dict[str, Tensor]:
        """Images (B, C, H, W) of any size -> what is found in each, or with `objects` the losses, in either mode.

        objects  what is in each picture
        sizes    (height, width) of each picture, in the upper left corner of images that are padded to one size
        """
        if sizes is None:
            sizes = [(images.shape[-2], images.shape[-1])] * len(images)
        maps = self.maps(images)
        head: Any = self.head
        if objects is None:
            return head.detect(maps, sizes)
        return head.losses(maps, sizes, [there.with_area() for there in objects])


def create_detector(
    trunk: str = "van_b0",
    head: str = "retinanet",
    num_classes: int | None = None,
    **options: Unpack[DenseOptions],
) -> Detector:
    """A network that finds objects: (B, 3, H, W) to boxes, classes and scores, and masks where the head has them.

    trunk        a variant of `list_models()`, or a family with `trunk_options` of one's own
    head         "retinanet", "faster_rcnn", "mask_rcnn", "cascade_rcnn", "cascade_mask_rcnn", "atss", "gfl" or
                 "sparse_rcnn", with `head_options` of its own
    num_classes  of the objects, 80 by default; background is none of them
    options      see `DenseOptions`: weights, pretrained, classes, img_size, trunk_options, head_options and others
    raises       ValueError: unknown name or setting, weights that do not fit
    """
    if num_classes is None and options.get("classes") is None:
        num_classes = DEFAULT_CLASSES
    return create_dense(Detector, trunk, head, num_classes, **options)
