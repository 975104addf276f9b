"""Objects of Pascal VOC, labelme and CVAT: where their files lie, and what is made of them."""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annotated_files import cvat, cvat_box, cvat_polygon, element, labelme, mask_shape, shape, voc, voc_object
from annotating import BOX, CORNERS, SIZE, coco, picture, write, yolo_box
from volovan.data.checks.recognise import recognise
from volovan.data.errors import BadImage, SourceError
from volovan.data.sources import list_splits, open_source

open_boxes, list_boxes = partial(open_source, kind="boxes"), partial(list_splits, kind="boxes")
open_masks = partial(open_source, kind="mask")
INSIDE = np.zeros(SIZE[::-1], np.uint8)
INSIDE[2:5, 3:7] = 1


@pytest.mark.parametrize("content", [voc(voc_object()), labelme(shape())], ids=["voc", "labelme"])
@pytest.mark.parametrize(
    "form",
    ["{0}/a{1}.png {0}/a{1}", "{0}/images/a{1}.png {0}/labels/a{1}", "images/{0}/a{1}.png annotations/{0}/a{1}"],
    ids=["beside", "above", "inside"],
)
def test_files_beside_pictures_in_splits(tmp_path: Path, content: Any, form: str) -> None:
    suffix = ".xml" if isinstance(content, str) else ".json"
    for split, number in (("train", 0), ("train", 1), ("valid", 2)):
        image, file = form.format(split, number).split()
        picture(tmp_path / image)
        write(tmp_path / f"{file}{suffix}", content)
    assert list_boxes(tmp_path) == ("train", "val")
    source = pickle.loads(pickle.dumps(open_boxes(tmp_path, "train")))
    assert [source.name(0), source.name(1)] == [form.format("train", number).split()[0] for number in (0, 1)]
    assert source.classes == ("cat",)
    assert source.target(1).boxes.tolist() == [BOX]
    assert recognise(str(tmp_path))[0] == ("boxes" if suffix == ".xml" else "mask")


@pytest.mark.parametrize(
    "form",
    ["a.png a", "images/a.png images/a", "images/a.png xml/a", "a.png annotations/a", "set/images/x/a.png set/ann/x/a"],
)
def test_files_beside_pictures_without_splits(tmp_path: Path, form: str) -> None:
    image, file = form.split()
    for name in "ab":
        picture(tmp_path / image.replace("a.png", f"{name}.png"))
    write(tmp_path / f"{file}.xml", voc(voc_object(), voc_object("dog", [0, 0, 2, 2.5], difficult=1)))
    source = open_boxes(tmp_path)
    assert len(source) == 1
    assert "1 pictures have no .xml and are left out; a picture that shows nothing needs one" in source.note
    found = source.target(0)
    assert found.boxes.tolist() == [BOX, [0, 0, 2, 2.5]]
    assert (found.crowd.tolist(), found.labels.tolist(), found.places) == (
        [False, True],
        [0, 1],
        ("object 1", "object 2"),
    )
    with pytest.raises(SourceError, match=r"a\.xml: object 1 has a box but no outline, so no mask can be drawn of it"):
        open_masks(tmp_path)


def test_files_of_splits_of_pictures_lie_together(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("train", "b"), ("val", "c"), ("test", "d")):
        picture(tmp_path / f"images/{split}/{name}.png")
    for name in "abc":
        write(tmp_path / f"annotations/{name}.XML", voc(voc_object()))
    assert list_boxes(tmp_path) == ("train", "val")
    assert [len(open_boxes(tmp_path, split)) for split in ("train", "val")] == [2, 1]
    write(tmp_path / "annotations/lost.xml", voc(voc_object(), filename=""))
    with pytest.raises(SourceError, match=r"^annotations/lost\.xml has no picture in train; add"):
        open_boxes(tmp_path, "train")


