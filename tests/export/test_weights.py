"""Weights for others and packages: read by those whose names they have, with the same answers."""

import json
import subprocess
import sys

import pytest
import timm
import torch
from safetensors.torch import load_file

import volovan
import volovan.models.timm
from exported import odd_pictures, ready, with_weights_of
from volovan.classify.targets import Outputs
from volovan.exports.about import ExportError
from volovan.exports.package import write_package
from volovan.exports.weights import write_huggingface, write_original, write_timm
from volovan.models.weights import load_weights
from volovan.room.network import describe
from volovan.use.rooms import ROOMS


def published(name, **options):
    """A variant in use, of random weights."""
    torch.manual_seed(0)
    model = volovan.create_model(name, num_classes=3, **options).eval()
    said = describe("classify", model, ("a", "b", "c"), {"eval_mode": "center"})
    return with_weights_of(model, ROOMS["classify"].ready(), said)


@pytest.mark.parametrize(
    ("name", "size"),
    [("volo_d1", 224), pytest.param("volo_d1", 320, marks=pytest.mark.slow), ("van_b0", 224), ("lvvit_t", 224)],
)
def test_timm_reads_its_folder(tmp_path, name, size):
    found = published(name, img_size=size)
    write_timm(found, tmp_path / "folder")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'folder'}", pretrained=True).eval()
    assert type(theirs).__module__.startswith("timm.models" if name == "volo_d1" else "volovan")
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        own, other = found.model(images), theirs(images)
    torch.testing.assert_close(other, own, atol=1e-5, rtol=1e-4)
    data = timm.data.resolve_model_data_config(theirs)
    assert data["input_size"] == (3, size, size)
    assert tuple(data["mean"]) == found.preprocessing.mean
    assert theirs.pretrained_cfg["label_names"] == ["a", "b", "c"]


def test_van_for_transformers(tmp_path):
    found = published("van_b0")
    write_huggingface(found, tmp_path / "folder", "mine", "pictures")
    assert "# mine" in (tmp_path / "folder" / "README.md").read_text()
    fresh = volovan.create_model("van_b0", num_classes=3).eval()
    report = load_weights(fresh, tmp_path / "folder" / "model.safetensors")
    assert "transformers" in report.layout
    for name, tensor in found.model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor)
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert config["hidden_sizes"] == [32, 64, 160, 256]
    assert config["patch_sizes"] == [7, 3, 3, 3]
    assert config["strides"] == [4, 2, 2, 2]
    assert config["id2label"] == {"0": "a", "1": "b", "2": "c"}
    card = (tmp_path / "folder" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: image-classification\n")
    assert "If training started from the published weights of van_b0" in card


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("size", [96, 384])
def test_transformers_prepare_pictures_as_we_do(tmp_path, mode, size):
    transformers = pytest.importorskip("transformers")
    found = published("van_b0", img_size=size)
    found.mode = mode
    write_huggingface(found, tmp_path / "folder", "mine", "pictures")
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path / "folder", backend="pil")
    picture = odd_pictures(8)[7]
    seen = theirs(picture, return_tensors="pt")["pixel_values"][0]
    assert seen.shape == (3, size, size)
    torch.testing.assert_close(seen, found.eval_transform()(picture), atol=0.02, rtol=0)
    card = (tmp_path / "folder" / "README.md").read_text()
    assert ("the whole picture squashed" in card) == (mode == "squash")


def test_what_transformers_have_no_place_for_is_refused(tmp_path):
    found = published("van_b0", img_size=(96, 128))
    with pytest.raises(
        ExportError, match="centre of pictures, 96 x 128, for which transformers has no processor; take"
    ):
        write_huggingface(found, tmp_path / "folder", "mine")
    for kind, said in (("regression", "gives values in units of its own"), ("multi_label", None)):
        found = published("van_b0")
        found.outputs = Outputs(kind, ("a", "b", "c"), (1.0,) * 3, (2.0,) * 3)
        if said is None:
            write_huggingface(found, tmp_path / kind, "mine")
            config = json.loads((tmp_path / kind / "config.json").read_text())
            assert config["problem_type"] == "multi_label_classification"
            continue
        with pytest.raises(ExportError, match=said):
            write_huggingface(found, tmp_path / kind, "mine")
        with pytest.raises(ExportError, match=said):
            write_timm(found, tmp_path / kind)


def test_the_original_code(tmp_path):
    found = published("van_b0")
    write_original(found, tmp_path / "van.pth")
    state = torch.load(tmp_path / "van.pth", weights_only=True)["state_dict"]
    assert state.keys() == found.model.state_dict().keys()


@pytest.mark.parametrize(
    ("task", "head", "key"),
    [
        ("segment", "fpn", "decode_head."),
        ("detect", "retinanet", "bbox_head."),
        ("pose", "simple", "backbone."),
        pytest.param("panoptic", "mask2former", "sem_seg_head.", marks=pytest.mark.slow),
    ],
)
def test_the_original_code_of_other_tasks(tmp_path, task, head, key):
    write_original(ready(task, head), tmp_path / "dense.pth")
    state = torch.load(tmp_path / "dense.pth", weights_only=True)["state_dict"]
    assert any(name.startswith(key) for name in state)


def test_what_others_do_not_have_is_said(tmp_path):
    with pytest.raises(ExportError, match="no original code of a network was released"):
        write_original(ready("saliency", "edn"), tmp_path / "a.pth")
    with pytest.raises(ExportError, match="timm has classifiers of these families only"):
        write_timm(ready("segment", "fpn"), tmp_path / "folder")
    with pytest.raises(ExportError, match="timm has no VOLO like volo; take --to package"):
        write_timm(ready("classify", None, "volo"), tmp_path / "folder")


@pytest.mark.parametrize(
    ("task", "head"), [("segment", "fpn"), pytest.param("detect", "mask_rcnn", marks=pytest.mark.slow)]
)
def test_a_package_runs(tmp_path, task, head):
    found = ready(task, head)
    folder = tmp_path / "package"
    write_package(found, folder, "mine", odd_pictures(3)[:2], "my pictures", {"miou": 12.34})
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "model.safetensors", "predict.py", "predictions.png",
    ]  # fmt: skip
    card = (folder / "README.md").read_text()
    for said in ("# mine", "van with", "my pictures", "| miou | 12.34 |", "3: circle, square, star", "Apache-2.0"):
        assert said in card, said
    picture = odd_pictures(8)[7]
    picture.save(tmp_path / "photo.png")
    again = volovan.load(folder)
    assert again.predict(picture).agrees(found.predict(picture)) == 1
    assert set(load_file(folder / "model.safetensors")) == {f"model.{name}" for name in found.model.state_dict()}
    done = subprocess.run(
        [sys.executable, str(folder / "predict.py"), "photo.png"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("photo.png {'height': 240, 'width': 320")
    assert (tmp_path / "photo_predicted.png").is_file()
