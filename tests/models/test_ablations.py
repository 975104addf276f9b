"""Every ablation and small net runs forward and backward, and a config that cannot work says why."""

import pytest
import torch

import networks
from volovan import create_model

SMALL = {family: settings | {"img_size": 32} for family, settings in networks.SMALL.items()}

ABLATIONS = [
    ("van", {}),
    ("van", {"use_dw": False}),
    ("van", {"use_dwd": False}),
    ("van", {"use_pw": False}),
    ("van", {"gate": "none"}),
    ("van", {"gate": "sum"}),
    ("van", {"sigmoid": True}),
    ("van", {"dense_kernel": True}),
    ("van", {"lka_kernel": 7, "lka_dilation": 2}),
    ("van", {"lka_kernel": 14}),
    ("van", {"lka_kernel": 28, "lka_dilation": 4}),
    ("van", {"layer_scale": None}),
    ("van", {"strides": (1, 2), "patch_kernels": (3, 3)}),
    ("van", {"embed_dims": (8,), "depths": (1,), "mlp_ratios": (4,), "strides": (2,), "patch_kernels": (3,)}),
    ("van", {"drop_rate": 0.1, "drop_path_rate": 0.2}),
    ("volo", {}),
    ("volo", {"mixers": ("local", "attention")}),
    ("volo", {"mixers": ("conv", "attention")}),
    ("volo", {"mixers": ("attention", "attention")}),
    ("volo", {"outlook_kernel": 5, "outlook_stride": 1}),
    ("volo", {"outlook_stride": 3}),
    ("volo", {"depths": (0, 2)}),
    ("volo", {"depths": (2, 0)}),
    ("volo", {"num_heads": (1, 1)}),
    ("volo", {"stem_stride": 1, "patch_size": 4}),
    ("volo", {"downsamples": (False, False), "embed_dims": (24, 24)}),
    ("volo", {"class_blocks": 1, "dense_head": False}),
    ("volo", {"class_blocks": 0, "dense_head": False, "mean_head": True}),
    ("volo", {"qkv_bias": True}),
    ("volo", {"attn_drop_rate": 0.1, "proj_drop_rate": 0.1, "pos_drop_rate": 0.1, "drop_rate": 0.1}),
    ("volo", {"drop_path_rate": 0.3, "depths": (1, 3)}),
    ("lvvit", {}),
    ("lvvit", {"conv_stem": False, "dense_head": False}),
    ("lvvit", {"patch_size": 8, "residual_divisor": 1, "qkv_bias": True}),
    ("lvvit", {"attn_drop_rate": 0.1, "proj_drop_rate": 0.1, "pos_drop_rate": 0.1, "drop_rate": 0.1}),
]


@pytest.mark.parametrize(("family", "overrides"), ABLATIONS, ids=str)
def test_ablation_trains_every_parameter(family, overrides):
    torch.manual_seed(0)
    model = create_model(family, num_classes=5, in_chans=2, **(SMALL[family] | overrides))
    logits = model(torch.randn(3, 2, 32, 32))
    assert logits.shape == (3, 5)
    logits.square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize(("family", "overrides"), ABLATIONS, ids=str)