def test_voc_as_it_is_handed_out(tmp_path: Path) -> None:
    """Its pixels count from 1, and its lists decide."""
    root = tmp_path / "VOCdevkit" / "VOC2007"
    for name in "abcd":
        picture(root / f"JPEGImages/{name}.jpg")
        said = voc(voc_object(box=[1, 1, *SIZE]), database="The VOC2007 Database", filename=f"{name}.jpg")
        write(root / f"Annotations/{name}.xml", said)
    for split, names in {"train": "a", "val": "b", "trainval": "a\nb", "test": "c", "cat_train": "a 1"}.items():
        write(root / f"ImageSets/Main/{split}.txt", names)
    assert list_boxes(tmp_path) == ("train", "val", "test")
    assert [open_boxes(tmp_path, split).name(0)[-5:] for split in ("train", "val", "test")] == [
        "a.jpg",
        "b.jpg",
        "c.jpg",
    ]
    assert open_boxes(tmp_path, "train").target(0).boxes.tolist() == [[0, 0, *SIZE]]
    copied = voc(voc_object(box=BOX), voc_object(box=[0, 1, *SIZE]), database="The VOC2007 Database")
    write(root / "Annotations/c.xml", copied)
    assert open_boxes(tmp_path, "test").target(0).boxes.tolist() == [BOX, [0, 1, *SIZE]]
    (root / "ImageSets/Main/train.txt").unlink()
    assert len(open_boxes(tmp_path, "train")) == 2
    write(root / "ImageSets/Main/val.txt", "b\nnobody")
    with pytest.raises(SourceError, match=r"^nobody is listed, but has no \.xml in Annotations; add what is missing"):
        open_boxes(tmp_path, "val")


@pytest.mark.parametrize("said", ["C:\\photos\\b.png", "../../b.png", "/home/me/b.png", "x/b.jpeg"])
def test_a_file_of_another_name_says_its_picture(tmp_path: Path, said: str) -> None:
    picture(tmp_path / "b.png")
    write(tmp_path / "1.json", labelme(shape(), picture=said))
    assert open_boxes(tmp_path).name(0) == "b.png"
    write(tmp_path / "2.json", labelme(shape(), picture=said))
    with pytest.raises(SourceError, match=r"1\.json and 2\.json both tell of b\.png; remove one"):
        open_boxes(tmp_path)


def test_nothing_outside_of_the_folder_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "secret.png")
    picture(tmp_path / "set/b.png")
    write(tmp_path / "set/a.json", labelme(shape(), picture="../secret.png"))
    with pytest.raises(SourceError, match=r"^a\.json has no picture in set; add"):
        open_boxes(tmp_path / "set")
    (tmp_path / "set/a.json").unlink()
    write(tmp_path / "set/annotations.xml", cvat({str(tmp_path / "secret.png"): [cvat_box()]}))
    with pytest.raises(SourceError, match=r"secret\.png, which annotations\.xml lists, is not there"):
        open_boxes(tmp_path / "set")


