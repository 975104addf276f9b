"""k-NN and linear probe against other implementations: loops, and scipy's optimiser on the written objective."""

import csv
import json
import math
import os

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.optimize import minimize

from volovan.classify.metrics import score_ranked
from volovan.cli import main
from volovan.data.samples import ArraySource, Chain, FileSource, Part
from volovan.transfer import neighbours
from volovan.transfer.linear import choose_probe, fit_probe, held_out
from volovan.transfer.probe import weights_digest
from volovan.transfer.stamps import source_digest


def clusters(rows, classes=6, width=5, seed=0, spread=1.5):
    """Overlapping clouds, so that no method is perfect."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    labels = draw.integers(0, classes, rows)
    features = centres[labels] + spread * draw.normal(size=(rows, width))
    return torch.tensor(features, dtype=torch.float32), torch.tensor(labels)


# ---- nearest neighbours ---------------------------------------------------------------------------------------------


def ranked_by_loops(queries, bank, labels, classes, k, temperature):
    """Each similarity, weight and vote one number at a time."""
    out = []
    for query in queries.double().tolist():
        near = []
        for row, other in enumerate(bank.double().tolist()):
            dot = sum(a * b for a, b in zip(query, other, strict=True))
            near.append((dot / math.hypot(*query) / math.hypot(*other), row))
        near = sorted(near, reverse=True)[:k]
        votes = [0.0] * classes
        closeness = [0.0] * classes
        for similarity, row in near:
            votes[labels[row]] += 1 if temperature is None else math.exp(similarity / temperature)
            closeness[labels[row]] += 1 + similarity
        order = sorted(range(classes), key=lambda c: (votes[c], closeness[c]), reverse=True)[:5]
        out.append([c if votes[c] > 0 else -1 for c in order])
    return out


@pytest.mark.parametrize("temperature", [0.07, 1.0, None], ids=["published", "warm", "majority"])
@pytest.mark.parametrize("k", [1, 4, 20])
def test_neighbours_equal_the_loops(k, temperature):
    bank, labels = clusters(60)
    queries, _ = clusters(25, seed=1)
    got = neighbours.classify(queries, bank, labels, 6, k, temperature)
    assert got.tolist() == ranked_by_loops(queries, bank, labels.tolist(), 6, k, temperature)


def test_neighbours_in_pieces_equal_those_at_once(monkeypatch):
    bank, labels = clusters(60)
    queries, _ = clusters(25, seed=1)
    whole = neighbours.classify(queries, bank, labels, 6, 7)
    monkeypatch.setattr(neighbours, "CELLS", 60 * 4)
    assert torch.equal(neighbours.classify(queries, bank, labels, 6, 7), whole)


def test_neighbours_do_not_overflow_at_low_temperature():
    bank, labels = clusters(60)
    got = neighbours.classify(bank, bank, labels, 6, 20, temperature=1e-4)
    assert torch.equal(got[:, 0], labels)  # the query itself is the nearest


def test_fewer_pictures_than_neighbours_all_vote():
    bank = torch.eye(3)
    got = neighbours.classify(bank, bank, torch.tensor([0, 1, 1]), 4, k=20, temperature=None)
    assert got[:, :2].tolist() == [[1, 0]] * 3
    assert got[:, 2:].tolist() == [[-1, -1]] * 3


def test_scores_by_hand():
    ranked = torch.tensor([[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [5, -1, -1, -1, -1], [2, 5, -1, -1, -1]])
    scores = score_ranked(ranked, torch.tensor([0, 0, 1, 5]), 7)
    assert (scores.top1, scores.top5) == (25, 75)
    assert scores.per_class[:2] == [(2, 50.0), (1, 0.0)]
    assert scores.per_class[5] == (1, 0.0)
    assert math.isnan(scores.per_class[2][1])
    assert scores.class_mean == pytest.approx(50 / 3)
    assert score_ranked(ranked[:, :3], torch.tensor([0, 0, 1, 2]), 3).top5 is None


# ---- the linear probe -----------------------------------------------------------------------------------------------


def minimum_by_scipy(features, labels, classes, strength):
    """The objective in float64, written out, with a numerical library's L-BFGS; (objective, weight, bias, value)."""
    x = features.double().numpy()
    z = (x - x.mean(0)) / x.std(0)
    one_hot = np.eye(classes)[labels.numpy()]

    def objective(flat):
        weight, bias = flat[: -len(one_hot[0])].reshape(classes, -1), flat[-classes:]
        logits = z @ weight.T + bias
        logits = logits - logits.max(1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        slope = (np.exp(log_p) - one_hot) / len(z)
        value = -(one_hot * log_p).sum() / len(z) + strength / 2 * (weight**2).sum()
        return value, np.concatenate([(slope.T @ z + strength * weight).ravel(), slope.sum(0)])

    start = np.zeros(classes * (z.shape[1] + 1))
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "gtol": 1e-10, "ftol": 0})
    weight, bias = found.x[:-classes].reshape(classes, -1) / x.std(0), found.x[-classes:]
    return objective, weight, bias - weight @ x.mean(0), found.fun


