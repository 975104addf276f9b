"""The scripts of benchmarks/ run, at sizes where the figures mean nothing."""

import csv
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _scripts_find_each_other(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_photographs_have_the_size_and_weight_of_imagenet(tmp_path):
    from common import make_photographs
    from PIL import Image

    make_photographs(tmp_path, 6)
    files = sorted(tmp_path.rglob("*.jpg"))
    assert [file.parent.name for file in files] == ["even"] * 3 + ["odd"] * 3
    assert {Image.open(file).size for file in files} == {(500, 375), (375, 500), (500, 333)}
    assert all(60_000 < file.stat().st_size < 120_000 for file in files)


def test_interleave_drops_the_first_round_and_turns_every_other_around():
    from volovan.bench.timing import interleave, median_ratio

    calls = []
    rates = interleave({name: lambda name=name: calls.append(name) or 3 for name in "ab"}, rounds=2)
    assert "".join(calls) == "abbaab"
    assert {name: len(values) for name, values in rates.items()} == {"a": 2, "b": 2}
    assert median_ratio([2.0, 9.0, 4.0], [1.0, 1.0, 4.0]) == 2.0


def test_bench_loader_writes_every_case(tmp_path, monkeypatch):
    import bench_loader

    monkeypatch.setattr(bench_loader, "CAMERA", (800, 600))
    small = "--count 8 --batch-size 4 --rounds 1 --steps 1 --workers 0 1 --models van_b0 --model-batch 1 --device cpu"
    rows = read(bench_loader.main([*small.split(), "--camera", "4", "--out", str(tmp_path)]))
    assert all(float(row["images_per_s"]) > 0 for row in rows)
    camera = [row["side"] for row in rows if row["what"] == "loader, camera"]
    assert camera == ["timm", "ours", "ours, all of a picture", "ours, packed"] * 2
    rows = [row for row in rows if row["what"] != "loader, camera"]
    assert len(rows) == 1 + 3 * 2 * 2  # the model; full, light, eval with 0 and 1 workers, on both sides
    assert all(bool(row["of_timm"]) == (row["side"] == "ours" and "loader" in row["what"]) for row in rows)


def test_bench_validation_compares_equal_results_only(tmp_path):
    from bench_validation import Outcome, main, require_agreement

    small = "--count 2 --batch-size 2 --rounds 1 --workers 0 --device cpu"
    rows = read(main([*small.split(), "--out", str(tmp_path)]))
    assert [row["side"] for row in rows] == ["ours", "timm"]
    assert all(row["pictures"] == "2" and float(row["images_per_s"]) > 0 for row in rows)
    with pytest.raises(SystemExit, match="differ"):
        require_agreement(Outcome(50.0, 75.0, 1.0, 4), Outcome(50.0, 75.0, 1.01, 4))


def test_bench_labels_writes_every_part(tmp_path):
    from bench_labels import main

    model = "--model lvvit_t --model-batch 2 --size 32"
    small = f"--target-batch 3 {model} --steps 1 --workers 0 --batch-size 4 --count 4 --rounds 1"
    rows = read(main([*small.split(), "--device", "cpu", "--out", str(tmp_path)]))
    assert [row["part"] for row in rows] == ["targets"] * 2 + ["step"] * 3 + ["loader"] * 3
    assert all(float(row["images_per_s"]) > 0 for row in rows)
    assert sum(bool(row["of_plain"]) for row in rows) == 2


def test_bench_panoptic_states_costs_beside_rates(tmp_path):
    from bench_panoptic import main

    small = "--trunk van_b0 --size 64 --batch 1 --rounds 1 --device cpu"
    rows = read(main([*small.split(), "--out", str(tmp_path)]))
    parts = ("step", "forward", "answer")
    assert [(row["part"], row["network"]) for row in rows] == [(p, n) for p in parts for n in ("van_b0", "swin_t")]
    assert all(float(row["images_per_s"]) > 0 for row in rows)
    for ours, theirs in zip(rows[::2], rows[1::2], strict=True):
        cost = float(ours["gmacs"]) / float(theirs["gmacs"])
        assert float(ours["of_swin_t_per_gmac"]) == pytest.approx(float(ours["of_swin_t"]) * cost, rel=0.02)
        assert float(theirs["of_swin_t"]) == float(theirs["of_swin_t_per_gmac"]) == 1


def test_bench_coco_scores_compares_equal_figures_only(tmp_path):
    from bench_coco_scores import main, require_agreement

    rows = read(main(["--count", "3", "--rounds", "1", "--out", str(tmp_path)]))
    assert [row["side"] for row in rows[:3]] == ["ours", "keep", "pycocotools"]
    assert float(rows[0]["of_pycocotools"]) > 0
    require_agreement({"ours": {"ap": 0.5, "ap_small": float("nan")}, "other": {"ap": 0.5, "ap_small": -1.0}})
    with pytest.raises(SystemExit, match="ap differs"):
        require_agreement({"ours": {"ap": 0.5}, "other": {"ap": 0.50001}})


@pytest.mark.slow
def test_bench_export_times_what_answers_alike(tmp_path):
    pytest.importorskip("onnxscript")
    import bench_export

    words = "--networks van_b0 volo_d1 --to onnx --batch 1 --size 224 --rounds 1"
    rows = read(bench_export.main([*words.split(), "--out", str(tmp_path)]))
    assert [row["by"] for row in rows] == ["torch, fused", "torch", "onnx"] * 1 + [
        "torch, fused",
        "torch",
        "onnx",
        "col2im",
    ]
    assert all(float(row["ms_a_picture"]) > 0 for row in rows)
