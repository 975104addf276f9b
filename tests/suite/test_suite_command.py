"""volovan validate MODEL --suite imagenet, from the command line to the files."""

import csv
import io
import json
import os
import re
import shutil
from contextlib import redirect_stdout

import pytest
import torch
from safetensors.torch import save_file

from volovan import create_model
from volovan.cli import main
from volovan.files.checkpoint import read_checkpoint, write_checkpoint
from volovan.files.classes import wnids
from volovan.suite.published import published, published_variant
from volovan.suite.scoring import ALEXNET_ERROR

WORDS = ["--suite", "imagenet", "--workers", "0", "--batch-size", "3", "--device", "cpu"]


@pytest.fixture(scope="module")
def results(net, suite_root, tmp_path_factory):
    """(exit status, printed text, folder) of one run over everything."""
    folder, printed = tmp_path_factory.mktemp("out"), io.StringIO()
    with redirect_stdout(printed):
        status = main(["validate", str(net), *WORDS, "--root", str(suite_root), "--out", str(folder)])
    return status, printed.getvalue(), folder


def figures_of(folder):
    entries = json.loads((folder / "suite.json").read_text())["figures"]
    return {(entry["name"], entry["metric"]): entry for entry in entries}


EXPECTED = {  # name: pictures, top-1, top-5; the ranks are those that conftest.py filed the pictures under
    "val": (4, 50, 75),
    "real": (3, 200 / 3, 200 / 3),
    "v2-matched-frequency": (5, 60, 80),
    "v2-threshold-0.7": (2, 50, 50),
    "a": (4, 25, 50),
    "r": (3, 200 / 3, 200 / 3),
    "sketch": (2, 0, 50),
    "vizwiz": (6, 400 / 6, 500 / 6),
    "vizwiz-clean": (3, 200 / 3, 100),
    "vizwiz-blurred": (2, 50, 50),
    "vizwiz-obscured": (1, 100, 100),
    "vizwiz-dark": (1, 0, 0),
}


def test_suite_gives_the_figures_that_were_laid_out(results):
    status, _, folder = results
    assert status == 0
    figures = figures_of(folder)
    for name, (pictures, top1, top5) in EXPECTED.items():
        assert figures[name, "top1"]["pictures"] == pictures, name
        assert figures[name, "top1"]["value"] == pytest.approx(top1, abs=1e-3), name
        assert figures[name, "top5"]["value"] == pytest.approx(top5, abs=1e-3), name
    # Accuracies of the six flaws: 100, 0, 50, 0, 0, 0.
    assert figures["vizwiz-corrupted", "top1"]["value"] == pytest.approx(150 / 6, abs=1e-3)


def test_suite_gives_the_corruption_errors_that_were_laid_out(results):
    """Of two pictures one is right always, the other at severities 1 and 2 only; in fog never."""
    figures = figures_of(results[2])
    assert [figures[f"c-snow-{severity}", "error"]["value"] for severity in range(1, 6)] == [0, 0, 50, 50, 50]
    assert figures["c-snow", "error"]["value"] == 30
    assert figures["c-snow", "ce"]["value"] == pytest.approx(30 / 0.866816, abs=1e-3)
    assert figures["c-spatter", "error"]["value"] == 30
    assert ("c-spatter", "ce") not in figures
    errors = {name: 50 if name == "fog" else 30 for name in ALEXNET_ERROR}
    mce = sum(error / ALEXNET_ERROR[name] for name, error in errors.items()) / 15
    assert figures["c", "mce"]["value"] == pytest.approx(mce, abs=1e-3)
    assert figures["c", "mean_error"]["value"] == pytest.approx((14 * 30 + 50) / 15, abs=1e-3)
    assert figures["c", "mce"]["pictures"] == 150


def test_suite_prints_what_it_used_and_what_is_missing(results):
    text = results[1]
    assert "at 32x32, crop 0.9 (of its weights, --crop-pct sets another), fp32" in text
    assert "the pictures of ImageNet-C are cut already and are shown whole (crop 1)" in text
    assert "c-spatter" in text
    assert "not in mCE" in text
    (missing,) = [line for line in text.splitlines() if line.startswith("missing")]
    assert "v2-top-images" in missing
    assert "imagenetv2-top-images-format-val" in missing
    assert "modestyachts/ImageNetV2" in missing
    assert json.loads((results[2] / "suite.json").read_text())["missing"] == ["v2-top-images"]


