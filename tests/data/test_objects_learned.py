"""What of data with objects is held out, refused and warned of, and what it costs."""

import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.annotating import BOX, bbox, coco, counts_of, picture, write

from volovan.data.objects.teaching import useless_objects
from volovan.data.refusals import cautions, refused_data
from volovan.data.samples import Chain, Part, classes_in
from volovan.data.source import Source
from volovan.data.sources import open_source

open_boxes = partial(open_source, kind="boxes")
ONE: dict[str, Any] = {"bbox": bbox(BOX)}


def lay(root: Path, *annotations: dict[str, Any], pictures: int = 1, name: str = "r.json", **more: Any) -> Path:
    for number in range(pictures):
        picture(root / f"images/{number}.png")
    return write(root / name, coco([f"{number}.png" for number in range(pictures)], annotations, **more)).parent


# ---------------------------------------------------------------------------------------------------------------------
# held out


def held_out(root: Path) -> tuple[Source, Source]:
    return open_boxes(root, "train"), open_boxes(root, "val")


@pytest.mark.parametrize(("pictures", "held"), [(1, 0), (2, 0), (3, 1), (10, 2), (28, 2), (30, 4), (40, 4)])
def test_a_tenth_of_the_pictures_with_and_without_objects_is_held_out(tmp_path: Path, pictures: int, held: int) -> None:
    annotations = [ONE | {"image_id": number + 1} for number in range(0, pictures, 2)]
    train, val = held_out(lay(tmp_path, *annotations, pictures=pictures))
    names = [[source.name(index) for index in range(len(source))] for source in (train, val)]
    assert len(val) == held
    assert sorted(names[0] + names[1]) == sorted(f"images/{number}.png" for number in range(pictures))
    assert sum(bool(classes_in(val, index)) for index in range(held)) == -(-held // 2)
    said = "10% of those with objects and of those without, so that classes stay to train on; chosen by the hash"
    assert f"{held} of {pictures} samples ({said}" in val.note


@pytest.mark.parametrize("seed", range(6))
def test_each_class_keeps_a_picture_to_train_on(tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    categories = {id: f"class {id}" for id in range(1, 26)}
    annotations = [
        ONE | {"image_id": int(image), "category_id": id}
        for id in categories
        for image in draw.choice(40, int(draw.integers(1, 4)), replace=False) + 1
    ]
    train, val = held_out(lay(tmp_path, *annotations, pictures=40, categories=categories))
    assert 3 <= len(val) <= 5
    assert set().union(*(classes_in(train, index) for index in range(len(train)))) == set(range(25))
    again = held_out(tmp_path)[1]
    assert [again.name(index) for index in range(len(val))] == [val.name(index) for index in range(len(val))]


def test_a_class_in_every_picture_hinders_nothing(tmp_path: Path) -> None:
    annotations = [ONE | {"image_id": image, "category_id": image} for image in range(1, 11)]
    _, val = held_out(lay(tmp_path, *annotations, pictures=10, categories=[f"class {number}" for number in range(10)]))
    assert len(val) == 1


# ---------------------------------------------------------------------------------------------------------------------
# refused


@pytest.mark.parametrize(
    ("annotations", "but"),
    [
        ([], ""),
        ([ONE | {"iscrowd": 1}], " (crowds: 1)"),
        ([{"bbox": [1, 1, 0, 5]}, {"bbox": [1, 1, 5, 0]}], " (boxes without area: 2)"),
        ([{"bbox": [12, 1, 5, 5]}, {"bbox": [-5, 1, 5, 5]}], " (boxes outside of the picture: 2)"),
        ([ONE | {"iscrowd": 1}, {"bbox": [1, 1, 0, 5]}], " (crowds: 1, boxes without area: 1)"),
    ],
)
def test_objects_that_teach_nothing(tmp_path: Path, annotations: list[dict[str, Any]], but: str) -> None:
    source = open_boxes(lay(tmp_path, *annotations, pictures=3))
    said = useless_objects("mine", source, "train")
    assert said == (
        f"mine: no picture of the train split (3) shows an object{but}, so nothing can be learned; draw boxes in some"
    )
    assert "be scored; draw boxes in some, or name other data with --data.val" in useless_objects("m", source, "val")
    lay(tmp_path, *annotations, ONE | {"image_id": 3}, pictures=3)
    source = open_boxes(tmp_path)
    assert not useless_objects("mine", source, "train")
    assert not useless_objects("mine", Chain([Part(source, [0, 1]), Part(source, [2])]), "train")


def test_pictures_that_cannot_be_read_do_not_say_that_there_are_no_objects(tmp_path: Path) -> None:
    root = lay(tmp_path, ONE)
    write(root / "images/0.png", "text")
    assert not useless_objects("mine", open_boxes(root), "train")


def test_no_class_and_classes_that_are_not_learned_are_refused(tmp_path: Path) -> None:
    nothing = open_boxes(lay(tmp_path / "none", categories=[]))
    assert [*refused_data([("train", "mine", nothing)])] == ["mine has no class; at least 1 is needed"]
    one = open_boxes(lay(tmp_path / "one", ONE, categories=["cat"]))
    assert not [*refused_data([("train", "mine", one), ("val", "mine", one)])]
    more = open_boxes(lay(tmp_path / "more", ONE, categories=["cat", "hat"]))
    (said,) = refused_data([("train", "mine", one), ("val", "other", more)])
    assert said.startswith("the val split of other has 1 class that is not learned: 'hat'")


def test_classes_that_train_or_val_lacks_are_said(tmp_path: Path) -> None:
    categories = ["cat", "dog", "cow", "Cow"]
    train = open_boxes(lay(tmp_path / "train", ONE, ONE | {"category_id": 3}, categories=categories))
    crowd = ONE | {"category_id": 4, "iscrowd": 1}
    val = open_boxes(lay(tmp_path / "val", ONE, ONE | {"category_id": 2}, crowd, categories=categories))
    untrained, unscored, nowhere, alike = cautions(train, val)
    assert untrained.startswith("No picture to train on has the class dog, but 1 in val")
    assert unscored.startswith("No picture in val has the class cow: no figure")
    assert nowhere.startswith("No picture has the class Cow: fit would learn it from nothing")
    assert alike.startswith("The classes cow, Cow differ in upper and lower case only")


# ---------------------------------------------------------------------------------------------------------------------
# what it costs


@pytest.mark.parametrize("form", ["runs", "text", "polygons"])
def test_two_thousand_objects_take_no_mask_of_the_picture_each(tmp_path: Path, form: str) -> None:
    side, count = 2048, 2000
    draw = np.random.default_rng(0)
    annotations = []
    for x, y in draw.integers(0, side - 40, (count, 2)).tolist():
        if form == "polygons":
            said: Any = [[x, y, x + 32, y, x + 32, y + 32, x, y + 32]]
        else:
            first = x * side + y
            said = {"size": [side, side], "counts": [first, *[32, side - 32] * 31, 32]}
            said["counts"].append(side * side - sum(said["counts"]))
        annotations.append({"bbox": [x, y, 32, 32], "segmentation": said})
    if form == "text":
        from volovan.room.runs import text_of

        for one in annotations:
            one["segmentation"]["counts"] = text_of(np.array(one["segmentation"]["counts"]))
    picture(tmp_path / "images/0.png", (side, side))
    write(tmp_path / "r.json", coco(["0.png"], annotations, size=(side, side)))
    source = open_boxes(tmp_path)
    tracemalloc.start()
    told = source.target(0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(told) == count
    assert told.areas.tolist() == [32 * 32] * count
    assert most < 30e6, f"{most / 1e6:.0f} MB"  # a mask of the picture has 4 MB, 2,000 of them 8 GB


def test_runs_are_those_of_the_mask(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number in range(30):
        mask = np.zeros((9, 12), bool)
        rows, columns = np.sort(draw.integers(0, (10, 13), (2, 2)), axis=0).T
        there = mask[rows[0] : rows[1], columns[0] : columns[1]]
        there[:] = draw.random(there.shape) < 0.6
        annotation = {"segmentation": {"size": [9, 12], "counts": counts_of(mask)}}
        told = open_boxes(lay(tmp_path / str(number), annotation)).target(0)
        painted = np.zeros((9, 12), bool)
        told.shapes[0].paint(painted, 1)
        assert np.array_equal(painted, mask)
        assert told.shapes[0].mask.size <= there.size
