"""create_pose_model: a trunk, a head, and a heat map for every point of an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Unpack

from torch import Tensor

from volovan.models.dense import DenseModel, Head, Rows
from volovan.models.factory import DenseOptions, create_dense
from volovan.models.pyramid import COARSEST
from volovan.models.weights.dense import TRUNK
from volovan.models.weights.keymaps import State, Table, translate
from volovan.pose.simple import STRIDE, SimpleHead

DEFAULT_POINTS = 17
"""of a person in COCO"""
MMPOSE: Table = (("head.{rest}", "keypoint_head.{rest}"),)
"""(ours, that of mmpose 0.x); 1.x has the same names as we do, but for those of the trunk"""


class PoseModel(DenseModel):
    """Heat maps of the points of one object. See `create_pose_model`."""

    HEADS: ClassVar = {
        "simple": Head(
            SimpleHead, "head.deconv_layers.", own=True, classifiers={"head.final_layer.": Rows()}, theirs=MMPOSE
        )
    }
    task = "pose"
    create = "create_pose_model"

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) of any size -> heat maps (B, K, h, w) of stride 4, see `heat_size`."""
        found: Tensor = self.head(self.maps(images))
        return found

    def foreign(self, state: Mapping[str, Tensor]) -> tuple[State, str] | None:
        """Of mmpose 1.x."""
        if not any(key.startswith("head.final_layer.") for key in state):
            return None
        return translate(dict(state), TRUNK, back=True), "mmpose"


def heat_size(height: int, width: int) -> tuple[int, int]:
    """(h, w) of the heat maps of pictures of this size, which are padded to multiples of 32."""
    rows, columns = (-(-side // COARSEST) * (COARSEST // STRIDE) for side in (height, width))
    return rows, columns


def create_pose_model(
    trunk: str = "van_b2",
    head: str = "simple",
    num_classes: int | None = None,
    **options: Unpack[DenseOptions],
) -> PoseModel:
    """A network that places the points of one object: (B, 3, H, W) to heat maps (B, K, H / 4, W / 4).

    trunk        a variant of `list_models()`, or a family with `trunk_options` of one's own
    head         "simple", with `head_options` for SimpleHead
    num_classes  points, 17 by default
    options      see `DenseOptions`: weights, pretrained, classes (names of the points), img_size, trunk_options,
                 head_options and others
    raises       ValueError: unknown name or setting, weights that do not fit
    """
    if num_classes is None and options.get("classes") is None:
        num_classes = DEFAULT_POINTS
    return create_dense(PoseModel, trunk, head, num_classes, **options)


def to_mmpose(model: PoseModel) -> State:
    """State dict in the names of mmpose 1.x, the trunk under `backbone.`; detached, on the CPU."""
    state = {key: tensor.detach().cpu() for key, tensor in model.state_dict().items()}
    return translate(state, (*TRUNK, ("head.{rest}", "head.{rest}")), back=False, strict="mmpose")
