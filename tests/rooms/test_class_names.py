"""Names decide which output a class is, in every room: validation, validation while training, fine-tuning."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import volovan
from named import KINDS, LEARNED, Learned, lay_numbers
from volovan.cli import main
from volovan.engine.settings import SettingsError
from volovan.use.recipes import read_recipe
from volovan.use.rooms import ROOMS


@pytest.fixture(scope="module", params=list(KINDS))
def learned(request, recipes, tmp_path_factory) -> Learned:
    folder, kind = tmp_path_factory.mktemp(request.param), KINDS[request.param]
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipes[kind.room].replace("lr: 3.0e-3", "lr: 2.0e-2").replace("crop: 64", "crop: 32"))
    source = kind.data(folder / "learned", LEARNED)
    words = ["--data.source", str(source), "--out", str(folder / "run"), "--schedule.epochs", "4", *kind.words]
    assert main(["fit", str(recipe), *words]) == 0
    return Learned(kind, recipe, folder / "run", source)


def figures(run: Path, data: Path, out: Path) -> dict[str, float]:
    assert main(["validate", str(run), "--data", str(data), "--out", str(out), "--pictures", "1"]) == 0
    return json.loads((out / "metrics.json").read_text())


def values(found: dict) -> list[float]:
    return [value for value in found.values() if isinstance(value, float)]


# ---- validation -----------------------------------------------------------------------------------------------------


def test_another_order_is_scored_by_name_and_said(learned, tmp_path, capsys):
    same = figures(learned.run, learned.kind.data(tmp_path / "same", LEARNED), tmp_path / "a")
    assert "by name" not in capsys.readouterr().out
    other = figures(learned.run, learned.kind.data(tmp_path / "other", ("cow", "ant", "bee")), tmp_path / "b")
    said = "the data have another order of names than the network: they are matched by name"
    assert f"note: {said}" in capsys.readouterr().out
    assert said in other["notes"]
    per_number = learned.kind.lay is not lay_numbers
    assert values(other)[:4] == pytest.approx(values(same)[:4], abs=1e-4 if per_number else 1e-3)


def test_an_unknown_name_is_refused_also_where_there_are_as_many(learned, tmp_path, capsys):
    data = learned.kind.data(tmp_path / "data", ("ant", "bee", "dog"), ("ant", "bee"))
    assert main(["validate", str(learned.run), "--data", str(data)]) == 2
    said = capsys.readouterr().err
    assert "that is not learned: 'dog'; learned are 'ant', 'bee', 'cow'. Give it the learned" in said
    with pytest.raises(SettingsError, match="that is not learned: 'dog'"):
        learned.task(learned.kind.data(tmp_path / "train", LEARNED), val=data)


def test_masks_that_nobody_named_are_taken_by_number_also_beside_named_ones(tmp_path, recipes, capsys):
    kind = KINDS["masks"]
    train, val = kind.data(tmp_path / "train", LEARNED), kind.data(tmp_path / "val", LEARNED)
    (val / "classes.txt").unlink()
    (tmp_path / "recipe.yaml").write_text(recipes["segment"])
    words = ["--data.source", str(train), "--data.val", str(val)]
    task = ROOMS["segment"].task()(read_recipe(tmp_path / "recipe.yaml", words)[0])
    data = task.build_data()
    said = "taken by number, since one side has numbers in place of names: 'class 0' is 'ant' and so on"
    assert any(said in note for note in data.notes)
    assert data.val.mask(0).max() < len(LEARNED)


def test_a_near_name_is_named(learned, tmp_path, capsys):
    data = learned.kind.data(tmp_path / "data", ("ant", "bees"), ("ant", "bees"))
    assert main(["validate", str(learned.run), "--data", str(data)]) == 2
    assert "'bees' (the nearest is 'bee')" in capsys.readouterr().err


def test_data_that_lack_a_class_are_scored_on_the_others(learned, tmp_path, capsys):
    data = learned.kind.data(tmp_path / "data", ("bee", "ant"), ("ant", "bee"))
    if learned.kind.lay is lay_numbers:  # there is no number for it, and nothing to compare
        assert main(["validate", str(learned.run), "--data", str(data)]) == 2
        assert "the data lack 'cow', which the network has learned beside 'bee', 'ant'" in capsys.readouterr().err
        return
    figures(learned.run, data, tmp_path / "out")
    assert "the data lack 1 of the 3 classes of the network ('cow'): means over classes" in capsys.readouterr().out


def test_validation_while_training_goes_by_name_too(learned, tmp_path):
    train = learned.kind.data(tmp_path / "train", LEARNED)
    _, alike = learned.task(train, val=learned.kind.data(tmp_path / "alike", LEARNED))
    _, turned = learned.task(train, val=learned.kind.data(tmp_path / "turned", ("cow", "ant", "bee")))
    assert not any("by name" in note for note in alike.notes)
    assert any("matched by name" in note for note in turned.notes)
    for index in range(len(alike.val)):
        a, b = alike.val.read(index), turned.val.read(index)
        key = "mask" if "mask" in a else "label"
        torch.testing.assert_close(torch.as_tensor(a[key]), torch.as_tensor(b[key]))


def test_a_mean_over_classes_leaves_out_those_that_the_data_do_not_know(learned, tmp_path):
    """A network that answers nothing but such a class: the others have 0 %, and it does not count."""
    if learned.kind.room != "segment":
        pytest.skip("of masks")
    task, data = learned.task(
        learned.kind.data(tmp_path / "train", LEARNED),
        val=learned.kind.data(tmp_path / "val", ("bee", "ant"), ("ant", "bee")),
    )
    metric = task.new_metric(torch.device("cpu"))
    mask = data.val.read(0)["mask"]
    metric.add(torch.where(mask == 0, 2, mask), mask)  # all of `ant` is taken for `cow`
    assert metric.finish()["miou"] == pytest.approx(50)
    assert np.isnan(metric.per_class()["iou"]).tolist() == [False, False, True]


# ---- fine-tuning ----------------------------------------------------------------------------------------------------


def answers(model: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        return model.eval()(torch.randn(2, 3, 64, 64))


@pytest.mark.parametrize("names", [("cow", "ant", "bee"), ("cow", "emu", "ant", "bee"), ("bee", "dog", "emu")])
def test_fine_tuning_begins_with_the_rows_of_the_same_names(learned, names, tmp_path, caplog):
    source = answers(volovan.load(learned.run, device="cpu").model)
    data = learned.kind.data(tmp_path / "data", names, names)
    with caplog.at_level(logging.INFO, "volovan"):
        task, _ = learned.task(data, weights=learned.run)
    found = answers(task.build_model())
    assert found.shape[1] == len(names)
    for place, name in enumerate(names):
        if name in LEARNED:
            torch.testing.assert_close(found[:, place], source[:, LEARNED.index(name)], atol=1e-6, rtol=1e-5)
    said = next(text for text in caplog.messages if "follow the names of" in text)
    assert f"{sum(name in LEARNED for name in names)} kept (" in said
    assert ("1 new ('emu')" in said) == (len(names) == 4)
    assert ("2 new ('dog', 'emu'), 2 dropped ('ant', 'cow')" in said) == ("dog" in names)


def test_as_many_other_names_begin_anew(learned, tmp_path, caplog):
    data = learned.kind.data(tmp_path / "data", ("dog", "emu", "gnu"), ("dog", "emu"))
    with caplog.at_level(logging.INFO, "volovan"):
        task, _ = learned.task(data, weights=learned.run)
    source = answers(volovan.load(learned.run, device="cpu").model)
    assert not torch.equal(answers(task.build_model()), source)
    assert "is new: none of 'dog', 'emu', 'gnu' is among the 3 classes of the file, 'ant', 'bee', 'cow'" in caplog.text


def test_the_data_of_a_run_may_not_change_their_names_before_it_goes_on(learned, tmp_path, capsys):
    shutil.copytree(learned.run, tmp_path / "run")
    recipe = tmp_path / "run" / "recipe.yaml"
    data = learned.kind.data(tmp_path / "data", ("cow", "ant", "bee"))
    old = next(line for line in recipe.read_text().splitlines() if line.startswith("  source:"))
    recipe.write_text(recipe.read_text().replace(old, f"  source: {data}"))
    assert main(["fit", "--resume", str(tmp_path / "run")]) == 2
    assert "the classes of the data changed since the checkpoint: number 0 of 3 was 'ant'" in capsys.readouterr().err


def test_rooms_without_classes_of_the_data_keep_their_head_without_a_word(case, caplog):
    if case.room not in ("saliency", "colour"):
        pytest.skip("their outputs are the classes of the data")
    task = ROOMS[case.room].task()(read_recipe(case.recipe, ["--model.weights", str(case.run)])[0])
    with caplog.at_level(logging.INFO, "volovan"):
        task.build_data()
    assert "new" not in caplog.text
    assert "rows" not in caplog.text
    source = volovan.load(case.run, device="cpu").model.state_dict()
    assert all(torch.equal(value, source[key]) for key, value in task.build_model().state_dict().items())
