"""volovan label, as it is typed."""

import json

import pytest
from PIL import Image

from volovan import create_model
from volovan.cli import main
from volovan.labels.store import open_labels

TEACHER = ["timm:test_resnet", "digits", "--weights", "random", "--size", "64", "--limit", "40", "--workers", "0"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("label") / "labels"
    assert main(["label", *TEACHER, "--out", str(folder), "--pictures", "6"]) == 0
    return folder


def test_labels_are_made_with_a_picture(made):
    store = open_labels(made)
    assert (len(store), store.layout, store.coverage, store.top) == (40, "compact", "centre", 5)
    assert sorted(path.name for path in made.iterdir()) == [
        ".volovan.jsonl", "index.safetensors", "labels.json", "pictures.png", "shard-00000.safetensors",
    ]  # fmt: skip
    about = json.loads((made / "labels.json").read_text())
    assert (about["teacher"], about["num_classes"], about["size"], about["classes"]) == (
        "timm:test_resnet",
        1000,
        64,
        None,
    )
    with Image.open(made / "pictures.png") as picture:
        assert picture.width > 600
        colours = picture.convert("RGB").getcolors(1 << 20)
    assert (230, 25, 75) in [colour for _, colour in colours]  # the swatch of the most frequent class


def test_a_second_call_keeps_what_is_there(made, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in made.iterdir()}
    assert main(["label", *TEACHER, "--out", str(made), "--pictures", "0"]) == 0
    assert "0 label maps made in" in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in made.iterdir()} == before


def test_verify_and_convert(made, tmp_path, capsys):
    assert main(["label", "--verify", str(made)]) == 0
    assert "all label maps are whole" in capsys.readouterr().out
    assert main(["label", "--verify", str(made), "digits", "--workers", "0"]) == 1
    out = capsys.readouterr().out
    assert "there is no label map of digits[" in out
    assert "1,393 problems" in out
    assert main(["label", "--convert", str(made), "--out", str(tmp_path / "p")]) == 0
    assert "wrote 40 label maps" in capsys.readouterr().out
    one, two = open_labels(made), open_labels(tmp_path / "p")
    assert two.layout == "published"
    assert all(one.read(key).numpy().tobytes() == two.read(key).numpy().tobytes() for key in one.keys)
    (tmp_path / "p" / f"{two.keys[3]}.pt").write_bytes(b"oh")
    assert main(["label", "--verify", str(tmp_path / "p"), "--workers", "0"]) == 1
    out = capsys.readouterr().out
    assert f"{two.keys[3]}.pt" in out
    assert out.endswith(": 1 problem\n")


def test_a_model_of_our_own_labels_from_a_weight_file(tmp_path):
    import torch

    torch.save(create_model("lvvit_t", num_classes=10, img_size=32).state_dict(), tmp_path / "w.pth")
    words = [
        "lvvit_t",
        "digits",
        "--weights",
        str(tmp_path / "w.pth"),
        "--limit",
        "4",
        "--workers",
        "0",
        "--pictures",
        "0",
    ]
    assert main(["label", *words, "--size", "32", "--out", str(tmp_path / "l"), "--layout", "published"]) == 0
    store = open_labels(tmp_path / "l")
    assert tuple(store.read(store.keys[0]).shape) == (2, 5, 2, 2)


def test_a_model_of_our_own_labels_with_random_weights(tmp_path):
    words = ["van_b0", "digits", "--weights", "random", "--size", "64", "--limit", "4", "--workers", "0"]
    for name in ("a", "b"):
        assert main(["label", *words, "--pictures", "0", "--out", str(tmp_path / name)]) == 0
    one, two = open_labels(tmp_path / "a"), open_labels(tmp_path / "b")
    assert (one.about.digest, one.about.num_classes, one.classes) == (two.about.digest, 1000, None)
    assert tuple(one.read(one.keys[0]).shape) == (2, 5, 2, 2)


MISTAKES = {
    "random_run": (["runs/x", "digits", "--weights", "random", "--out", "x"], "--weights random goes with timm:NAME"),
    "no_out": (["timm:test_resnet", "digits"], "expected a teacher, a source and --out DIR"),
    "one_word": (["timm:test_resnet", "--out", "x"], "expected a teacher, a source and --out DIR"),
    "verify_out": (["--verify", "x", "--out", "y"], "--verify takes a folder of labels"),
    "convert_word": (["--convert", "x", "digits", "--out", "y"], "--convert IN takes --out OUT"),
    "verify_none": (["--verify", "x"], "x: there is no such folder"),
    "convert_none": (["--convert", "x", "--out", "y"], "x: there is no such folder"),
    "top": ([*TEACHER, "--out", "x", "--top", "0"], "--top is 0; at least 1 is needed"),
    "batch": ([*TEACHER, "--out", "x", "--batch-size", "65"], "--batch-size is 65; 64 at most"),
    "teacher": (["resnet18", "digits", "--out", "x"], "'resnet18' is no run folder"),
    "timm": (["timm:resnt18", "digits", "--out", "x", "--weights", "random"], "timm has no such model"),
    "source": (["timm:test_resnet", "nowhere", "--out", "x", "--weights", "random"], "nowhere: there is no such file"),
    "head": (["timm:test_vit", "digits", "--out", "x", "--weights", "random"], "its head reads the class token"),
    "weights": (["timm:test_resnet", "digits", "--out", "x", "--weights", "no.pth"], "no.pth does not exist"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_one_sentence(mistake, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words, said = MISTAKES[mistake]
    assert main(["label", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("volovan label: ")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