@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
def test_linear_probe_is_the_minimum_of_its_objective(strength):
    features, labels = clusters(300)
    features = features * torch.tensor([1.0, 10.0, 0.1, 1.0, 3.0]) + 5
    objective, weight, bias, least = minimum_by_scipy(features, labels, 6, strength)
    probe = fit_probe(features, labels, 6, strength)
    x = features.double().numpy()
    standard = probe.weight.double().numpy() * x.std(0)
    offset = probe.bias.double().numpy() + probe.weight.double().numpy() @ x.mean(0)
    value = objective(np.concatenate([standard.ravel(), offset]))[0]
    assert least <= value + 1e-12
    assert value == pytest.approx(least, rel=1e-6)
    logits = x @ weight.T + bias
    got = probe.logits(features).double().numpy()
    # One number added to all logits of a row changes nothing.
    assert np.abs((got - got.mean(1, keepdims=True)) - (logits - logits.mean(1, keepdims=True))).max() < 0.02
    assert (got.argmax(1) == logits.argmax(1)).mean() > 0.99


def test_linear_probe_in_pieces_equals_the_whole(monkeypatch):
    features, labels = clusters(200)
    whole = fit_probe(features, labels, 6, 1e-2)
    monkeypatch.setattr("volovan.transfer.linear.CELLS", 6 * 64)
    pieces = fit_probe(features, labels, 6, 1e-2)
    torch.testing.assert_close(pieces.weight, whole.weight, atol=2e-3, rtol=2e-3)


def test_linear_probe_chooses_on_held_out_rows_and_repeats_itself():
    features, labels = clusters(400)
    strengths = (10.0, 0.1, 1e-3)
    probe, trials = choose_probe(features, labels, 6, strengths)
    again, _ = choose_probe(features, labels, 6, strengths)
    assert torch.equal(probe.weight, again.weight)
    assert [trial.strength for trial in trials] == list(strengths)
    best = max(trials, key=lambda trial: (trial.top1, -trial.loss))
    assert probe.strength == best.strength
    kept, held = held_out(labels, 0)
    alone = fit_probe(features[kept], labels[kept], 6, best.strength)
    top1 = 100 * (alone.logits(features[held]).argmax(1) == labels[held]).double().mean()
    assert best.top1 == pytest.approx(float(top1), abs=2)  # the start differs, the minimum does not
    torch.testing.assert_close(probe.weight, fit_probe(features, labels, 6, best.strength).weight)


def test_held_out_rows_are_a_tenth_of_each_class_and_leave_one():
    labels = torch.tensor([0] * 50 + [1] * 4 + [3] * 2 + [4])
    kept, held = held_out(labels, 0)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(57))
    assert torch.bincount(labels[held], minlength=5).tolist() == [5, 1, 0, 1, 0]
    assert not torch.equal(held_out(labels, 1)[1], held)


