"""SimpleBaseline: published sizes, every trunk, names of mmpose."""

from pathlib import Path

import pytest
import torch

from networks import TINY
from volovan.models.config import ConfigError
from volovan.models.cost import cost_of
from volovan.pose.network import create_pose_model, heat_size, to_mmpose

PUBLISHED = 30_265_681  # VAN-B2 (van.md, table 15)


def test_parameters_and_cost_of_the_published_pair() -> None:
    with torch.device("meta"):
        model = create_pose_model("van_b2")
        assert sum(p.numel() for p in model.parameters()) == PUBLISHED
        for size, printed in (((256, 192), 6.1), ((384, 288), 13.6)):
            assert cost_of(model, torch.empty(1, 3, *size)).gmacs == pytest.approx(printed, rel=0.015)


@pytest.mark.parametrize("family", ["van", "volo", "lvvit"])
@pytest.mark.parametrize("size", [(64, 96), (33, 65)])
def test_every_trunk_at_any_size(family: str, size: tuple[int, int]) -> None:
    """The head doubles the last map to stride 4, whatever stride that has."""
    torch.manual_seed(0)
    trunk = {key: value for key, value in TINY[family].items() if key != "img_size"}
    model = create_pose_model(family, num_classes=5, trunk_options=trunk, head_options={"width": 16})
    maps = model(torch.randn(2, 3, *size))
    assert maps.shape == (2, 5, *heat_size(*size))
    maps.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert sum(isinstance(m, torch.nn.ConvTranspose2d) for m in model.modules()) == (3 if family == "van" else 2)


def test_options_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match="no option 'strides'"):
        create_pose_model("van", num_classes=3, trunk_options=TINY["van"], head_options={"strides": (4,)})
    with pytest.raises(ConfigError, match="no head 'simpel'; did you mean 'simple'"):
        create_pose_model("van_b0", head="simpel")


@pytest.mark.parametrize("old", [False, True])
def test_mmpose_there_and_back(old: bool, tmp_path: Path) -> None:
    def build(seed: int, weights: Path | None = None) -> torch.nn.Module:
        torch.manual_seed(seed)
        options = TINY["van"] | {"norm_eps": 1e-5}
        return create_pose_model(
            "van", num_classes=5, weights=weights, trunk_options=options, head_options={"width": 16}
        )

    first = build(0)
    theirs = to_mmpose(first)  # type: ignore[arg-type]
    assert theirs["head.deconv_layers.0.weight"].shape == (first.channels[-1], 16, 4, 4)  # type: ignore[index]
    assert theirs["head.final_layer.bias"].shape == (5,)
    if old:  # 0.x
        theirs = {
            key.replace("head.", "keypoint_head.") if key.startswith("head.") else key: t for key, t in theirs.items()
        }
    torch.save({"state_dict": theirs, "meta": {}}, tmp_path / "epoch_210.pth")
    second = build(1, tmp_path / "epoch_210.pth")
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[key]), key
