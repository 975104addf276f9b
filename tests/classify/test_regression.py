"""Numbers for each picture: lists, losses and metrics against written-out formulas, original units in predictions."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from volovan.classify.losses import regression_loss
from volovan.classify.metrics import RegressionMetric
from volovan.classify.targets import Outputs
from volovan.cli import main
from volovan.data import SourceError, check_data, open_source
from volovan.data.lists.targets import TargetFiles, Targets, targets_of
from volovan.engine.settings import SettingsError
from volovan.use.load import load

CPU = torch.device("cpu")


def write(folder: Path, *lines: str) -> Path:
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder / "list.csv"


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 digits to train and 40 to validate with two numbers far from 0 and 1: 1000 + digit, and -50 digit."""
    folder = tmp_path_factory.mktemp("numbers")
    with (folder / "list.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "value:year", "split", "value:depth"])
        for split, count in (("train", 96), ("val", 40)):
            source = open_source("digits", split)
            for index in range(count):
                source.load(index).save(folder / f"{split}{index}.png")
                digit = source.target(index)
                table.writerow([f"{split}{index}.png", 1000 + digit, split, -50 * digit])
    return folder / "list.csv"


# ---- lists ----------------------------------------------------------------------------------------------------------


def test_lists_hold_numbers_by_name(tmp_path):
    path = write(tmp_path, "file,Value: age ,value:mass", "a.jpg,3,1e3", "b.jpg, -2.5 ,0")
    targets = targets_of(open_source(str(path)))
    assert (targets.kind, targets.names) == ("numbers", ("age", "mass"))
    assert targets.values.tolist() == [[3, 1000], [-2.5, 0]]
    assert targets_of(open_source(str(write(tmp_path, "file,value", "a.jpg,7")))).names == ("value",)


def test_classes_and_numbers_live_in_one_list(tmp_path):
    path = write(tmp_path, "file,label,value", "a.jpg,cat,7", "b.jpg,dog,9")
    source = open_source(str(path))
    assert source.classes == ("cat", "dog")
    assert [source.target(i) for i in range(2)] == [0, 1]
    assert targets_of(open_source(str(path), kind="numbers")).values.tolist() == [[7], [9]]


def test_a_list_with_classes_too_is_held_out_by_them(tmp_path):
    rows = [f"{i}.jpg,{'cat' if i < 3 else 'dog'},{i}" for i in range(30)]
    path = write(tmp_path, "file,label,value", *rows)
    held = [open_source(str(path), "val", kind) for kind in ("class", "numbers")]
    assert [held[0].name(i) for i in range(len(held[0]))] == [held[1].name(i) for i in range(len(held[1]))]
    assert {held[0].target(i) for i in range(len(held[0]))} == {0, 1}


@pytest.mark.parametrize("cell", ["", "old", "nan", "inf"], ids=["empty", "word", "nan", "infinite"])
def test_what_is_no_number_is_refused_with_its_line(tmp_path, cell):
    path = write(tmp_path, "file,value:age", "a.jpg,3", f"b.jpg,{cell}")
    with pytest.raises(SourceError, match=rf"list.csv line 3: age is '{cell}', expected a number"):
        open_source(str(path))


@pytest.mark.parametrize("cell", ["1e39", "-3.5e38"])
def test_number_beyond_float32_is_refused_with_its_line(tmp_path, cell):
    path = write(tmp_path, "file,value:age", "a.jpg,3.4e38", f"b.jpg,{cell}")
    with pytest.raises(SourceError, match=rf"list.csv line 3: age is '{cell}', expected a number up to 3.4e\+38"):
        open_source(str(path))


def test_two_columns_of_one_name_are_refused_with_both_places(tmp_path):
    path = write(tmp_path, "file,value:age,split, Value: age", "a.jpg,3,train,4")
    with pytest.raises(
        SourceError, match=r"list.csv has two columns for the number 'age', column 2 and column 4; rename"
    ):
        open_source(str(path))


def test_labels_and_numbers_do_not_go_together(tmp_path):
    with pytest.raises(SourceError, match="both columns of labels and of values"):
        open_source(str(write(tmp_path, "file,labels,value", "a.jpg,cat,3")))


def test_check_data_shows_the_range(numbers, tmp_path, capsys):
    report = check_data(str(numbers), out=tmp_path)
    assert report.ok
    assert report.kind == "numbers"
    values = targets_of(open_source(str(numbers), "train")).values[:, 0]
    assert report.splits["train"].numbers["year"] == pytest.approx([values.min(), values.mean(), values.max()])
    assert main(["check-data", str(numbers), "--out", str(tmp_path)]) == 0
    assert "numbers for each picture" in capsys.readouterr().out


# ---- losses, metrics, standardising ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("mse", lambda d: d * d),
        ("l1", lambda d: abs(d)),
        ("smooth_l1", lambda d: d * d / 2 if abs(d) < 1 else abs(d) - 0.5),
    ],
    ids=["mse", "l1", "smooth_l1"],
)
def test_losses_equal_the_formulas(name, formula):
    torch.manual_seed(0)
    output, target = torch.randn(7, 3) * 2, torch.randn(7, 3)
    want = sum(formula(d) for d in (output - target).double().flatten().tolist()) / 21
    assert float(regression_loss(output, target, name=name)) == pytest.approx(want, rel=1e-6)


