"""create_segmenter: a trunk, a head, and logits for every pixel."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from volovan.files.runs import best_checkpoint
from volovan.models.config import ConfigError
from volovan.models.dense import DenseModel, build_trunk, create_trunk
from volovan.models.factory import Model, nearest
from volovan.models.pyramid import STRIDES, resize_to_picture

FINEST = {"ham": 8}
"""the finest stride that a head reads, where it is not 4"""
AUX_LEVEL = 2
"""the auxiliary head reads the map of stride 16 (van.md 4.4)"""


@dataclass(frozen=True)
class SegmenterConfig:
    """Everything that makes a segmenter; `build_segmenter(SegmenterConfig(**asdict(config)))` builds it again.

    trunk         fields of the trunk's config, its name among them
    head          "fpn", "upernet" or "ham"
    pyramid       "detail" or "resample": how VOLO and LV-ViT make the strides that they lack
    head_options  keywords of the head
    """

    trunk: dict[str, Any]
    head: str = "fpn"
    num_classes: int = 150
    pyramid: str = "detail"
    head_options: dict[str, Any] = field(default_factory=dict)


class Segmenter(DenseModel):
    """Logits of every pixel. See `create_segmenter`."""

    def __init__(self, trunk: Model, config: SegmenterConfig) -> None:
        super().__init__(trunk, config.pyramid, FINEST.get(config.head, 4))
        self.config = config
        self.head, self.aux_head = make_head(config, self.channels)

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


def make_head(config: SegmenterConfig, channels: tuple[int, ...]) -> tuple[nn.Module, nn.Module | None]:
    """The head of a config, and its auxiliary one if it has one; ConfigError names what it does not take."""
    options, classes = dict(config.head_options), config.num_classes
    if not isinstance(classes, int) or classes < 1:
        raise ConfigError(f"num_classes is {classes!r}, expected an integer of at least 1")
    auxiliary = config.head == "upernet" and options.pop("auxiliary", True)
    try:
        match config.head:
            case "fpn":
                from volovan.segment.fpn import FPNHead

                return FPNHead(channels, classes, **options), None
            case "upernet":
                from volovan.segment.upernet import FCNHead, UperNetHead

                head = UperNetHead(channels, classes, **options)
                return head, FCNHead(channels[AUX_LEVEL], classes) if auxiliary else None
            case "ham":
                from volovan.segment.ham import HamHead

                return HamHead(channels, classes, **options), None
    except TypeError as error:
        raise ConfigError(f"head_options {options} do not fit the head {config.head!r}: {error}") from error
    raise ConfigError(f"no head {config.head!r}{nearest(config.head, ['fpn', 'upernet', 'ham'])}")


def create_segmenter(
    trunk: str = "van_b0",
    head: str = "fpn",
    num_classes: int = 150,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    in_chans: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    drop_path_rate: float = 0.0,
    trunk_options: dict[str, Any] | None = None,
    head_options: dict[str, Any] | None = None,
    pyramid: str = "detail",
) -> Segmenter:
    """A network that gives every pixel a class.

    trunk           a variant of `list_models()`, or a family with `trunk_options` of one's own
    head            "fpn" (Semantic FPN), "upernet" (in training with an auxiliary head) or "ham" (Light-Ham)
    num_classes     of the pixels
    pretrained      the trunk gets its published ImageNet weights
    weights         a run folder, a file or a name; of a whole network (a run of ours, mmsegmentation) or of a trunk
                    alone: recognised by its keys; a head that does not fit the classes is new, and that is said
    img_size        what the position embedding of VOLO and LV-ViT is built for; every size runs
    drop_path_rate  stochastic depth of the trunk's last block
    trunk_options   any other field of the trunk's config
    head_options    keywords of the head: FPNHead, UperNetHead, HamHead
    pyramid         "detail" or "resample", see `volovan.models.pyramid.TokenPyramid`; VAN needs none
    returns         Segmenter, in training mode as torch modules are
    raises          ValueError: unknown name or setting, weights that do not fit
    """
    body = create_trunk(
        trunk,
        pretrained=pretrained,
        in_chans=in_chans,
        img_size=img_size,
        drop_path_rate=drop_path_rate,
        **(trunk_options or {}),
    )
    config = SegmenterConfig(asdict(body.config), head, num_classes, pyramid, dict(head_options or {}))
    model = Segmenter(body, config)
    if weights is not None:
        from volovan.segment.weights import load_segmenter_weights

        load_segmenter_weights(model, best_checkpoint(Path(weights)) if Path(weights).is_dir() else weights)
    return model


def build_segmenter(config: SegmenterConfig) -> Segmenter:
    """The network of a config, with random weights."""
    return Segmenter(build_trunk(config.trunk), config)
