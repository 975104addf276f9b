"""Objects in boxes: what open_source takes of drawn scenes, of COCO's JSON and of YOLO's texts, and what it says."""

import pickle
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.annotating import BOX, CORNERS, bbox, coco, picture, write

from volovan.data import check_data
from volovan.data.errors import BadImage, SourceError
from volovan.data.images import open_images
from volovan.data.sources import list_splits, open_source
from volovan.data.synthetic.shapes import draw_scene
from volovan.data.synthetic.shapes_classes import SHAPE_CLASSES

open_boxes, list_boxes = partial(open_source, kind="boxes"), partial(list_splits, kind="boxes")
ONE = {"bbox": bbox(BOX)}
LINE = "0 0.5 0.5 0.25 0.25"


def test_things_of_a_scene_are_objects() -> None:
    assert list_boxes("shapes:4@64x48") == ("train", "val")
    source = pickle.loads(pickle.dumps(open_boxes("shapes:4@64x48", "train")))
    assert source.kind == "boxes"
    assert source.classes == ("disc", "ring", "square", "triangle", "star", "cross", "figure")
    for index in range(4):
        scene, told = draw_scene("train", index, 48, 64), source.target(index)
        assert len(told) == len(scene.instances) > 0
        for row, one in enumerate(scene.instances):
            assert source.classes[told.labels[row]] == SHAPE_CLASSES[one.category].name
            assert told.boxes[row].tolist() == list(one.box)
            painted = np.zeros((48, 64), bool)
            told.shapes[row].paint(painted, 1)
            assert np.array_equal(painted, one.mask)
            assert told.areas[row] == one.mask.sum()
        assert not told.crowd.any()


def test_what_is_no_source_of_objects_is_told_what_would_be(tmp_path: Path) -> None:
    picture(tmp_path / "cat/a.png")
    other = write(tmp_path / "other.json", [1])
    for spec in (tmp_path, other, tmp_path / "gone"):
        with pytest.raises(SourceError, match=r"JSON of COCO, .* or shapes$"):
            open_boxes(spec)


# ---------------------------------------------------------------------------------------------------------------------
# COCO


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (ONE, [3, 2, 7, 5]),
        ({"bbox": ["3", " 2.5 ", "4", 3]}, [3, 2.5, 7, 5.5]),
        ({"bbox": [3, 2, 0, 3]}, [3, 2, 3, 5]),
        ({"bbox": [-3, -2, 40, 30]}, [-3, -2, 37, 28]),
        ({"segmentation": [CORNERS]}, [3, 2, 7, 5]),
        ({"segmentation": CORNERS, "bbox": None}, [3, 2, 7, 5]),
        ({"segmentation": [], "bbox": bbox(BOX)}, [3, 2, 7, 5]),
        ({"segmentation": None, "bbox": bbox(BOX)}, [3, 2, 7, 5]),
        ({"segmentation": {"size": [9, 12], "counts": "m03600000R1NPO"}}, [3, 0, 12, 5]),
    ],
)
def test_a_box_is_as_written_or_around_the_outline(tmp_path: Path, annotation: Any, expected: list[float]) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "result.json", coco(["a.png"], [annotation]))
    assert open_boxes(tmp_path).target(0).boxes.tolist() == [expected]