def test_shapes_of_labelme(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    hole = np.array([[1, 1, 0], [1, 0, 1]])
    shapes = [
        shape("cat", "rectangle", [[7, 5], [3, 2]]),
        mask_shape(hole, 4, 3, "dog"),
        shape("cat", "circle", [[5, 4], [7, 4]]),
        shape("cat", "linestrip", [[0, 0], [5, 5]]),
        shape("dog", points=[[0, 0], [2, 0], [2, 2]], group_id=1),
        shape("cat", points=[[0, 0], [2, 0], [2, 2]], group_id=1),
        shape("dog", points=[[8, 5], [10, 5], [10, 8]], group_id=1),
        shape("__ignore__", points=[[8, 5], [10, 5], [10, 8]]),
    ]
    write(tmp_path / "a.json", labelme(*shapes))
    source = open_boxes(tmp_path)
    assert source.classes == ("cat", "dog")
    assert "Not read, since they have no area: 1 shapes of the type linestrip." in source.note
    assert "Objects called __ignore__ are left out." in source.note
    found = source.target(0)
    assert found.places == ("shape 1", "shape 2", "shape 3", "shape 5", "shape 6")
    assert found.labels.tolist() == [0, 1, 0, 1, 0]
    assert found.boxes[[0, 1, 3]].tolist() == [BOX, [4, 3, 7, 5], [0, 0, 10, 8]]
    assert np.allclose(found.boxes[2], [3, 2, 7, 6])
    assert found.shapes[0] is None
    assert np.array_equal(found.shapes[1].mask, hole.astype(bool))
    assert found.areas[2] == pytest.approx(4 * np.pi, rel=0.01)
    assert len(found.shapes[3].parts) == 2


@pytest.mark.parametrize(("x", "y", "box"), [(-1, 1, [0, 1, 2, 4]), (10, 7, [10, 7, 12, 9]), (0, 0, [0, 0, 3, 3])])
def test_masks_are_cut_at_the_edges(tmp_path: Path, x: int, y: int, box: list[int]) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "a.json", labelme(mask_shape(np.ones((3, 3)), x, y)))
    assert open_boxes(tmp_path).target(0).boxes.tolist() == [box]


@pytest.mark.parametrize("name", ["labelme", "cvat"])
def test_outlines_are_drawn_as_masks(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "a.png")
    if name == "labelme":
        write(tmp_path / "a.json", labelme(shape("dog", points=[[0, 0], [12, 0], [12, 9], [0, 9]]), shape("cat")))
    else:
        whole = cvat_polygon("dog", [0, 0, 12, 0, 12, 9, 0, 9])
        write(tmp_path / "annotations.xml", cvat({"a.png": [cvat_polygon(z_order=1), whole]}, labels=["cat", "dog"]))
    assert recognise(str(tmp_path))[0] == "mask"
    source = open_masks(tmp_path)
    assert source.classes == ("background", "cat", "dog")
    assert np.array_equal(source.target(0), np.where(INSIDE, 1, 2))


def test_a_class_file_decides_the_classes(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "a.json", labelme(shape(), shape("dog")))
    write(tmp_path / "labels.txt", "__ignore__\ndog\ncat")
    assert open_boxes(tmp_path).classes == ("dog", "cat")
    write(tmp_path / "labels.txt", "dog\nbird")
    with pytest.raises(BadImage, match=r"^a\.json: shape 1 has class 'cat', expected dog, bird; mend the file or name"):
        open_boxes(tmp_path).target(0)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:1,2,3::\ncat:4,5,6::\n"),
        ("labels.txt", "__ignore__\n_background_\ndog\ncat"),
    ],
)
def test_the_background_of_a_class_file_is_no_class_of_objects(tmp_path: Path, file: str, text: str) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "a.json", labelme(shape()))
    write(tmp_path / file, text)
    assert open_boxes(tmp_path).classes == ("dog", "cat")
    masks = open_masks(tmp_path)
    assert masks.classes == ("background", "dog", "cat")
    assert np.array_equal(masks.target(0), 2 * INSIDE)


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("annotations.xml", "images"),
        ("annotations.xml", ""),
        ("annotations/default.xml", "images"),
        ("annotations.xml", "images/Train"),
        ("annotations.xml", "my_photos"),
    ],
)
def test_cvat(tmp_path: Path, file: str, folder: str) -> None:
    picture(tmp_path / folder / "a.png")
    inside = [
        cvat_box("cat"),
        cvat_polygon("dog", group_id=4),
        cvat_polygon("dog", [0, 0, 2, 0, 2, 2], group_id=4),
        cvat_polygon("cat", [0, 0, 2, 0, 2, 2], group_id=4),
        element("ellipse", "cat", cx=5, cy=4, rx=3, ry=1, rotation=90),
        element("mask", "dog", left=4, top=3, width=3, height=3, rle="0, 2, 1, 1, 1, 1"),  # without its last row
        cvat_box("cat", [2, 3, 8, 5], rotation=90),
        element("polyline", points="0,0;1,1"),
        element("tag"),
    ]
    write(tmp_path / file, cvat({"a.png": inside}, a="Train"))
    source = open_boxes(tmp_path, "train")
    assert source.classes == ("dog", "cat")
    assert "Not read, since they have no area: 1 polylines, 1 tags." in source.note
    found = source.target(0)
    assert found.labels.tolist() == [1, 0, 1, 1, 0, 1]
    assert found.places[:2] == ("box 1", "polygon 2")
    assert found.boxes[[0, 1, 4]].tolist() == [BOX, [0, 0, 7, 5], [4, 3, 7, 5]]
    assert np.allclose(found.boxes[[3, 5]], [[4, 1, 6, 7], [4, 1, 6, 7]])
    assert found.shapes[4].mask.tolist() == [[True, True, False], [True, False, True]]
    assert open_boxes(tmp_path / file, "train").target(0).boxes.tolist() == found.boxes.tolist()


