"""Parameters and multiply-accumulates of every published pair of trunk and head, counted on the meta device."""

from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from volovan.segment.network import create_segmenter

# (trunk, head) -> parameters with 150 classes, published FLOPs in G (van.md, tables 12 and 13); None: not published.
# The paper says 117 M of B5 with UperNet, which has 121.9 M; the other ten figures fit.
PUBLISHED = {
    ("van_b0", "fpn"): (7_984_374, 26),
    ("van_b1", "fpn"): (17_615_446, 35),
    ("van_b2", "fpn"): (30_332_118, 48),
    ("van_b3", "fpn"): (48_519_254, 68),
    ("van_b0", "upernet"): (32_133_004, None),
    ("van_b1", "upernet"): (43_836_652, None),
    ("van_b2", "upernet"): (56_553_324, 948),
    ("van_b3", "upernet"): (74_740_460, 1030),
    ("van_b4", "upernet"): (90_258_028, 1098),
    ("van_b5", "upernet"): (121_890_188, 1208),
    ("van_b6", "upernet"): (231_481_580, 1658),
}
IN_MILLIONS = {  # as the paper prints them
    "fpn": {"van_b0": 8, "van_b1": 18, "van_b2": 30, "van_b3": 49},
    "upernet": {"van_b0": 32, "van_b1": 44, "van_b2": 57, "van_b3": 75, "van_b4": 90, "van_b6": 231},
}
SIZE = {"fpn": (512, 512), "upernet": (512, 2048)}  # height, width
# G of convolutions and matrix products, without norms, activations and resizing
COUNTED = {("van_b0", "fpn"): 25.70, ("van_b1", "fpn"): 34.48, ("van_b2", "fpn"): 47.53, ("van_b3", "fpn"): 68.07}
PAIRS = [pytest.param(*pair, id="-".join(pair)) for pair in PUBLISHED]


@cache
def build(trunk, head):
    with torch.device("meta"):
        return create_segmenter(trunk, head, 150).eval()


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def gmacs(model, size, deep=False):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, *size, device="meta"), deep=deep)
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize(("trunk", "head"), PAIRS)
def test_parameters_of_a_published_pair_are_exact(trunk, head):
    count = parameters(build(trunk, head))
    assert count == PUBLISHED[trunk, head][0]
    if trunk in IN_MILLIONS[head]:
        assert round(count / 1e6) == IN_MILLIONS[head][trunk]
    else:
        assert (trunk, round(count / 1e6)) == ("van_b5", 122)  # 117 in the paper


@pytest.mark.parametrize(("trunk", "head"), [p for p in PAIRS if PUBLISHED[p.values][1]])
def test_cost_of_a_published_pair_is_within_one_and_a_half_per_cent(trunk, head):
    counted = gmacs(build(trunk, head), SIZE[head])  # without the auxiliary head, which prediction does not use
    assert counted == pytest.approx(PUBLISHED[trunk, head][1], rel=0.015)
    if (trunk, head) in COUNTED:
        assert round(counted, 2) == COUNTED[trunk, head]


def test_parameters_lie_where_they_are_said_to():
    fpn, upernet = build("van_b0", "fpn"), build("van_b0", "upernet")
    assert parameters(fpn.trunk) == parameters(upernet.trunk) == 3_848_800
    assert parameters(fpn.head) == 4_135_574
    assert parameters(upernet.head) == 27_876_502
    assert parameters(upernet.aux_head) == 407_702


def test_auxiliary_head_can_be_left_out_and_costs_nothing_in_prediction():
    with torch.device("meta"):
        without = create_segmenter("van_b0", "upernet", 150, head_options={"auxiliary": False}).eval()
    whole = build("van_b0", "upernet")
    assert parameters(whole) - parameters(without) == 407_702
    assert gmacs(whole, (512, 512)) == gmacs(without, (512, 512)) == gmacs(whole, (512, 512), deep=True)


def test_light_ham_has_the_parameters_of_its_layers():
    c, classes, stages = 512, 150, 64 + 160 + 256
    norms = 3 * 2 * c  # squeeze, upper bread, align
    expected = stages * c + (c * c + c) + c * c + c * c + norms + (c * classes + classes)
    assert parameters(build("van_b0", "ham").head) == expected


def test_other_decoders_have_other_counts():
    """Why Semantic FPN is our own page, and UperNet is not the one of segmentation-models-pytorch."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
    from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

    assert smp is not None
    channels = (3, 0, 32, 64, 160, 256)
    with torch.device("meta"):
        fpn = FPNDecoder(channels, encoder_depth=5, pyramid_channels=256, segmentation_channels=128)
        upernet = UPerNetDecoder(channels, encoder_depth=5, decoder_channels=512)
    assert parameters(fpn) + 128 * 150 + 150 != 4_135_574
    assert parameters(upernet) + 512 * 150 + 150 == 27_877_526 == 27_876_502 + 2 * sum(channels[2:])
