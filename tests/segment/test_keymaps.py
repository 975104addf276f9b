"""Weights of segmenters: names of mmsegmentation, whole networks, trunks alone, and refusals that load nothing."""

import logging
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import save_file

import volovan
from volovan.files.checkpoint import write_checkpoint
from volovan.models.preprocessing import IMAGENET_MEAN
from volovan.models.weights import WeightsError, load_weights, to_mmpretrain
from volovan.segment.network import create_segmenter, to_mmsegmentation

VAN = {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 2, 1), "mlp_ratios": (2, 2, 2, 2)}
VOLO = {"depths": (1, 1), "embed_dims": (16, 32), "num_heads": (1, 2), "mlp_ratios": (2, 2), "mixers": ("outlook", "attention"), "downsamples": (True, False), "stem_width": 8}  # fmt: skip  # noqa: E501
HEADS = {
    "fpn": {"pyramid_channels": 16, "channels": 8},
    "upernet": {"channels": 16},
    "ham": {"channels": 32, "rank": 4},
}
NAMES = """
trunk.patch_embed1.proj.weight                   | backbone.patch_embed1.proj.weight
trunk.block3.1.mlp.dwconv.dwconv.bias            | backbone.block3.1.mlp.dwconv.dwconv.bias
trunk.norm4.weight                               | backbone.norm4.weight
head.lateral_convs.0.weight                      | neck.lateral_convs.0.conv.weight
head.fpn_convs.3.bias                            | neck.fpn_convs.3.conv.bias
head.scale_heads.0.0.conv.weight                 | decode_head.scale_heads.0.0.conv.weight
head.scale_heads.3.4.bn.running_var              | decode_head.scale_heads.3.4.bn.running_var
head.classifier.conv.bias                        | decode_head.conv_seg.bias
head.decoder.psp_modules.3.1.conv.weight         | decode_head.psp_modules.3.1.conv.weight
head.decoder.psp_modules.0.1.batch_norm.bias     | decode_head.psp_modules.0.1.bn.bias
head.decoder.bottleneck.conv.weight              | decode_head.bottleneck.conv.weight
head.decoder.lateral_convs.2.batch_norm.weight   | decode_head.lateral_convs.2.bn.weight
head.decoder.fpn_convs.0.conv.weight             | decode_head.fpn_convs.0.conv.weight
head.decoder.fpn_bottleneck.batch_norm.running_mean | decode_head.fpn_bottleneck.bn.running_mean
aux_head.conv.conv.weight                        | auxiliary_head.convs.0.conv.weight
aux_head.conv.bn.num_batches_tracked             | auxiliary_head.convs.0.bn.num_batches_tracked
aux_head.classifier.conv.weight                  | auxiliary_head.conv_seg.weight
"""
ROWS = [tuple(name.strip() for name in line.split("|")) for line in NAMES.strip().splitlines()]


def network(head="fpn", classes=5, seed=0, family="van", **options):
    torch.manual_seed(seed)
    trunk = {**(VAN if family == "van" else VOLO), **options}
    model = create_segmenter(family, head, classes, img_size=64, trunk_options=trunk, head_options=HEADS[head]).eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():  # no ones and zeros, which every norm has
                tensor.copy_(0.1 + 0.2 * torch.rand_like(tensor))
    return model


@pytest.fixture
def file(tmp_path):
    def write(state, name="a.pth"):
        torch.save({"meta": {"epoch": 1}, "state_dict": state}, tmp_path / name)
        return tmp_path / name

    return write


def same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("head", ["fpn", "upernet"])
def test_mmsegmentation_round_trip_is_bit_equal(head, file):
    model = network(head, norm_eps=1e-5)
    theirs = to_mmsegmentation(model)
    assert all(key.startswith(("backbone.", "neck.", "decode_head.", "auxiliary_head.")) for key in theirs)
    other = network(head, seed=1, norm_eps=1e-5)
    report = load_weights(other, file(theirs))
    assert (report.layout, report.loaded, report.notes) == ("mmsegmentation", len(theirs), ())
    same(other.state_dict(), model.state_dict())
    same(to_mmsegmentation(other), theirs)


def test_mmsegmentation_names_are_those_written_out():
    for head in ("fpn", "upernet"):
        model = network(head, norm_eps=1e-5)
        ours, theirs = model.state_dict(), to_mmsegmentation(model)
        rows = [row for row in ROWS if row[0] in ours]
        assert len(rows) >= 8
        for our_name, their_name in rows:
            assert torch.equal(ours[our_name], theirs[their_name])
        assert len(theirs) == len(ours)
    assert {row[0] for row in ROWS} <= {*network("fpn").state_dict(), *network("upernet").state_dict()}


