"""create_panoptic: a trunk, a head, and the segments of a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

from torch import Tensor

from volovan.models.dense import DenseModel, Head, Rows
from volovan.models.factory import DenseOptions, create_dense
from volovan.models.weights.keymaps import State
from volovan.panoptic import keymaps, losses
from volovan.panoptic.mask2former import Mask2FormerHead, Predictions
from volovan.panoptic.recipe import LossSettings
from volovan.panoptic.targets import Segments

DEFAULT_CLASSES = 133
"""of COCO: 80 of things, 53 of stuff"""


EMBEDDINGS = (
    *("head.pixel_decoder.level_embed", "head.transformer_module.level_embed"),
    *("head.transformer_module.queries_embedder", "head.transformer_module.queries_features"),
)


class PanopticModel(DenseModel):
    """Segments of pictures. See `create_panoptic`."""

    HEADS: ClassVar = {
        "mask2former": Head(
            Mask2FormerHead, "head.transformer_module.", classifiers={"head.class_predictor.": Rows(rest=1)}
        )
    }
    task = "panoptic segmentation"
    create = "create_panoptic"

    def forward(
        self,
        images: Tensor,
        segments: Sequence[Segments] | None = None,
        settings: LossSettings = losses.USUAL,
    ) -> Predictions | dict[str, Tensor]:
        """Images (B, C, H, W) of any size -> what the queries say, or with `segments` the losses, in either mode.

        Pictures that are smaller lie in the upper left corner; `inference.py` makes answers of their own sizes.

        segments  what is in each picture
        settings  of the loss
        """
        head: Any = self.head
        every = head(self.maps(images))
        return every[-1] if segments is None else losses.losses(every, segments, settings)

    def no_weight_decay(self) -> set[str]:
        """Queries and what levels are called too, as the original trains them."""
        own = {name for name, _ in self.named_parameters() if name.startswith(EMBEDDINGS)}
        return super().no_weight_decay() | own

    def foreign(self, state: Mapping[str, Tensor]) -> tuple[State, str] | None:
        """Of the original, and of transformers."""
        return keymaps.in_our_names(state)


def create_panoptic(
    trunk: str = "van_b2",
    head: str = "mask2former",
    num_classes: int | None = None,
    **options: Unpack[DenseOptions],
) -> PanopticModel:
    """A network that finds segments: (B, 3, H, W) to a class and a mask of each query.

    trunk        a variant of `list_models()`, or a family with `trunk_options` of one's own
    head         "mask2former", with `head_options` for Mask2FormerHead
    num_classes  of the segments, 133 by default; no object is none of them
    options      see `DenseOptions`: weights, pretrained, classes, img_size, trunk_options, head_options and others
    raises       ValueError: unknown name or setting, weights that do not fit
    """
    if num_classes is None and options.get("classes") is None:
        num_classes = DEFAULT_CLASSES
    return create_dense(PanopticModel, trunk, head, num_classes, **options)


def to_mask2former(model: PanopticModel) -> State:
    """State dict in the names of the original repository, the trunk under `backbone.`; detached, on the CPU."""
    return keymaps.to_original_names(detached(model))


def to_transformers(model: PanopticModel) -> State:
    """State dict in the names of transformers, the trunk under `model.pixel_level_module.encoder.`; detached, on the
    CPU."""
    return keymaps.to_transformers_names(detached(model))


def detached(model: PanopticModel) -> State:
    return {key: tensor.detach().cpu() for key, tensor in model.state_dict().items()}
