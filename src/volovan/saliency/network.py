"""create_saliency_model: a trunk, a head, and one logit for every pixel."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from volovan.files.runs import best_checkpoint
from volovan.models.config import ConfigError, image_size
from volovan.models.dense import DenseModel, build_trunk, create_trunk
from volovan.models.factory import Model, nearest
from volovan.models.preprocessing import Preprocessing
from volovan.models.pyramid import resize_to_picture
from volovan.saliency.edn import EDNHead

DEFAULT_SIZE = 384
"""pixels of a side in the published evaluation (van.md 4.8)"""


@dataclass(frozen=True)
class SaliencyConfig:
    """Everything that makes a saliency network; `build_saliency_model(SaliencyConfig(**asdict(config)))` builds it
    again.

    trunk         fields of the trunk's config, its name among them
    head          "edn"
    num_classes   logits of a pixel: 1, the foreground
    pyramid       "detail" or "resample": how VOLO and LV-ViT make the strides that they lack
    head_options  keywords of the head
    """

    trunk: dict[str, Any]
    head: str = "edn"
    num_classes: int = 1
    pyramid: str = "detail"
    head_options: dict[str, Any] = field(default_factory=dict)


class SaliencyModel(DenseModel):
    """The logit of every pixel. See `create_saliency_model`."""

    config: SaliencyConfig
    head: EDNHead

    def __init__(self, trunk: Model, config: SaliencyConfig) -> None:
        super().__init__(trunk, config.pyramid)
        self.config = config
        self.head, self.aux_head = make_head(config, self.channels), None
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


def make_head(config: SaliencyConfig, channels: tuple[int, ...]) -> EDNHead:
    """The head of a config; ConfigError names what it does not take."""
    if config.head != "edn":
        raise ConfigError(f"no head {config.head!r}{nearest(config.head, ['edn'])}")
    if config.num_classes != 1:  # loss and maps read one logit of a pixel
        raise ConfigError(f"num_classes is {config.num_classes}, expected 1; for several classes take create_segmenter")
    try:
        return EDNHead(channels, config.num_classes, **config.head_options)
    except TypeError as error:
        raise ConfigError(f"head_options {config.head_options} do not fit the head 'edn': {error}") from error


def create_saliency_model(
    trunk: str = "van_b1",
    head: str = "edn",
    num_classes: int = 1,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    in_chans: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    drop_path_rate: float = 0.0,
    trunk_options: dict[str, Any] | None = None,
    head_options: dict[str, Any] | None = None,
    pyramid: str = "detail",
) -> SaliencyModel:
    """A network that says of every pixel how salient it is.

    trunk           a variant of `list_models()`, or a family with `trunk_options` of one's own
    head            "edn"
    num_classes     logits of a pixel, always 1: a person looks at it first
    pretrained      the trunk gets its published ImageNet weights
    weights         a run, file or name, of a whole network (a run of ours) or of a trunk alone (mmsegmentation's
                    files too), recognised by its keys; the head of the latter is new, and that is said
    img_size        what the position embedding of VOLO and LV-ViT is built for, and the size of preprocessing; 384 by
                    default. Every size runs
    drop_path_rate  stochastic depth of the trunk's last block
    trunk_options   any other field of the trunk's config
    head_options    keywords of EDNHead
    pyramid         "detail" or "resample", see `volovan.models.pyramid.TokenPyramid`; VAN needs none
    returns         SaliencyModel, in training mode as torch modules are
    raises          ValueError: unknown name or setting, weights that do not fit
    """
    body = create_trunk(
        trunk,
        pretrained=pretrained,
        in_chans=in_chans,
        img_size=img_size or DEFAULT_SIZE,
        drop_path_rate=drop_path_rate,
        **(trunk_options or {}),
    )
    config = SaliencyConfig(asdict(body.config), head, num_classes, pyramid, dict(head_options or {}))
    model = SaliencyModel(body, config)
    if weights is not None:
        from volovan.saliency.weights import load_saliency_weights

        load_saliency_weights(model, best_checkpoint(Path(weights)) if Path(weights).is_dir() else weights)
    return model


def build_saliency_model(config: SaliencyConfig) -> SaliencyModel:
    """The network of a config, with random weights."""
    return SaliencyModel(build_trunk(config.trunk), config)