def test_ablation_maps_are_as_described(family, overrides):
    model = create_model(family, num_classes=5, **(SMALL[family] | overrides)).eval()
    maps = model.forward_features(torch.randn(1, 3, 64, 32))
    assert [m.shape[1] for m in maps] == list(model.channels)
    assert [(m.shape[2], m.shape[3]) for m in maps] == [(64 // s, 32 // s) for s in model.strides]


@pytest.mark.parametrize(
    ("family", "overrides", "message"),
    [
        ("van", {"lka_kernel": 12}, "for which there is no symmetric padding"),
        ("van", {"use_dw": False, "use_dwd": False, "use_pw": False}, "are all off"),
        ("van", {"gate": "max"}, "gate has 'max', expected one of product, sum, none"),
        ("van", {"dense_kernel": True, "lka_kernel": 20}, "make lka_kernel odd"),
        ("van", {"strides": (4, 2, 2)}, "strides has 3 entries and embed_dims 2"),
        ("van", {"patch_kernels": (7, 4)}, "expected an odd kernel"),
        ("van", {"depths": (1, 0)}, r"depths is \(1, 0\), expected integers of at least 1"),
        ("van", {"embed_dims": ()}, "expected one entry per stage"),
        ("van", {"mlp_ratios": (2, 0)}, "leaves no hidden channel"),
        ("van", {"drop_path_rate": 1.0}, "drop_path_rate is 1.0, expected 0 <= rate < 1"),
        ("van", {"norm_eps": 0}, "norm_eps is 0"),
        ("van", {"num_classes": -1}, "num_classes is -1"),
        ("van", {"img_size": (1, 2, 3)}, "expected a positive integer or"),
        ("volo", {"outlook_kernel": 2}, "outlook_kernel is 2, expected an odd number"),
        ("volo", {"num_heads": (5, 4)}, "width 12 is not a multiple of its 5 heads"),
        ("volo", {"mixers": ("outlok", "attention")}, "mixers has 'outlok', expected one of outlook"),
        ("volo", {"downsamples": (False, False)}, "embed_dims change from 12 to 24 after stage 0"),
        ("volo", {"downsamples": (True, True)}, "downsamples ends in True"),
        ("volo", {"stem_stride": 3}, "patch_size = 8 is not a multiple of stem_stride = 3"),
        ("volo", {"img_size": 12}, "leaves no token at one per 16 pixels; expected at least 15"),
        ("volo", {"mean_head": True}, "mean_head needs class_blocks = 0"),
        ("volo", {"class_blocks": 0, "dense_head": False}, "leaves no class token; set mean_head"),
        ("volo", {"depths": (0, 0)}, "expected at least one block"),
        ("lvvit", {"patch_size": 7}, "patch_size = 7 is odd"),
        ("lvvit", {"residual_divisor": 0}, "residual_divisor is 0"),
        ("lvvit", {"img_size": 8}, "leaves no token at one per 16 pixels; expected at least 15"),
    ],
    ids=str,
)
def test_config_that_cannot_work_says_why(family, overrides, message):
    with pytest.raises(ValueError, match=message):
        create_model(family, **(SMALL[family] | overrides))


def test_van_drop_path_rates_are_linear_over_all_blocks():
    with torch.device("meta"):
        model = create_model("van_b0", drop_path_rate=0.1)
    rates = [block.drop_path.rate for i in range(1, 5) for block in getattr(model, f"block{i}")]
    assert rates == pytest.approx([0.1 * i / 12 for i in range(13)])


def test_volo_drop_path_leaves_outlookers_out_but_counts_them():
    with torch.device("meta"):
        model = create_model("volo_d1", drop_path_rate=0.1)
    rates = [block.drop_path.rate for i in (2, 3, 4) for block in model.network[i]]
    assert rates[0] == pytest.approx(0.0235, abs=1e-4)
    assert rates[-1] == pytest.approx(0.1)
    assert len(rates) == 14
    assert all(block.drop_path.rate == 0 for block in model.network[0])


def test_van_initial_weights():
    torch.manual_seed(0)
    model = create_model("van_b1")
    block = model.block3[0]
    assert block.attn.proj_1.weight.std().item() == pytest.approx((2 / 320) ** 0.5, rel=0.02)
    assert block.mlp.dwconv.dwconv.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.03)
    assert torch.equal(block.layer_scale_1, torch.full((320,), 0.01))
    assert not block.attn.proj_1.bias.any()
    assert model.head.weight.std().item() == pytest.approx(0.02, rel=0.02)


def test_volo_initial_weights():
    torch.manual_seed(0)
    model = create_model("volo", **SMALL["volo"] | {"embed_dims": (96, 192)})
    assert model.network[0][0].attn.attn.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.1)
    assert not model.network[2][0].mlp.fc1.bias.any()
