"""create_saliency_model: a trunk, a head, and one logit for every pixel."""

from typing import ClassVar, Unpack

from torch import Tensor

from volovan.models.config import ConfigError, image_size
from volovan.models.dense import DenseConfig, DenseModel, Head
from volovan.models.factory import DenseOptions, create_dense
from volovan.models.preprocessing import Preprocessing
from volovan.models.pyramid import resize_to_picture
from volovan.models.variants import Model
from volovan.saliency.edn import EDNHead

DEFAULT_SIZE = 384
"""pixels of a side in the published evaluation (van.md 4.8)"""


class SaliencyModel(DenseModel):
    """The logit of every pixel. See `create_saliency_model`."""

    HEADS: ClassVar = {"edn": Head(EDNHead, "head.conv6.")}
    task = "saliency"
    create = "create_saliency_model"
    statistics_of_trunk = False  # EDN normalises by ImageNet's whatever the trunk was trained with (van.md 4.8)

    def __init__(self, trunk: Model, config: DenseConfig) -> None:
        if config.num_classes != 1:  # loss and maps read one logit of a pixel
            raise ConfigError(
                f"num_classes is {config.num_classes}, expected 1; for several classes take create_segmenter"
            )
        super().__init__(trunk, config)
        size = image_size(trunk.config)
        if trunk.config.in_chans == 3:  # ImageNet's mean and standard deviation, whatever the trunk was trained with
            self.preprocessing = Preprocessing(size, interpolation="bilinear", crop_pct=1.0)

    def forward(self, images: Tensor, deep: bool = False) -> Tensor | list[Tensor]:
        """Images (B, C, H, W) of any size -> logits (B, 1, H, W); a sigmoid makes a saliency map of them.

        With `deep`, what the loss is computed from: the logits of five levels of the decoder, the result first, each at
        its own size, of the picture padded to multiples of 32 (`resize_to_picture` brings them to its pixels).
        """
        found = self.head(self.maps(images), deep)
        return resize_to_picture(found, (images.shape[-2], images.shape[-1])) if isinstance(found, Tensor) else found


def create_saliency_model(
    trunk: str = "van_b1", head: str = "edn", num_classes: int = 1, **options: Unpack[DenseOptions]
) -> SaliencyModel:
    """A network that says of every pixel how salient it is: (B, 3, H, W) to logits (B, 1, H, W).

    trunk        a variant of `list_models()`, or a family with `trunk_options` of one's own
    head         "edn", with `head_options` for EDNHead
    num_classes  logits of a pixel, always 1: a person looks at it first
    options      see `DenseOptions`: weights, pretrained, trunk_options, head_options and others; img_size is also the
                 size of preprocessing, 384 by default
    raises       ValueError: unknown name or setting, weights that do not fit
    """
    options["img_size"] = options.get("img_size") or DEFAULT_SIZE
    return create_dense(SaliencyModel, trunk, head, num_classes, **options)
