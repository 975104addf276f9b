"""Named points that lie: each file is refused in one sentence with its place, or read right."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.annotating import BOX, SIZE, bbox, coco, picture, write, yolo_box

from volovan.data.errors import BadImage, SourceError
from volovan.data.sources import open_source

open_points = partial(open_source, kind="points")
NAMES = ["nose", "left_eye", "right_eye"]
FINE = [4, 2.5, 2, 6.5, 3, 1, 0, 0, 0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture(tmp_path / "set/images/train/a.png")
    return tmp_path / "set"


def sentence(folder: Path) -> str:
    with pytest.raises((SourceError, BadImage)) as caught:
        open_points(folder, "train").target(0)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said.replace(str(folder), "")) < 400
    return said


def annotation(keypoints: Any, **change: Any) -> dict[str, Any]:
    return category(NAMES) | {"annotations": [{**ONE, "keypoints": keypoints, **change}]}


def category(names: Any, lines: Any = ([1, 2], [1, 3]), **more: Any) -> dict[str, Any]:
    said = coco(["a.png"], [ONE])
    said["categories"][0] |= {"keypoints": names, "skeleton": lines} | more
    return said


ONE = {"id": 1, "image_id": 1, "category_id": 1, "bbox": bbox(BOX), "keypoints": FINE}
NAN, INF = float("nan"), float("inf")
OF_COCO: list[tuple[dict[str, Any], str]] = [
    *[(annotation(points), rf"a\.png: annotation 1 of train\.json has {len(points)} numbers as keypoints, expected 9")
      for points in ([1], FINE[:8], [*FINE, 1], [*FINE, 1, 1, 1], FINE[:6], [0.0] * 51)],
    *[(annotation(points), r"annotation 1 of train\.json has the keypoints .*, expected 9, x, y, v of each of 3")
      for points in ([NAN, *FINE[1:]], [*FINE[:8], NAN], [INF, *FINE[1:]], [1e300, *FINE[1:]], [None, *FINE[1:]],
                     [True, *FINE[1:]], ["x", *FINE[1:]], "4,2,2", {"nose": [1, 2, 2]}, 7, False,
                     [[4, 2.5, 2], [6.5, 3, 1], [0, 0, 0]])],
    *[(annotation([4, 2.5, v, *FINE[3:]]), rf"has v {v:g} of keypoint 1, expected 0 \(not labelled\), 1 ")
      for v in (7, -1, 0.5, 3)],
    (annotation([*FINE[:5], 9, *FINE[6:]]), "has v 9 of keypoint 2"),
    (annotation([0] * 9, bbox=None), "neither a bbox nor a segmentation, expected one of them"),
    *[(category(names), r"train\.json: category 1 \(cat\) has the keypoints .*, expected a list of their names")
      for names in ("nose", {"0": "nose"}, 3, [1, 2, 3], ["nose", None, "eye"], ["nose", " ", "eye"], ["\ud800"])],
    (category(["nose", "nose", "eye"]), r"category 1 \(cat\) has among its keypoints names 'nose' twice, exp"),
    (category(["nose", "nose ", "eye"]), "has among its keypoints names 'nose' twice"),
    *[(category(NAMES, [line]), r"1 \(cat\) has .* in its skeleton, expected pairs of numbers of keypoints from 1 to 3")
      for line in ([0, 1], [1, 4], [1, -1], [1], [1, 2, 3], "1-2", 7, None, [1.5, 2], [True, 2], ["nose", "left_eye"])],
    (category(NAMES, "1-2"), "has '1-2' in its skeleton, expected pairs"),
    (category(NAMES[:2], []), r"annotation 1 of train\.json has 9 numbers as keypoints, expected 6, x, y, v"),
    (category([]), r"train\.json has no category with keypoints \(names of points"),
    (category(None), r"train\.json has no category with keypoints"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "why"), OF_COCO)
def test_keypoints_of_coco_that_lie(folder: Path, said: dict[str, Any], why: str) -> None:
    write(folder / "train.json", said)
    with pytest.raises(ValueError, match=why):
        raise ValueError(sentence(folder))


@pytest.mark.parametrize(
    ("said", "visible"),
    [
        (annotation([str(value) for value in FINE]), [2, 1, 0]),
        (annotation([4.0, 2.5, 2.0, 6.5, 3, 1.0, 99, 99, 0.0]), [2, 1, 0]),
        (annotation(None), [0, 0, 0]),
        (annotation([]), [0, 0, 0]),
        (annotation(FINE, num_keypoints=17), [2, 1, 0]),
        (annotation([-500, 2.5, 2, *FINE[3:]]), [2, 1, 0]),
        (category(NAMES, None), [2, 1, 0]),
        (category(NAMES, []), [2, 1, 0]),
    ],
)
def test_what_is_odd_but_right_is_read(folder: Path, said: dict[str, Any], visible: list[int]) -> None:
    write(folder / "train.json", said)
    points = open_points(folder, "train").target(0).points
    assert points[0, :, 2].tolist() == visible
    assert points[0][points[0, :, 2] == 0].sum() == 0


def test_a_category_of_one_split_lacks_what_the_other_has(folder: Path) -> None:
    picture(folder / "images/val/b.png")
    write(folder / "train.json", annotation(FINE))
    other = category(NAMES) | {"images": [{"id": 1, "file_name": "b.png"}]}
    del other["categories"][0]["keypoints"]
    write(folder / "val.json", other)
    assert "val.json: category 1 (cat) has no keypoints, but" in sentence(folder)
    other["categories"][0] |= {"keypoints": ["tail"], "skeleton": []}
    write(folder / "val.json", other)
    assert "val.json: category 1 (cat) has the keypoints tail, but" in sentence(folder)


# YOLO

LINE = f"{yolo_box(0, BOX, *SIZE)} 0.3 0.3 2 0.5 0.3 1 0 0 0"


def yolo(folder: Path, line: str = LINE, **change: Any) -> None:
    write(folder / "labels/train/a.txt", line)
    said = {"train": "images/train", "names": ["cat"], "kpt_shape": [3, 3]} | change
    write(folder / "data.yaml", "\n".join(f"{key}: {value}" for key, value in said.items()))


def replaced(place: int, value: str) -> str:
    cells = LINE.split()
    cells[place] = value
    return " ".join(cells)


LINES = [
    (
        " ".join(LINE.split()[:5]),
        r"line 1 has 4 numbers after the class, expected 13: 4 of a box and 3 of each of 3 po",
    ),
    (LINE.rpartition(" ")[0], "line 1 has 12 numbers after the class, expected 13"),
    (f"{LINE} 0.9", "line 1 has 14 numbers after the class, expected 13"),
    (f"{LINE}\n{LINE} 1 1 2", "line 2 has 16 numbers after the class, expected 13"),
    (replaced(7, "7"), r"line 1 has v 7 of point 1, expected 0 \(not labelled\), 1 \(hidden\) or 2 \(visible\)"),
    (replaced(10, "0.93"), "line 1 has v 0.93 of point 2"),
    (replaced(7, "nan"), "line 1 has v nan of point 1"),
    (replaced(5, "nan"), "line 1 has nan, expected 0 to 1 of width or height"),
    (replaced(5, "320"), "line 1 has 320, expected 0 to 1"),
    (replaced(6, "-2"), "line 1 has -2, expected 0 to 1"),
    (replaced(1, "1.5"), "line 1 has 1.5, expected 0 to 1"),
    (replaced(3, "-0.2"), "line 1 has -0.2, expected 0 to 1"),
    (replaced(0, "cat"), "line 1 is 'cat .*', expected CLASS X Y"),
    (replaced(6, "x"), "line 1 is '0 .*', expected CLASS X Y"),
    (replaced(0, "3"), "line 1 has class 3, expected 0"),
]


@pytest.mark.parametrize(("line", "why"), LINES)
def test_lines_of_yolo_that_lie(folder: Path, line: str, why: str) -> None:
    yolo(folder, line)
    with pytest.raises(ValueError, match=rf"^labels/train/a\.txt: {why}"):
        raise ValueError(sentence(folder))


SETTINGS: list[tuple[dict[str, Any], str]] = [
    *[({"kpt_shape": shape}, r"the kpt_shape .*, expected \[points, 2\] for x y or \[points, 3\] for x y v")
      for shape in (17, "[17]", "[0, 3]", "[17, 4]", "[17, 1]", "[-1, 3]", "[3.5, 3]", "[true, 3]", "[3, 3, 3]",
                    "three", "[100000000, 3]", "null")],
    ({"kpt_shape": "[4, 3]"}, None),  # the line says it
    *[({"flip_idx": flips}, "the flip_idx .*, expected 3 numbers from 0 on; mend it")
      for flips in ("3", "[a, b, c]", "{0: 1}")],
    ({"flip_idx": [0, 1]}, "2 numbers as flip_idx, expected 3 as kpt_shape says"),
    ({"flip_idx": [1, 2, 3]}, r"the flips \[1, 2, 3\], expected 3 numbers from 0 on that swap pairs of"),
    ({"flip_idx": [1, 2, 0]}, "the flips .* that swap pairs of points"),
    ({"flip_idx": [0, 0, 2]}, "the flips .* that swap pairs of points"),
    *[({"kpt_names": names}, "the kpt_names .*, expected 3 names as kpt_shape says; mend it")
      for names in ("[nose]", "[nose, eye, ear, tail]", "nose", "{0: [nose]}", "[1, 2, 3]", "[[nose, eye, ear]]")],
    ({"kpt_names": "{0: [a, b, c], 1: [a, b, d]}"}, r"names the points .*'b', ...\] of one class and .* of another"),
    ({"kpt_names": "[nose, nose, eye]"}, "names 'nose' twice, expected each once"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "why"), SETTINGS)
def test_settings_of_yolo_that_lie(folder: Path, change: dict[str, Any], why: str | None) -> None:
    yolo(folder, **change)
    said = sentence(folder)
    if why is None:
        why = r"^labels/train/a\.txt: line 1 has 13 numbers after the class, expected 16"
    else:
        assert str(folder / "data.yaml") in said
    with pytest.raises(ValueError, match=why):
        raise ValueError(said)


@pytest.mark.parametrize("line", [replaced(11, "55"), replaced(5, "1.2"), replaced(7, "2.000000"), ""])
def test_lines_of_yolo_that_are_odd_but_right(folder: Path, line: str) -> None:
    yolo(folder, line)
    told = open_points(folder, "train").target(0)
    assert told.points.shape == (1 if line else 0, 3, 3)
