"""Loading into models: golden outputs, timm both ways, misfits, and what is reported."""

import re

import pytest
import torch
from torch.testing import assert_close

import volovan
from networks import FAMILIES, TINY, golden, golden_state, tiny
from volovan.models import weights
from volovan.models.weights import WeightsError, load_weights

# Plain loading


@FAMILIES
def test_loaded_weights_give_the_golden_logits(family, file):
    model = tiny(family)
    report = load_weights(model, file(golden_state(family)))
    tensors = golden(family)
    assert report.loaded == len(golden_state(family))
    assert not report.missing
    assert not report.notes
    with torch.no_grad():
        assert_close(model(tensors["input"]), tensors["output"], atol=1e-5, rtol=1e-4)


@FAMILIES
def test_weights_argument_of_create_model_loads(family, file):
    path = file(golden_state(family))
    model = tiny(family, weights=path)
    with torch.no_grad():
        assert_close(model(golden(family)["input"]), golden(family)["output"], atol=1e-5, rtol=1e-4)


def test_half_precision_files_are_cast_to_the_model(file):
    model = tiny("van")
    load_weights(model, file({k: t.half() if t.is_floating_point() else t for k, t in golden_state("van").items()}))
    assert model.head.weight.dtype == torch.float32
    assert_close(model.head.weight, golden_state("van")["head.weight"].half().float())


def test_wrapped_models_are_unwrapped(file):
    model = tiny("van")
    wrapped = torch.nn.Module()
    wrapped.module = model
    load_weights(wrapped, file(golden_state("van")))
    assert torch.equal(model.head.bias, golden_state("van")["head.bias"])
    with pytest.raises(WeightsError, match="expects a network of volovan, found Linear"):
        load_weights(torch.nn.Linear(2, 2), file(golden_state("van")))


# timm, both ways


def timm_volo():
    from timm.models.volo import VOLO

    ours = dict(TINY["volo"])
    theirs = {"layers": ours.pop("depths"), "stem_hidden_dim": ours.pop("stem_width"), "mlp_ratio": 3}
    return VOLO(**ours, **theirs, num_classes=10).eval()


def test_volo_weights_go_to_timm_and_back(file):
    ours, theirs = tiny("volo"), timm_volo()
    load_weights(ours, file(golden_state("volo")))
    theirs.load_state_dict(weights.to_timm(ours), strict=True)
    with torch.no_grad():
        x = golden("volo")["input"]
        assert_close(theirs(x), ours(x), atol=1e-5, rtol=0)
        again = tiny("volo")
        load_weights(again, file(theirs.state_dict(), "timm.safetensors"))
        assert torch.equal(again(x), ours(x))


@pytest.mark.slow
@pytest.mark.parametrize("size", [224, 384])
def test_volo_d1_equals_timm(size, tmp_path):
    import timm

    theirs = timm.create_model(f"volo_d1_{size}").eval()
    with torch.no_grad():
        for name, tensor in theirs.state_dict().items():  # far from the initial values, statistics included
            if tensor.is_floating_point():
                tensor.add_(0.02 * torch.randn_like(tensor)).abs_() if "running_var" in name else tensor.add_(
                    0.02 * torch.randn_like(tensor)
                )
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "a.pth.tar")
    ours = volovan.create_model("volo_d1", weights=tmp_path / "a.pth.tar").eval()
    assert ours.config.img_size == (size, size)
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


# Misfits


def snapshot(model):
    return {key: t.clone() for key, t in model.state_dict().items()}


def unchanged(model, before):
    return all(torch.equal(t, before[key]) for key, t in model.state_dict().items())


def test_a_misfit_is_reported_and_loads_nothing(file):
    state = golden_state("van")
    state["norm2.weight"] = torch.ones(17)
    del state["head.bias"]
    state["spare.weight"] = torch.ones(1)
    model = tiny("van")
    before = snapshot(model)
    with pytest.raises(WeightsError) as error:
        load_weights(model, file(state))
    text = str(error.value)
    assert "weights.safetensors does not fit van; nothing was loaded" in text
    assert "missing (1): head.bias" in text
    assert "unexpected (1): spare.weight" in text
    assert "wrong shape (1): norm2.weight 17 instead of 16" in text
    assert unchanged(model, before)


def test_a_report_lists_ten_of_each_and_counts_the_rest(file):
    state = {key: t for key, t in golden_state("van").items() if not key.startswith("block3")}
    with pytest.raises(WeightsError) as error:
        load_weights(tiny("van"), file(state))
    found = re.search(r"missing \((\d+)\): (.*?) and (\d+) more", str(error.value))
    assert int(found[1]) == 10 + int(found[3])
    assert len(found[2].split(", ")) == 10


def test_another_variant_is_recognised_by_its_shapes(file):
    path = file(volovan.create_model("van_b0", num_classes=3).state_dict(), "volo_d1.safetensors")
    model = volovan.create_model("van_b1")
    before = snapshot(model)
    with pytest.raises(WeightsError, match=r"volo_d1\.safetensors holds van_b0, not van_b1; nothing was loaded"):
        load_weights(model, path)
    assert unchanged(model, before)


def test_strict_off_takes_what_there_is_but_no_wrong_shape(file):
    state = golden_state("van")
    del state["norm2.weight"]
    state["spare.weight"] = torch.ones(1)
    path = file(state)
    with pytest.raises(WeightsError, match="strict=False loads what there is"):
        load_weights(tiny("van"), path)
    report = load_weights(tiny("van"), path, strict=False)
    assert report.missing == ("norm2.weight",)
    assert report.unexpected == ("spare.weight",)
    assert report.loaded == 177
    with pytest.raises(WeightsError, match="wrong shape"):
        load_weights(tiny("van"), file(state | {"norm3.weight": torch.ones(3)}), strict=False)
    with pytest.raises(WeightsError, match="does not fit"):
        load_weights(tiny("volo"), file(golden_state("van")), strict=False)


def test_missing_batch_counters_are_no_misfit(file):
    state = {key: t for key, t in golden_state("van").items() if "num_batches_tracked" not in key}
    report = load_weights(tiny("van"), file(state))
    assert not report.missing


def test_report_reads_as_one_line(file):
    text = str(load_weights(tiny("van", num_classes=3), file(golden_state("van"))))
    assert text == (
        "176 tensors from weights.safetensors (original VAN); the head for 3 classes is new: that of the file has 10"
    )