def test_outputs_standardise_and_come_back():
    draw = np.random.default_rng(0)
    values = np.stack([1e6 + 10 * draw.normal(size=50), np.full(50, 3.0), draw.normal(size=50)], axis=1)
    targets = Targets("numbers", ("far", "fixed", "near"), values)
    outputs = Outputs.of(targets)
    coded, _ = outputs.encode(source_of(targets.names, values))
    assert coded.mean(0) == pytest.approx([0, 0, 0], abs=1e-9)
    assert coded.std(0) == pytest.approx([1, 0, 1])
    assert np.abs(outputs.decode(torch.from_numpy(coded)).numpy() - values).max() < 1e-6
    about = json.loads(json.dumps({"classes": list(outputs.names), "target": outputs.describe()}))
    assert Outputs.described(about) == outputs


def test_columns_are_found_by_name_and_must_be_all_there():
    outputs = Outputs("regression", ("a", "b"), (0.0, 10.0), (1.0, 2.0))
    swapped = source_of(("b", "a"), [[14.0, 5.0]])
    values, note = outputs.encode(swapped)
    assert values.tolist() == [[5, 2]]
    assert "matched by name" in note
    with pytest.raises(SettingsError, match="have 1 column that is not learned: 'c'"):
        outputs.encode(source_of(("a", "c"), [[1.0, 2.0]]))
    with pytest.raises(SettingsError, match=r"the data lack 'b', which the network .*; add a column `value:b`"):
        outputs.encode(source_of(("a",), [[1.0]]))


def source_of(names, values):
    """A source with these targets; its pictures are not there."""
    files = [f"{number}.png" for number in range(len(values))]
    targets = Targets("numbers", names, np.array(values))
    return TargetFiles(Path(), files, targets, "", np.zeros(len(values)))


def predictions() -> tuple[np.ndarray, np.ndarray, Outputs]:
    draw = np.random.default_rng(1)
    wanted = np.stack([500 + 20 * draw.normal(size=80), 0.1 * draw.normal(size=80)], axis=1)
    said = wanted + np.array([5, 0.05]) * draw.normal(size=(80, 2))
    return said, wanted, Outputs.of(Targets("numbers", ("big", "small"), wanted[:50]), "l1")


def metric_of(said: np.ndarray, wanted: np.ndarray, outputs: Outputs) -> RegressionMetric:
    metric = outputs.metric(CPU)
    coded = [torch.from_numpy((values - outputs.mean) / outputs.std) for values in (said, wanted)]
    for begin in range(0, len(said), 30):
        metric.add(*(values[begin : begin + 30] for values in coded))
    assert isinstance(metric, RegressionMetric)
    return metric


def test_metrics_equal_the_definitions_in_the_units_of_the_data():
    said, wanted, outputs = predictions()
    values = metric_of(said, wanted, outputs).finish()
    error = said - wanted
    mae, rmse = np.abs(error).mean(0), np.sqrt((error**2).mean(0))
    r2 = 1 - (error**2).sum(0) / ((wanted - wanted.mean(0)) ** 2).sum(0)
    for name, column in (("mae", mae), ("rmse", rmse), ("r2", r2)):
        assert values[name] == pytest.approx(column.mean())
        assert [values[f"{name}_big"], values[f"{name}_small"]] == pytest.approx(column.tolist())
    assert values["val_loss"] == pytest.approx(np.abs(error / outputs.std).mean(), rel=1e-6)


def test_metrics_of_two_processes_add_up():
    said, wanted, outputs = predictions()
    whole, one, two = (metric_of(said[part], wanted[part], outputs) for part in (slice(80), slice(33), slice(33, 80)))
    for name, total in one.totals.items():
        total += two.totals[name]
    assert one.finish() == pytest.approx(whole.finish(), rel=1e-6)


