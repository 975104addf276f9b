"""Small networks of every family, and the golden tensors of the tiny ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import volovan

GOLDEN = Path(__file__).parents[1] / "golden"
TINY: dict[str, dict[str, Any]] = {  # those of tests/golden/*_tiny.safetensors, which have ten classes
    "van": {"embed_dims": (8, 16, 32, 64), "depths": (1, 1, 2, 1)},
    "volo": {
        "img_size": 64,
        "depths": (1, 1, 1, 1),
        "embed_dims": (24, 48, 48, 48),
        "num_heads": (2, 4, 4, 4),
        "stem_width": 8,
    },
    "lvvit": {"img_size": 48, "depth": 2, "embed_dim": 24, "num_heads": 3},
}
SMALL: dict[str, dict[str, Any]] = {  # smaller still: of two stages
    "van": {"embed_dims": (8, 16), "depths": (1, 2), "mlp_ratios": (2, 2), "strides": (4, 2), "patch_kernels": (7, 3)},
    "volo": {
        "img_size": 64,
        "depths": (1, 2),
        "embed_dims": (12, 24),
        "num_heads": (2, 4),
        "mlp_ratios": (2, 2),
        "mixers": ("outlook", "attention"),
        "downsamples": (True, False),
        "stem_width": 4,
    },
    "lvvit": {"img_size": 64, "depth": 2, "embed_dim": 24, "num_heads": 3, "stem_width": 4},
}
FAMILIES = pytest.mark.parametrize("family", list(TINY))
VARIANTS = pytest.mark.parametrize("variant", ["van_b0", "volo_d1", "lvvit_s"])  # one of each family, for timm


def tiny(family: str, **changes: Any) -> nn.Module:
    """The network of the golden tensors in eval mode, of other weights each time; changes: of its settings."""
    return volovan.create_model(family, **({"num_classes": 10} | TINY[family] | changes)).eval()


def tiny_in_timm(variant: str, **changes: Any) -> nn.Module:
    """tiny(family of the variant) as timm builds it: a published variant, cut down by the settings that timm hands
    through."""
    import timm  # takes a second, which other tests need not wait for

    import volovan.models.timm  # noqa: F401 - its import gives timm our variants

    settings = {"num_classes": 10} | TINY[family_of(variant)] | changes
    return timm.create_model(f"{variant}.volovan", **settings).eval()


def family_of(variant: str) -> str:
    """The family of a variant, such as volo of volo_d1."""
    return variant.split("_")[0]


def small(family: str, **changes: Any) -> nn.Module:
    """A network of SMALL for five classes, of the same weights each time; changes: of its settings."""
    torch.manual_seed(0)
    return volovan.create_model(family, **({"num_classes": 5} | SMALL[family] | changes))


def golden(family: str) -> dict[str, Tensor]:
    """What the official code made of the tiny network: inputs, outputs, gradients, and its weights as state.*"""
    return load_file(GOLDEN / f"{family}_tiny.safetensors")


def golden_state(family: str) -> dict[str, Tensor]:
    """The weights of the tiny network."""
    return {key.removeprefix("state."): t for key, t in golden(family).items() if key.startswith("state.")}


def golden_in_timm(variant: str, **changes: Any) -> nn.Module:
    """tiny_in_timm() with the weights of the golden tensors."""
    model = tiny_in_timm(variant, **changes)
    model.load_state_dict(golden_state(family_of(variant)))
    return model