def test_a_feature_that_never_changes_is_left_aside():
    features, labels = clusters(100)
    features[:, 2] = 7
    probe = fit_probe(features, labels, 6, 1e-2)
    assert torch.isfinite(probe.weight).all()
    assert (probe.weight[:, 2] == 0).all()


def test_one_picture_a_class_has_nothing_to_choose_by():
    probe, trials = choose_probe(torch.eye(4), torch.arange(4), 4)
    assert trials == []
    assert probe.logits(torch.eye(4)).argmax(1).tolist() == [0, 1, 2, 3]


# ---- the command ----------------------------------------------------------------------------------------------------


def test_probe_command_scores_caches_and_writes(tiny_run, tmp_path, capsys):
    out = tmp_path / "probe"
    words = ["probe", str(tiny_run), "digits", "--out", str(out), "--workers", "0", "--l2", "1e-3", "1e-4"]
    assert main(words) == 0
    first = capsys.readouterr().out
    results = json.loads((out / "probe.json").read_text())
    assert (results["train"], results["val"]) == (1433, 364)
    assert set(results["scores"]) == {"knn 20", "knn 20 majority", "linear"}
    assert results["scores"]["linear"]["top1"] > 60  # features of random filters already tell digits apart
    val, linear = load_file(out / "val.safetensors"), load_file(out / "linear.safetensors")
    top1 = 100 * ((val["features"] @ linear["weight"].T + linear["bias"]).argmax(1) == val["labels"]).double().mean()
    assert results["scores"]["linear"]["top1"] == pytest.approx(float(top1), abs=1e-9)
    with (out / "per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["pictures"]) * float(row["linear"]) for row in rows) / 364 == pytest.approx(
        float(top1), abs=0.01
    )
    before = (out / "train.safetensors").stat().st_mtime_ns
    assert main([*words, "--only", "knn", "--k", "1", "5"]) == 0
    second = capsys.readouterr().out
    assert "features of an earlier probe are used" in second
    assert "features of an earlier probe" not in first
    assert (out / "train.safetensors").stat().st_mtime_ns == before
    assert set(json.loads((out / "probe.json").read_text())["scores"]) == {
        f"knn {k}{m}" for k in (1, 5) for m in ("", " majority")
    }
    assert main([*words, "--size", "40", "--only", "knn"]) == 0  # what the network sees has changed
    assert (out / "train.safetensors").stat().st_mtime_ns != before


def test_probe_numbers_classes_by_name_and_leaves_out_what_it_cannot_read(tiny_run, tmp_path, capsys):
    colours = {"blue": (0, 0, 250), "green": (0, 250, 0), "red": (250, 0, 0)}
    for split, names in (("train", ("blue", "green", "red")), ("other", ("green", "red"))):
        for name in names:
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (32, 32), tuple(max(v - 9 * number, 0) for v in colours[name])).save(
                    folder / f"{number}.png"
                )
    (tmp_path / "train" / "blue" / "0.png").write_bytes(b"torn")
    words = [str(tmp_path / "train"), "--val", str(tmp_path / "other" / ".." / "other"), "--out", str(tmp_path / "o")]
    assert main(["probe", str(tiny_run), *words, "--k", "3", "--workers", "0", "--l2", "1e-3"]) == 0
    said = capsys.readouterr().out
    assert "1 picture(s) could not be read and are left out, the first is blue/0.png" in said
    scores = json.loads((tmp_path / "o" / "probe.json").read_text())["scores"]
    assert scores["knn 3"]["top1"] == 100
    assert scores["linear"]["top1"] == 100


@pytest.fixture
def listed(tmp_path):
    """A list of six pictures of two classes in each split, with classes.txt beside it."""
    lines = ["path,label,split"]
    for number in range(12):
        colour = (250, 0, 0) if number % 2 else (0, 0, 250 - number)
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'red' if number % 2 else 'blue'},{'train' if number < 6 else 'val'}")
    (tmp_path / "a.csv").write_text("\n".join(lines))
    (tmp_path / "classes.txt").write_text("blue\nred\n")
    return tmp_path / "a.csv"


