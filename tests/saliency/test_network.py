"""The EDN network: exact counts, formula, any size, all trunks, weights."""

import json
import logging
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F

from volovan.engine.settings import SettingsError
from volovan.files.checkpoint import write_checkpoint
from volovan.models.config import ConfigError
from volovan.models.dense import DenseConfig, build_dense
from volovan.models.weights import WeightsError
from volovan.saliency.edn import SCPC, EDNHead, ExtremeDown
from volovan.saliency.network import SaliencyModel, create_saliency_model
from volovan.segment.network import create_segmenter, to_mmsegmentation
from volovan.use.load import load


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("trunk", "expected"), [("van_b1", 18_444_101), ("van_b2", 31_160_773)])
def test_parameters_are_the_published_ones(trunk, expected):
    with torch.device("meta"):
        model = create_saliency_model(trunk)
    assert count(model) == expected
    assert count(model.head) == 5_095_301


@pytest.mark.parametrize("trunk", ["van", "volo", "lvvit"])
@pytest.mark.parametrize("size", [(32, 32), (33, 65), (31, 17)], ids=["32x32", "33x65", "31x17"])
def test_every_trunk_takes_every_size(small, trunk, size):
    model, images = small(trunk), torch.randn(2, 3, *size)
    for training in (True, False):
        model.train(training)
        assert model(images).shape == (2, 1, *size)
        deep = model(images, deep=True)
        assert len(deep) == 5
        assert all(one.shape[:2] == (2, 1) for one in deep)
        padded = [-(-side // 32) * 32 // 4 for side in size]
        assert list(deep[0].shape[2:]) == padded


@pytest.mark.parametrize("trunk", ["van", "volo", "lvvit"])
def test_every_parameter_gets_a_gradient(small, trunk):
    model = small(trunk)
    sum(one.square().sum() for one in model(torch.randn(2, 3, 64, 64), deep=True)).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_result_is_the_first_deep_map_enlarged(small):
    model, images = small().eval(), torch.randn(1, 3, 64, 96)
    expected = F.interpolate(model(images, deep=True)[0], size=(64, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(model(images), expected)


def conv_bn(block, x):
    """ConvNormAct in eval mode, written out, without the ReLU."""
    conv, bn = block.conv, block.bn
    x = F.conv2d(x, conv.weight, conv.bias, padding=conv.padding, dilation=conv.dilation)
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    return (x - bn.running_mean[:, None, None]) * scale[:, None, None] + bn.bias[:, None, None]


def scpc(unit, x):
    parts = conv_bn(unit.inner, x).relu().chunk(4, 1)
    first = conv_bn(unit.branches[0], parts[0]).relu()
    second = conv_bn(unit.branches[1], parts[1] + first).relu()
    third = conv_bn(unit.branches[2], parts[2] + second).relu()
    fourth = conv_bn(unit.branches[3], parts[3] + third).relu()
    return (x + conv_bn(unit.outer, torch.cat([first, second, third, fourth], 1))).relu()


def test_scpc_is_its_formula():
    unit = shaken(SCPC(16, 6, (1, 2, 4, 8))).eval()
    assert [part.conv.bias for part in (unit.inner, *unit.branches, unit.outer)] == [None] * 6
    x = torch.randn(2, 16, 20, 17)
    torch.testing.assert_close(unit(x), scpc(unit, x))


def shaken(module):
    """Statistics and weights of BatchNorm away from 0 and 1, so that a forgotten one shows."""
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for tensor in (part.weight, part.running_var):
                tensor.data.uniform_(0.5, 1.5)
            for tensor in (part.bias, part.running_mean):
                tensor.data.uniform_(-0.3, 0.3)
    return module


def test_decoder_is_its_formula():
    torch.manual_seed(0)
    head = shaken(EDNHead((8, 12, 16, 20), widths=(8, 8, 12, 12, 16, 16), extreme=10, units=2)).eval()
    maps = [torch.randn(2, c, s, s + 1) for c, s in zip((8, 12, 16, 20), (24, 12, 6, 3), strict=True)]

    def down(block, x):
        x = F.max_pool2d(x, 2, ceil_mode=True)
        return conv_bn(block.conv2, conv_bn(block.conv1, x).relu()).relu()

    sixth = down(head.conv6, maps[3])
    seventh = down(head.conv7, sixth)
    gate = torch.sigmoid(seventh.mean((2, 3), keepdim=True))
    levels = [*maps, sixth * gate, seventh * gate]
    x = conv_bn(head.laterals[5], levels[5]).relu()
    for unit in head.fuse[5]:
        x = scpc(unit, x)
    outputs = []
    for i in (4, 3, 2, 1, 0):
        deeper = conv_bn(head.downs[i], x).relu()
        deeper = F.interpolate(deeper, size=levels[i].shape[2:], mode="bilinear", align_corners=False)
        x = torch.cat([conv_bn(head.laterals[i], levels[i]).relu(), deeper], 1)
        for unit in head.fuse[i]:
            x = scpc(unit, x)
        outputs.insert(0, F.conv2d(x, head.outputs[i].weight, head.outputs[i].bias))
    for found, expected in zip(head(maps, deep=True), outputs, strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(head(maps), outputs[0])


def test_widths_and_dilations_of_scpc_are_the_published_ones():
    head = EDNHead((64, 128, 320, 512))
    assert [level[0].width for level in head.fuse] == [16, 24, 48, 96, 48, 48]
    dilations = [tuple(branch.conv.dilation[0] for branch in level[1].branches) for level in head.fuse]
    assert dilations == [(1, 2, 4, 8)] * 2 + [(1, 2, 3, 4)] * 2 + [(1, 1, 1, 1)] * 2


def test_extreme_levels_halve_and_keep_a_single_position():
    block = ExtremeDown(3, 4).eval()
    sizes = [tuple(block(torch.randn(1, 3, h, w)).shape[2:]) for h, w in ((12, 12), (11, 6), (1, 1), (1, 5))]
    assert sizes == [(6, 6), (6, 3), (1, 1), (1, 3)]


def test_one_small_picture_cannot_be_trained_on_alone(small):
    model = small()
    with pytest.raises(ValueError, match="two pictures or more"):
        model(torch.randn(1, 3, 64, 64))
    model.eval()(torch.randn(1, 3, 64, 64))


def test_config_survives_json_and_builds_the_network_again(small):
    model = small("volo", drop_path_rate=0.1)
    again = build_dense(SaliencyModel, DenseConfig(**json.loads(json.dumps(asdict(model.config)))))
    again.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(again.eval()(images), model.eval()(images))


def test_preprocessing_is_that_of_imagenet_whatever_the_trunk(small):
    seen = small("van").preprocessing
    assert (seen.mean, seen.interpolation, seen.input_size) == ((0.485, 0.456, 0.406), "bilinear", (64, 64))
    assert len(small("van", in_chans=4).preprocessing.mean) == 4


@pytest.mark.parametrize("trunk", ["van", "volo", "lvvit"])
def test_layer_groups_name_every_parameter_once(small, trunk):
    model = small(trunk)
    groups = model.layer_groups()
    for name, _ in model.named_parameters():
        assert sum(name.startswith(tuple(group)) for group in groups) == 1, name
    assert model.no_weight_decay() <= dict(model.named_parameters()).keys()


def test_settings_that_do_not_fit_are_named(small):
    with pytest.raises(ConfigError, match="breadth"):
        small(head_options={"breadth": 3})
    with pytest.raises(ConfigError, match="6 even numbers"):
        small(head_options={"widths": (8, 8)})
    with pytest.raises(ConfigError, match="did you mean 'edn'"):
        small(head="end")
    with pytest.raises(ConfigError, match="expected 4 of strides"):
        EDNHead((8, 16, 32))
    for classes in (0, 3):
        with pytest.raises(ConfigError, match=f"num_classes is {classes}, expected 1"):
            small(num_classes=classes)


def test_weights_of_a_whole_network_come_back(small, tmp_path):
    model = small().eval()
    torch.save(model.state_dict(), tmp_path / "whole.pt")
    again = small(weights=tmp_path / "whole.pt").eval()
    images = torch.randn(1, 3, 40, 56)
    torch.testing.assert_close(again(images), model(images))


def test_weights_of_a_trunk_alone_leave_the_head_new(small, tmp_path):
    model = small()
    state = model.trunk.state_dict() | {"head.weight": torch.randn(10, 32), "head.bias": torch.zeros(10)}
    torch.save(state, tmp_path / "trunk.pt")
    again = small(weights=tmp_path / "trunk.pt")
    for key, tensor in again.trunk.state_dict().items():
        torch.testing.assert_close(tensor, model.trunk.state_dict()[key])
    assert not torch.equal(again.head.conv6.conv1.conv.weight, model.head.conv6.conv1.conv.weight)


def test_weights_of_another_dense_task_leave_the_head_new(small, tmp_path, caplog):
    model = small()
    state = {key: tensor for key, tensor in model.state_dict().items() if key.startswith("trunk.")}
    torch.save(state | {"head.classifier.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with caplog.at_level(logging.WARNING, "volovan"):
        again = small(weights=tmp_path / "other.pt")
    assert "the head edn is new: the file has none for saliency" in caplog.text
    torch.testing.assert_close(again.trunk.state_dict(), model.trunk.state_dict())


@pytest.fixture
def run_of(tmp_path):
    """run_of(model): its file, as a run that has seen mean 0.4 and std 0.3 at 80 pixels writes it."""

    def write(model, task="saliency"):
        seen = replace(model.preprocessing, mean=(0.4,) * 3, std=(0.3,) * 3, input_size=(80, 80))
        about = {"task": task, "config": asdict(model.config), "preprocessing": asdict(seen)}
        write_checkpoint(tmp_path / "run.safetensors", {"model": model.state_dict(), "task": about})
        return tmp_path / "run.safetensors"

    return write


def test_weights_of_a_run_bring_its_mean_and_std(small, run_of):
    seen = small(weights=run_of(small())).preprocessing
    assert (seen.mean, seen.std, seen.input_size) == ((0.4,) * 3, (0.3,) * 3, (80, 80))
    larger = small(weights=run_of(small()), img_size=96).preprocessing
    assert (larger.mean, larger.input_size) == ((0.4,) * 3, (96, 96))


def test_weights_for_the_name_of_a_trunk_bring_their_mean_and_std(run_of):
    ready = load("van_b0", run_of(create_saliency_model("van_b0")), device="cpu")
    assert (ready.transform().mean, ready.transform().std) == ((0.4,) * 3, (0.3,) * 3)


def segmenter_on(trunk):
    """A segmenter with the trunk of this config."""
    options = {key: trunk[key] for key in ("embed_dims", "depths", "mlp_ratios", "norm_eps")}
    return create_segmenter(
        "van", "fpn", 5, trunk_options=options, head_options={"pyramid_channels": 16, "channels": 8}
    )


def test_weights_of_a_segmenter_leave_head_and_imagenet_statistics(small, run_of):
    segmenter = segmenter_on(small().config.trunk)
    path = run_of(segmenter, "segment")
    made = small(weights=path)
    torch.testing.assert_close(made.trunk.state_dict(), segmenter.trunk.state_dict())
    assert made.preprocessing == small().preprocessing
    with pytest.raises(SettingsError, match="is of the trunk van, not of van_b0"):
        load("van_b0", path, device="cpu")


@pytest.mark.parametrize("trunk", ["volo", "lvvit"])
def test_position_embedding_of_a_whole_network_is_resized(small, run_of, trunk, caplog):
    model = small(trunk)
    with caplog.at_level(logging.INFO, "volovan"):
        larger = small(trunk, weights=run_of(model), img_size=96)
    assert "the position embedding was resized from 4x4 to 6x6" in caplog.text
    assert "is new" not in caplog.text
    torch.testing.assert_close(larger.head.state_dict(), model.head.state_dict())
    assert not torch.equal(larger.trunk.pos_embed, small(trunk, img_size=96).trunk.pos_embed)


def test_mmsegmentation_file_is_a_trunk(small, tmp_path, caplog):
    segmenter = segmenter_on({**small().config.trunk, "norm_eps": 1e-5})
    torch.save({"state_dict": to_mmsegmentation(segmenter)}, tmp_path / "theirs.pth")
    with caplog.at_level(logging.INFO, "volovan"):
        made = small(weights=tmp_path / "theirs.pth")
    assert "the head edn is new: the file has none for saliency" in caplog.text
    assert "LayerNorm eps was set from 1e-06 to 1e-05" in caplog.text
    assert made.config.trunk["norm_eps"] == made.trunk.norm1.eps == 1e-5
    torch.testing.assert_close(made.trunk.state_dict(), segmenter.trunk.state_dict())


def test_weights_that_do_not_fit_name_what_the_file_holds(small, run_of):
    with pytest.raises(WeightsError, match=r'It holds volo with edn; use create_saliency_model\("volo", "edn", ...\)'):
        small("van", weights=run_of(small("volo")))
    with pytest.raises(WeightsError, match="a run with other settings; take trunk_options, head_options") as caught:
        small(weights=run_of(small()), head_options={"widths": (8, 16, 16, 16, 16, 16), "extreme": 24, "units": 1})
    assert "strict=False" not in str(caught.value)


def test_weights_of_another_network_are_refused_whole(small, tmp_path):
    torch.save(small().state_dict(), tmp_path / "whole.pt")
    with pytest.raises(WeightsError, match="wrong shape"):
        small(
            weights=tmp_path / "whole.pt", head_options={"widths": (8, 16, 16, 16, 16, 16), "extreme": 24, "units": 1}
        )