def test_suite_writes_the_same_figures_as_csv(results):
    with (results[2] / "suite.csv").open(newline="") as file:
        rows = {(row["figure"], row["metric"]): row for row in csv.DictReader(file)}
    figures = figures_of(results[2])
    assert rows.keys() == figures.keys()
    for key, row in rows.items():
        assert float(row["value"]) == pytest.approx(figures[key]["value"], abs=1e-3)
        assert int(row["pictures"]) == figures[key]["pictures"]


def test_two_processes_give_the_figures_of_one(results, net, suite_root, run_ranks, tmp_path, tmp_path_factory):
    printed = tmp_path_factory.mktemp("printed")
    words = [*WORDS, "--root", str(suite_root), "--sets", "val,real,a,vizwiz", "--out", str(tmp_path / "two")]

    def one():
        with (printed / f"rank{os.environ['RANK']}").open("w") as out, redirect_stdout(out):
            if main(["validate", str(net), *words]):
                raise SystemExit(1)

    assert run_ranks(2, one) == [0, 0]
    two, single = figures_of(tmp_path / "two"), figures_of(results[2])
    assert two == {key: entry for key, entry in single.items() if key in two}
    assert {"val", "real", "a", "vizwiz-corrupted"} <= {name for name, _ in two}
    assert (printed / "rank1").read_text() == ""


def test_val_and_real_decode_a_picture_once(net, suite_root, monkeypatch, capsys):
    from volovan.data import samples

    decoded = []
    decode = samples.decode
    monkeypatch.setattr(
        samples, "decode", lambda path, name, **more: decoded.append(name) or decode(path, name, **more)
    )
    assert main(["validate", str(net), *WORDS, "--root", str(suite_root), "--sets", "val,real"]) == 0
    assert len(decoded) == len(set(decoded)) == 4
    assert "  real " in capsys.readouterr().out


