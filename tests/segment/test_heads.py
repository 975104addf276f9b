"""The three heads: against formulas written out here in float64, odd sizes, gradients, precision, export, compile."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from volovan.models.config import ConfigError
from volovan.segment.fpn import FPNHead
from volovan.segment.ham import NMF2D, HamHead
from volovan.segment.upernet import FCNHead, UperNetHead

CHANNELS = (8, 16, 24, 32)
SMALL = {
    "fpn": (FPNHead, {"pyramid_channels": 16, "channels": 8}),
    "upernet": (UperNetHead, {"channels": 16}),
    "ham": (HamHead, {"channels": 32, "rank": 4}),
}
STRIDE = {"fpn": 4, "upernet": 4, "ham": 8}


def small(name, classes=5):
    torch.manual_seed(0)
    kind, options = SMALL[name]
    head = kind(CHANNELS, classes, **options)
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that a wrong order of operations would show
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return head.eval()


def maps_of(height, width, batch=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(height * width)
    return [
        torch.randn(batch, c, math.ceil(height / s), math.ceil(width / s), generator=generator, dtype=dtype)
        for c, s in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


# The formulas, on a state dict


def conv(state, name, x):
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def conv_norm_relu(state, name, x, norm="bn"):
    x, bn = conv(state, f"{name}.conv", x), f"{name}.{norm}"
    mean, var = state[f"{bn}.running_mean"][:, None, None], state[f"{bn}.running_var"][:, None, None]
    scaled = (x - mean) / torch.sqrt(var + 1e-5)
    return (scaled * state[f"{bn}.weight"][:, None, None] + state[f"{bn}.bias"][:, None, None]).clamp(min=0)


def bilinear(x, size):
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def fpn_formula(state, maps):
    laterals = [conv(state, f"lateral_convs.{i}", m) for i, m in enumerate(maps)]
    tops = [laterals[3]]
    for lateral in laterals[2::-1]:
        rows, columns = lateral.shape[2:]
        above = tops[0]
        row = torch.arange(rows) * above.shape[2] // rows  # nearest neighbour by hand
        column = torch.arange(columns) * above.shape[3] // columns
        tops.insert(0, lateral + above[:, :, row][..., column])
    total = 0
    for i, top in enumerate(tops):
        x = conv(state, f"fpn_convs.{i}", top)
        for step in range(max(1, i)):
            x = conv_norm_relu(state, f"scale_heads.{i}.{2 * step}", x)
            if i:
                x = bilinear(x, (2 * x.shape[2], 2 * x.shape[3]))
        total = total + (bilinear(x, tops[0].shape[2:]) if i else x)
    return conv(state, "classifier.conv", total)


def upernet_formula(state, maps):
    def block(name, x):
        return conv_norm_relu(state, f"decoder.{name}", x, norm="batch_norm")

    last = maps[3]
    pooled = [
        bilinear(block(f"psp_modules.{i}.1", F.adaptive_avg_pool2d(last, side)), last.shape[2:])
        for i, side in enumerate((1, 2, 3, 6))
    ]
    tops = [block("bottleneck", torch.cat([last, *pooled], dim=1))]
    for i in (2, 1, 0):
        tops.insert(0, block(f"lateral_convs.{i}", maps[i]) + bilinear(tops[0], maps[i].shape[2:]))
    outputs = [block(f"fpn_convs.{i}", tops[i]) for i in range(3)] + [tops[3]]
    fused = torch.cat([outputs[0], *(bilinear(x, outputs[0].shape[2:]) for x in outputs[1:])], dim=1)
    return conv(state, "classifier.conv", block("fpn_bottleneck", fused))


def ham_formula(state, maps):
    def group_norm(name, x):
        cells = conv(state, f"{name}.conv", x).unflatten(1, (32, -1))
        mean = cells.mean(dim=(2, 3, 4), keepdim=True)
        var = cells.var(dim=(2, 3, 4), keepdim=True, correction=0)
        x = ((cells - mean) / torch.sqrt(var + 1e-5)).flatten(1, 2)
        return x * state[f"{name}.gn.weight"][:, None, None] + state[f"{name}.gn.bias"][:, None, None]

    joined = torch.cat([maps[1], *(bilinear(m, maps[1].shape[2:]) for m in maps[2:])], dim=1)
    x = group_norm("squeeze", joined).clamp(min=0)
    z = conv(state, "hamburger.ham_in", x).clamp(min=0)
    start = state["hamburger.ham.bases"][0]
    ham = torch.stack([factorise(picture.flatten(1), start, 7).view_as(picture) for picture in z])
    x = (x + group_norm("hamburger.ham_out", ham)).clamp(min=0)
    return conv(state, "classifier.conv", group_norm("align", x).clamp(min=0))


def factorise(z, start, steps):
    """Multiplicative updates entry by entry in the notation of Lee and Seung: z (D, N), bases (D, R), codes (N, R)."""
    bases = start / start.norm(dim=0)
    codes = torch.exp(z.T @ bases)
    codes = codes / codes.sum(dim=1, keepdim=True)
    for _ in range(steps):
        codes = codes * (z.T @ bases) / (codes @ (bases.T @ bases) + 1e-6)
        bases = bases * (z @ codes) / (bases @ (codes.T @ codes) + 1e-6)
    codes = codes * (z.T @ bases) / (codes @ (bases.T @ bases) + 1e-6)
    return bases @ codes.T


FORMULAS = {"fpn": fpn_formula, "upernet": upernet_formula, "ham": ham_formula}


@pytest.mark.parametrize("size", [(64, 96), (97, 65)], ids=["even", "odd"])
@pytest.mark.parametrize("name", SMALL)
def test_head_is_its_formula(name, size):
    head, maps = small(name).double(), maps_of(*size, dtype=torch.float64)
    expected = FORMULAS[name](head.state_dict(), maps)
    assert expected.std() > 1e-3
    torch.testing.assert_close(head(maps), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("size", [(64, 64), (33, 130), (97, 65), (32, 32)], ids=["square", "wide", "odd", "least"])
@pytest.mark.parametrize("name", SMALL)
def test_head_keeps_its_stride_at_any_size_in_both_modes(name, size):
    head, stride = small(name), STRIDE[name]
    expected = (2, 5, math.ceil(size[0] / stride), math.ceil(size[1] / stride))
    for training in (True, False):
        logits = head.train(training)(maps_of(*size))
        assert tuple(logits.shape) == expected
        assert logits.isfinite().all()


@pytest.mark.parametrize("name", SMALL)
def test_head_sends_gradients_to_every_parameter_and_map(name):
    head = small(name).train()
    maps = [m.requires_grad_() for m in maps_of(64, 96)]
    head(maps).square().sum().backward()
    used = maps[1:] if name == "ham" else maps  # Light-Ham leaves out stride 4
    for tensor in (*head.parameters(), *used):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().max() > 0
    assert name != "ham" or maps[0].grad is None


@pytest.mark.parametrize("name", SMALL)
def test_head_in_bfloat16_stays_near_float32(name):
    head, maps = small(name), maps_of(64, 96)
    exact = head(maps)
    with torch.autocast("cpu", torch.bfloat16):
        rough = head(maps)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().max() < 0.06 * exact.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_head_exports_with_free_sizes(name):
    head, maps = small(name), maps_of(96, 128)
    sides = [torch.export.Dim(f"{axis}{i}", min=2) for i in range(4) for axis in "hw"]
    shapes = ([{2: sides[2 * i], 3: sides[2 * i + 1]} for i in range(4)],)
    if name == "upernet":  # adaptive pooling in export knows fixed sizes only
        shapes = None
    program = torch.export.export(head, (maps,), dynamic_shapes=shapes).module()
    other = maps if shapes is None else maps_of(160, 97)
    torch.testing.assert_close(program(other), head(other), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_head_compiles_to_the_same_logits(name):
    head, maps = small(name), maps_of(64, 96)
    torch.testing.assert_close(torch.compile(head, fullgraph=True)(maps), head(maps), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_classifier_drops_whole_channels_in_training_only(name):
    kind, options = SMALL[name]
    head = kind(CHANNELS, 5, **options, dropout=0.5)
    x = torch.ones(4, head.classifier.conv.in_channels, 3, 3)
    dropped = head.train().classifier.dropout(x)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert (dropped == dropped[..., :1, :1]).all()
    assert (head.eval().classifier.dropout(x) == 1).all()
    assert head.classifier.conv.weight.std().item() == pytest.approx(0.01, rel=0.3)


def test_a_dilation_that_was_set_later_is_kept():
    conv = small("upernet").decoder.fpn_bottleneck.double()
    maps = [torch.randn(2, 16, side, side, dtype=torch.float64) for side in (16, 8, 4, 2)]
    conv.conv.dilation = conv.conv.padding = (2, 2)
    plain = conv.conv(torch.cat([maps[0], *(bilinear(map_, (16, 16)) for map_ in maps[1:])], 1))
    torch.testing.assert_close(conv(*maps), conv.batch_norm(plain).relu())


def test_decoder_is_that_of_transformers():
    from transformers.models.upernet.modeling_upernet import UperNetHead as Theirs

    ours, maps = small("upernet").decoder.double(), maps_of(64, 96, dtype=torch.float64)
    config = SimpleNamespace(hidden_size=16, pool_scales=(1, 2, 3, 6), num_labels=1)
    theirs = Theirs(config, in_channels=list(CHANNELS)).eval().double()
    theirs.classifier = nn.Identity()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(maps), theirs(maps))


def test_auxiliary_head_is_that_of_transformers():
    from transformers.models.upernet.modeling_upernet import UperNetFCNHead

    ours = FCNHead(24, 5, channels=16).eval()
    config = SimpleNamespace(
        auxiliary_in_channels=None,
        auxiliary_channels=16,
        auxiliary_num_convs=1,
        auxiliary_concat_input=False,
        num_labels=5,
    )
    theirs = UperNetFCNHead(config, CHANNELS).eval()
    renamed = {"conv.conv.": "convs.0.conv.", "conv.bn.": "convs.0.batch_norm.", "classifier.conv.": "classifier."}
    state = ours.state_dict()
    theirs.load_state_dict(
        {
            new + key.removeprefix(old): t
            for key, t in state.items()
            for old, new in renamed.items()
            if key.startswith(old)
        }
    )
    maps = maps_of(64, 96)
    torch.testing.assert_close(ours(maps[2]), theirs(maps))


# Matrix decomposition


def test_nmf_in_float32_is_near_float64():
    z = torch.rand(2, 32, 12, 9, dtype=torch.float64)
    nmf = NMF2D(32, rank=8).eval()
    exact, found = nmf(z), nmf(z.float())
    assert (exact.dtype, found.dtype) == (torch.float64, torch.float32)
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-5)


def test_nmf_under_autocast_computes_in_float32():
    z = 300 * torch.rand(1, 32, 16, 16)  # the products of the updates exceed float16's 65,504
    nmf = NMF2D(32, rank=8).eval()
    with torch.autocast("cpu", torch.bfloat16):
        found = nmf(z)
    assert torch.equal(found, nmf(z))
    half = nmf(z.half())
    assert half.dtype == torch.float16
    assert half.isfinite().all()


def test_nmf_recovers_a_matrix_of_its_rank_and_improves_with_steps():
    torch.manual_seed(0)
    z = (torch.rand(1, 24, 3) @ torch.rand(1, 3, 80)).view(1, 24, 8, 10)
    errors = []
    for steps in (1, 10, 500):
        torch.manual_seed(1)
        found = NMF2D(24, rank=3, eval_steps=steps).eval()(z)
        errors.append(((found - z).norm() / z.norm()).item())
        assert (found >= 0).all()
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01


def test_nmf_in_evaluation_gives_a_picture_the_same_result_in_any_batch():
    z = torch.rand(3, 32, 6, 5)
    nmf = NMF2D(32, rank=8).eval()
    once = nmf(z)
    assert torch.equal(once, nmf(z))
    torch.testing.assert_close(nmf(z[1:2]), once[1:2], rtol=1e-5, atol=1e-6)
    other = NMF2D(32, rank=8).eval()
    other.load_state_dict(nmf.state_dict())
    assert torch.equal(other(z), once)


def test_nmf_in_training_draws_bases_for_every_picture():
    z = torch.rand(1, 32, 6, 5).repeat(2, 1, 1, 1)
    nmf = NMF2D(32, rank=2).train()
    first = nmf(z)
    assert not torch.allclose(first[0], first[1])
    assert not torch.allclose(first, nmf(z))
    torch.manual_seed(3)
    again = nmf(z)
    torch.manual_seed(3)
    assert torch.equal(again, nmf(z))


def test_nmf_of_nothing_is_nothing():
    nmf = NMF2D(32, rank=4)
    for training in (True, False):
        z = torch.zeros(1, 32, 4, 4, requires_grad=True)
        found = nmf.train(training)(z)
        found.sum().backward()
        assert (found == 0).all()
        assert z.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 48}, "channels of the head ham is 48; a multiple of 32 is needed"),
        ({"channels": 32, "rank": 0}, "rank of the head ham is 0; at least 1 is needed"),
        ({"channels": 32, "eval_steps": 0}, "eval_steps of the head ham is 0"),
    ],
    ids=["groups", "rank", "steps"],
)
def test_light_ham_refuses_settings_in_one_sentence(options, message):
    with pytest.raises(ConfigError, match=message):
        HamHead(CHANNELS, 5, **options)
