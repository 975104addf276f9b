"""Features of frozen networks as files: what the head saw, in the order of the input, one row for each good picture."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from commands import rows_of
from volovan import create_model
from volovan.cli import main
from volovan.data import open_source
from volovan.room.ready import Outcome, outcomes
from volovan.transfer.features import Vector, pooled, read_about, read_features
from volovan.use.load import load

NETS = {
    "van": {"embed_dims": (8, 16, 32), "depths": (1, 1, 1), "mlp_ratios": (2, 2, 2), "patch_kernels": (3, 3, 3)}
    | {"strides": (2, 2, 2)},
    "volo": {"depths": (1, 1), "embed_dims": (24, 48), "num_heads": (2, 4), "mlp_ratios": (2, 2)}
    | {"mixers": ("outlook", "attention"), "downsamples": (True, False), "stem_width": 8, "class_blocks": 1},
    "lvvit": {"depth": 2, "embed_dim": 24, "num_heads": 2, "mlp_ratio": 2, "stem_width": 8},
}


def features_of(run: Path, source: str, out: Path, *words: str) -> int:
    return main(["predict", str(run), source, "--features", "--out", str(out), "--workers", "0", *words])


@pytest.mark.parametrize("family", NETS)
def test_features_are_what_the_head_saw(family):
    torch.manual_seed(0)
    model = create_model(family, num_classes=5, img_size=32, **NETS[family]).eval()
    seen = {}
    model.head.register_forward_hook(lambda module, inputs, output: seen.update(head=inputs[0]))
    x = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        model(x)
        got = pooled(model)(x)
    assert got.shape == seen["head"].shape
    torch.testing.assert_close(got, seen["head"])


def test_features_of_a_run_equal_the_network_on_each_picture(tiny_run, tmp_path):
    assert features_of(tiny_run, "digits", tmp_path, "--split", "val", "--batch-size", "50") == 0
    read = read_features(tmp_path / "features.safetensors")
    source = open_source("digits", "val")
    classifier = load(str(tiny_run), device="cpu")
    model = pooled(classifier.model)
    assert read.features.shape == (364, 64)
    assert read.labels.tolist() == [source.target(i) for i in range(364)]
    assert read.classes == source.classes
    for index in (0, 49, 50, 363):
        with torch.no_grad():
            want = model(classifier.eval_transform()(source.load(index))[None])[0]
        torch.testing.assert_close(read.features[index], want, atol=1e-5, rtol=1e-5)
    rows = rows_of(tmp_path / "features.csv")
    assert [row["file"] for row in rows] == [source.name(i) for i in range(364)]
    assert [int(row["row"]) for row in rows] == list(range(364))
    assert [row["class"] for row in rows] == [source.classes[source.target(i)] for i in range(364)]


def test_features_file_is_plain_safetensors(tiny_run, tmp_path):
    """Read by the format's own words, without its library, and by the library into NumPy."""
    assert features_of(tiny_run, "digits", tmp_path, "--split", "val") == 0
    path = tmp_path / "features.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    assert length % 8 == 0
    header = json.loads(raw[8 : 8 + length])
    begin, end = header["features"]["data_offsets"]
    by_hand = np.frombuffer(raw[8 + length :][begin:end], "<f4").reshape(header["features"]["shape"])
    assert len(raw) == 8 + length + header["indices"]["data_offsets"][1]
    with safe_open(path, framework="np") as file:
        assert np.array_equal(file.get_tensor("features"), by_hand)
        assert file.get_tensor("labels").dtype == np.int32
        assert json.loads(file.metadata()["classes"]) == [str(digit) for digit in range(10)]