def test_areas_and_crowds_are_as_written(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    said: list[Any] = [ONE, ONE | {"area": 7.5, "iscrowd": 1}, ONE | {"area": "8", "iscrowd": "0"}]
    said += [{"segmentation": [CORNERS[:6]], "iscrowd": True}]
    write(tmp_path / "result.json", coco(["a.png"], said))
    told = open_boxes(tmp_path).target(0)
    assert told.areas.tolist() == [12, 7.5, 8, 6]
    assert told.crowd.tolist() == [False, True, False, True]


def test_ids_are_the_same_as_numbers_and_as_text_and_may_have_gaps(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    picture(tmp_path / "images/b.png")
    images = [{"id": "7", "file_name": "a.png"}, {"id": 9.0, "file_name": "b.png"}]
    annotations = [ONE | {"image_id": 7, "category_id": "30"}, ONE | {"image_id": "9", "category_id": 2.0}]
    write(tmp_path / "result.json", coco(images, annotations, {30: "dog", "2": "cat", "11": "unused"}))
    source = open_boxes(tmp_path)
    assert source.classes == ("cat", "unused", "dog")
    assert [source.target(index).labels.tolist() for index in range(2)] == [[2], [0]]
    uuids = [{"id": "f0-7", "file_name": "a.png"}]
    write(tmp_path / "result.json", coco(uuids, [{"image_id": "f0-7"} | ONE | {"id": "x"}, ONE | {"image_id": "f0-7"}]))
    assert len(open_boxes(tmp_path).target(0)) == 2


def test_pictures_without_objects_are_kept_and_missing_ones_named(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    picture(tmp_path / "images/b.png")
    path = write(tmp_path / "result.json", coco(["a.png", "b.png"], [ONE]))
    source = open_boxes(tmp_path)
    assert [len(source.target(index)) for index in range(2)] == [1, 0]
    assert source.target(1).boxes.shape == (0, 4)
    write(path, coco(["a.png", "b.png", "c.png"], [ONE]))
    with pytest.raises(SourceError, match=r"^c\.png, which result\.json lists, is not there; add"):
        open_boxes(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        r"C:\Users\me\set\images\deep\a.png", "/home/me/set/images/deep/a.png", "../../deep/a.png", "./deep/a.png",
        r"deep\a.png", "file/../../deep/a.png", "http://localhost:8080/data/deep/a.png", "file:///home/deep/a.png",
        "\\\\server\\share\\deep\\a.png",
    ],
)  # fmt: skip
def test_paths_of_other_machines_are_looked_for_inside(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "set/images/deep/a.png")
    write(tmp_path / "set/result.json", coco([name], [ONE]))
    source = open_boxes(tmp_path / "set")
    assert source.name(0) == "images/deep/a.png"
    assert len(source.target(0)) == 1


def test_nothing_outside_of_the_folder_is_a_picture(tmp_path: Path) -> None:
    picture(tmp_path / "outside/a.png")
    (tmp_path / "set/images").mkdir(parents=True)
    for name in (
        "../outside/a.png",
        "../../outside/a.png",
        str(tmp_path / "outside/a.png"),
        "images/../../outside/a.png",
    ):
        write(tmp_path / "set/result.json", coco([name], [ONE]))
        with pytest.raises(SourceError, match=r"result\.json lists, is not there \(no picture of it is in .*set/"):
            open_boxes(tmp_path / "set")


def test_what_stands_twice_is_read_once_where_it_says_the_same(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    picture(tmp_path / "images/b.png")
    said = coco(["a.png", "b.png"], [ONE, ONE | {"category_id": 2}])
    for key in ("images", "annotations", "categories"):
        said[key].append(said[key][0])
    path = write(tmp_path / "result.json", said)
    source = open_boxes(tmp_path)
    assert len(source) == 2
    assert source.target(0).labels.tolist() == [0, 1]
    assert "result.json repeats 1 annotation entries, which are read once." in source.note
    for key, change in (("images", "file_name"), ("annotations", "bbox"), ("categories", "name")):
        other = coco(["a.png", "b.png"], [ONE])
        other[key].append(other[key][0] | {change: "b.png"})
        write(path, other)
        with pytest.raises(
            SourceError, match=r"result\.json: (image|annotation|category) 1 stands twice \(1 and \d of"
        ):
            open_boxes(tmp_path)


def test_objects_of_a_picture_that_is_listed_twice_are_put_together(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    path = write(tmp_path / "result.json", coco(["a.png", "./a.png"], [ONE, ONE | {"image_id": 2, "category_id": 2}]))
    source = open_boxes(tmp_path)
    assert len(source) == 1
    assert source.target(0).labels.tolist() == [0, 1]
    assert "lists 1 pictures more than once; their objects are put together" in source.note
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png", "width": 3, "height": 4}]
    write(path, coco(images))
    with pytest.raises(SourceError, match=r"a\.png is listed with the sizes \[None, None\] and \[3, 4\]"):
        open_boxes(tmp_path)


def test_names_say_which_category_of_another_file_is_meant(tmp_path: Path) -> None:
    for split, categories in (("train", {1: "cat", 2: "dog", 3: "cow"}), ("val", {5: "dog", 9: "cat"})):
        picture(tmp_path / f"images/{split}.png")
        id = next(id for id, name in categories.items() if name == "dog")
        annotations = [{"category_id": id, "bbox": bbox(BOX), "segmentation": [CORNERS]}]
        write(tmp_path / f"annotations/{split}.json", coco([f"{split}.png"], annotations, categories))
    for split in ("train", "val"):
        source = open_boxes(tmp_path, split)
        assert source.classes == ("cat", "dog", "cow")
        assert source.target(0).labels.tolist() == [1]
        mask = open_source(tmp_path, split, kind="mask")
        assert mask.classes == ("background", "cat", "dog", "cow")
        assert np.unique(mask.target(0)).tolist() == [0, 2]


def test_two_ids_of_one_name_are_one_class(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "r.json", coco(["a.png"], [ONE, ONE | {"category_id": 3}], {1: "cat", 2: "dog", 3: "cat"}))
    source = open_boxes(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.target(0).labels.tolist() == [0, 0]


def test_a_json_may_be_named_itself(tmp_path: Path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / f"images/{split}/a.png")
        write(tmp_path / f"annotations/instances_{split}.json", coco(["a.png"], [ONE]))
    shutil.copy(tmp_path / "annotations/instances_train.json", tmp_path / "mine.json")
    path = tmp_path / "annotations/instances_val.json"
    assert list_boxes(path) == ("val",)
    assert open_boxes(path, "val").name(0) == "images/val/a.png"
    picture(tmp_path / "a.png")
    assert open_boxes(tmp_path / "mine.json").name(0) == "a.png"


def test_a_json_that_is_named_for_another_split_is_taken_for_that(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    path = write(tmp_path / "mine_val.json", coco(["a.png"], [ONE]))
    source = open_boxes(path, "train", beside="other.json")
    assert len(source) == 1
    assert "mine_val.json has the split val only, which is taken for train, as it is named for that." in source.note
    with pytest.raises(SourceError, match=r"has no train split, it has val; ask for"):  # to hold out of would leak
        open_boxes(path, "train")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_of_a_json_are_read(tmp_path: Path, encoding: str) -> None:
    picture(tmp_path / "images/a.png")
    path = write(tmp_path / "result.json", coco(["a.png"], [ONE], ["Kätzchen"]))
    path.write_text(path.read_text(), encoding=encoding)
    assert open_boxes(tmp_path).classes == ("Kätzchen",)


# ---------------------------------------------------------------------------------------------------------------------
# YOLO


def test_boxes_and_outlines_in_one_file_and_a_picture_without(tmp_path: Path) -> None:
    for stem in "abc":
        picture(tmp_path / f"images/{stem}.png")
    write(tmp_path / "labels/a.txt", f"1.0 0.5 0.5 0.5 1\n\n{LINE}\n0 0 0 1 0 1 1\n")
    write(tmp_path / "labels/b.txt", "")
    write(tmp_path / "labels/classes.txt", "cat\ndog")
    source = open_boxes(tmp_path)
    told = source.target(0)
    assert told.labels.tolist() == [1, 0, 0]
    assert told.boxes.tolist() == [[3, 0, 9, 9], [4.5, 3.375, 7.5, 5.625], [0, 0, 12, 9]]
    assert [shape is None for shape in told.shapes] == [True, True, False]
    assert [len(source.target(index)) for index in (1, 2)] == [0, 0]
    assert "1 of 3 pictures have no .txt: nothing is marked in them." in source.note


@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}", "{1: dog, 0: cat}"])
@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("images/train", "images/val"),
        ("[images/train, images/more]", "images/val"),
        ("train.txt", "val.txt"),
        ("[train.txt, images/more]", "val.txt"),
        ("flat", "images/val"),
    ],
)
@pytest.mark.parametrize("named", ["", "data.yaml", "mine.yml"])
def test_data_yaml_says_where_pictures_are(tmp_path: Path, named: str, train: str, val: str, names: str) -> None:
    for stem in ("train/a", "more/b", "val/c"):
        picture(tmp_path / f"images/{stem}.png")
        write(tmp_path / f"labels/{stem}.txt", "1 0.5 0.5 0.25 0.25")
    picture(tmp_path / "flat/a.png")
    write(tmp_path / "flat/a.txt", "1 0.5 0.5 0.25 0.25")
    write(tmp_path / "train.txt", "./images/train/a.png\n")
    write(tmp_path / "val.txt", f"{tmp_path}/elsewhere/images/val/c.png\n")
    write(tmp_path / (named or "data.yaml"), f"train: {train}\nval: {val}\nnc: 2\nnames: {names}\n")
    spec = tmp_path / named
    assert list_boxes(spec) == ("train", "val")
    stems = ["a", "b"] if "more" in train else ["a"]
    source = open_boxes(spec, "train")
    assert [Path(source.name(index)).stem for index in range(len(source))] == stems
    assert source.classes == ("cat", "dog")
    assert [source.target(index).labels.tolist() for index in range(len(source))] == [[1]] * len(stems)
    assert open_boxes(spec, "val").target(0).labels.tolist() == [1]


def test_a_data_yaml_that_says_no_splits_names_the_classes_of_folders_beside_it(tmp_path: Path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / f"images/{split}/a.png")
        write(tmp_path / f"labels/{split}/a.txt", LINE)
    path = write(tmp_path / "mine.yaml", "names: [cat]\n")
    write(tmp_path / "classes.txt", "other")
    assert list_boxes(path) == ("train", "val")
    assert open_boxes(path, "val").classes == ("cat",)


def test_a_data_yaml_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    path = write(tmp_path / "data.yaml", "train: images/train\nnames: [cat]\n")
    with pytest.raises(SourceError, match=r"data\.yaml says where pictures are \(train: 'images/train'\), but no such"):
        open_boxes(path)
    write(tmp_path / "labels/a.txt", LINE)
    write(path, "train: images\nnc: 3\nnames: [cat]\n")
    with pytest.raises(SourceError, match=r"data\.yaml says nc: 3, but names 1 classes; mend either"):
        open_boxes(path)


def test_of_boxes_with_keypoints_the_boxes_are_taken(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "labels/a.txt", "0 0.5 0.5 0.25 0.25 0.4 0.4 2 0.6 0.6 1\n0 0.5 0.5 0.25 0.25 0.4 0.4 0.6 0.6")
    write(tmp_path / "data.yaml", "train: images\nkpt_shape: [2, 3]\nnames: [man]\n")
    source = open_boxes(tmp_path, "train", beside="")
    assert source.target(0).boxes.tolist() == [[4.5, 3.375, 7.5, 5.625]] * 2
    assert "Of boxes with keypoints the boxes are taken." in source.note
    with pytest.raises(SourceError, match="holds boxes"):
        open_source(tmp_path, kind="mask")


@pytest.mark.parametrize("folder", ["imgs", "photos/val", "JPEGImages", "my_images"])
def test_pictures_lie_where_a_name_says_so(tmp_path: Path, folder: str) -> None:
    picture(tmp_path / folder / "a.png")
    write(tmp_path / "val.json", coco(["a.png"], [ONE]))
    assert len(open_boxes(tmp_path, "val").target(0)) == 1


def test_what_folders_above_are_called_says_nothing(tmp_path: Path) -> None:
    root = tmp_path / "images/set"
    picture(root / "train/a.png")
    write(root / "train/a.txt", LINE)
    write(tmp_path / "labels/set/train/a.txt", f"{LINE}\n{LINE}")
    write(root / "list.txt", "train/a.png")
    for entry in ("train", "list.txt", "../train"):
        write(root / "data.yaml", f"train: {entry}\nnames: [cat]\n")
        assert len(open_boxes(root / "data.yaml", "train", beside="").target(0)) == 1


def test_a_folder_inside_comes_before_one_of_its_name_beside(tmp_path: Path) -> None:
    for root, lines in ((tmp_path / "set", [LINE]), (tmp_path, [LINE] * 2)):
        picture(root / "train/images/a.png")
        write(root / "train/labels/a.txt", "\n".join(lines))
    write(tmp_path / "set/data.yaml", "train: ../train/images\nnames: [cat]\n")
    assert len(open_boxes(tmp_path / "set", "train", beside="").target(0)) == 1
    write(tmp_path / "set/data.yaml", "path: ..\ntrain: train/images\nnames: [cat]\n")
    assert len(open_boxes(tmp_path / "set", "train", beside="").target(0)) == 2


def test_masks_are_drawn_of_a_file_that_is_named_itself(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "labels/a.txt", "0 0 0 1 0 1 1 0 1")
    settings = write(tmp_path / "mine.yaml", "val: images\nnames: [cat]\n")
    for path in (settings, write(tmp_path / "val.json", coco(["a.png"], [{"segmentation": [CORNERS]}]))):
        source = open_source(path, "val", kind="mask")
        assert source.classes[:2] == ("background", "cat")
        assert source.target(0).any()
        assert check_data(str(path), "mask", split="val", out=tmp_path / "seen").ok


def test_whoever_looks_at_pictures_finds_those_of_annotations(tmp_path: Path) -> None:
    picture(tmp_path / "images/train/a.png")
    picture(tmp_path / "images/b.png")
    write(tmp_path / "labels/train/a.txt", LINE)
    settings = write(tmp_path / "data.yaml", "train: images/train\nnames: [cat]\n")
    source = open_images([str(settings), str(write(tmp_path / "mine.json", coco(["b.png"])))])
    assert [source.name(index) for index in range(2)] == ["images/train/a.png", "images/b.png"]
    with pytest.raises(BadImage, match="text, not a picture"):
        open_images([str(write(tmp_path / "other.json", [1]))]).load(0)


def test_a_json_beside_texts_is_not_read_and_that_is_said(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "labels/a.txt", f"{LINE}\n{LINE}")
    write(tmp_path / "classes.txt", "cat")
    path = write(tmp_path / "result.json", coco(["a.png"], [ONE]))
    source = open_boxes(tmp_path)
    assert len(source.target(0)) == 2
    assert "Annotations of YOLO are read, those of COCO beside them are not; move the first away" in source.note
    assert len(open_boxes(path).target(0)) == 1


def test_a_folder_around_it_is_fine(tmp_path: Path) -> None:
    picture(tmp_path / "around/set/images/a.png")
    write(tmp_path / "around/set/labels/a.txt", LINE)
    assert len(open_boxes(tmp_path / "around").target(0)) == 1
