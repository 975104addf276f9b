"""What the networks of all dense tasks share: a trunk without its classifier, a pyramid, and how training sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from volovan.models.config import ConfigError
from volovan.models.factory import Model, create_model
from volovan.models.lvvit import LVViT
from volovan.models.preprocessing import Preprocessing
from volovan.models.pyramid import STRIDES, TokenPyramid, choose_taps, pad_to_stride
from volovan.models.volo import VOLO


def create_trunk(
    name: str,
    pretrained: bool = False,
    weights: str | Path | None = None,
    in_chans: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    drop_path_rate: float = 0.0,
    **overrides: Any,
) -> Model:
    """A backbone for dense tasks, as `create_model` makes it, without the parts that no map passes through.

    Those would be parameters without gradient, which weigh on checkpoints and stop DistributedDataParallel. Its
    `forward` is gone with them; `forward_features` is what is left.
    """
    if "num_classes" in overrides:
        raise ConfigError(f"{name}: num_classes is that of the head; leave it out of the trunk's options")
    model = create_model(name, pretrained, weights, 0, in_chans, img_size, drop_path_rate, **overrides)
    if isinstance(model, VOLO | LVViT):
        model.norm = nn.Identity()  # type: ignore[assignment]
    if isinstance(model, VOLO) and model.post_network is not None:
        model.post_network = None
        del model.cls_token
    return model


def build_trunk(config: dict[str, Any]) -> Model:
    """The trunk of a config as `asdict` or JSON gives it, with random weights."""
    return create_trunk(**{key: value for key, value in config.items() if key != "num_classes"})


class DenseModel(nn.Module):
    """Trunk, pyramid and head; a room's network adds `config` and `forward`.

    trunk     VOLO, VAN or LV-ViT of `create_trunk`
    pyramid   "resample" or "detail" (`TokenPyramid`), without effect on VAN
    finest    the finest stride that the head reads, 4 or 8
    head      reads the list of maps of strides 4, 8, 16 and 32
    aux_head  a second head for the loss, or None
    config    frozen dataclass of the room: trunk (fields of its config), head, num_classes, pyramid, head_options
    """

    heads = ("pyramid", "head", "aux_head")  # all else is the trunk
    config: Any
    head: nn.Module
    aux_head: nn.Module | None

    def __init__(self, trunk: Model, pyramid: str, finest: int = STRIDES[0]) -> None:
        super().__init__()
        self.trunk = trunk
        self.preprocessing: Preprocessing = trunk.preprocessing
        chosen = choose_taps(trunk)
        self.taps: tuple[int, ...] | None = None
        self.pyramid: TokenPyramid | None = None
        self.channels: tuple[int, ...] = trunk.channels
        self.strides = STRIDES
        if chosen is not None:
            self.taps, self.channels, strides = chosen
            self.pyramid = TokenPyramid(self.channels, strides, trunk.config.in_chans, pyramid, finest)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Images (B, C, H, W) of any size -> maps of strides 4, 8, 16, 32 of the picture padded to multiples of 32."""
        images = pad_to_stride(images)
        if self.pyramid is None or self.taps is None:
            return self.trunk.forward_features(images)
        wanted = sorted(set(self.taps))
        found = dict(zip(wanted, self.trunk.forward_features(images, wanted), strict=True))
        return self.pyramid(images, [found[tap] for tap in self.taps])

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that are never decayed although they have more than one axis."""
        own = dict(self.named_parameters())
        return {f"trunk.{name}" for name in self.trunk.no_weight_decay()} & own.keys()

    def layer_groups(self) -> list[list[str]]:
        """Parameter-name prefixes from stem to head, for layer-wise learning rates."""
        groups = [[f"trunk.{prefix}" for prefix in group] for group in self.trunk.layer_groups()]
        names = [name for name, _ in self.named_parameters()]
        there = [group for group in groups if any(name.startswith(tuple(group)) for name in names)]
        return [*there, ["pyramid.", "head.", "aux_head."]]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the activations of each block of the trunk again in the backward pass instead of keeping them."""
        self.trunk.set_grad_checkpointing(enable)
