"""create_segmenter: a trunk, a head, and logits for every pixel; and its names in mmsegmentation."""

import logging
from typing import ClassVar, Unpack

from torch import Tensor, nn

from volovan.models.dense import AUX_LEVEL, DenseModel, Head, Rows
from volovan.models.factory import DenseOptions, create_dense
from volovan.models.pyramid import STRIDES, resize_to_picture
from volovan.models.van import VAN
from volovan.models.weights.dense import THEIR_EPS, TRUNK
from volovan.models.weights.keymaps import State, translate
from volovan.models.weights.reading import WeightsError
from volovan.segment import fpn, ham, upernet

logger = logging.getLogger("volovan")
DEFAULT_CLASSES = 150
"""of ADE20K"""
CLASSIFIERS = dict.fromkeys(("head.classifier.", "aux_head.classifier."), Rows())


class Segmenter(DenseModel):
    """Logits of every pixel. See `create_segmenter`."""

    HEADS: ClassVar = {
        "fpn": Head(fpn.FPNHead, "head.scale_heads.", classifiers=CLASSIFIERS, theirs=fpn.MMSEGMENTATION),
        "upernet": Head(
            upernet.UperNetHead,
            "head.decoder.",
            aux=upernet.FCNHead,
            classifiers=CLASSIFIERS,
            theirs=upernet.MMSEGMENTATION,
        ),
        "ham": Head(ham.HamHead, "head.hamburger.", finest=8, classifiers=CLASSIFIERS),
    }
    task = "segmentation"
    create = "create_segmenter"

    def forward(self, images: Tensor, deep: bool = False) -> Tensor | list[Tensor]:
        """Images (B, C, H, W) of any size -> logits (B, K, H, W).

        With `deep`, what a loss is computed from: the logits at the head's own stride, and in training those of the
        auxiliary head, both of the picture padded to multiples of 32 (`resize_to_picture` brings them to its pixels).
        """
        if self.training:
            self.refuse_one_value(images)
        maps = self.maps(images)
        logits = self.head(maps)
        if not deep:
            return resize_to_picture(logits, (images.shape[-2], images.shape[-1]))
        if self.aux_head is None or not self.training:
            return [logits]
        return [logits, self.aux_head(maps[AUX_LEVEL])]

    def refuse_one_value(self, images: Tensor) -> None:
        """In training BatchNorm needs more than one value of a channel; ValueError without them.

        UperNet pools each picture to 1 x 1; the others meet their smallest map at stride 32. With SyncBatchNorm the
        pictures of other processes count too.
        """
        pooled = self.config.head == "upernet" and 1 in self.config.head_options.get("pool_scales", (1,))
        single = images.shape[0] == 1 and (pooled or max(images.shape[-2:]) <= STRIDES[-1])
        if single and not any(isinstance(module, nn.SyncBatchNorm) for module in self.modules()):
            larger = "" if pooled else ", or with larger ones"
            raise ValueError(
                f"a single picture of {images.shape[-2]} x {images.shape[-1]} leaves BatchNorm one value of a channel "
                f"while training with the head {self.config.head}; train with two pictures or more at once{larger}"
            )


def create_segmenter(
    trunk: str = "van_b0", head: str = "fpn", num_classes: int | None = None, **options: Unpack[DenseOptions]
) -> Segmenter:
    """A network that gives every pixel a class: (B, 3, H, W) to logits (B, num_classes, H, W).

    trunk        a variant of `list_models()`, or a family with `trunk_options` of one's own
    head         "fpn" (Semantic FPN), "upernet" (in training with an auxiliary head) or "ham" (Light-Ham), with
                 `head_options` for FPNHead, UperNetHead, HamHead
    num_classes  of the pixels, 150 by default
    options      see `DenseOptions`: weights, pretrained, classes, img_size, trunk_options, head_options and others
    raises       ValueError: unknown name or setting, weights that do not fit
    """
    if num_classes is None and options.get("classes") is None:
        num_classes = DEFAULT_CLASSES
    return create_dense(Segmenter, trunk, head, num_classes, **options)


def to_mmsegmentation(model: Segmenter) -> State:
    """State dict of VAN with Semantic FPN or UperNet in the names of mmsegmentation (0.x, as the authors' files).

    VAN's authors trained theirs there; such files are read by `weights=`.
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