def test_subsets_of_cvat_are_splits(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"images/{name}.png")
    images = {f"{name}.png": [cvat_box(name)] for name in "abc"}
    write(tmp_path / "annotations.xml", cvat(images, labels=["b", "a"], a="Train", b="Validation"))
    assert list_boxes(tmp_path) == ("train", "val")
    assert [open_boxes(tmp_path, split).name(0) for split in ("train", "val")] == ["images/a.png", "images/b.png"]
    train = open_boxes(tmp_path, "train")
    assert train.classes == ("b", "a", "c")
    assert "1 pictures of annotations.xml are in no split and are left out." in train.note


def test_what_was_drawn_on_stored_pixels_is_turned(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", SIZE, orientation=6)
    write(tmp_path / "a.xml", voc(voc_object(box=[0, 0, 3, 2])))
    assert open_boxes(tmp_path).target(0).boxes.tolist() == [[7, 0, 9, 3]]  # 9 x 12 as it is shown
    write(tmp_path / "a.xml", voc(voc_object(box=[0, 0, 3, 2]), size=SIZE[::-1]))
    assert open_boxes(tmp_path).target(0).boxes.tolist() == [[0, 0, 3, 2]]
    assert CORNERS[:2] == BOX[:2]


def test_masks_and_objects_of_one_folder_are_both_told(tmp_path: Path) -> None:
    picture(tmp_path / "JPEGImages/a.jpg")
    picture(tmp_path / "JPEGImages/b.jpg")
    for name in "ab":
        write(tmp_path / f"Annotations/{name}.xml", voc(voc_object()))
        (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
        Image.fromarray(INSIDE).save(tmp_path / f"SegmentationClass/{name}.png")
        write(tmp_path / f"ImageSets/Segmentation/{'train' if name == 'a' else 'val'}.txt", name)
    assert recognise(str(tmp_path)) == (
        "mask",
        "Masks are read; --task detect reads the objects that are annotated beside them.",
    )
    assert open_boxes(tmp_path).target(0).boxes.tolist() == [BOX]


def test_of_several_formats_one_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "images/a.json", labelme(shape(), shape()))
    write(tmp_path / "images/a.xml", voc(voc_object()))
    source = open_boxes(tmp_path)
    assert len(source.target(0)) == 1
    assert source.note == (
        "Annotations of Pascal VOC are read, those of labelme beside them are not; move the first away to read those."
    )
    for name in "12":
        write(tmp_path / f"{name}.json", coco(["a.png"], [{"bbox": [1, 1, 4, 4]}]))
    with pytest.raises(SourceError, match=r"1\.json and .*2\.json both describe"):
        open_boxes(tmp_path)
    write(tmp_path / "labels/a.txt", yolo_box(0, BOX, *SIZE))
    assert "Annotations of YOLO are read, those of Pascal VOC and labelme beside" in open_boxes(tmp_path).note
