"""Ablation files: what they hold, and one sentence for every mistake."""

import pytest

from volovan.bench.ablation import find_ablation, read_ablation
from volovan.bench.ablation_runs import check_needs, plan
from volovan.engine.settings import SettingsError


def test_file_is_read_with_its_defaults(read_rows):
    ablation = read_rows([{"name": "A"}, {"name": "B, 2x2", "set": {"data.limit": 5}}])
    assert (ablation.name, ablation.title, ablation.metric, ablation.seeds) == ("rows", "rows", "top1", (0, 1, 2))
    assert [row.slug for row in ablation.rows] == ["a", "b-2x2"]
    assert [row.against for row in ablation.rows] == ["A", "A"]
    assert ablation.rows[1].changes == {"data.limit": 5}


@pytest.mark.parametrize(
    ("name", "slug"),
    [("without DW-Conv", "without-dw-conv"), ("K = 7", "k-7"), ("  4 outlookers: D1! ", "4-outlookers-d1")],
    ids=["words", "signs", "ends"],
)
def test_slug_has_letters_digits_and_single_dashes(read_rows, name, slug):
    assert read_rows([{"name": name}]).rows[0].slug == slug


WRONG = {
    "unknown key": ({"rows": [{"name": "A"}], "seed": [1]}, "there is no key 'seed'; did you mean 'seeds'?"),
    "unknown key of a row": (
        {"rows": [{"name": "A", "sets": {}}]},
        "row 'A': there is no key 'sets'; did you mean 'set'?",
    ),
    "no rows": ({"rows": []}, r"rows is \[\]; a list of rows"),
    "row without name": ({"rows": [{"set": {}}]}, "row 1 is {'set': {}}; a mapping with a name"),
    "row without base": ({"rows": [{"name": "A"}], "base": None}, "row 'A': it has no base; name a recipe"),
    "base that is not there": ({"rows": [{"name": "A"}], "base": "digits_va"}, "no recipe 'digits_va'; did you mean"),
    "two rows of one name": ({"rows": [{"name": "A"}, {"name": "A"}]}, "rows 'A' and 'A' share the folder a"),
    "two rows of one folder": (
        {"rows": [{"name": "A b"}, {"name": "a-B"}]},
        "rows 'A b' and 'a-B' share the folder a-b",
    ),
    "seeds that are none": ({"rows": [{"name": "A"}], "seeds": [0, "1"]}, r"seeds is \[0, '1'\]; a list of different"),
    "seeds twice": ({"rows": [{"name": "A"}], "seeds": [1, 1]}, r"seeds is \[1, 1\]; a list of different"),
    "published text": (
        {"rows": [{"name": "A", "published": {"top1": "75.4"}}], "source": "x"},
        "published top1 is '75.4'; a number is expected; leave it out",
    ),
    "published null": (
        {"rows": [{"name": "A", "published": {"top1": None}}], "source": "x"},
        "published top1 is None; a number",
    ),
    "published of another metric": (
        {"rows": [{"name": "A", "published": {"top5": 90}}], "source": "x"},
        "published: there is no key 'top5'",
    ),
    "published without source": ({"rows": [{"name": "A", "published": {"top1": 1}}]}, "need their origin; add source"),
    "reference that is no row": ({"rows": [{"name": "base"}], "reference": "bas"}, "no row 'bas'; did you mean 'base'"),
    "start that is a later row": (
        {"rows": [{"name": "A", "start": "B"}, {"name": "B"}]},
        "start is 'B'; the name of an earlier row",
    ),
    "start and weights": (
        {"rows": [{"name": "A"}, {"name": "B", "start": "A", "set": {"model.weights": "x"}}]},
        "start and model.weights both",
    ),
    "seed in set": (
        {"rows": [{"name": "A", "set": {"train.seed": 3}}]},
        "set has train.seed, which follows from seeds",
    ),
    "one class": ({"rows": [{"name": "A"}], "classes": 1}, "classes is 1; a number of at least 2"),
    "needs without text": ({"rows": [{"name": "A"}], "needs": ["labels.source"]}, "needs is .*; keys with a text each"),
}


@pytest.mark.parametrize(("target", "metric"), [("class", "top1"), ("multi_label", "map"), ("regression", "val_loss")])
def test_metric_follows_what_the_first_row_learns(read_rows, target, metric):
    plain = {"augment.mixup": 0, "augment.cutmix": 0}
    assert read_rows([{"name": "A"}], set={"loss.target": target, **plain}).metric == metric


@pytest.mark.parametrize("mistake", WRONG)
def test_mistake_in_a_file_is_told_in_a_sentence(write_ablation, mistake):
    keys, sentence = WRONG[mistake]
    with pytest.raises(SettingsError, match=sentence):
        read_ablation(write_ablation(**keys))


def test_key_given_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("base: digits_van\nrows:\n  - {name: A, set: {data.limit: 1, data.limit: 2}}\n")
    with pytest.raises(SettingsError, match=r"twice\.yaml is no valid YAML: the key 'data.limit' is given twice"):
        read_ablation(path)


def test_unknown_file_names_the_nearest(tmp_path):
    with pytest.raises(SettingsError, match="did you mean van_lka_cifar10"):
        find_ablation("van_lka_cifar")
    with pytest.raises(SettingsError, match=r"no ablation file .*none\.yaml"):
        find_ablation(str(tmp_path / "none.yaml"))


def test_recipe_key_that_is_unknown_is_named_with_its_row(read_rows, tmp_path):
    said = r"row 'B': recipe tiny: there is no key 'model\.option'; did you mean"
    ablation = read_rows([{"name": "A"}, {"name": "B", "set": {"model.option": {}}}])
    with pytest.raises(SettingsError, match=said):
        plan(ablation, ablation.rows, [0], tmp_path, {})
    with pytest.raises(SettingsError, match=said):  # the metric is asked of the first row
        read_rows([{"name": "B", "set": {"model.option": {}}}])


def test_row_goes_over_the_command_line_and_that_over_the_file(read_rows, tmp_path):
    rows = [{"name": "A"}, {"name": "B", "set": {"data.limit": 3}}]
    ablation = read_rows(rows, set={"data.limit": 1, "optim.lr": 0.5, "train.max_steps": 9})
    first, second = plan(ablation, ablation.rows, [4], tmp_path, {"data.limit": "2", "optim.lr": "0.25"})
    assert (first.settings.data.limit, second.settings.data.limit) == (2, 3)
    assert (first.settings.optim.lr, first.settings.train.max_steps, first.settings.train.seed) == (0.25, 9, 4)


def test_row_that_starts_from_another_gets_its_run_of_the_same_seed(read_rows, tmp_path):
    ablation = read_rows([{"name": "A"}, {"name": "B", "start": "A"}])
    jobs = plan(ablation, ablation.rows, [0, 1], tmp_path, {})
    assert [job.settings.model.weights for job in jobs] == [
        None,
        str(tmp_path / "a" / "seed0"),
        None,
        str(tmp_path / "a" / "seed1"),
    ]


def test_key_that_the_user_must_give_is_asked_for(read_rows, tmp_path):
    rows = [{"name": "A", "set": {"labels.source": None}}, {"name": "B"}]
    ablation = read_rows(rows, needs={"labels.source": "the folder of maps"})
    with pytest.raises(SettingsError, match=r"row 'B', needs labels.source: the folder of maps; give it with --set"):
        check_needs(ablation, plan(ablation, ablation.rows, [0], tmp_path, {}))
    check_needs(ablation, plan(ablation, ablation.rows, [0], tmp_path, {"labels.source": str(tmp_path)}))