def test_variable_names_the_roots_as_a_path_does(net, suite_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VOLOVAN_SUITE", os.pathsep.join([str(tmp_path), str(suite_root)]))
    assert main(["validate", str(net), *WORDS, "--sets", "sketch", "--limit", "1"]) == 0
    assert "a part of each set only: --limit 1" in capsys.readouterr().out


def test_set_that_is_asked_for_and_missing_is_status_1(net, suite_root, capsys):
    assert main(["validate", str(net), *WORDS, "--root", str(suite_root), "--sets", "v2-top-images,sketch"]) == 1
    assert "missing: v2-top-images" in capsys.readouterr().out


def test_crop_of_the_command_line_holds_for_every_set(net, suite_root, tmp_path, capsys):
    """The pictures of ImageNet-C were filed by their ranks at crop 1."""
    words = ["--root", str(suite_root), "--sets", "c", "--crop-pct", "1.0", "--out", str(tmp_path)]
    assert main(["validate", str(net), *WORDS, *words]) == 0
    assert figures_of(tmp_path)["c-snow", "error"]["value"] == 30
    assert "crop 1 (of --crop-pct)" in capsys.readouterr().out


def test_predictions_for_the_server_are_written_where_labels_are_not_public(net, suite_root, tmp_path, capsys):
    folder = shutil.copytree(suite_root / "vizwiz-classification", tmp_path / "root" / "vizwiz")
    labels = json.loads((folder / "labels.json").read_text())
    (folder / "labels.json").unlink()
    words = [*WORDS, "--root", str(tmp_path / "root"), "--out", str(tmp_path / "out")]
    assert main(["validate", str(net), *words]) == 0
    assert "its labels are not public, so nothing is scored here; wrote the predictions" in capsys.readouterr().out
    predicted = json.loads((tmp_path / "out" / "vizwiz_predictions.json").read_text())
    assert predicted.keys() == labels.keys()
    assert [predicted[name] in entry["labels"] for name, entry in labels.items()] == [1, 1, 0, 1, 0, 1]


def test_unreadable_picture_stops_or_is_counted(net, tmp_path, capsys):
    for number in (0, 1):
        (tmp_path / "sketch" / wnids()[number]).mkdir(parents=True)
        (tmp_path / "sketch" / wnids()[number] / "torn.jpg").write_bytes(b"torn")
    words = ["validate", str(net), *WORDS, "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "torn.jpg" in capsys.readouterr().err
    assert main([*words, "--on-bad", "skip"]) == 1
    assert "2 unreadable picture(s) were left out" in capsys.readouterr().out
    assert figures_of(tmp_path / "out")["sketch", "top1"]["value"] is None  # of no picture


def test_corruption_that_lacks_a_severity_is_marked_at_its_row(net, suite_root, tmp_path, capsys):
    shutil.copytree(suite_root / "imagenet-c", tmp_path / "imagenet-c")
    shutil.rmtree(tmp_path / "imagenet-c" / "weather" / "fog" / "4")
    for picture in (tmp_path / "imagenet-c" / "weather" / "snow" / "5").rglob("*.png"):
        picture.write_bytes(b"torn")
    out = tmp_path / "out"
    words = ["--root", str(tmp_path), "--sets", "c", "--out", str(out), "--on-bad", "skip"]
    assert main(["validate", str(net), *WORDS, *words]) == 1
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  c-")}
    assert said["c-fog"].endswith("incomplete: no pictures of severity 4")
    assert said["c-snow"].endswith("incomplete: no pictures of severity 5")
    assert "incomplete" not in said["c-frost"]
    figures = figures_of(out)
    assert figures["c-fog", "error"]["note"] == "incomplete: no pictures of severity 4"
    assert figures["c-snow", "error"]["value"] == 25  # of 0, 0, 50, 50
    assert not {("c-fog", "ce"), ("c-snow", "ce"), ("c", "mce"), ("c", "mean_error")} & set(figures)
    with (out / "suite.csv").open() as file:
        notes = {row["figure"]: row["note"] for row in csv.DictReader(file) if row["note"]}
    assert set(notes) == {"c-fog", "c-snow"}


# ---- refusals -------------------------------------------------------------------------------------------------------


def test_nothing_found_is_one_sentence_with_the_folders(net, tmp_path, capsys):
    assert main(["validate", str(net), *WORDS, "--root", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"no data set of the suite is in {tmp_path}" in message
    for folder in ("imagenet/val", "imagenetv2-top-images-format-val", "imagenet-a", "imagenet-c", "vizwiz"):
        assert folder in message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--suite", "imagenet"], "name it with --root FOLDER or in VOLOVAN_SUITE"),
        (["--suite", "imagenet", "--root", "nowhere"], "--root nowhere: there is no such folder"),
        (["--suite", "imagenet", "--root", ".", "--sets", "skech"], "no set 'skech'; did you mean sketch?"),
        (["--suite", "imagenet", "--data", "digits"], "--suite brings its own data"),
        (["--data", "digits", "--sets", "a"], "--root and --sets belong to --suite imagenet"),
        (["--suite", "imagenet", "--crop-pct", "0"], "--crop-pct is 0.0; 0.1 to 10 is taken"),
        (["--suite", "imagenet", "--limit", "0"], "--limit is 0; at least 1 is needed"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else "",
)
def test_mistakes_with_the_suite_get_one_sentence(words, said, net, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOLOVAN_SUITE", raising=False)
    assert main(["validate", str(net), *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("classes", "channels", "said"),
    [
        (["cat", "dog"], 3, r"has 2 classes \('cat', 'dog'\), of which none is 'n01440764'; .* needs the 1000"),
        ([str(number) for number in range(1001)], 3, "has 1001 classes .* fine-tune it on ImageNet-1K first"),
        ([f"bird {number}" for number in range(1000)], 3, r"1000 classes \('bird 0', .* of which none is 'n01440764'"),
        ([*wnids()[:-1], "cat"], 3, "of which none is 'n15075141'"),
        (wnids(), 1, "takes 1 channels; --suite imagenet has RGB pictures"),
    ],
    ids=["two classes", "more classes", "other names", "one other name", "grey"],
)
def test_model_of_other_classes_is_refused_with_the_reason(
    classes, channels, said, tiny_checkpoint, suite_root, capsys
):
    path = tiny_checkpoint(classes, channels)
    assert main(["validate", str(path), *WORDS, "--root", str(suite_root)]) == 2
    assert re.search(said, capsys.readouterr().err)


def test_classes_in_another_order_are_scored_by_name(net, tmp_path, suite_root, capsys):
    tree = read_checkpoint(net)
    order = [*range(999, 400, -1), 400, *range(400)]
    tree["task"]["classes"] = ["cat", *(wnids()[number] for number in order)]
    tree["task"]["config"]["num_classes"] = 1001
    for key in ("head.weight", "head.bias"):
        rows = tree["model"][key]
        tree["model"][key] = torch.cat([rows[:1] + 100, rows[order]])  # a class of its own that would always win
    write_checkpoint(tmp_path / "turned.safetensors", tree)
    words = ["--root", str(suite_root), "--sets", "a,sketch", "--out", str(tmp_path / "out")]
    assert main(["validate", str(tmp_path / "turned.safetensors"), *WORDS, *words]) == 0
    assert "ImageNet's 1000 are found by name among the 1001 classes of" in capsys.readouterr().out
    figures = figures_of(tmp_path / "out")
    for name in ("a", "sketch"):
        assert [figures[name, key]["value"] for key in ("top1", "top5")] == pytest.approx(EXPECTED[name][1:], abs=1e-3)


def test_classes_that_are_numbers_are_taken_and_it_is_said(tiny_checkpoint, suite_root, capsys):
    path = tiny_checkpoint([str(number) for number in range(1000)])
    assert main(["validate", str(path), *WORDS, "--root", str(suite_root), "--sets", "sketch"]) == 0
    assert "are numbers; they are taken as ImageNet's 1000" in capsys.readouterr().out


# ---- published figures ----------------------------------------------------------------------------------------------


def values(*args):
    return [(entry.value, entry.crop_pct) for entry in published(*args)]


def test_published_figures_are_those_of_the_references():
    assert values("volo_d1", (224, 224), "val") == [(84.2, 0.96), (84.148, 0.96)]
    assert values("volo_d1", (384, 384), "val") == [(85.2, 0.96), (85.262, 1.0)]
    assert values("volo_d1", (224, 224), "val", "top5") == [(96.772, 0.96)]
    assert values("volo_d4", (448, 448), "real") == [(90.510, 1.15), (90.5, None)]
    assert values("volo_d5", (512, 512), "sketch") == [(44.570, 1.15)]
    assert values("volo_d3", (448, 448), "a") == [(65.520, 1.0)]
    assert values("volo_d2", (224, 224), "r") == [(49.773, 0.96)]
    assert values("volo_d5", (224, 224), "vizwiz-corrupted") == [(51.8, None)]
    assert values("van_b4", (224, 224), "val") == [(84.2, 0.9), (84.13, 0.9), (85.7, None)]
    assert values("van_b6", (384, 384), "val") == [(87.8, None)]
    assert values("volo_d1", (320, 320), "val") == []
    assert values("van_b0", (224, 224), "a") == []


def test_published_variant_is_known_by_its_config():
    with torch.device("meta"):
        assert published_variant(create_model("van_b0", drop_path_rate=0.1, num_classes=1000).config) == "van_b0"
        assert published_variant(create_model("volo_d1", img_size=384).config) == "volo_d1"
        assert published_variant(create_model("volo_d1", outlook_kernel=5).config) is None
        assert published_variant(create_model("van", embed_dims=(8, 8, 16, 16)).config) is None


@pytest.fixture
def random_weights(tmp_path):
    """random_weights("van_b0"): its variant with random weights, in a file; the figures are worthless."""

    def make(name):
        save_file(create_model(name).state_dict(), tmp_path / f"{name}.safetensors")
        return [name, "--weights", str(tmp_path / f"{name}.safetensors")]

    return make


def test_published_figures_stand_beside_those_of_a_variant(random_weights, suite_root, tmp_path, capsys):
    words = [*random_weights("van_b0"), "--root", str(suite_root), "--sets", "val", "--out", str(tmp_path / "out")]
    assert main(["validate", *words, *WORDS]) == 0
    text = capsys.readouterr().out
    assert "van_b0 at 224x224, crop 0.9 (of its weights" in text
    assert "published 75.4 (paper, table 7, crop 0.9); 75.41 (model zoo of mmpretrain, crop 0.9)" in text
    assert "note: val is published with 50,000 pictures" in text
    with (tmp_path / "out" / "suite.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "top1"]
    assert [(row["published"], row["crop_pct"]) for row in rows] == [("75.4", "0.9"), ("75.41", "0.9")]
    about = json.loads((tmp_path / "out" / "suite.json").read_text())
    assert (about["variant"], about["mean"], about["interpolation"]) == ("van_b0", [0.5, 0.5, 0.5], "bicubic")


def test_published_figures_are_left_out_at_another_size(random_weights, suite_root, capsys):
    """Those of another size are of other weights."""
    words = [*random_weights("van_b0"), "--root", str(suite_root), "--sets", "val", "--size", "64"]
    assert main(["validate", *words, *WORDS]) == 0
    assert "75.4" not in capsys.readouterr().out


def test_black_border_and_the_crop_of_others_are_said(random_weights, suite_root, capsys):
    words = [
        *random_weights("volo_d1"),
        "--root",
        str(suite_root),
        "--sets",
        "v2",
        "--limit",
        "1",
        "--crop-pct",
        "1.15",
    ]
    assert main(["validate", *words, *WORDS]) == 1  # v2-top-images is missing
    text = capsys.readouterr().out
    assert "volo_d1 at 224x224, crop 1.15 (of --crop-pct)" in text
    assert "crop above 1: the whole picture with a black border" in text
    assert "timm measured the same weights at crop 0.96; --crop-pct 0.96 repeats that" in text
    assert "published 74.1 (timm, crop 0.96)" in text