def test_features_list_what_cannot_be_read_and_keep_rows_aligned(tiny_run, tmp_path, capsys):
    folder = tmp_path / "pictures"
    for name, colour in (("cat", 40), ("dog", 200)):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (40, 40), (colour, 20 * number, 0)).save(folder / name / f"{number}.png")
    (folder / "cat" / "1.png").write_bytes(b"no picture")
    assert features_of(tiny_run, str(folder), tmp_path / "o") == 1
    assert "cat/1.png" in capsys.readouterr().err
    rows = rows_of(tmp_path / "o" / "features.csv")
    assert [row["row"] for row in rows] == ["0", "", "1", "2", "3", "4"]
    assert rows[1]["error"]
    read = read_features(tmp_path / "o" / "features.safetensors")
    assert read.labels.tolist() == [0, 0, 1, 1, 1]
    assert read.classes == ("cat", "dog")
    assert features_of(tiny_run, str(folder / "dog" / "2.png"), tmp_path / "one") == 0
    alone = read_features(tmp_path / "one" / "features.safetensors")
    torch.testing.assert_close(alone.features[0], read.features[-1], atol=1e-5, rtol=1e-5)
    assert alone.labels.tolist() == [-1]


def test_features_at_native_size_keep_the_order(tiny_run, tmp_path):
    sizes = [(40, 40), (64, 33), (40, 40), (97, 41), (64, 33), (20, 20), (40, 40)]
    for number, size in enumerate(sizes):
        Image.effect_noise(size, 50).convert("RGB").save(tmp_path / f"{number}.png")
    assert features_of(tiny_run, str(tmp_path), tmp_path / "o", "--size", "native", "--batch-size", "2") == 1
    rows = rows_of(tmp_path / "o" / "features.csv")
    assert [Path(row["file"]).stem for row in rows] == [str(n) for n in range(7)]
    assert [bool(row["error"]) for row in rows] == [size == (20, 20) for size in sizes]
    read = read_features(tmp_path / "o" / "features.safetensors").features
    assert features_of(tiny_run, str(tmp_path / "4.png"), tmp_path / "one", "--size", "native") == 0
    alone = read_features(tmp_path / "one" / "features.safetensors").features
    torch.testing.assert_close(alone[0], read[4], atol=1e-5, rtol=1e-5)


def test_a_failing_run_keeps_the_earlier_features(tiny_run, tmp_path, monkeypatch, capsys):
    assert features_of(tiny_run, "digits", tmp_path, "--split", "val") == 0
    before = (tmp_path / "features.safetensors").read_bytes()

    def full_disk(*args, **options):
        yield Outcome(0, "one", Vector(np.zeros(64, np.float32), picture=None))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("volovan.transfer.features.outcomes", full_disk)
    assert features_of(tiny_run, "digits", tmp_path, "--split", "val") == 2
    assert "features.safetensors could not be written (No space left on device)" in capsys.readouterr().err
    assert (tmp_path / "features.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".volovan.jsonl",
        "features.csv",
        "features.safetensors",
    ]


def test_features_need_a_folder(tiny_run, capsys):
    assert main(["predict", str(tiny_run), "digits", "--features", "--out", "-"]) == 2
    assert "name a folder with --out" in capsys.readouterr().err
    assert main(["predict", str(tiny_run), "digits", "digits", "--split", "val"]) == 2
    assert "--split is of one source" in capsys.readouterr().err


def test_a_file_that_is_no_features_has_no_metadata(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"{}")
    assert read_about(tmp_path / "x.safetensors") is None
    assert read_about(tmp_path / "missing.safetensors") is None


def test_answers_come_in_order_as_soon_as_they_can(monkeypatch, tiny_run):
    asked = []

    def found(*args):
        for index in (2, 0, 1, 4, 3):
            asked.append(index)
            yield Outcome(index, str(index))

    monkeypatch.setattr("volovan.room.ready._as_ready", found)
    waiting = outcomes(load(str(tiny_run), device="cpu"), open_source("digits", "val"))
    assert (next(waiting).index, asked) == (0, [2, 0])
    assert [outcome.index for outcome in waiting] == [1, 2, 3, 4]
