"""Named points of labelme and CVAT: whose they are, what is left out, and files that lie."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.annotated_files import (
    cvat,
    cvat_box,
    cvat_skeleton,
    cvat_skeleton_label,
    element,
    labelme,
    shape,
)
from tests.support.annotating import BOX, picture, write

from volovan.data.errors import BadImage, SourceError
from volovan.data.sources import open_source

open_points = partial(open_source, kind="points")
RECTANGLE = [[3, 2], [7, 5]]


def sentence(root: Path) -> str:
    with pytest.raises((SourceError, BadImage)) as caught:
        open_points(root).target(0)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said.replace(str(root), "")) < 400
    return said


# labelme


def box(group: Any = 1, label: str = "cat") -> dict[str, Any]:
    return shape(label, "rectangle", RECTANGLE, group_id=group)


def point(name: str = "nose", place: Any = (4, 3.5), group: Any = 1, **more: Any) -> dict[str, Any]:
    return shape(name, "point", [list(place)], group_id=group, **more)


def test_points_of_labelme_belong_to_the_object_of_their_group(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    other = shape("dog", "polygon", [[8, 1], [11, 1], [11, 4]], group_id=2)
    parts = shape("dog", "polygon", [[8, 5], [11, 5], [11, 8]], group_id=2)
    points = [point(), point("left_eye", (5, 3), difficult=True), point("nose", (9, 2), 2), point(group=None)]
    write(tmp_path / "a.json", labelme(points[0], box(), *points[1:], other, parts, box(None, "bird")))
    source = open_points(tmp_path)
    assert (source.kind, source.classes, source.skeleton.names) == ("points", ("cat", "dog"), ("nose", "left_eye"))
    told = source.target(0)
    assert told.points.tolist() == [[[4, 3.5, 2], [5, 3, 1]], [[9, 2, 2], [0, 0, 0]]]
    assert told.boxes.tolist() == [BOX, [8, 1, 11, 8]]
    assert "Not read, since they belong to no object with points: 1 points without group_id." in source.note
    assert "Not read, since they have no named points: objects of bird." in source.note
    boxes = open_source(tmp_path, kind="boxes")
    assert boxes.target(0).points is None
    assert len(boxes.target(0)) == 3


def test_only_classes_that_objects_have_are_said_to_be_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "classes.txt", "horse\nbird\ncat\n")
    write(tmp_path / "a.json", labelme(box(), point(), box(None, "bird")))
    source = open_points(tmp_path)
    assert source.classes == ("cat",)
    assert "Not read, since they have no named points: objects of bird." in source.note


@pytest.mark.parametrize(
    ("shapes", "why"),
    [
        (
            [box(), point(group=2)],
            "has the point nose of group_id 2, which no rectangle or outline has; give it that of",
        ),
        (
            [box(), box(1, "dog"), point()],
            "has the point nose of group_id 1, which cat and dog has; give it that of its",
        ),
        (
            [box(), box(1), point()],  # rectangles are not parts of one object, as outlines of a group are
            "has the point nose of group_id 1, which cat has; give it that of its object alone",
        ),
        ([box(), point(), point()], "shape 3 has the point nose of group_id 1 again, expected each once; mend it"),
        ([box(), point(place=(1, 2, 3))], r"shape 2 has the points .*, expected a list of x, y"),
        ([box(), point(place=(1, float("nan")))], "shape 2 has the points .*, expected a list of x, y"),
        (
            [box(), shape("nose", "point", RECTANGLE, group_id=1)],
            "shape 2 has 2 places of the point nose, expected one",
        ),
        ([box(), point(name=" ")], "shape 2 has the label ' ', expected that of its class"),
        ([box(), point(group=[1])], r"shape 2 has the group_id \[1\], expected a number or null"),
        ([box(), point(difficult="yes")], "shape 2 has difficult 'yes', expected true or false"),
    ],
)
def test_points_of_labelme_that_lie(tmp_path: Path, shapes: list[Any], why: str) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "a.json", labelme(*shapes))
    with pytest.raises(ValueError, match=rf"^a\.json: {why}"):
        raise ValueError(sentence(tmp_path))
    assert len(open_source(tmp_path, kind="boxes").target(0)) >= 1  # which does not read them


def test_labelme_without_points_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "a.json", labelme(box(), point(group=None)))
    assert sentence(tmp_path) == (
        f"{tmp_path} has annotations of labelme, but no object with named points; give points the group_id of their "
        "rectangle or polygon"
    )


# CVAT

LABEL = cvat_skeleton_label("cat", "nose", "left_eye", "right_eye", lines=[(1, 2), (3, 1)])


def xml(*inside: str, labels: str = LABEL) -> str:
    return cvat({"a.png": inside}, ["car"]).replace("</labels>", f"{labels}</labels>")


def test_skeletons_of_cvat_are_objects(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    skeleton = cvat_skeleton(left_eye=(6, 3, {"occluded": 1}), nose=(4, 2.5), right_eye=(0, 0, {"outside": 1}))
    write(tmp_path / "annotations.xml", xml(skeleton, cvat_box("car"), cvat_skeleton(nose=(9, 8))))
    for spec in (tmp_path, tmp_path / "annotations.xml"):
        source = open_points(spec)
        assert (source.kind, source.classes) == ("points", ("cat",))
        assert source.skeleton.names == ("nose", "left_eye", "right_eye")
        assert source.skeleton.lines == ((0, 1), (2, 0))
        assert source.skeleton.flips == (0, 2, 1)
        told = source.target(0)
        assert told.points.tolist() == [[[4, 2.5, 2], [6, 3, 1], [0, 0, 0]], [[9, 8, 2], [0, 0, 0], [0, 0, 0]]]
        assert told.boxes[0].tolist() == [4, 2.5, 6, 3]
        assert "Not read, since they are no skeletons: 1 boxs" not in source.note
        assert "Not read, since they are no skeletons: 1 boxes" in source.note
    boxes = open_source(tmp_path, kind="boxes")
    assert (boxes.classes, len(boxes.target(0))) == (("car",), 1)
    assert "2 skeletons" in boxes.note


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        (cvat_skeleton(), "skeleton 1 has no point in the picture, expected one at least"),
        (cvat_skeleton(nose=(1, 1, {"outside": 1})), "skeleton 1 has no point in the picture"),
        (cvat_skeleton(nose=(1, "x")), r"skeleton 1 has the points of nose .*, expected x,y"),
        (cvat_skeleton(nose=(1, "2,3")), r"skeleton 1 has the points '1,2,3' of nose, expected x,y"),
        (cvat_skeleton(nose=(1, "nan")), "skeleton 1 has the points of nose .*, expected x,y"),
        (
            cvat_skeleton(nose=(1, 1, {"outside": 2})),
            "skeleton 1 has outside or occluded of nose that is neither 0 nor",
        ),
        (cvat_skeleton(nose=(1, 1, {"occluded": "?"})), "skeleton 1 has outside or occluded of nose"),
        (cvat_skeleton("", nose=(1, 1)), "skeleton 1 has no label, expected that of its class"),
        (cvat_skeleton(nose=(1, 1)).replace('"nose"', '""'), "skeleton 1 has a point without label, expected its name"),
        (
            cvat_skeleton(nose=(1, 1)).replace("</skeleton>", element("points", "nose", points="1,1") + "</skeleton>"),
            "skeleton 1 has the point nose twice, expected each once",
        ),
    ],
)
def test_skeletons_of_cvat_that_lie(tmp_path: Path, inside: str, why: str) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "annotations.xml", xml(inside))
    with pytest.raises(ValueError, match=rf"^images/a\.png: {why}.*; mend it in annotations\.xml, or export it again$"):
        raise ValueError(sentence(tmp_path))


def test_labels_of_cvat_that_contradict_each_other(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    other = cvat_skeleton_label("bird", "beak", "tail")
    both = [cvat_skeleton(nose=(1, 1)), cvat_skeleton("bird", beak=(2, 2))]
    write(tmp_path / "annotations.xml", xml(*both, labels=LABEL + other))
    assert "annotations.xml: the label bird has the points beak, tail, but cat has nose, l" in sentence(tmp_path)
    write(tmp_path / "annotations.xml", xml(both[0], labels=LABEL + other))
    assert open_points(tmp_path).classes == ("cat",)
    write(tmp_path / "annotations.xml", xml(both[0], labels=cvat_skeleton_label("cat", "nose", "nose")))
    assert "has among the points of the label cat names 'nose' twice, expected each once; mend it" in sentence(tmp_path)


def test_cvat_without_skeletons_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "annotations.xml", xml(cvat_box("car")))
    assert "annotations.xml has no skeletons, so there are no points to learn; draw skeletons" in sentence(tmp_path)
