"""The measures against pysodmetrics, stored and live, and against plain loops."""

import json
import math

import numpy as np
import pytest
import torch

from volovan.saliency.metrics import SaliencyMetric, curves, f_measure, prepare, s_measure, truth_of

AGREE = 1e-6


def scored(prediction, mask, as_files):
    metric = SaliencyMetric(torch.device("cpu"), structure=True, quantise=as_files, stretch=as_files)
    metric.add(prediction, mask)
    means = metric.means()
    more = {"precision at 128": means["precision"][128], "recall at 128": means["recall"][128]}
    return {**metric.finish(), **more}


@pytest.mark.parametrize("as_files", [True, False], ids=["files", "floats"])
def test_measures_equal_the_stored_ones_of_pysodmetrics(golden_cases, as_files):
    stored = json.loads(golden_cases.GOLDEN.read_text())
    for name, prediction, mask in golden_cases.cases():
        expected = stored[f"{name}, {'files' if as_files else 'floats'}"]
        found = scored(prediction, mask, as_files)
        for key, value in expected.items():
            if math.isnan(value):  # pysodmetrics divides by the pixels of a quarter that has none
                assert key == "s", name
                assert 0 <= found[key] <= 1, name
            else:
                assert found[key] == pytest.approx(value, abs=AGREE), f"{name}: {key}"


@pytest.mark.slow  # half a minute to import it
def test_measures_equal_pysodmetrics_on_random_maps(golden_cases):
    pytest.importorskip("py_sod_metrics")
    draw = np.random.default_rng(7)
    for _ in range(6):
        height, width = draw.integers(20, 90, 2)
        mask = (draw.random((height, width)) > draw.random()).astype(np.uint8) * 255
        prediction = draw.random((height, width)) ** 2
        for as_files in (True, False):
            expected, found = golden_cases.oracle(prediction, mask, as_files), scored(prediction, mask, as_files)
            for key, value in expected.items():
                assert found[key] == pytest.approx(value, abs=AGREE), key


def test_maxf50_is_the_f_of_mean_precision_and_recall(golden_cases):
    chosen = [(p, m) for name, p, m in golden_cases.cases() if name.split()[0] == "wide"]
    metric = SaliencyMetric(torch.device("cpu"), quantise=False)
    precision, recall = np.zeros(50), np.zeros(50)
    for prediction, mask in chosen:
        metric.add(prediction, mask)
        for k in range(50):
            found, truth = prediction >= (k + 1) / 51, mask > 128
            right = (found & truth).sum()
            precision[k] += right / found.sum() if found.any() else 0
            recall[k] += right / truth.sum() if truth.any() else 0
    precision, recall = precision / len(chosen), recall / len(chosen)
    best = max(1.3 * p * r / (0.3 * p + r) if p + r else 0 for p, r in zip(precision, recall, strict=True))
    assert metric.finish()["maxf50"] == pytest.approx(best, abs=1e-12)


def test_thresholds_of_fifty_are_met_exactly_by_8_bit_maps():
    levels = np.arange(256, dtype=np.float64)[None] / 255
    found = curves(levels, np.ones_like(levels, bool))["recall50"]
    np.testing.assert_allclose(found, [(256 - 5 * k) / 256 for k in range(1, 51)])  # k/51 = 5k/255


def test_sums_of_two_processes_equal_those_of_one(golden_cases):
    cases = [(p, m) for _, p, m in golden_cases.cases()]
    whole = SaliencyMetric(torch.device("cpu"), structure=True)
    parts = [SaliencyMetric(torch.device("cpu"), structure=True) for _ in range(2)]
    for number, (prediction, mask) in enumerate(cases):
        whole.add(prediction, mask)
        parts[number % 2].add(prediction, mask)
    for name, total in parts[0].totals.items():
        total += parts[1].totals[name]
    assert parts[0].finish() == pytest.approx(whole.finish(), abs=1e-12)


def test_update_scores_maps_at_the_size_of_the_mask():
    class Half(torch.nn.Module):
        def forward(self, images):
            return torch.where(images[:, :1] > 0, 20.0, -20.0)  # 1 on the right

    images = torch.full((2, 3, 8, 8), -1.0)
    images[:, :, :, 4:] = 1.0
    mask = torch.zeros(40, 60, dtype=torch.uint8)
    mask[:, 30:] = 255
    metric = SaliencyMetric(torch.device("cpu"))
    metric.update(Half(), {"image": images, "mask": [mask, mask[:, ::2]], "index": [4, 9]})
    assert list(metric.rows) == [4, 9]
    assert metric.totals["count"] == 2
    assert metric.finish()["mae"] < 0.04  # only the columns between the two halves
    assert metric.finish()["maxf255"] > 0.99


def test_prepare_quantises_and_stretches():
    prediction = np.array([[0.2, 0.4, 0.601]])
    np.testing.assert_allclose(prepare(prediction), np.array([[51, 102, 153]]) / 255)
    np.testing.assert_allclose(prepare(prediction, stretch=True), [[0, 0.5, 1]])
    np.testing.assert_array_equal(prepare(prediction, quantise=False), prediction)
    constant = np.full((2, 2), 0.3)
    np.testing.assert_array_equal(prepare(constant, quantise=False, stretch=True), constant)


def test_measures_of_a_perfect_map_are_one():
    mask = np.zeros((30, 40), np.uint8)
    mask[5:20, 10:30] = 255
    found = scored(mask / 255, mask, False)
    assert found["mae"] == 0
    assert all(found[key] == pytest.approx(1, abs=2e-3) for key in ("maxf50", "maxf255", "maxe", "s", "weighted_f"))


def test_structure_of_a_thin_picture_has_no_nan():
    truth = truth_of(np.array([[255, 255, 0, 0, 0]], np.uint8))
    assert 0 <= s_measure(np.array([[1.0, 0.9, 0.1, 0.0, 0.0]]), truth) <= 1


def test_f_measure_of_nothing_is_zero():
    assert f_measure(np.zeros(3), np.zeros(3)).tolist() == [0, 0, 0]


def test_a_map_of_another_size_than_its_mask_is_refused():
    with pytest.raises(ValueError, match="both need the mask's size"):
        SaliencyMetric(torch.device("cpu")).add(np.zeros((3, 4)), np.zeros((4, 3), np.uint8))
