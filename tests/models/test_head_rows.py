"""The rows of a head follow the names of the classes from a run of ours to a new network."""

import logging
from dataclasses import asdict

import pytest
import torch

import volovan
from networks import FAMILIES, TINY, tiny
from volovan.files.checkpoint import write_checkpoint
from volovan.files.classes import output_names, wnids
from volovan.models.config import ConfigError
from volovan.models.weights import load_weights

OLD, NEW = ("bg", "red", "blue"), ("blue", "green", "bg", "pink")


def of_a_run(path, model, classes, ema=None):
    """A checkpoint as a run leaves it; ema: the averaged network."""
    tree = {"task": {"config": asdict(model.config), "classes": list(classes)}, "model": model.state_dict()}
    write_checkpoint(path, tree if ema is None else tree | {"ema": ema.state_dict()})
    return path


def heads_of(model):
    return {key: t for key, t in model.state_dict().items() if key.startswith(("head.", "aux_head."))}


@FAMILIES
def test_rows_of_known_names_are_kept_and_new_names_get_new_ones(family, tmp_path, caplog):
    source = tiny(family, num_classes=3)
    for tensor in heads_of(source).values():
        tensor.copy_(torch.randn_like(tensor))
    path = of_a_run(tmp_path / "run.safetensors", source, OLD)
    with caplog.at_level(logging.INFO, "volovan"):
        model = volovan.create_model(family, weights=path, classes=NEW, **TINY[family])
    assert model.config.num_classes == 4
    theirs, ours = heads_of(source), heads_of(model)
    assert theirs.keys() == ours.keys()
    assert len(ours) == (2 if family == "van" else 4)  # the head, and the one for patches
    for key, rows in ours.items():
        assert torch.equal(rows[0], theirs[key][2])
        assert torch.equal(rows[2], theirs[key][0])
        assert not any(torch.equal(rows[place], row) for place in (1, 3) for row in theirs[key])
    said = "follow the names of the 4 classes: 2 kept ('blue', 'bg'), 2 new ('green', 'pink'), 1 dropped ('red')"
    assert caplog.text.count(said) == 1


@FAMILIES
def test_the_answer_is_that_of_the_source_with_its_classes_in_another_order(family, tmp_path):
    source = tiny(family, num_classes=3)
    path = of_a_run(tmp_path / "run.safetensors", source, OLD)
    model = volovan.create_model(family, weights=path, classes=("blue", "bg", "red"), **TINY[family]).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(images), source(images)[:, [2, 0, 1]])


def test_averaged_rows_follow_too(tmp_path):
    source, average = (tiny("van", num_classes=3) for _ in range(2))
    path = of_a_run(tmp_path / "run.safetensors", source, OLD, average)
    model = tiny("van", num_classes=3)
    report = load_weights(model, path, classes=("red", "bg", "blue"))
    assert torch.equal(model.head.weight, average.head.weight[[1, 0, 2]])
    assert "the rows of the head follow the names of the 3 classes: 3 kept ('red', 'bg', 'blue')" in report.notes


def test_as_many_other_names_make_a_new_head(tmp_path):
    source = tiny("van", num_classes=3)
    path = of_a_run(tmp_path / "run.safetensors", source, OLD)
    model = tiny("van", num_classes=3)
    before = model.head.weight.clone()
    report = load_weights(model, path, classes=("cat", "dog", "cow"))
    assert torch.equal(model.head.weight, before)
    assert report.notes == (
        "the head for 3 classes is new: none of 'cat', 'dog', 'cow' is among the 3 classes of the file, 'bg', 'red', "
        "'blue'",
    )


def test_the_same_classes_are_loaded_without_a_word(tmp_path):
    source = tiny("van", num_classes=3)
    path = of_a_run(tmp_path / "run.safetensors", source, OLD)
    for classes in (OLD, None):  # None: a program may not say what its outputs are
        model = tiny("van", num_classes=3)
        assert load_weights(model, path, classes=classes).notes == ()
        assert torch.equal(model.head.weight, source.head.weight)


