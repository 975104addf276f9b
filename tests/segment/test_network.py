"""create_segmenter: every trunk with every head, any size, the same network again from its config."""

import json
from dataclasses import asdict

import pytest
import torch

import volovan
from volovan.engine.checkpoint import CheckpointFolder
from volovan.models.dense import DenseConfig, build_dense
from volovan.segment.inference import segment
from volovan.segment.network import Segmenter, create_segmenter
from volovan.segment.recipe import TestSettings

TRUNKS = {
    "van": {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "mlp_ratios": [2, 2, 2, 2]},
    "volo": {
        "depths": [1, 1],
        "embed_dims": [24, 48],
        "num_heads": [2, 4],
        "mlp_ratios": [2, 2],
        "mixers": ["outlook", "attention"],
        "downsamples": [True, False],
        "stem_width": 8,
    },
    "lvvit": {"depth": 4, "embed_dim": 32, "num_heads": 2, "stem_width": 8},
}
HEADS = {
    "fpn": {"pyramid_channels": 16, "channels": 16},
    "upernet": {"channels": 16},
    "ham": {"channels": 32, "rank": 4},
}


def small(trunk="van", head="fpn", **more):
    torch.manual_seed(0)
    options = {"trunk_options": TRUNKS[trunk], "head_options": HEADS[head], "img_size": 64, **more}
    return create_segmenter(trunk, head, 5, **options)


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("trunk", list(TRUNKS))
def test_every_pair_answers_at_the_size_of_the_picture(trunk, head):
    model = small(trunk, head).eval()
    with torch.no_grad():
        for size in ((64, 64), (97, 131), (20, 40)):
            assert model(torch.randn(1, 3, *size)).shape == (1, 5, *size)
    assert len(model(torch.randn(2, 3, 64, 64), deep=True)) == 1
    assert len(model.train()(torch.randn(2, 3, 64, 64), deep=True)) == (2 if head == "upernet" else 1)


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("trunk", list(TRUNKS))
def test_every_parameter_learns(trunk, head):
    model = small(trunk, head)
    sum(m.square().mean() for m in model(torch.randn(2, 3, 64, 64), deep=True)).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("trunk", list(TRUNKS))
def test_a_config_builds_the_network_again_from_json(trunk, head):
    model = small(trunk, head).eval()
    again = build_dense(Segmenter, DenseConfig(**json.loads(json.dumps(asdict(model.config))))).eval()
    again.load_state_dict(model.state_dict())
    image = torch.randn(1, 3, 70, 90)
    with torch.no_grad():
        torch.testing.assert_close(again(image), model(image))


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("training", [False, True])
def test_costs_can_be_counted_on_the_meta_device(head, training):
    model = small(head=head).to("meta").train(training)
    assert model(torch.empty(2, 3, 64, 96, device="meta")).shape == (2, 5, 64, 96)


def test_the_public_door_is_the_same():
    assert volovan.create_segmenter is create_segmenter


@pytest.mark.parametrize(("head", "side"), [("upernet", 64), ("fpn", 32), ("ham", 32)])
def test_too_little_for_batchnorm_is_refused_in_one_sentence(head, side):
    model = small(head=head)
    with pytest.raises(ValueError, match=f"of {side} x {side} leaves BatchNorm .* head {head}; train with two"):
        model(torch.randn(1, 3, side, side))
    assert model(torch.randn(2, 3, side, side)).shape == (2, 5, side, side)
    assert model.eval()(torch.randn(1, 3, side, side)).shape == (1, 5, side, side)


def test_the_auxiliary_head_is_computed_in_training_only():
    model, calls = small(head="upernet"), []
    model.aux_head.register_forward_hook(lambda *_: calls.append(1))
    windows = TestSettings(mode="slide", window=32, stride=32, flip=True)
    segment(model.eval(), torch.randn(3, 64, 64), (64, 64), windows)
    assert calls == []
    model.train()(torch.randn(2, 3, 64, 64), deep=True)
    assert calls == [1]


def test_the_auxiliary_head_can_be_left_out():
    model = small(head="upernet", head_options={"channels": 16, "auxiliary": False})
    assert model.aux_head is None
    assert len(model(torch.randn(2, 3, 64, 64), deep=True)) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"head": "fpm"}, "no head 'fpm'; did you mean 'fpn'"),
        ({"trunk": "van_b9"}, "no model 'van_b9'"),
        ({"num_classes": 0}, "num_classes is 0, expected an integer of at least 1"),
        ({"num_classes": "5"}, "num_classes is '5', expected an integer"),
        ({"trunk_options": {"num_classes": 7}}, "num_classes is that of the head"),
        ({"head_options": {"chanels": 3}}, "the head 'fpn' has no option 'chanels'; did you mean 'channels'"),
        ({"trunk_options": {"depht": 3}}, "no setting 'depht'"),
    ],
    ids=["head", "trunk", "classes", "text", "trunk classes", "head option", "trunk option"],
)
def test_mistakes_are_named(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        create_segmenter(**{"trunk": "van_b0", **words})


def test_a_run_folder_is_taken_as_weights(tmp_path):
    model = small()
    folder = CheckpointFolder(tmp_path / "run" / "checkpoints", 1)
    folder.save(1, {"model": model.state_dict(), "task": {"task": "segment"}, "state": {}}, True)
    again = small(weights=tmp_path / "run")
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], tensor)


@pytest.mark.parametrize("size", [(64, 96), (45, 70), (97, 131)], ids=["multiples", "small", "odd"])
@pytest.mark.parametrize("head", list(HEADS))
def test_a_picture_as_it_is_gets_the_argmax_of_forward(head, size):
    """The bands of inference and the resize of `forward` agree at every size, padding included."""
    model = small(head=head).eval()
    image = torch.randn(3, *size)
    with torch.no_grad():
        expected = model(image[None])[0].argmax(0)
    found = segment(model, image, size, TestSettings(multiple=1))
    assert float((found != expected).float().mean()) < 2e-3  # ties


@pytest.mark.slow
@pytest.mark.parametrize("head", ["fpn", "upernet"])
def test_networks_are_exported_at_any_size(head):
    """From 65 pixels on: at 64 and less a map of one row would become a special case of the graph."""
    model = small(head=head).eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    height, width = (torch.export.Dim(name, min=65, max=4096) for name in ("height", "width"))
    image = torch.randn(2, 3, 96, 128)
    program = torch.export.export(model, (image,), dynamic_shapes=({0: batch, 2: height, 3: width},))
    other = torch.randn(3, 3, 97, 161)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(other), model(other), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["fpn", "upernet", "ham"])
def test_compiled_networks_take_every_size(head):
    """The second size makes sizes unknown, and whether a side is padded has graphs of its own."""
    model = small(head=head).eval()
    compiled = torch.compile(model)
    for size in ((96, 128), (128, 224), (97, 131), (131, 97)):
        image = torch.randn(2, 3, *size)
        with torch.no_grad():
            torch.testing.assert_close(compiled(image), model(image), atol=1e-4, rtol=1e-4)