def swap_labels(path):
    text = path.read_text()
    path.write_text(text.replace("0.png,blue", "0.png,red").replace("1.png,red,train", "1.png,blue,train"))


def swap_classes(path):
    (path.parent / "classes.txt").write_text("red\nblue\n")


def replace_picture(path):
    Image.new("RGB", (40, 32), (0, 250, 0)).save(path.parent / "0.png")


@pytest.mark.parametrize("change", [swap_labels, swap_classes, replace_picture])
def test_probe_after_a_change_of_the_data_is_that_of_a_new_folder(tiny_run, listed, tmp_path, capsys, change):
    def outcome(out):
        words = ["--workers", "0", "--k", "3", "--l2", "1e-3", "--out", str(out)]
        assert main(["probe", str(tiny_run), str(listed), *words]) == 0
        features = load_file(out / "train.safetensors")
        table = (out / "per_class.csv").read_text()
        return features["features"].tolist(), features["labels"].tolist(), table, (out / "probe.json").read_text()

    first = outcome(tmp_path / "old")
    assert outcome(tmp_path / "old") == first
    assert capsys.readouterr().out.count("features of an earlier probe are used") == 2
    change(listed)
    assert outcome(tmp_path / "old") == outcome(tmp_path / "new") != first


def test_more_neighbours_than_pictures_are_cut_and_it_is_said(tiny_run, listed, tmp_path, capsys):
    words = ["--workers", "0", "--only", "knn", "--k", "2", "6", "20", "--out", str(tmp_path / "o")]
    assert main(["probe", str(tiny_run), str(listed), *words]) == 0
    said = capsys.readouterr().out
    assert "note: --k 20 is more than the 6 pictures to learn from; all 6 of them vote" in said
    scores = json.loads((tmp_path / "o" / "probe.json").read_text())["scores"]
    assert set(scores) == {"knn 2", "knn 2 majority", "knn 6", "knn 6 majority"}


def test_digest_of_a_source_follows_pictures_labels_and_classes(tmp_path):
    (tmp_path / "1.png").write_bytes(b"one")
    (tmp_path / "2.png").write_bytes(b"two")
    labels = np.array([0, 1])
    pixels = np.zeros((2, 8, 8), dtype=np.uint8)
    files = FileSource(tmp_path, ["1.png", "2.png"], labels, ("a", "b"))
    array = ArraySource("dots", pixels, labels, ("a", "b"))
    both = Chain([files, array])
    before = [source_digest(source) for source in (files, array, both, Part(both, [1]), Part(both, [2]))]
    assert len(set(before)) == 5
    os.utime(tmp_path / "1.png", ns=(1, 1))
    changed = [source_digest(source) for source in (files, array, both, Part(both, [1]), Part(both, [2]))]
    assert [now != then for now, then in zip(changed, before, strict=True)] == [True, False, True, False, False]
    pixels[0, 3, 3] = 1
    again = [source_digest(source) for source in (files, array, both, Part(both, [1]), Part(both, [2]))]
    assert [now != then for now, then in zip(again, changed, strict=True)] == [False, True, True, False, True]
    other = FileSource(tmp_path, ["1.png", "2.png"], labels, ("b", "a"))
    assert source_digest(other) != source_digest(files)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--k", "0"], "--k is 0; at least 1"),
        (["--temperature", "0"], "--temperature is 0.0; a number above 0"),
        (["--l2", "-1"], "--l2 is -1.0; numbers from 0"),
    ],
    ids=["k", "temperature", "l2"],
)
def test_probe_refuses_values_that_cannot_work(tiny_run, tmp_path, capsys, words, message):
    assert main(["probe", str(tiny_run), "digits", "--out", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err


def test_digest_of_weights_changes_with_the_trunk_only(tiny_run):
    from volovan.use.load import load

    model = load(str(tiny_run), device="cpu").model
    before = weights_digest(model)
    model.head.weight.data += 1
    assert weights_digest(model) == before
    model.norm3.bias.data[0] += 1
    assert weights_digest(model) != before
