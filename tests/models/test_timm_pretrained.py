"""Weights through timm's doors: pretrained configs, files of every layout, what timm saves."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from networks import TINY, VARIANTS, family_of, golden_in_timm, golden_state, tiny_in_timm
from volovan.models import weights


def test_data_config_is_that_of_the_weights():
    config = timm.data.resolve_model_data_config(tiny_in_timm("van_b0"))
    assert config["mean"] == config["std"] == (0.5, 0.5, 0.5)
    assert config["crop_pct"] == 0.9
    assert config["interpolation"] == "bicubic"
    cfg = timm.get_pretrained_cfg("volo_d5.volovan_512")
    assert cfg.input_size == (3, 512, 512)
    assert cfg.crop_pct == 1.15
    assert cfg.hf_hub_id == "timm/volo_d5_512.sail_in1k"
    assert cfg.license == "apache-2.0"
    assert timm.get_pretrained_cfg("van_b6.volovan_in22k").num_classes == 21841


@pytest.mark.parametrize("layout", ["original", "mmpretrain", "transformers"])
def test_pretrained_files_of_every_layout_are_read(tmp_path, layout):
    writers = {
        "original": weights.to_original,
        "mmpretrain": weights.to_mmpretrain,
        "transformers": weights.to_huggingface,
    }
    source = golden_in_timm("van_b0")
    path = tmp_path / "van.pth"
    torch.save({"state_dict": writers[layout](source)}, path)
    model = tiny_in_timm("van_b0", pretrained=True, pretrained_cfg_overlay={"file": str(path), "num_classes": 10})
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), source.state_dict().values(), strict=True)
    )


def test_pretrained_weights_are_adapted(tmp_path):
    path = tmp_path / "volo.safetensors"
    save_file(golden_state("volo"), path)
    overlay = {"file": str(path), "num_classes": 10}
    model = tiny_in_timm(
        "volo_d1", pretrained=True, pretrained_cfg_overlay=overlay, img_size=(48, 96), num_classes=4, in_chans=1
    )
    state = golden_state("volo")
    assert torch.equal(model.norm.weight, state["norm.weight"])
    assert_close(model.patch_embed.conv[0].weight.detach(), state["patch_embed.conv.0.weight"].sum(1, keepdim=True))
    assert model.pos_embed.shape[1:3] == (3, 6)
    net = tiny_in_timm("volo_d1", features_only=True, pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(net.model.network[0][0].attn.v.weight, state["network.0.0.attn.v.weight"])


@pytest.mark.parametrize(("variant", "fetcher"), [("van_b0", "hub"), ("lvvit_s", "url")])
def test_pretrained_goes_through_the_row_of_the_table(monkeypatch, tmp_path, variant, fetcher):
    """timm fetches what its pretrained_cfg names; the file is read by us."""
    path = tmp_path / "weights.pth.tar"
    torch.save({"state_dict": golden_state(family_of(variant))}, path)
    asked = []

    def hub(model_id, filename, **_kwargs):
        asked.append(f"{model_id}/{filename}")
        return str(path)

    def cached(url, **_kwargs):
        asked.append(url)
        return str(path)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", hub)
    monkeypatch.setattr("timm.models._builder.download_cached_file", cached)
    model = tiny_in_timm(variant, pretrained=True)
    assert torch.equal(model.head.weight, golden_state(family_of(variant))["head.weight"])
    want = {
        "hub": "Visual-Attention-Network/VAN-Tiny-original/van_tiny_754.pth.tar",
        "url": "lvvit_s-26M-224-83.3.pth.tar",
    }
    assert asked[0].endswith(want[fetcher])


def test_misfitting_files_are_refused(tmp_path):
    torch.save(golden_state("van"), tmp_path / "a.pth")
    with pytest.raises(weights.WeightsError, match="do not fit volo_d1"):
        tiny_in_timm("volo_d1", pretrained=True, pretrained_cfg_overlay={"file": str(tmp_path / "a.pth")})


def test_checkpoint_path_of_timm_loads(tmp_path):
    torch.save({"state_dict": golden_state("van")}, tmp_path / "a.pth")
    model = tiny_in_timm("van_b0", checkpoint_path=str(tmp_path / "a.pth"))
    assert torch.equal(model.head.weight, golden_state("van")["head.weight"])


@VARIANTS
def test_models_saved_by_timm_open_again(tmp_path, variant):
    model = golden_in_timm(variant)
    timm.models.save_for_hf(model, tmp_path, model_args=TINY[family_of(variant)], safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert_close(again(x), model(x))