@pytest.mark.slow
def test_metrics_equal_the_fields_library():
    reference = pytest.importorskip("torchmetrics.functional.regression")
    said, wanted, outputs = predictions()
    values = metric_of(said, wanted, outputs).finish()
    tensors = torch.from_numpy(said), torch.from_numpy(wanted)
    assert values["r2"] == pytest.approx(float(reference.r2_score(*tensors)), rel=1e-6)
    assert values["mae"] == pytest.approx(float(reference.mean_absolute_error(*tensors)), rel=1e-6)


# ---- a run ----------------------------------------------------------------------------------------------------------

WORDS = ["--train.workers", "0", "--train.tensorboard", "false", "--schedule.warmup_epochs", "0"]


@pytest.fixture(scope="module")
def run(numbers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "numbers"
    words = [*WORDS, "--data.source", str(numbers), "--loss.target", "regression", "--loss.regression", "smooth_l1"]
    words += ["--schedule.epochs", "4", "--train.batch_size", "16"]
    assert main(["fit", "digits_van", "--out", str(folder), *words]) == 0
    return folder


def test_a_run_learns_numbers_and_is_validated(run, tmp_path):
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert main(["validate", str(run), "--out", str(tmp_path), "--workers", "0"]) == 0
    values = json.loads((tmp_path / "metrics.json").read_text())
    best = min(rows, key=lambda row: float(row["val_loss"]))
    for name in ("mae", "rmse", "r2", "val_loss", "mae_year", "rmse_depth"):
        assert values[name] == pytest.approx(float(best[name]), rel=1e-3, abs=1e-4), name


def test_predictions_are_in_the_units_of_the_data(run, numbers, tmp_path):
    assert main(["predict", str(run), str(numbers), "--out", str(tmp_path), "--workers", "0", "--sheet", "4"]) == 0
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    source = open_source(str(numbers))
    classifier = load(str(run), device="cpu")
    assert len(rows) == len(source) == 136
    for index in (0, 50, 135):
        with torch.no_grad():
            z = classifier.model(classifier.eval_transform()(source.load(index))[None])[0].double().tolist()
        want = [v * s + m for v, s, m in zip(z, classifier.outputs.std, classifier.outputs.mean, strict=True)]
        assert [float(rows[index][name]) for name in ("year", "depth")] == pytest.approx(want, rel=1e-4, abs=0.01)
    assert 1000 < np.mean([float(row["year"]) for row in rows]) < 1009
    assert -450 < np.mean([float(row["depth"]) for row in rows]) < 0


def test_regression_resumes_exactly(numbers, run, tmp_path):
    words = [*WORDS, "--data.source", str(numbers), "--loss.target", "regression", "--loss.regression", "smooth_l1"]
    words += ["--schedule.epochs", "4", "--train.batch_size", "16", "--train.max_steps", "13"]
    folder = tmp_path / "parts"
    assert main(["fit", "digits_van", "--out", str(folder), *words]) == 0
    recipe = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(recipe.replace("max_steps: 13", "max_steps: null"))
    assert main(["fit", "--resume", str(folder)]) == 0
    one, two = (load(str(f / "checkpoints" / "step-00000024.safetensors"), device="cpu") for f in (run, folder))
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))
    assert one.outputs == two.outputs


def test_numbers_take_no_class_weights(numbers, tmp_path, capsys):
    words = ["--data.source", str(numbers), "--loss.target", "regression", "--loss.class_weights", "balanced"]
    assert main(["fit", "digits_van", "--out", str(tmp_path / "r"), *WORDS, *words]) == 2
    assert "loss.class_weights is of classes" in capsys.readouterr().err


@pytest.mark.parametrize(("target", "figure"), [("class", "top1"), ("regression", "r2")])
def test_a_list_with_classes_too_gives_the_target_that_is_learned(tmp_path, capsys, target, figure):
    with (tmp_path / "list.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", "value:age", "split"])
        for split in ("train", "val"):
            source = open_source("digits", split)
            for index in range(16):
                source.load(index).save(tmp_path / f"{split}{index}.png")
                digit = source.target(index) % 2
                table.writerow([f"{split}{index}.png", ("even", "odd")[digit], 30 + digit, split])
    data, run = str(tmp_path / "list.csv"), str(tmp_path / "run")
    words = ["--data.source", data, "--loss.target", target, *WORDS, "--train.max_steps", "1"]
    assert main(["fit", "digits_van", "--out", run, *words]) == 0
    capsys.readouterr()
    assert main(["validate", run, "--workers", "0"]) == 0
    assert figure in capsys.readouterr().out
    assert main(["predict", run, data, "--split", "val", "--workers", "0", "--out", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "predictions.csv").open() as file:
        assert ("age" in next(csv.reader(file))) == (target == "regression")
