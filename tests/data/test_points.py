"""Objects with named points: what open_source takes of drawn scenes and of files, and where the points are."""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.support.annotating import BOX, CORNERS, SIZE, bbox, coco, picture, write, yolo_box

from volovan.data.errors import SourceError
from volovan.data.images import open_images
from volovan.data.objects.shapes import Affine
from volovan.data.objects.skeleton import COCO_NAMES, Skeleton
from volovan.data.objects.teaching import useless_objects
from volovan.data.sources import list_splits, open_source
from volovan.data.synthetic.shapes import draw_scene

open_points = partial(open_source, kind="points")
NAMES = ["nose", "left_eye", "right_eye"]
POINTS = [4, 2.5, 2, 6.5, 3, 1, 0, 0, 0]
ONE = {"bbox": bbox(BOX), "keypoints": POINTS, "num_keypoints": 2}


def keypoints(
    annotations: list[dict[str, Any]], names: Any = NAMES, lines: Any = ([1, 2], [1, 3]), **images: Any
) -> dict[str, Any]:
    """A JSON of COCO whose first category, cat, has points and whose second, dog, has none."""
    said = coco(images.get("images", ["a.png"]), annotations)
    said["categories"][0] |= {"keypoints": names, "skeleton": lines}
    return said


# drawn scenes


def test_figures_of_a_scene_have_points() -> None:
    assert list_splits("shapes:4@64x48", "points") == ("train", "val")
    source = pickle.loads(pickle.dumps(open_points("shapes:30@64x48", "train")))
    assert (source.kind, source.classes, len(source.skeleton)) == ("points", ("figure",), 7)
    assert source.skeleton == Skeleton(source.skeleton.names, source.skeleton.lines)  # its names say what flips
    for index in range(30):
        scene, told = draw_scene("train", index, 48, 64, "figures"), source.target(index)
        figures = [one for one in scene.instances if one.category == 9]
        assert len(told) == len(figures) > 0
        for row, one in enumerate(figures):
            assert np.array_equal(told.points[row], one.keypoints)
            assert told.boxes[row].tolist() == list(one.box)
        seen = told.points[told.points[..., 2] == 2]
        assert ((seen[:, :2] >= 0) & (seen[:, :2] <= (64, 48))).all()


def test_pictures_to_look_at_are_those_that_are_learned() -> None:
    shown, learned = open_images(["shapes:3@64x48"], "points"), open_points("shapes:3@64x48")
    assert [shown.load(place).tobytes() for place in range(3)] == [learned.load(place).tobytes() for place in range(3)]


def test_a_visible_point_of_a_figure_lies_on_it() -> None:
    """But for a pixel, as the middle of a pixel may be outside of what a place in it is inside of."""
    source = open_points("shapes:20@128x96", "train")
    for index in range(20):
        told = source.target(index)
        for shape, points in zip(told.shapes, told.points, strict=True):
            mask = np.zeros((96, 128), bool)
            shape.paint(mask, 1)
            for x, y, v in points:
                row, column = int(y), int(x)
                assert v < 2 or mask[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].any()


# COCO


def test_keypoints_of_coco_are_read_as_they_are_written(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / "images" / name)
    bare = {"segmentation": [CORNERS], "keypoints": [], "image_id": 2}
    nothing = {"bbox": bbox(BOX), "image_id": 2, "iscrowd": 1}
    alone = {"keypoints": POINTS, "image_id": 2}
    other = {"bbox": bbox(BOX), "category_id": 2}
    write(tmp_path / "r.json", keypoints([ONE, other, bare, nothing, alone], images=["a.png", "b.png"]))
    source = open_points(tmp_path)
    assert (source.kind, source.classes) == ("points", ("cat",))
    assert source.skeleton == Skeleton(tuple(NAMES), ((0, 1), (0, 2)))
    assert "Not read, since they have no keypoints: objects of dog" in source.note
    first, second = source.target(0), source.target(1)
    assert first.points.tolist() == [[[4, 2.5, 2], [6.5, 3, 1], [0, 0, 0]]]
    assert second.points[..., 2].tolist() == [[0, 0, 0], [0, 0, 0], [2, 1, 0]]
    assert second.crowd.tolist() == [False, True, False]
    assert second.boxes[2].tolist() == [4, 2.5, 6.5, 3]  # around the labelled points
    assert second.only(np.array([False, False, True])).points.tolist() == first.points.tolist()
    boxes = open_source(tmp_path, kind="boxes")
    assert boxes.target(0).points is None
    assert len(boxes.target(0)) == 2


