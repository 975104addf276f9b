"""Names of weights, and the table of those that are published."""

from pathlib import Path

import pytest
import torch

import volovan
from networks import golden_state
from volovan.models import weights
from volovan.models.weights import WeightsError, download
from volovan.models.weights.find import config_of, read_weights


def test_foreign_files_build_the_network_for_their_size(file):
    state = volovan.create_model("lvvit_t", img_size=96).state_dict()
    model = volovan.create_model("lvvit_t", weights=file(state))
    assert model.config.img_size == (96, 96)
    assert volovan.create_model("lvvit_t", weights=file(state), img_size=64).config.img_size == 64
    assert config_of(read_weights(file(golden_state("van"), "van.safetensors"), "van"), "van") == {"num_classes": 10}


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("volo_d1", "nothing.pth", "weights nothing.pth: there is no such file"),
        ("volo_d1", "runs/a/best.safetensors", "there is no such file; a name on the hub is written hf:NAME"),
        ("volo_d1", "runs/nothere", "weights runs/nothere: there is no such file; a name on the hub is written hf:"),
        ("volo_d1", "volo_d1_225", "nearest: volo_d1_224"),
        ("volo_d1", "volo_d2_224", r"are for volo_d2, not volo_d1; use create_model\(\"volo_d2\""),
        ("van", None, "no weights of van are published"),
    ],
)
def test_names_that_lead_nowhere_say_where_to_go(name, source, words):
    with pytest.raises(WeightsError, match=words):
        volovan.create_model(name, pretrained=True, weights=source)


@pytest.mark.parametrize("source", ["van_b0", None])
def test_published_weights_come_through_their_row(monkeypatch, tmp_path, source):
    path = tmp_path / "van.pth.tar"
    published = volovan.create_model("van_b0")
    torch.save({"state_dict": published.state_dict()}, path)
    asked = []
    monkeypatch.setattr(download, "fetch", lambda entry: asked.append(entry.name) or path)
    model = volovan.create_model("van_b0", pretrained=True, weights=source, img_size=192)
    assert asked == ["van_b0"]
    assert torch.equal(model.head.weight, published.head.weight)
    assert model.preprocessing.input_size == (192, 192)
    assert model.preprocessing.mean == (0.5, 0.5, 0.5)
    assert model.preprocessing.crop_pct == 0.9


def test_a_folder_named_after_a_model_hides_no_weights(monkeypatch, tmp_path, file):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "van_b0").mkdir()
    (tmp_path / "mine").mkdir()
    path = file(volovan.create_model("van_b0").state_dict())
    monkeypatch.setattr(download, "fetch", lambda entry: path)
    volovan.create_model("van_b0", weights="van_b0")
    with pytest.raises(WeightsError, match="mine is a folder; it holds no weight file"):
        volovan.create_model("van_b0", weights="mine")


def test_published_weights_set_size_and_crop(monkeypatch, file):
    path = file(volovan.create_model("lvvit_t").state_dict())
    monkeypatch.setattr(download, "fetch", lambda entry: path)
    model = volovan.create_model("lvvit_t", pretrained=True, in_chans=1)
    assert model.config.img_size == 224
    assert model.preprocessing.mean == (0.5,)  # three means of the row cannot serve one channel
    assert config_of(read_weights("volo_d5_512", "volo_d5"), "volo_d5") == {"num_classes": 1000, "img_size": 512}
    assert weights.get_entry("volo_d4_224").preprocessing.crop_pct == 1.15


def test_table_lists_every_published_checkpoint():
    names = weights.list_weights()
    assert len(weights.list_weights("volo_d*")) == 11
    assert len(weights.list_weights("van_*")) == 8
    assert len(weights.list_weights("lvvit_*")) == 8
    published = [
        *(f"van_b{i}" for i in range(7)),
        *(f"volo_d{i}" for i in range(1, 6)),
        *(f"lvvit_{i}" for i in "tsml"),
    ]
    for name in published:
        assert weights.default_entry(name) is not None, name
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", weights.list_weights())
def test_table_rows_are_whole(name):
    entry = weights.get_entry(name)
    assert entry.model in volovan.list_models()
    assert entry.preprocessing.input_size == (entry.size, entry.size)
    assert "Apache-2.0" in entry.licence
    assert (entry.published is None) == (entry.num_classes != 1000)
    for source in entry.sources:
        assert bool(source.url) != bool(source.repo and source.file)
        assert source.address.startswith("https://")
        assert source.file_name
        if source.sha256:  # never invented: it stands in the name of the file
            assert source.file_name.endswith(f"-{source.sha256}.pth")


@pytest.mark.parametrize(
    ("model", "name"),
    [("volo_d5", "volo_d5_224"), ("van_b4", "van_b4"), ("van_b6", "van_b6_in22k"), ("lvvit_l", "lvvit_l_448")],
)
def test_table_default_is_imagenet_1k_at_the_smallest_size(model, name):
    assert weights.default_entry(model).name == name
    assert weights.get_entry(model).name == name


def test_documentation_lists_the_rows_of_the_table():
    text = (Path(__file__).parents[2] / "docs" / "weights.md").read_text()
    for name in weights.list_weights():
        entry = weights.get_entry(name)
        top1 = f"{entry.published.top1:g}" if entry.published else "none"
        row = (name, entry.model, entry.size, entry.trained_on, top1, f"{entry.preprocessing.crop_pct:g}")
        line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        assert line.startswith(f"| {' | '.join(map(str, row))} |")
        assert all(source.address in line for source in entry.sources)