def test_mmsegmentation_of_version_one_has_one_level_less(file):
    model = network(norm_eps=1e-5)
    theirs = {key.replace("dwconv.dwconv", "dwconv"): tensor for key, tensor in to_mmsegmentation(model).items()}
    theirs["data_preprocessor.mean"] = torch.zeros(3, 1, 1)
    other = network(seed=1, norm_eps=1e-5)
    load_weights(other, file({f"module.{key}": tensor for key, tensor in theirs.items()}))
    same(other.state_dict(), model.state_dict())


def test_mmsegmentation_brings_its_eps_and_its_normalisation(file):
    model = network(norm_eps=1e-5)
    other = network(seed=1)
    assert other.trunk.norm1.eps == 1e-6
    assert other.preprocessing.mean == (0.5, 0.5, 0.5)
    report = load_weights(other, file(to_mmsegmentation(model)))
    assert "LayerNorm eps was set from 1e-06 to 1e-05" in report.notes[0]
    assert {other.trunk.get_submodule(f"norm{i}").eps for i in (1, 2, 3, 4)} == {1e-5}
    assert other.config.trunk["norm_eps"] == other.trunk.config.norm_eps == 1e-5
    assert other.preprocessing.mean == IMAGENET_MEAN
    image = 1e-3 * torch.randn(1, 3, 64, 64)  # small activations, where the eps shows
    assert torch.equal(other(image), model(image))
    for i in (1, 2, 3, 4):
        other.trunk.get_submodule(f"norm{i}").eps = 1e-6
    assert not torch.equal(other(image), model(image))


def test_writing_for_mmsegmentation_warns_of_another_eps(caplog):
    with caplog.at_level(logging.WARNING, logger="volovan"):
        to_mmsegmentation(network())
    assert "eps of 1e-05, this network has 1e-06" in caplog.text


@pytest.mark.parametrize(
    ("head", "family", "message"),
    [("ham", "van", "has the heads fpn and upernet, found ham"), ("fpn", "volo", "has VAN only, found VOLO")],
    ids=["ham", "volo"],
)
def test_writing_for_mmsegmentation_refuses_what_it_has_not(head, family, message):
    with pytest.raises(WeightsError, match=message):
        to_mmsegmentation(network(head, family=family))


# Whole networks of ours


@pytest.mark.parametrize("family", ["van", "volo"])
@pytest.mark.parametrize("head", ["fpn", "ham"])
def test_own_network_comes_back_bit_equal(head, family, file):
    model, other = network(head, family=family), network(head, seed=1, family=family)
    report = load_weights(other, file(model.state_dict()))
    assert (report.layout, report.notes) == ("volovan", ())
    same(other.state_dict(), model.state_dict())


def test_another_number_of_classes_gets_a_new_classifier_and_says_so(file):
    model = network("upernet", classes=7)
    other = network("upernet", classes=5, seed=1)
    before = {key: tensor.clone() for key, tensor in other.state_dict().items()}
    report = load_weights(other, file(model.state_dict()))
    assert report.notes == ("the classifier for 5 classes is new: that of the file has 7",)
    for key, tensor in other.state_dict().items():
        assert torch.equal(tensor, (before if "classifier" in key else model.state_dict())[key])


def test_auxiliary_head_may_be_missing_on_either_side(file):
    model = network("upernet")
    bare = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("aux_head.")}
    report = load_weights(network("upernet", seed=1), file(bare))
    assert report.notes == ("the auxiliary head is new: the file has none",)
    without = create_segmenter(
        "van", "upernet", 5, trunk_options=VAN, head_options={**HEADS["upernet"], "auxiliary": False}
    )
    report = load_weights(without, file(model.state_dict()))
    assert report.notes == ("the auxiliary head of the file was left out: the model has none",)
    same(without.state_dict(), bare)


# Trunks alone


@pytest.mark.parametrize("family", ["van", "volo"])
def test_trunk_of_a_classifier_gets_a_new_head_and_says_so(family, file):
    torch.manual_seed(2)
    options = VAN if family == "van" else VOLO
    classifier = volovan.create_model(family, num_classes=10, img_size=64, **options)
    model = network(family=family)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    report = load_weights(model, file(classifier.state_dict()))
    assert report.notes == ("the head fpn is new: the file has none for segmentation",)
    source = classifier.state_dict()
    for key, tensor in model.state_dict().items():
        trunk = key.startswith("trunk.")
        assert torch.equal(tensor, source[key.removeprefix("trunk.")] if trunk else before[key])


