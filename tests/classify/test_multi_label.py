"""Several labels for each picture: lists, loss, metrics against written-out formulas, a run and its predictions."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from volovan.classify.data import positive_weight
from volovan.classify.losses import multi_label_loss
from volovan.classify.metrics import MultiLabelMetric
from volovan.classify.targets import Outputs
from volovan.cli import main
from volovan.data import SourceError, check_data, open_source
from volovan.data.lists.targets import TargetFiles, Targets, targets_of
from volovan.engine.settings import SettingsError

CPU = torch.device("cpu")
KINDS = {"even": (0, 2, 4, 6, 8), "large": (5, 6, 7, 8, 9), "prime": (2, 3, 5, 7)}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 digits to train and 40 to validate, with the labels that apply to them."""
    folder = tmp_path_factory.mktemp("several")
    with (folder / "list.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["split", "file", "labels"])
        for split, count in (("train", 96), ("val", 40)):
            source = open_source("digits", split)
            for index in range(count):
                name = f"{split}{index}.png"
                source.load(index).save(folder / name)
                applies = [kind for kind, digits in KINDS.items() if int(source.target(index)) in digits]
                table.writerow([split, name, "|".join(applies)])
    return folder / "list.csv"


# ---- lists ----------------------------------------------------------------------------------------------------------


def write(folder: Path, *lines: str, name: str = "list.csv") -> Path:
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def test_lists_hold_several_labels_in_plain_order(tmp_path):
    path = write(tmp_path, "path,labels", "a.jpg,dog| cat", "b.jpg,", "c.jpg,cat|cat", "d.jpg,bird")
    targets = targets_of(open_source(str(path)))
    assert (targets.kind, targets.names) == ("labels", ("bird", "cat", "dog"))
    assert targets.values.tolist() == [[0, 1, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_classes_txt_fixes_the_columns(tmp_path):
    write(tmp_path, "dog", "cat", "fish", name="classes.txt")
    path = write(tmp_path, "path,labels", "a.jpg,cat")
    assert targets_of(open_source(str(path))).names == ("dog", "cat", "fish")
    path = write(tmp_path, "path,labels", "a.jpg,cat|cow")
    with pytest.raises(SourceError, match=r"label 'cow' \(1 such\) is none of the 3 in classes.txt"):
        open_source(str(path))


def test_splits_and_held_out_parts_keep_their_targets(several):
    whole = targets_of(open_source(str(several)))
    parts = [targets_of(open_source(str(several), split)) for split in ("train", "val")]
    assert [len(part.values) for part in parts] == [96, 40]
    assert np.array_equal(np.concatenate([part.values for part in parts]), whole.values)


def test_a_list_without_splits_is_held_out_with_its_targets(tmp_path):
    path = write(tmp_path, "path,labels", *(f"{i}.jpg,{'even' if i % 2 == 0 else 'odd'}" for i in range(60)))
    for split in ("train", "val"):
        source = open_source(str(path), split)
        values = targets_of(source).values
        for row in range(len(source)):
            assert values[row].tolist() == ([1, 0] if int(source.name(row)[:-4]) % 2 == 0 else [0, 1])


def test_bars_in_a_plain_label_are_pointed_out(tmp_path):
    path = write(tmp_path, "path,label", "a.jpg,cat|dog", "b.jpg,cat")
    source = open_source(str(path))
    assert source.classes == ("cat", "cat|dog")
    assert "call the column `labels`" in source.note


def test_labels_without_any_are_refused(tmp_path):
    with pytest.raises(SourceError, match="the column of labels is empty"):
        open_source(str(write(tmp_path, "path,labels", "a.jpg,")))


def test_check_data_counts_what_applies(several, tmp_path, capsys):
    report = check_data(str(several), out=tmp_path)
    targets = targets_of(open_source(str(several), "train"))
    assert report.ok
    assert report.kind == "labels"
    assert report.splits["train"].per_class == dict(zip(KINDS, targets.values.sum(0).tolist(), strict=True))
    assert report.splits["train"].unlabelled == int((targets.values.sum(1) == 0).sum()) > 0
    assert main(["check-data", str(several), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "3 classes, several for a picture" in said
    assert "samples no class applies" in said


# ---- loss and metrics -----------------------------------------------------------------------------------------------


def test_loss_equals_the_formula():
    torch.manual_seed(0)
    logits, target = torch.randn(5, 3), torch.randint(0, 2, (5, 3)).float()
    weight, eps = [2.0, 1.0, 0.5], 0.2
    total = 0.0
    for row, wanted in zip(logits.double().tolist(), target.tolist(), strict=True):
        for z, t, w in zip(row, wanted, weight, strict=True):
            t = t * (1 - eps) + eps / 2
            p = 1 / (1 + math.exp(-z))
            total -= w * t * math.log(p) + (1 - t) * math.log(1 - p)
    got = multi_label_loss(logits, target, smoothing=eps, positive_weight=torch.tensor(weight))
    assert float(got) == pytest.approx(total / 15, rel=1e-6)


def test_positive_weights():
    values = np.array([[1, 0], [0, 0], [0, 0], [1, 1]], dtype=np.uint8)
    assert positive_weight(values, "none") is None
    assert positive_weight(values, "balanced").tolist() == [1.0, 3.0]
    assert positive_weight(values, (2.0, 5.0)).tolist() == [2.0, 5.0]
    with pytest.raises(SettingsError, match="holds 1 numbers; 2"):
        positive_weight(values, (2.0,))


def average_precision(scores: list[float], applies: list[int]) -> float:
    """Sum over distinct thresholds of (recall gained) x precision, one threshold at a time."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = [a for s, a in zip(scores, applies, strict=True) if s >= threshold]
        recall = sum(chosen) / sum(applies)
        total += (recall - before) * sum(chosen) / len(chosen)
        before = recall
    return total


def predictions(quantised: bool) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    target = (torch.rand(200, 4) < torch.tensor([0.5, 0.3, 0.1, 0.0])).float()
    logits = torch.randn(200, 4) * 2 + target
    return (logits * 8).round() / 8 if quantised else logits, target


def metric_of(logits: torch.Tensor, target: torch.Tensor) -> MultiLabelMetric:
    metric = MultiLabelMetric(logits.shape[1], CPU)
    for begin in range(0, len(logits), 30):
        metric.add(logits[begin : begin + 30], target[begin : begin + 30])
    return metric


@pytest.mark.parametrize(("quantised", "tolerance"), [(True, 1e-9), (False, 2e-3)], ids=["ties", "continuous"])
def test_average_precision_equals_the_definition(quantised, tolerance):
    logits, target = predictions(quantised)
    metric = metric_of(logits, target)
    want = [average_precision(logits[:, k].tolist(), target[:, k].int().tolist()) for k in range(3)]
    assert metric.average_precision()[:3].tolist() == pytest.approx(want, abs=tolerance)
    assert math.isnan(metric.average_precision()[3])  # applies to no picture
    assert metric.finish()["map"] == pytest.approx(100 * sum(want) / 3, abs=100 * tolerance)
    assert [n for n, _ in metric.per_class()] == target.sum(0).int().tolist()


def test_other_metrics_equal_the_definitions():
    logits, target = predictions(False)
    said, applies = logits.sigmoid().numpy() > 0.5, target.numpy() > 0.5
    hit, wrong = (said & applies).sum(0), (said != applies).sum(0)
    values = metric_of(logits, target).finish()
    assert values["f1"] == pytest.approx(100 * (2 * hit / (2 * hit + wrong)).mean())
    assert values["f1_micro"] == pytest.approx(100 * 2 * hit.sum() / (2 * hit.sum() + wrong.sum()))
    assert values["exact_match"] == pytest.approx(100 * (said == applies).all(1).mean())
    assert values["val_loss"] == pytest.approx(float(multi_label_loss(logits, target)), rel=1e-6)


@pytest.mark.slow
def test_metrics_equal_the_fields_library():
    reference = pytest.importorskip("torchmetrics.functional.classification")
    logits, target = predictions(True)
    logits, target = logits[:, :3], target[:, :3]
    values = metric_of(logits, target).finish()
    options = {"num_labels": 3}
    truth, scores = target.int(), logits.sigmoid()
    assert values["map"] == pytest.approx(
        100 * float(reference.multilabel_average_precision(scores, truth, average="macro", **options)), abs=1e-3
    )
    for name, average in (("f1", "macro"), ("f1_micro", "micro")):
        want = reference.multilabel_f1_score(scores, truth, average=average, **options)
        assert values[name] == pytest.approx(100 * float(want), abs=1e-3)
    assert values["exact_match"] == pytest.approx(
        100 * float(reference.multilabel_exact_match(scores, truth, **options))
    )


def test_metrics_of_two_processes_add_up():
    logits, target = predictions(False)
    whole, one, two = (
        metric_of(logits, target),
        metric_of(logits[:90], target[:90]),
        metric_of(logits[90:], target[90:]),
    )
    for name, total in one.totals.items():
        total += two.totals[name]
    assert one.finish() == pytest.approx(whole.finish())


# ---- a run ----------------------------------------------------------------------------------------------------------

WORDS = ["--train.workers", "0", "--train.tensorboard", "false", "--schedule.warmup_epochs", "0"]


@pytest.fixture(scope="module")
def run(several, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "several"
    words = [*WORDS, "--data.source", str(several), "--loss.target", "multi_label", "--train.batch_size", "16"]
    words += ["--schedule.epochs", "3", "--loss.class_weights", "balanced"]
    assert main(["fit", "digits_van", "--out", str(folder), *words]) == 0
    return folder


def test_a_run_learns_several_labels_and_is_validated(run, tmp_path):
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert main(["validate", str(run), "--out", str(tmp_path), "--workers", "0"]) == 0
    values = json.loads((tmp_path / "metrics.json").read_text())
    best = max(rows, key=lambda row: float(row["map"]))
    assert values["map"] == pytest.approx(float(best["map"]), abs=1e-3)
    assert values["pictures"] == 40
    assert (tmp_path / "per_class.csv").read_text().startswith("class,pictures,average_precision\neven,")


def test_predictions_are_the_classes_above_the_threshold(run, several, tmp_path):
    words = ["--out", str(tmp_path), "--workers", "0", "--sheet", "4"]
    assert main(["predict", str(run), str(several), *words, "--threshold", "0", "--format", "jsonl"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 136
    assert all({label["class"] for label in row["labels"]} == set(KINDS) for row in rows)
    assert main(["predict", str(run), str(several), *words, "--threshold", "0.45"]) == 0
    with (tmp_path / "predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    for row, full in zip(table, rows, strict=True):
        want = [label for label in full["labels"] if label["probability"] >= 0.45]
        assert row["labels"] == "|".join(label["class"] for label in want)
    assert len({row["labels"] for row in table}) > 1


def test_validation_data_may_lack_a_class_but_not_add_one():
    outputs = Outputs("multi_label", ("a", "b", "c"))
    known = source_of(("c", "a"), [[1, 0], [1, 1]])
    values, note = outputs.encode(known)
    assert values.tolist() == [[0, 0, 1], [1, 0, 1]]
    assert "another order of names than the network: they are matched by name; the data lack 1 of the 3" in note
    with pytest.raises(SettingsError, match=r"1 class that is not learned: 'x'; learned are 'a', 'b', 'c'\. "):
        outputs.encode(source_of(("a", "x"), [[1, 0]]))


def source_of(names, values):
    """A source with these targets; its pictures are not there."""
    files = [f"{number}.png" for number in range(len(values))]
    targets = Targets("labels", names, np.array(values, dtype=np.uint8))
    return TargetFiles(Path(), files, targets, "", np.zeros(len(values)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--loss.target", "regression"],
            "has several labels; loss.target regression needs a .csv with columns `value`",
        ),
        (
            [],
            "has several labels; loss.target class needs one folder per class, or a list with labels; or train with "
            "loss.target multi_label",
        ),
        (
            ["--loss.target", "multi_label", "--augment.mixup", "0.2"],
            "augment.mixup mixes one-class labels; set it to 0",
        ),
        (
            ["--loss.target", "multi_label", "--train.sampling", "sqrt"],
            "leave it at uniform with loss.target multi_label",
        ),
    ],
    ids=["kind", "class", "mixup", "sampling"],
)
def test_settings_that_do_not_go_with_several_labels(several, tmp_path, capsys, words, message):
    assert main(["fit", "digits_van", "--out", str(tmp_path / "r"), "--data.source", str(several), *WORDS, *words]) == 2
    assert message in capsys.readouterr().err


def test_one_class_data_are_no_several_labels(tmp_path, capsys):
    words = ["--out", str(tmp_path / "r"), *WORDS, "--loss.target", "multi_label"]
    assert main(["fit", "digits_van", *words]) == 2
    assert "digits has one class for each picture; loss.target multi_label needs a .csv" in capsys.readouterr().err
