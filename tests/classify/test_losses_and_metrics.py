import math

import pytest
import torch
from torch import Tensor

from volovan.classify.data import class_weights
from volovan.classify.losses import classification_loss, smooth_one_hot
from volovan.classify.metrics import BINS, ClassificationMetric
from volovan.engine.settings import SettingsError


def written_out_cross_entropy(logits: Tensor, target: Tensor, weight: list[float]) -> float:
    """Weighted cross entropy by its formula, one number at a time."""
    total = mass = 0.0
    for row, label in zip(logits.double().tolist(), target.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(z) for z in row))
        total += weight[label] * (log_sum - row[label])
        mass += weight[label]
    return total / mass


def test_cross_entropy_with_class_weights_equals_the_formula():
    torch.manual_seed(0)
    logits, target, weight = torch.randn(9, 4), torch.randint(0, 4, (9,)), [0.5, 2.0, 1.0, 3.0]
    got = classification_loss(logits, target, weight=torch.tensor(weight))
    assert float(got) == pytest.approx(written_out_cross_entropy(logits, target, weight), rel=1e-6)


def test_cross_entropy_smoothing_equals_soft_targets():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 5), torch.randint(0, 5, (6,))
    soft = smooth_one_hot(labels, 5, 0.1)
    assert soft.sum(1).tolist() == pytest.approx([1] * 6)
    hard = classification_loss(logits, labels, smoothing=0.1)
    torch.testing.assert_close(hard, classification_loss(logits, soft))


def test_soft_targets_are_not_smoothed_twice():
    logits, soft = torch.randn(3, 4), torch.softmax(torch.randn(3, 4), 1)
    torch.testing.assert_close(
        classification_loss(logits, soft, smoothing=0.3), -(soft * logits.log_softmax(1)).sum(1).mean()
    )


def test_binary_loss_equals_the_formula():
    logits, labels = torch.tensor([[0.3, -1.0, 2.0]]), torch.tensor([2])
    want = (
        -sum(math.log(1 / (1 + math.exp(-z if t else z))) for z, t in zip([0.3, -1.0, 2.0], [0, 0, 1], strict=True)) / 3
    )
    assert float(classification_loss(logits, labels, name="binary")) == pytest.approx(want, rel=1e-6)


def test_class_weights_balanced_average_to_one_over_the_samples():
    labels = [0] * 6 + [1] * 3 + [2]
    weights = class_weights(labels, "balanced", 3)
    assert float(weights[torch.tensor(labels)].mean()) == pytest.approx(1)
    assert weights.tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    assert class_weights(labels, "none", 3) is None
    with pytest.raises(SettingsError, match="holds 2 numbers; 3"):
        class_weights(labels, (1.0, 2.0), 3)


def metric_of(logits: Tensor, labels: Tensor, size: int = 7) -> ClassificationMetric:
    metric = ClassificationMetric(logits.shape[1], torch.device("cpu"))
    for begin in range(0, len(labels), size):
        metric.add(logits[begin : begin + size], labels[begin : begin + size])
    return metric


def test_metrics_equal_the_fields_library():
    reference = pytest.importorskip("torchmetrics.functional.classification")
    torch.manual_seed(0)
    logits, labels = torch.randn(200, 8) * 2, torch.randint(0, 8, (200,))
    metric = metric_of(logits, labels)
    values = metric.finish()
    options = {"num_classes": 8}
    assert values["top1"] == pytest.approx(
        100 * float(reference.multiclass_accuracy(logits, labels, average="micro", **options)), rel=1e-6
    )
    assert values["top5"] == pytest.approx(
        100 * float(reference.multiclass_accuracy(logits, labels, top_k=5, average="micro", **options)), rel=1e-6
    )
    assert values["class_mean"] == pytest.approx(
        100 * float(reference.multiclass_accuracy(logits, labels, average="macro", **options)), rel=1e-6
    )
    assert values["ece"] == pytest.approx(
        float(reference.multiclass_calibration_error(logits.softmax(1), labels, n_bins=BINS, **options)), abs=1e-6
    )
    confusion = reference.multiclass_confusion_matrix(logits, labels, **options)
    assert torch.equal(metric.totals["confusion"], confusion)
    assert values["val_loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-6)


def test_metrics_of_a_perfect_and_of_no_prediction():
    labels = torch.tensor([0, 1, 2, 2])
    perfect = metric_of(torch.eye(3)[labels] * 50, labels)
    values = perfect.finish()
    assert values["top1"] == values["class_mean"] == 100
    assert values["ece"] < 1e-6
    assert "top5" not in values  # five of three classes would say nothing
    assert perfect.per_class() == [(1, 100.0), (1, 100.0), (2, 100.0)]
    assert math.isnan(ClassificationMetric(3, torch.device("cpu")).finish()["top1"])


def test_metrics_skip_the_confusion_matrix_of_22k_classes():
    metric = ClassificationMetric(21_841, torch.device("cpu"))
    assert "confusion" not in metric.totals
    labels = torch.tensor([0, 21_840])
    metric.add(torch.nn.functional.one_hot(torch.tensor([0, 7]), 21_841).float(), labels)
    assert metric.finish()["top1"] == 50
