"""Every rule against cases small enough to be worked out by hand."""

import pytest
import torch

from volovan.files.classes import wnids
from volovan.suite import report
from volovan.suite.classes import number_of, real_labels, subset
from volovan.suite.scoring import (
    ALEXNET_ERROR,
    AcceptedMetric,
    Score,
    corrupted_accuracy,
    corruption_error,
    hits,
    mean_corruption_error,
)

CPU = torch.device("cpu")


def accepted(*sets: list[int], classes: int = 8) -> torch.Tensor:
    """(B, 1, K) from the accepted classes of each picture."""
    table = torch.zeros(len(sets), 1, classes, dtype=torch.bool)
    for number, numbers in enumerate(sets):
        table[number, 0, numbers] = True
    return table


def ranking(*orders: list[int], classes: int = 8) -> torch.Tensor:
    """Logits (B, K) that rank the classes of each picture as given, best first; the others after them."""
    logits = torch.full((len(orders), classes), -100.0) - torch.arange(classes)
    for number, order in enumerate(orders):
        logits[number, order] = torch.arange(len(order), 0, -1).float()
    return logits


@pytest.mark.parametrize(
    ("labels", "top1", "top5"),
    [([3], True, True), ([1], False, True), ([6], False, True), ([7], False, False), ([7, 3], True, True), ([], 0, 0)],
    ids=["first", "second", "fifth", "sixth", "one of two labels", "no label"],
)
def test_hit_is_a_prediction_among_the_accepted_classes(labels, top1, top5):
    logits = ranking([3, 1, 2, 5, 6, 7])
    assert hits(logits, accepted(labels)).tolist() == [[[bool(top1), bool(top5)]]]


def test_hit_in_a_subset_ignores_the_other_outputs():
    """Class 4 wins over all, but does not compete; among 0, 2, 6 the order is 6, 0, 2."""
    logits = ranking([4, 5, 6, 0, 1, 3, 7, 2])
    three = torch.tensor([0, 2, 6])
    for label, top1 in ((6, True), (0, False), (2, False)):
        assert hits(logits, accepted([label]), three).tolist() == [[[top1, True]]]  # top-5 of three classes
        assert hits(logits, accepted([label]))[0, 0, 0].item() is False


def test_hit_in_a_subset_keeps_five_of_its_classes():
    """The sixth of the subset is no top-5 hit, although only five others of the subset are ahead of it."""
    logits = ranking([7, 0, 1, 2, 3, 4, 5, 6])
    assert hits(logits, accepted([4]), torch.arange(7)).tolist() == [[[False, True]]]
    assert hits(logits, accepted([5]), torch.arange(7)).tolist() == [[[False, False]]]


def test_output_that_is_not_finite_is_wrong_and_counted():
    logits = ranking([0], [0], [0])
    logits[1, 0], logits[2, 5] = float("nan"), float("inf")
    metric = AcceptedMetric(["a"], CPU)
    metric.add(logits, accepted([0], [0], [5]), torch.ones(3, 1, dtype=torch.bool), torch.arange(3))
    assert metric.scores() == {"a": Score(3, pytest.approx(100 / 3), pytest.approx(100 / 3))}
    assert metric.totals["not_finite"] == 2


def test_rows_of_one_pass_have_their_own_labels_and_pictures():
    """val and ReaL: picture 2 has no label in ReaL, picture 1 another one."""
    logits = ranking([0], [1], [2])
    labels = torch.cat([accepted([0], [1], [3]), accepted([4, 0], [5], [])], dim=1)
    counts = torch.tensor([[True, True], [True, True], [True, False]])
    metric = AcceptedMetric(["val", "real"], CPU)
    for part in (slice(0, 2), slice(2, 3)):  # sums over batches
        metric.add(logits[part], labels[part], counts[part], torch.arange(3)[part])
    scores = metric.scores()
    assert (scores["val"].pictures, scores["real"].pictures) == (3, 2)
    assert scores["val"].top1 == pytest.approx(200 / 3)
    assert scores["real"].top1 == 50


def test_score_over_no_picture_is_nan():
    score = AcceptedMetric(["a"], CPU).scores()["a"]
    assert score.pictures == 0
    assert score.top1 != score.top1


def test_predictions_are_kept_by_picture_within_the_subset():
    metric = AcceptedMetric([], CPU, subset=[2, 5], keep=True)
    none = torch.zeros(2, 0, 8, dtype=torch.bool)
    metric.add(ranking([0, 5, 2], [0, 2, 5]), none, torch.zeros(2, 0, dtype=torch.bool), torch.tensor([3, 1]))
    assert metric.rows == {3: 5, 1: 2}


# ---- ImageNet-C -----------------------------------------------------------------------------------------------------