def test_files_of_keypoints_lie_beside_those_of_instances(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "annotations/instances_train.json", coco(["a.png"], [{"bbox": [0, 0, 2, 2]}]))
    write(tmp_path / "annotations/person_keypoints_train.json", keypoints([ONE]))
    assert open_points(tmp_path, "train").target(0).boxes.tolist() == [BOX]
    assert open_source(tmp_path, "train", kind="boxes").target(0).boxes.tolist() == [[0, 0, 2, 2]]
    (tmp_path / "annotations/instances_train.json").unlink()
    assert open_source(tmp_path, "train", kind="boxes").target(0).boxes.tolist() == [BOX]
    named = tmp_path / "annotations/person_keypoints_train.json"
    assert open_points(named, "train").target(0).points.shape == (1, 3, 3)


def test_names_say_which_point_is_which(tmp_path: Path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / split / "a.png")
    write(tmp_path / "train/_annotations.coco.json", keypoints([ONE]))
    turned = ONE | {"keypoints": [0, 0, 0, 4, 2.5, 2, 6.5, 3, 1]}
    write(tmp_path / "val/_annotations.coco.json", keypoints([turned], ["right_eye", "nose", "left_eye"]))
    train, val = open_points(tmp_path, "train"), open_points(tmp_path, "val")
    assert train.skeleton == val.skeleton
    assert val.target(0).points.tolist() == train.target(0).points.tolist()


