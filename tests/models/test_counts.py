"""Exact numbers of parameters and multiply-adds of every published variant and ablation, on the meta device."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from volovan import create_model


def build(name, **overrides):
    with torch.device("meta"):
        return create_model(name, **overrides)


def count(model):
    return sum(p.numel() for p in model.parameters())


def gmacs(model, size):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.empty(1, 3, size, size, device="meta"))
    return counter.get_total_flops() / 2e9


VAN = {
    "van_b0": (4_105_800, 0.8642, 2.5393, 4.5140),
    "van_b1": (13_861_800, 2.4953, 7.3320, 13.0343),
    "van_b2": (26_578_472, 4.9928, 14.6716, 26.0825),
    "van_b3": (44_765_608, 8.9253, 26.2284, 46.6279),
    "van_b4": (60_283_176, 12.1438, 35.6868, 63.4428),
    "van_b5": (89_967_688, 17.1291, 50.3372, 89.4877),
    "van_b6": (199_829_416, 38.7101, 113.7588, 202.2373),
}
VOLO = {  # parameters and GMACs at 224, 384, 448, 512
    "volo_d1": ((26_632_040, 26_777_960, 26_857_832, 26_949_992), (6.919, 22.680, 32.622, 45.249)),
    "volo_d2": ((58_678_336, 58_872_896, 58_979_392, 59_102_272), (14.305, 46.064, 65.701, 90.342)),
    "volo_d3": ((86_325_072, 86_519_632, 86_626_128, 86_749_008), (20.732, 67.191, 96.129, 132.600)),
    "volo_d4": ((192_961_520, 193_253_360, 193_413_104, 193_597_424), (44.263, 139.468, 196.841, 267.664)),
    "volo_d5": ((295_455_584, 295_747_424, 295_907_168, 296_091_488), (72.301, 224.551, 314.651, 424.558)),
}
LVVIT = {
    "lvvit_t": ((8_534_720, 8_625_920, 8_675_840, 8_733_440), (2.868, 9.675, 14.106, 19.837)),
    "lvvit_s": ((26_151_824, 26_297_744, 26_377_616, 26_469_776), (6.552, 21.896, 31.799, 44.546)),
    "lvvit_m": ((55_830_544, 56_025_104, 56_131_600, 56_254_480), (12.678, 41.638, 59.994, 83.377)),
    "lvvit_l": ((150_021_968, 150_313_808, 150_473_552, 150_657_872), (34.637, 109.584, 155.116, 211.617)),
}
SIZES = [(224, 512), pytest.param((384, 448), marks=pytest.mark.slow)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", VAN)
def test_van_parameters_and_gmacs(name, sizes):
    model = build(name)
    parameters, *costs = VAN[name]
    assert count(model) == parameters
    assert count(build(name, num_classes=0)) == parameters - 1000 * (model.config.embed_dims[-1] + 1)
    for size, cost in zip((224, 384, 512), costs, strict=True):
        if size in sizes:
            assert gmacs(model, size) == pytest.approx(cost, abs=6e-5)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", VOLO | LVVIT)
def test_volo_and_lvvit_parameters_and_gmacs(name, sizes):
    for size, parameters, cost in zip((224, 384, 448, 512), *(VOLO | LVVIT)[name], strict=True):
        if size in sizes:
            model = build(name, img_size=size)
            assert count(model) == parameters
            assert gmacs(model, size) == pytest.approx(cost, abs=6e-4)


@pytest.mark.parametrize(
    ("overrides", "parameters"),
    [
        ({"use_dw": False}, 4_064_200),
        ({"use_dwd": False}, 4_025_800),
        ({"gate": "none"}, 4_105_800),
        ({"gate": "sum"}, 4_105_800),
        ({"use_pw": False}, 3_829_768),
        ({"sigmoid": True}, 4_105_800),
        ({"dense_kernel": True}, 124_734_280),
        ({"lka_kernel": 7, "lka_dilation": 2}, 4_027_400),
        ({"lka_kernel": 14}, 4_067_400),
        ({"lka_kernel": 28, "lka_dilation": 4}, 4_144_200),
    ],
    ids=str,
)
def test_van_ablation_parameters(overrides, parameters):
    assert count(build("van_b0", **overrides)) == parameters


def test_van_21841_classes():
    got = [count(build(name, num_classes=21_841)) for name in ("van_b4", "van_b5", "van_b6")]
    assert got == [70_974_609, 105_994_417, 215_856_145]


def test_van_without_layer_scale_lacks_two_vectors_a_block():
    model = build("van_b0")
    scales = sum(2 * dim * depth for dim, depth in zip(model.config.embed_dims, model.config.depths, strict=True))
    assert count(build("van_b0", layer_scale=None)) == 4_105_800 - scales


@pytest.mark.parametrize(
    ("outlookers", "parameters", "cost"), [(2, 25_851_164, 6.414), (4, 26_632_040, 6.919), (6, 27_412_916, 7.424)]
)
def test_volo_number_of_outlookers(outlookers, parameters, cost):
    model = build("volo_d1", depths=(outlookers, 4, 8, 2))
    assert count(model) == parameters
    assert gmacs(model, 224) == pytest.approx(cost, abs=6e-4)


def test_volo_heads_change_neither_parameters_nor_cost_of_attention():
    assert count(build("volo_d1", num_heads=(6, 6, 6, 6))) == 26_632_040


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("mixer", ["outlook", "local", "conv"])
def test_volo_mixer_parameters_follow_the_written_formula(mixer, kernel):
    C, N = 192, 6
    formula = {
        "outlook": 2 * C * C + C + N * kernel**4 * (C + 1),
        "local": 4 * C * C + C,
        "conv": kernel**2 * C * C + C,
    }[mixer]
    published = 2 * C * C + C + N * 81 * (C + 1)
    model = build("volo_d1", mixers=(mixer, "attention", "attention", "attention"), outlook_kernel=kernel)
    assert count(model) == 26_632_040 + 4 * (formula - published)


def test_volo_heads_parameters():
    assert count(build("volo_d1", dense_head=False)) == 26_632_040 - 385_000
    class_blocks = 2_956_032
    mean = build("volo_d1", dense_head=False, class_blocks=0, mean_head=True)
    assert count(mean) == 26_632_040 - 385_000 - class_blocks - 384
    assert count(build("volo_d1", class_blocks=1)) == 26_632_040 - class_blocks // 2


def test_volo_parts_of_d1():
    model = build("volo_d1")
    parts = {name: count(part) for name, part in model.named_children() if name in ("patch_embed", "head", "aux_head")}
    assert parts == {"patch_embed": 280_320, "head": 385_000, "aux_head": 385_000}
    network = [count(part) for part in model.network]
    assert network[:2] == [1_561_752, 295_296]
    assert sum(network[2:]) == 20_692_224
    assert model.pos_embed.numel() == 75_264


def test_lvvit_as_plain_vit():
    assert count(build("lvvit_s", conv_stem=False, dense_head=False)) == 24_405_352
    assert count(build("lvvit_s", dense_head=False)) == 25_766_824


@pytest.mark.parametrize(("name", "entries"), [("van_b0", 402), ("van_b1", 318), ("van_b6", 3062), ("volo_d1", 260)])
def test_state_dict_has_the_official_number_of_entries(name, entries):
    assert len(build(name).state_dict()) == entries
