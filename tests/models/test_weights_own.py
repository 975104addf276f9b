"""Checkpoints of our own runs as weights: they bring settings, preprocessing and an average, and know their digest."""

import json
from dataclasses import asdict

import pytest
import torch

import volovan
from networks import tiny
from volovan.files.checkpoint import digest, write_checkpoint
from volovan.models.weights import WeightsError, load_weights, safe_read


def own_checkpoint(file, model, **ema):
    said = {"config": asdict(model.config), "preprocessing": asdict(model.preprocessing), "classes": ["a"]}
    state = {f"model.{key}": t for key, t in model.state_dict().items()} | {f"ema.{k}": t for k, t in ema.items()}
    text = json.dumps({"format": "x", "tree": {"task": said}})
    return file(state, "best.safetensors", volovan=text, sha256=digest(state, text))


def test_own_checkpoints_bring_config_and_preprocessing(file):
    from dataclasses import replace

    trained = tiny("volo", drop_path_rate=0.3)
    trained.preprocessing = replace(trained.preprocessing, mean=(0.1, 0.2, 0.3), crop_pct=0.8)
    path = own_checkpoint(file, trained)
    model = volovan.create_model("volo", weights=path, num_classes=10)
    assert model.config == replace(trained.config, drop_path_rate=0.0)
    assert model.preprocessing == trained.preprocessing
    assert torch.equal(model.pos_embed, trained.pos_embed)
    bigger = volovan.create_model("volo", weights=path, num_classes=10, img_size=96)
    assert bigger.preprocessing == replace(trained.preprocessing, input_size=(96, 96))
    with pytest.raises(WeightsError, match="does not fit volo_d1"):
        volovan.create_model("volo_d1", weights=path)


def test_own_checkpoints_are_refused_when_one_byte_differs(tmp_path):
    """Written by the engine: its digest and the one that is checked here must agree."""
    trained, path = tiny("van"), tmp_path / "best.safetensors"
    task = {"config": asdict(trained.config), "preprocessing": asdict(trained.preprocessing)}
    state = {"half": torch.ones(3, dtype=torch.bfloat16), "none": torch.zeros(0), "step": torch.tensor(3)}
    write_checkpoint(path, {"model": trained.state_dict(), "task": task, "optimizer": state})
    assert torch.equal(volovan.create_model("van", weights=path, num_classes=10).head.bias, trained.head.bias)
    content = path.read_bytes()
    for at, byte in ((len(content) - 1000, content[-1000] ^ 1), (content.index(b"crop_pct"), ord("d"))):
        path.write_bytes(content[:at] + bytes([byte]) + content[at + 1 :])
        model = tiny("van")
        before = model.head.bias.clone()
        with pytest.raises(WeightsError, match=r"best\.safetensors is damaged: its content does not fit its digest"):
            load_weights(model, path)
        with pytest.raises(WeightsError, match="is damaged"):
            volovan.create_model("van", weights=path)
        assert torch.equal(model.head.bias, before)


def test_own_checkpoints_of_another_network_name_it(file):
    path = own_checkpoint(file, tiny("van"))
    with pytest.raises(WeightsError) as error:
        volovan.create_model("van_b1", weights=path)
    assert str(error.value) == (
        "best.safetensors does not fit van_b1; nothing was loaded. This file is a run of `van` with other settings; "
        f'use create_model("van", weights="{path}")'
    )
    assert error.value.typed("fit").endswith("; add --model.name van")
    with pytest.raises(WeightsError, match=r'create_model\("van", weights=".*"\) takes its settings from the file'):
        load_weights(tiny("van", embed_dims=(8, 16, 32, 32)), path)


def test_own_checkpoints_prefer_the_average(file):
    trained = tiny("van")
    path = own_checkpoint(file, trained, **{"head.bias": torch.full((10,), 3.0)})
    model = tiny("van")
    report = load_weights(model, path)
    assert report.notes == ("the averaged weights (EMA) of the run were taken",)
    assert torch.equal(model.head.bias, torch.full((10,), 3.0))
    load_weights(model, path, ema=False)
    assert torch.equal(model.head.bias, trained.head.bias)


def test_a_run_folder_gives_its_best_checkpoint(tmp_path):
    trained = tiny("van")
    about = {"task": "classify", "config": asdict(trained.config), "preprocessing": asdict(trained.preprocessing)}
    best = tmp_path / "run" / "checkpoints" / "best.safetensors"
    write_checkpoint(best, {"model": trained.state_dict(), "task": about})
    again = volovan.create_model("van", weights=tmp_path / "run", num_classes=10)
    assert again.config.embed_dims == trained.config.embed_dims
    assert torch.equal(again.head.bias, trained.head.bias)


def test_a_file_is_read_once(file, monkeypatch):
    read = []
    monkeypatch.setattr("volovan.models.weights.find.safe_read", lambda path: read.append(path) or safe_read(path))
    volovan.create_model("lvvit_t", weights=file(volovan.create_model("lvvit_t").state_dict()))
    assert len(read) == 1


def test_a_dense_network_is_no_backbone(tmp_path):
    net = volovan.create_segmenter(
        "van", num_classes=3, trunk_options={"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1)}
    )
    write_checkpoint(tmp_path / "a.safetensors", {"model": net.state_dict(), "task": {"task": "segment"}})
    with pytest.raises(WeightsError, match=r"a dense task, not a backbone; volovan\.load opens it"):
        volovan.create_model("van_b0", weights=tmp_path / "a.safetensors")
