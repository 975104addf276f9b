"""create_detector: a trunk, a head, and the objects of a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Unpack

from torch import Tensor

from volovan.detect.atss import ATSSHead
from volovan.detect.cascade_rcnn import CascadeMaskRCNNHead, CascadeRCNNHead
from volovan.detect.faster_rcnn import FasterRCNNHead, MaskRCNNHead
from volovan.detect.gfl import GFLHead
from volovan.detect.keymaps import THEIRS, TORCHVISION, from_torchvision, to_torchvision_names
from volovan.detect.objects import Detections, Objects, Size
from volovan.detect.rcnn import classifiers
from volovan.detect.retinanet import RetinaNetHead
from volovan.detect.select import Choice
from volovan.detect.sparse_rcnn import MOST_STAGES, SparseRCNNHead
from volovan.models.dense import DenseModel, Head, Rows
from volovan.models.factory import DenseOptions, create_dense
from volovan.models.weights.dense import TRUNK
from volovan.models.weights.keymaps import BODY, State, translate

DEFAULT_CLASSES = 80
"""of COCO"""
SPARSE = {f"head.stages.{number}.class_out.": Rows() for number in range(MOST_STAGES)}


class Detector(DenseModel):
    """Objects of pictures. See `create_detector`."""

    HEADS: ClassVar = {  # where one head has all names of another, it comes first
        "cascade_mask_rcnn": Head(
            CascadeMaskRCNNHead, "head.mask_heads.2.", classifiers=classifiers(3), theirs=THEIRS["cascade_mask_rcnn"]
        ),
        "cascade_rcnn": Head(
            CascadeRCNNHead, "head.box_heads.2.", classifiers=classifiers(3), theirs=THEIRS["cascade_rcnn"]
        ),
        "mask_rcnn": Head(MaskRCNNHead, "head.mask_heads.", classifiers=classifiers(), theirs=THEIRS["mask_rcnn"]),
        "faster_rcnn": Head(FasterRCNNHead, "head.box_heads.", classifiers=classifiers(), theirs=THEIRS["faster_rcnn"]),
        "sparse_rcnn": Head(SparseRCNNHead, "head.stages.", classifiers=SPARSE, theirs=THEIRS["sparse_rcnn"]),
        "atss": Head(
            ATSSHead, "head.centre_out.", finest=8, classifiers={"head.class_out.": Rows()}, theirs=THEIRS["atss"]
        ),
        "gfl": Head(GFLHead, "head.scales", finest=8, classifiers={"head.class_out.": Rows()}, theirs=THEIRS["gfl"]),
        "retinanet": Head(
            RetinaNetHead,
            "head.class_tower.",
            finest=8,
            classifiers={"head.class_out.": Rows(times=9)},
            theirs=THEIRS["retinanet"],
        ),
    }
    task = "detection"
    create = "create_detector"

    def forward(
        self,
        images: Tensor,
        objects: Sequence[Objects] | None = None,
        sizes: Sequence[Size] | None = None,
        choice: Choice | None = None,
    ) -> list[Detections] | dict[str, Tensor]:
        """Images (B, C, H, W) of any size -> what is found in each, or with `objects` the losses, in either mode.

        objects  what is in each picture
        sizes    (height, width) of each picture, in the upper left corner of images that are padded to one size
        choice   which boxes are detections; None: as the head has it (`choose`)
        """
        if sizes is None:
            sizes = [(images.shape[-2], images.shape[-1])] * len(images)
        maps = self.maps(images)
        head: Any = self.head
        if objects is None:
            return head.detect(maps, sizes, choice or self.choose())
        return head.losses(maps, sizes, [there.with_area() for there in objects])

    def choose(self, **said: Any) -> Choice:
        """Which boxes are detections: what is said, and of the rest (None too) what the head has."""
        usual: Choice = self.head.usual  # type: ignore[assignment]
        return replace(usual, **{name: value for name, value in said.items() if value is not None})

    def foreign(self, state: Mapping[str, Tensor]) -> tuple[State, str] | None:
        """Of torchvision."""
        name = self.config.head
        if name not in TORCHVISION or not any(key.startswith(BODY) for key in state):
            return None
        return from_torchvision(state, name), "torchvision"

    @property
    def masks(self) -> bool:
        """Whether the head has masks."""
        return getattr(self.head, "masks", False)


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


def to_mmdetection(model: Detector) -> State:
    """State dict in the names of mmdetection (2.x and 3.x), the trunk under `backbone.`; detached, on the CPU."""
    state = {key: tensor.detach().cpu() for key, tensor in model.state_dict().items()}
    return translate(state, (*THEIRS[model.config.head], *TRUNK), back=False, strict="mmdetection")


def to_torchvision(model: Detector) -> State:
    """State dict of RetinaNet, Faster or Mask R-CNN in the names of torchvision, the trunk under `backbone.body.`.

    Its classes are one more, background before all others.
    """
    state = {key: tensor.detach().cpu() for key, tensor in model.state_dict().items()}
    return to_torchvision_names(state, model.config.head)
