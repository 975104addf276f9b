"""Weights of another shape: heads, channels of the input, position embeddings."""

import json
import logging
from dataclasses import asdict

import pytest
import torch
from torch.testing import assert_close

from networks import FAMILIES, golden, golden_state, tiny
from volovan.files.checkpoint import digest
from volovan.models.weights import WeightsError, load_weights


@FAMILIES
def test_another_number_of_classes_keeps_the_new_head_and_says_so(family, file, caplog):
    model = tiny(family, num_classes=7)
    before = model.head.weight.clone()
    with caplog.at_level(logging.WARNING, "volovan"):
        report = load_weights(model, file(golden_state(family)))
    assert report.notes == ("the head for 7 classes is new: that of the file has 10",)
    assert "the head for 7 classes is new" in caplog.text
    assert torch.equal(model.head.weight, before)
    assert torch.equal(model.state_dict()[key := stem(model)], golden_state(family)[key])


def stem(model):
    return next(f"{name}.weight" for name, m in model.named_modules() if isinstance(m, torch.nn.Conv2d))


@FAMILIES
def test_no_classes_leave_the_head_of_the_file_out(family, file):
    model = tiny(family, num_classes=0)
    report = load_weights(model, file(golden_state(family)))
    assert report.notes == ("the head of the file was left out: the model has none",)


def test_a_trunk_without_head_gets_a_new_one(file):
    trunk = {key: t for key, t in golden_state("volo").items() if not key.startswith(("head.", "aux_head."))}
    report = load_weights(tiny("volo"), file(trunk))
    assert report.notes == ("the head for 10 classes is new: the file has none",)


@FAMILIES
@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_other_channels_adapt_the_first_convolution(family, channels, file):
    model, reference = tiny(family, in_chans=channels), tiny(family)
    path = file(golden_state(family))
    load_weights(reference, path)
    report = load_weights(model, path)
    assert report.notes == (f"the first convolution was adapted from 3 to {channels} input channels",)
    ours, theirs = model.state_dict()[stem(model)], reference.state_dict()[stem(reference)]
    if channels == 1:
        assert_close(ours, theirs.sum(1, keepdim=True))
    else:
        assert_close(ours, torch.stack([theirs[:, i % 3] for i in range(channels)], 1) * 3 / channels)
    if channels in (1, 6):  # whole copies: a grey picture gives the same logits
        grey = torch.rand(1, 1, 64, 64)
        with torch.no_grad():
            got, want = model(grey.expand(1, channels, 64, 64)), reference(grey.expand(1, 3, 64, 64))
        assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_position_embedding_is_resized_as_by_the_official_helper(file):
    tensors = golden("volo")
    narrow = {"embed_dims": (8, 8, 8, 8), "num_heads": (1, 1, 1, 1)}
    state = tiny("volo", **narrow).state_dict() | {"pos_embed": tensors["pe.in"]}
    path = file(state)
    for side in (3, 6, 7):
        model = tiny("volo", **narrow, img_size=16 * side)
        report = load_weights(model, path)
        assert_close(model.pos_embed.detach(), tensors[f"pe.out{side}"], atol=1e-5, rtol=1e-4)
        assert report.notes == (f"the position embedding was resized from 4x4 to {side}x{side}",)
    model = tiny("volo", **narrow)
    assert load_weights(model, path).notes == ()
    assert torch.equal(model.pos_embed, tensors["pe.in"])


def test_position_embedding_of_a_rectangle_keeps_rows_and_columns_apart(file):
    path = file(golden_state("volo"))
    model = tiny("volo", img_size=(48, 128))
    assert load_weights(model, path).notes == ("the position embedding was resized from 4x4 to 3x8",)
    want = torch.nn.functional.interpolate(
        golden_state("volo")["pos_embed"].permute(0, 3, 1, 2), (3, 8), mode="bicubic"
    )
    assert_close(model.pos_embed.detach(), want.permute(0, 2, 3, 1))


def test_lvvit_class_position_is_never_resized(file):
    state = golden_state("lvvit")
    model = tiny("lvvit", img_size=(64, 32))
    assert load_weights(model, file(state)).notes == ("the position embedding was resized from 3x3 to 4x2",)
    assert torch.equal(model.pos_embed[:, 0], state["pos_embed"][:, 0])
    grid = state["pos_embed"][:, 1:].unflatten(1, (3, 3)).permute(0, 3, 1, 2)
    want = torch.nn.functional.interpolate(grid, (4, 2), mode="bicubic").flatten(2).transpose(1, 2)
    assert_close(model.pos_embed[:, 1:].detach(), want)


def test_lvvit_grids_of_equal_count_are_told_apart(file):
    square = tiny("lvvit", img_size=64)
    model = tiny("lvvit", img_size=(32, 128))  # 2 x 8 tokens, as many as 4 x 4
    report = load_weights(model, file(square.state_dict()))
    assert report.notes == ("the position embedding was resized from 4x4 to 2x8",)


def test_lvvit_rectangles_need_the_size_that_our_files_state(file):
    wide = tiny("lvvit", img_size=(32, 96))
    foreign = file(wide.state_dict())
    with pytest.raises(WeightsError, match="pos_embed of 12 tokens, whose grid is unknown"):
        load_weights(tiny("lvvit"), foreign)
    described = json.dumps({"tree": {"task": {"config": asdict(wide.config)}}})
    state = {f"model.{k}": t for k, t in wide.state_dict().items()}
    own = file(state, "own.safetensors", volovan=described, sha256=digest(state, described))
    report = load_weights(tiny("lvvit"), own)
    assert report.notes == ("the position embedding was resized from 2x6 to 3x3",)