# AlexNet's errors at severities 1 to 5, as its authors listed them (issue 10 of hendrycks/robustness).
ALEXNET_BY_SEVERITY = {
    "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
    "shot_noise": (0.71224, 0.85108, 0.93574, 0.98182, 0.99146),
    "impulse_noise": (0.78374, 0.89808, 0.9487, 0.9872, 0.99548),
    "defocus_blur": (0.65624, 0.73202, 0.85036, 0.91364, 0.94714),
    "glass_blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
    "motion_blur": (0.5843, 0.70048, 0.82108, 0.8975, 0.92638),
    "zoom_blur": (0.70008, 0.76992, 0.80784, 0.84198, 0.87198),
    "snow": (0.71726, 0.88392, 0.86468, 0.9187, 0.94952),
    "frost": (0.6139, 0.79734, 0.8879, 0.89942, 0.9343),
    "fog": (0.67474, 0.7605, 0.84378, 0.8726, 0.945),
    "brightness": (0.4514, 0.48502, 0.54048, 0.62166, 0.72440),
    "contrast": (0.64548, 0.7615, 0.88874, 0.9776, 0.9927),
    "elastic_transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
    "pixelate": (0.52218, 0.5462, 0.73728, 0.87092, 0.91262),
    "jpeg_compression": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
}


def test_corruption_error_divides_by_the_mean_of_alexnets_errors():
    assert {name: sum(errors) / 5 for name, errors in ALEXNET_BY_SEVERITY.items()} == pytest.approx(ALEXNET_ERROR)
    errors = [100 * error for error in ALEXNET_BY_SEVERITY["fog"]]
    assert corruption_error(errors, "fog") == pytest.approx(100)
    assert corruption_error([10, 20, 30, 40, 50], "brightness") == pytest.approx(30 / 0.564592)


def test_mean_corruption_error_is_the_mean_of_ratios():
    """Fourteen corruptions as AlexNet, fog at half its error: 14.5 / 15; a ratio of means would give another number."""
    errors = {name: [100 * ALEXNET_ERROR[name]] * 5 for name in ALEXNET_ERROR}
    errors["fog"] = [50 * ALEXNET_ERROR["fog"]] * 5
    errors["spatter"] = [100.0] * 5  # one of the extra four: in neither mean
    mce, mean = mean_corruption_error(errors)
    assert mce == pytest.approx(100 * 14.5 / 15)
    assert mean == pytest.approx(100 * (sum(ALEXNET_ERROR.values()) - 0.5 * 0.819324) / 15)


def test_corruption_error_needs_all_severities():
    with pytest.raises(ValueError, match="fog: 4 errors, expected one for each of 5 severities"):
        corruption_error([1, 2, 3, 4], "fog")


def test_error_of_a_corruption_is_the_mean_of_its_severities_not_of_its_pictures():
    """A severity with fewer pictures weighs as much: errors 0, 0, 0, 0, 50 give 10."""
    scores = {f"c-fog-{severity}": Score(4 if severity < 5 else 2, 100.0, 100.0) for severity in range(1, 5)}
    scores["c-fog-5"] = Score(2, 50.0, 50.0)
    figures = {(figure.name, figure.metric): figure.value for figure in report.corruption_figures("c-fog", scores)}
    assert figures["c-fog", "error"] == 10
    assert figures["c-fog", "ce"] == pytest.approx(10 / 0.819324)


@pytest.mark.parametrize(
    ("drop", "said"), [("c-fog-", "fog"), ("c-snow-3", "snow")], ids=["a corruption", "a severity"]
)
def test_mean_corruption_error_is_not_given_for_a_part(drop, said):
    figures = [
        report.Figure(f"c-{corruption}-{severity}", "error", 50.0, 1)
        for corruption in ALEXNET_ERROR
        for severity in range(1, 6)
    ]
    whole, note = report.mean_corruption_figures(figures)
    assert [figure.metric for figure in whole] == ["mce", "mean_error"]
    assert note == ""
    part, note = report.mean_corruption_figures([figure for figure in figures if not figure.name.startswith(drop)])
    assert part == []
    assert note == f"no mCE: of the 15 corruptions, {said} lack or lack a severity"


def test_extra_corruption_has_an_error_and_no_corruption_error():
    scores = {f"c-spatter-{severity}": Score(1, 80.0, 90.0) for severity in range(1, 6)}
    assert {figure.metric for figure in report.corruption_figures("c-spatter", scores)} == {"error"}


# ---- VizWiz and the lists of classes --------------------------------------------------------------------------------


def test_corrupted_accuracy_weighs_each_flaw_alike():
    assert corrupted_accuracy({"blurred": 60.0, "dark": 30.0, "obscured": 0.0}) == 30


def test_subsets_hold_200_classes_by_the_published_wnids():
    assert len(wnids()) == len(number_of()) == 1000
    assert len(subset("a")) == len(subset("r")) == 200
    assert [wnids()[number] for number in subset("a")[:3]] == ["n01498041", "n01531178", "n01534433"]
    assert [wnids()[number] for number in subset("r")[:3]] == ["n01443537", "n01484850", "n01494475"]


def test_real_labels_have_the_published_size():
    labels = real_labels()
    assert len(labels) == 50_000
    assert sum(1 for numbers in labels if numbers) == 46_837