def test_categories_of_one_skeleton_are_classes_and_others_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    said = keypoints([ONE, ONE | {"category_id": 2}])
    said["categories"][1] |= {"keypoints": NAMES[::-1]}
    write(tmp_path / "r.json", said)
    source = open_points(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.target(0).points[1].tolist() == source.target(0).points[0][::-1].tolist()
    said["categories"][1]["keypoints"] = ["tail"]
    write(tmp_path / "r.json", said)
    with pytest.raises(
        SourceError,
        match=r"r\.json: category 2 \(dog\) has the keypoints tail, but .*category 1 \(cat\) has nose, left_eye, right",
    ):
        open_points(tmp_path)
    said["annotations"].pop()  # no object is one
    write(tmp_path / "r.json", said)
    assert open_points(tmp_path).classes == ("cat",)


# YOLO


def pose(folder: Path, line: str, **settings: Any) -> Path:
    picture(folder / "images/train/a.png")
    write(folder / "labels/train/a.txt", line)
    said = {"train": "images/train", "names": ["cat"], "kpt_shape": [3, 3]} | settings
    write(folder / "data.yaml", "\n".join(f"{key}: {value}" for key, value in said.items() if value is not None))
    return folder


@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("named", ["", "/data.yaml"])
def test_points_of_yolo_stand_behind_the_box(tmp_path: Path, width: int, named: str) -> None:
    places = [(4, 2.5, 2), (6.5, 3, 2 if width == 2 else 1), (0, 0, 0)]
    numbers = [f"{at:.7f}" for x, y, v in places for at in (x / SIZE[0], y / SIZE[1], v)[:width]]
    pose(tmp_path, f"{yolo_box(0, BOX, *SIZE)} {' '.join(numbers)}", kpt_shape=[3, width], flip_idx=[0, 2, 1])
    source = open_points(f"{tmp_path}{named}", "train")
    assert (source.kind, source.skeleton.flips) == ("points", (0, 2, 1))
    assert source.skeleton.names == ("point_0", "point_1", "point_2")
    assert "No kpt_names name the points." in source.note
    told = source.target(0)
    assert np.allclose(told.points, np.array([places]), atol=1e-5)
    assert np.allclose(told.boxes, [BOX], atol=1e-5)
    assert open_source(tmp_path, "train", kind="boxes").target(0).points is None


def test_classes_without_names_are_counted_behind_points_too(tmp_path: Path) -> None:
    pose(tmp_path, f"{yolo_box(2, BOX, *SIZE)} 0.1 0.1 2 0.2 0.2 2 0.3 0.3 2", names=None)
    for kind in ("points", "boxes"):
        assert open_source(tmp_path, "train", kind=kind).classes == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize("said", [NAMES, {0: NAMES}, {0: "nose", 1: "left_eye", 2: "right_eye"}])
def test_names_of_the_points_of_yolo(tmp_path: Path, said: Any) -> None:
    source = open_points(pose(tmp_path, "", kpt_names=said), "train")
    assert source.skeleton.names == tuple(NAMES)
    assert source.skeleton.flips == (0, 2, 1)


def test_persons_of_yolo_are_called_as_those_of_coco(tmp_path: Path) -> None:
    flips = list(Skeleton(COCO_NAMES).flips)
    source = open_points(pose(tmp_path, "", kpt_shape=[17, 3], flip_idx=flips), "train")
    assert source.skeleton.names == COCO_NAMES
    assert "flip_idx is that of COCO's persons" in source.note


def test_yolo_without_points_gives_way(tmp_path: Path) -> None:
    pose(tmp_path, yolo_box(0, BOX, *SIZE), kpt_shape=None)
    with pytest.raises(SourceError, match=r"is no source of pictures with objects with named points .*kpt_shape"):
        open_points(tmp_path)
    with pytest.raises(SourceError, match=r"data\.yaml has no kpt_shape, so its labels are boxes"):
        open_points(tmp_path / "data.yaml")
    write(tmp_path / "train.json", keypoints([ONE], images=["images/train/a.png"]))
    assert open_points(tmp_path, "train").target(0).points.shape == (1, 3, 3)


# where points are


@pytest.mark.parametrize("orientation", range(2, 9))
def test_points_follow_the_turn_of_their_picture(tmp_path: Path, orientation: int) -> None:
    """Each point lies in the middle of a pixel of its own colour, which is where it has to be after the turn."""
    places = [(4, 2), (7, 3), (9, 7)]
    stored = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    for number, (x, y) in enumerate(places):
        stored[y, x] = 80 * (number + 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "images").mkdir()
    Image.fromarray(stored).save(tmp_path / "images/a.png", exif=exif)
    numbers = [at for x, y in places for at in (x + 0.5, y + 0.5, 2)]
    write(tmp_path / "r.json", keypoints([ONE | {"keypoints": numbers}]))
    source = open_source(tmp_path, kind="points", drawn_on="stored")
    pixels, points = np.asarray(source.load(0)), source.target(0).points[0]
    mirrors = orientation in (2, 4, 5, 7)
    for number, (x, y, v) in enumerate(points):
        was = source.skeleton.flips[number] if mirrors else number
        assert v == 2
        assert pixels[int(y), int(x)].tolist() == [80 * (was + 1)] * 3


def test_mirrored_points_change_their_names() -> None:
    source = open_points("shapes:10@96x64", "train")
    swapped = source.skeleton
    for index in range(10):
        told, picture = source.target(index), np.asarray(source.load(index))
        mirror = np.asarray(ImageOps.mirror(Image.fromarray(picture)))
        there = swapped.swapped(told.drawn(Affine(-1, 1, 96, 0), 64, 96).points)
        for number, other in enumerate(swapped.flips):
            for before, after in zip(told.points[:, number], there[:, other], strict=True):
                if before[2]:
                    row, column = int(before[1]), int(before[0])
                    assert (mirror[row, 95 - column] == picture[row, column]).all()
                    assert after[0] == pytest.approx(96 - before[0])


def test_points_follow_their_objects_into_another_picture() -> None:
    told = open_points("shapes:4@64x48", "train").target(0)
    there = told.drawn(Affine(2, 3, -5, 7), 144, 128)
    assert np.allclose(there.points[..., 0], 2 * told.points[..., 0] - 5)
    assert np.allclose(there.points[..., 1], 3 * told.points[..., 1] + 7)
    assert np.array_equal(there.points[..., 2], told.points[..., 2])


# what teaches nothing


def test_objects_without_a_labelled_point_teach_nothing(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "r.json", keypoints([{"bbox": bbox(BOX)}, ONE | {"iscrowd": 1}, ONE | {"bbox": [3, 3, 0, 2]}]))
    why = useless_objects("here", open_points(tmp_path), "train")
    assert why == (
        "here: no picture of the train split (1) shows an object with a labelled point (crowds: 1, boxes without area: "
        "1, objects without a labelled point: 1), so nothing can be learned; label points in some"
    )
    write(tmp_path / "r.json", keypoints([{"bbox": bbox(BOX)}, ONE]))
    assert useless_objects("here", open_points(tmp_path), "train") == ""


@pytest.mark.parametrize(("x", "place"), [(3, 3.5), (3.25, 3.25), (3.0, 3.0)])
def test_whole_numbers_are_pixels_whose_middle_is_meant(tmp_path: Path, x: float, place: float) -> None:
    """As in COCO's own files; one fraction in a file says that its numbers are places."""
    picture(tmp_path / "images/a.png")
    write(tmp_path / "r.json", keypoints([{"bbox": [1, 1, 5, 5], "keypoints": [x, 2, 2, 4, 4, 1, 0, 0, 0]}]))
    source = open_points(tmp_path)
    shift = place - x
    assert source.target(0).points[0].tolist() == [[place, 2 + shift, 2], [4 + shift, 4 + shift, 1], [0, 0, 0]]
    assert ("the middle of each is meant" in source.note) == bool(shift)


def test_one_fraction_in_a_split_says_that_all_are_places(tmp_path: Path) -> None:
    """Or objects of one data set would lie half a pixel apart."""
    for split, x in (("train", 3.25), ("val", 3)):
        picture(tmp_path / split / "a.png")
        said = keypoints([{"bbox": [1, 1, 5, 5], "keypoints": [x, 2, 2, 4, 4, 1, 0, 0, 0]}])
        write(tmp_path / split / "_annotations.coco.json", said)
    assert [open_points(tmp_path, split).target(0).points[0, 0, 0] for split in ("train", "val")] == [3.25, 3]


def test_no_category_with_points_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "r.json", coco(["a.png"], [{"bbox": bbox(BOX)}]))
    with pytest.raises(SourceError, match=r"r\.json has no category with keypoints \(names of points"):
        open_points(tmp_path)
