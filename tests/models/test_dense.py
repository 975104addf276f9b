"""Trunks for dense tasks: four maps of strides 4, 8, 16 and 32 from every family, at any size."""

import json
from dataclasses import asdict

import pytest
import torch
from torch import nn

from volovan.models import create_model
from volovan.models.config import ConfigError
from volovan.models.dense import DenseConfig, DenseModel, Head, build_dense
from volovan.models.factory import create_dense
from volovan.models.pyramid import pad_to_stride, resize_to_picture

SMALL = {
    "van": {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1), "mlp_ratios": (2, 2, 2, 2)},
    "volo": {
        "depths": (1, 2),
        "embed_dims": (24, 48),
        "num_heads": (2, 4),
        "mlp_ratios": (2, 2),
        "mixers": ("outlook", "attention"),
        "downsamples": (True, False),
        "stem_width": 8,
    },
    "lvvit": {"depth": 12, "embed_dim": 32, "num_heads": 2, "stem_width": 8},
}


class Bare(DenseModel):
    """A trunk and its pyramid, under a head without parameters."""

    HEADS = {"none": Head(lambda channels, classes: nn.Identity(), "head.nothing.")}  # noqa: RUF012


def small(family: str, pyramid: str = "detail") -> Bare:
    torch.manual_seed(0)
    return create_dense(Bare, family, "none", 1, img_size=64, trunk_options=SMALL[family], pyramid=pyramid)


@pytest.mark.parametrize("size", [(64, 64), (97, 131), (33, 32), (1, 70)], ids=["square", "odd", "rows", "line"])
@pytest.mark.parametrize("pyramid", ["detail", "resample"])
@pytest.mark.parametrize("family", list(SMALL))
def test_maps_of_any_size_have_the_strides_of_the_padded_picture(family, pyramid, size):
    model = small(family, pyramid).eval()
    maps = model.maps(torch.randn(2, 3, *size))
    padded = [side + -side % 32 for side in size]
    assert [tuple(m.shape) for m in maps] == [
        (2, width, padded[0] // stride, padded[1] // stride)
        for width, stride in zip(model.channels, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("pyramid", ["detail", "resample"])
@pytest.mark.parametrize("family", list(SMALL))
def test_every_parameter_gets_a_gradient(family, pyramid):
    """One that does not would stop DistributedDataParallel, and weigh on checkpoints for nothing."""
    model = small(family, pyramid)
    sum(m.square().mean() for m in model.maps(torch.randn(2, 3, 64, 64))).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("family", list(SMALL))
def test_maps_are_those_of_the_backbone(family):
    """The trunk computes what create_model's network computes with the same weights."""
    whole = create_model(family, img_size=64, **SMALL[family]).eval()
    trunk = small(family).trunk.eval()
    trunk.load_state_dict({k: v for k, v in whole.state_dict().items() if k in trunk.state_dict()})
    image = torch.randn(1, 3, 64, 96)
    for ours, theirs in zip(trunk.forward_features(image), whole.forward_features(image), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_van_has_no_layers_besides_its_own():
    model = small("van")
    assert model.pyramid is None
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in model.trunk.parameters())


@pytest.mark.parametrize("family", list(SMALL))
def test_a_network_is_built_again_from_its_config(family):
    model = small(family)
    again = build_dense(Bare, DenseConfig(**json.loads(json.dumps(asdict(model.config)))))
    again.load_state_dict(model.state_dict())
    assert again.trunk.config == model.trunk.config


def test_volo_d1_keeps_its_taps_and_widths():
    with torch.device("meta"):
        model = create_dense(Bare, "volo_d1", "none", 1)
    assert (model.taps, model.channels) == ((3, 3, 17, 17), (192, 192, 384, 384))


def test_lvvit_s_is_tapped_where_its_authors_do():
    with torch.device("meta"):
        model = create_dense(Bare, "lvvit_s", "none", 1)
    assert model.taps == (6, 9, 12, 15)  # volo.md 4.3


def test_layers_and_decay_follow_the_trunk():
    model = small("volo")
    names = [name for name, _ in model.named_parameters()]
    groups = model.layer_groups()
    assert model.no_weight_decay() == {"trunk.pos_embed"}
    assert all(any(name.startswith(tuple(group)) for name in names) for group in groups)
    assert all(sum(name.startswith(tuple(group)) for group in groups) == 1 for name in names)


def test_checkpointing_changes_no_gradient():
    image, gradients = torch.randn(2, 3, 64, 64), []
    for enable in (False, True):
        model = small("van")
        model.set_grad_checkpointing(enable)
        sum(m.square().mean() for m in model.maps(image)).backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_padding_and_cutting_are_inverse():
    image = torch.randn(1, 2, 45, 70)
    padded = pad_to_stride(image)
    assert padded.shape[-2:] == (64, 96)
    torch.testing.assert_close(resize_to_picture(padded, (45, 70)), image)
    assert pad_to_stride(padded) is padded


@pytest.mark.slow
def test_padding_is_compiled_for_sizes_that_are_not_known():
    """torch's compiler has no remainder of a negative number."""

    def there_and_back(image):
        return resize_to_picture(pad_to_stride(image)[..., ::4, ::4], image.shape[-2:])

    image = torch.randn(1, 2, 33, 97)
    torch.testing.assert_close(torch.compile(there_and_back, dynamic=True)(image), there_and_back(image))


def test_a_step_in_the_picture_stays_where_it_is_at_odd_sizes():
    """Maps of all strides lie over the same pixels: a half-black picture is half black in each of them."""
    image = torch.zeros(1, 3, 97, 161)
    image[..., 80:] = 1
    padded = pad_to_stride(image)
    for stride in (4, 8, 16, 32):
        coarse = torch.nn.functional.avg_pool2d(padded, stride)[:, :1]
        fine = resize_to_picture(coarse, (97, 161))[0, 0, 48]
        assert abs(int((fine < 0.5).sum()) - 80) <= 1


def test_a_van_of_other_strides_is_refused():
    with pytest.raises(ConfigError, match=r"strides \(2, 4, 8, 16\), dense tasks need"):
        create_dense(Bare, "van", "none", 1, trunk_options={**SMALL["van"], "strides": (2, 2, 2, 2)})


def test_an_unknown_pyramid_is_refused():
    with pytest.raises(ConfigError, match="pyramid is 'fancy', expected one of resample, detail"):
        small("volo", "fancy")
