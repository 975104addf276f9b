"""What the networks of the three families share beside their layers, and how VOLO and LV-ViT make logits of tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.fx
from torch import Tensor, nn

from volovan.models.config import BackboneConfig, image_size
from volovan.models.layers import MixTokenOutput, check_box, is_given, mix_tokens, new_head
from volovan.models.preprocessing import default_preprocessing


class Backbone(nn.Module):
    """A network with its config, its preprocessing, and the members that need to know no more."""

    heads: ClassVar[tuple[str, ...]] = ("head",)  # all else is the trunk
    config: BackboneConfig

    def __init__(self, config: BackboneConfig):
        super().__init__()
        self.config = config
        self.preprocessing = default_preprocessing(config.name, image_size(config), config.in_chans)
        self.grad_checkpointing = False

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that are never decayed although they have more than one axis."""
        return {name for name in ("pos_embed", "cls_token") if hasattr(self, name)}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the activations of each block again in the backward pass instead of keeping them."""
        self.grad_checkpointing = enable

    def drop_class_token(self) -> None:
        """Leave out what only a class token needs."""

    def check_taps(self, taps: Sequence[int], blocks: int) -> tuple[int, ...]:
        """Block numbers in ascending order, or ValueError."""
        expected = f"block numbers from 0 to {blocks - 1}"
        if not isinstance(taps, Iterable):
            raise ValueError(f"{self.config.name}: taps is {taps!r}, expected a list of {expected}")
        taps = tuple(taps)
        for tap in taps:
            if not isinstance(tap, int) or isinstance(tap, bool):
                raise ValueError(f"{self.config.name}: taps has {tap!r}, expected {expected}")
            if not 0 <= tap < blocks:
                raise ValueError(f"{self.config.name}: tap {tap} does not exist, expected {expected}")
        return tuple(sorted(set(taps)))

    def check_input(self, x: Tensor) -> None:
        """ValueError unless x is a float tensor (B, in_chans, H, W), not smaller than the network can read."""
        if isinstance(x, torch.fx.Proxy):  # a graph is drawn, with a stand-in for the images
            return
        name, in_chans, least = self.config.name, self.config.in_chans, self.config.least_size
        if not isinstance(x, Tensor) or not x.is_floating_point():
            found = f"of dtype {x.dtype}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise ValueError(
                f"{name}: input is {found}, expected float images: a float tensor, scaled to 0 .. 1 and normalised as "
                "model.preprocessing says"
            )
        if x.dim() != 4 or x.shape[1] != in_chans:
            raise ValueError(f"{name}: input has shape {tuple(x.shape)}, expected (B, {in_chans}, H, W)")
        if torch.compiler.is_exporting():  # a bound on sizes would become part of the exported graph
            return
        if x.shape[2] < least or x.shape[3] < least:
            raise ValueError(
                f"{name}: input is {x.shape[2]} x {x.shape[3]}, expected at least {least} x {least}: "
                "the strides of this network leave no position of a smaller one"
            )


class TokenBackbone(Backbone):
    """VOLO and LV-ViT: a class head, a dense head on every token, and MixToken."""

    heads = ("head", "aux_head")
    config: Any  # VOLOConfig or LVViTConfig
    head: nn.Module
    aux_head: nn.Module | None
    pos_embed: nn.Parameter

    def forward(self, x: Tensor, box: Tensor | None = None) -> Tensor | MixTokenOutput:
        """Logits (B, num_classes): class head plus half the maximum over tokens of the dense head.

        With a MixToken box (4 integers r1, c1, r2, c2 in the token grid), the tokens inside it are taken from the
        reversed batch, and the class and patch logits come apart: MixTokenOutput.
        """
        if not is_given(box):
            cls, patch = self.classify(x)
            return cls if patch is None else cls + 0.5 * patch.flatten(1, 2).amax(dim=1)
        check_box(box)
        cls, patch = self.classify(x, box)
        return MixTokenOutput(cls, None if patch is None else mix_tokens(patch, box).flatten(1, 2), box)

    def classify(self, x: Tensor, box: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Class logits (B, K) and, with dense head, patch logits (B, h, w, K)."""
        raise NotImplementedError

    def reset_classifier(self, num_classes: int) -> None:
        """New heads for `num_classes` classes; 0 for none, then forward returns the features of the class token."""
        self.config = replace(self.config, num_classes=num_classes)
        self.head, self.aux_head = nn.Identity(), None
        if num_classes:
            width = self.pos_embed.shape[-1]
            self.head = new_head(width, num_classes, self.pos_embed)
            self.aux_head = new_head(width, num_classes, self.pos_embed) if self.config.dense_head else None