def test_trunk_in_the_names_of_others_is_recognised(file):
    classifier = volovan.create_model("van", num_classes=10, **VAN)
    model = network()
    report = load_weights(model, file(to_mmpretrain(classifier)))
    assert report.layout == "trunk, mmpretrain"
    assert torch.equal(model.trunk.block3[1].mlp.fc1.weight, classifier.block3[1].mlp.fc1.weight)


def test_trunk_of_another_task_is_taken_with_its_pyramid(file):
    model, other = network(family="volo"), network(family="volo", seed=1)
    state = {key.replace("head.", "head.conv6.", 1): tensor for key, tensor in model.state_dict().items()}
    report = load_weights(other, file(state))
    assert report.notes == ("the head fpn is new: the file has none for segmentation",)
    assert torch.equal(other.pyramid.norms[0].weight, model.pyramid.norms[0].weight)
    assert not torch.equal(other.head.classifier.conv.weight, model.head.classifier.conv.weight)


def test_position_embedding_is_resized_to_the_crop(file):
    classifier = volovan.create_model("volo", num_classes=10, img_size=96, **VOLO)
    model = network(family="volo")
    report = load_weights(model, file(classifier.state_dict()))
    assert any("position embedding was resized from" in note for note in report.notes)


def test_position_embedding_of_a_whole_network_is_resized(file):
    model = network(family="volo")
    larger = create_segmenter(
        "volo", "fpn", 5, img_size=96, weights=file(model.state_dict()), trunk_options=VOLO, head_options=HEADS["fpn"]
    )
    same(larger.head.state_dict(), model.head.state_dict())
    assert larger.trunk.pos_embed.shape != model.trunk.pos_embed.shape


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "trunk"])
def test_run_brings_its_mean_and_std(whole, tmp_path):
    model = network()
    source = model if whole else volovan.create_model("van", num_classes=10, img_size=64, **VAN)
    seen = replace(source.preprocessing, mean=(0.4,) * 3, std=(0.3,) * 3)
    about = {"config": asdict(source.config), "preprocessing": asdict(seen)}
    write_checkpoint(tmp_path / "run.safetensors", {"model": source.state_dict(), "task": about})
    other = network(seed=1)
    load_weights(other, tmp_path / "run.safetensors")
    assert (other.preprocessing.mean, other.preprocessing.std) == ((0.4,) * 3, (0.3,) * 3)


def test_create_segmenter_takes_weights(file):
    model = network("fpn", classes=5)
    made = create_segmenter(
        "van", "fpn", 5, weights=file(model.state_dict()), trunk_options=VAN, head_options=HEADS["fpn"]
    )
    same(made.state_dict(), model.state_dict())


# Refusals


def refusal(model, path):
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(model, path)
    same(model.state_dict(), before)
    return str(caught.value)


def test_another_head_is_named_and_nothing_is_loaded(file):
    said = refusal(network("fpn"), file(network("ham").state_dict()))
    assert "does not fit van with fpn; nothing was loaded. It holds van with ham" in said
    assert "missing (" in said
    assert "unexpected (" in said


def test_another_trunk_is_named_and_nothing_is_loaded(file):
    with torch.device("meta"):
        published = create_segmenter("van_b0", "fpn", 5).state_dict()
    state = {key: torch.zeros(tensor.shape, dtype=tensor.dtype) for key, tensor in published.items()}
    said = refusal(network("fpn"), file(state))
    assert 'It holds van_b0 with fpn; use create_segmenter("van_b0", "fpn", ...)' in said
    listed = next(line for line in said.splitlines() if "wrong shape (" in line)
    assert listed.count(" instead of ") == 10  # and so many more


@pytest.mark.parametrize("broken", ["missing", "unexpected", "shape"])
def test_one_wrong_tensor_is_named_and_nothing_is_loaded(broken, file):
    state = dict(network("fpn").state_dict())
    key = "head.fpn_convs.1.weight"
    if broken == "missing":
        del state[key]
    elif broken == "shape":
        state[key] = state[key][:-1]
    else:
        state[key + "s"] = state[key]
    said = refusal(network("fpn", seed=1), file(state))
    assert key in said
    assert ("16x16x3x3" in said) == (broken == "shape")


def test_published_weights_of_another_model_are_refused_before_any_download():
    with pytest.raises(WeightsError, match="van_b2 are for van_b2, not van"):
        load_weights(network(), "van_b2")


def test_file_without_any_network_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert "holds no VOLO, VAN or LV-ViT" in refusal(network(), tmp_path / "a.safetensors")