def test_a_file_without_names_keeps_its_order_and_it_is_said(tmp_path):
    source = tiny("van", num_classes=3)
    torch.save(source.state_dict(), tmp_path / "foreign.pth")
    model = tiny("van", num_classes=3)
    (note,) = load_weights(model, tmp_path / "foreign.pth", classes=OLD).notes
    assert "taken by number ('0' for 'bg' and so on)" in note
    assert torch.equal(model.head.weight, source.head.weight)
    other = tiny("van", num_classes=2)
    report = load_weights(other, tmp_path / "foreign.pth", classes=("0", "1"))
    assert report.notes == ("the head for 2 classes is new: that of the file has 3",)


def test_a_part_of_imagenet_keeps_its_rows_of_published_weights(tmp_path):
    source = tiny("van", num_classes=1000)
    torch.save(source.state_dict(), tmp_path / "published.pth")
    model = tiny("van", num_classes=3)
    report = load_weights(model, tmp_path / "published.pth", classes=(wnids()[20], "n00000000", wnids()[3]))
    assert torch.equal(model.head.weight[[0, 2]], source.head.weight[[20, 3]])
    assert (
        "2 kept ('n01601694', 'n01491361'), 1 new ('n00000000'), 998 dropped ('tench, Tinca tinca'" in report.notes[0]
    )
    assert output_names(1000)[20] not in report.notes[0]


def test_two_counts_that_contradict_are_refused():
    with pytest.raises(ConfigError, match="num_classes is 4, but 3 classes are named; leave out num_classes"):
        volovan.create_model("van", num_classes=4, classes=OLD, **TINY["van"])


@pytest.mark.parametrize("head", ["fpn", "upernet", "ham"])
def test_classifiers_of_a_segmenter_follow_their_names(head, tmp_path, caplog):
    small = {"channels": 32} | ({"pyramid_channels": 8} if head == "fpn" else {})
    how = {"trunk_options": TINY["van"], "head_options": small}
    source = volovan.create_segmenter("van", head, 3, **how)
    path = of_a_run(tmp_path / "run.safetensors", source, OLD)
    with caplog.at_level(logging.INFO, "volovan"):
        model = volovan.create_segmenter("van", head, weights=path, classes=NEW, **how)
    theirs, ours = source.state_dict(), model.state_dict()
    classifiers = [key for key in ours if ".classifier." in key]
    assert len(classifiers) == (4 if head == "upernet" else 2)  # with that of the auxiliary head
    for key in classifiers:
        assert torch.equal(ours[key][[0, 2]], theirs[key][[2, 0]])
        assert len(ours[key]) == 4
    for key in ours.keys() - set(classifiers):
        assert torch.equal(ours[key], theirs[key])
    assert "the rows of the classifier follow the names of the 4 classes: 2 kept" in caplog.text
    assert volovan.create_segmenter("van", head, **how).config.num_classes == 150


def test_a_network_of_foreign_weights_has_their_outputs(tmp_path):
    made = volovan.create_model("van_b0", num_classes=5)
    torch.save({"state_dict": made.state_dict()}, tmp_path / "five.pth")
    found = volovan.create_model("van_b0", weights=tmp_path / "five.pth")
    assert torch.equal(found.head.weight, made.head.weight)
    assert volovan.create_model("van_b0", weights=tmp_path / "five.pth", num_classes=2).config.num_classes == 2
    ready = volovan.load("van_b0", weights=tmp_path / "five.pth")
    assert ready.classes == ("0", "1", "2", "3", "4")
    assert torch.equal(ready.model.head.weight, made.head.weight)


def test_a_trunk_alone_answers_nothing(tmp_path):
    torch.save(volovan.create_model("van_b0", num_classes=0).state_dict(), tmp_path / "trunk.pth")
    assert volovan.create_model("van_b0", weights=tmp_path / "trunk.pth").config.num_classes == 1000
    with pytest.raises(ValueError, match=r"trunk\.pth holds no head, so van_b0 has no answers"):
        volovan.load("van_b0", weights=tmp_path / "trunk.pth")
