"""One scene as COCO polygons, COCO runs, YOLO boxes and YOLO outlines: the same objects."""

import os
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.annotating import bbox, coco, counts_of, picture, write, yolo_box, yolo_outline

from volovan.data.objects.annotated import Annotated
from volovan.data.objects.shapes import Polygons, fill
from volovan.data.pictures.decoding import decode
from volovan.data.sources import open_source

WIDTH, HEIGHT = 64, 48
CLASSES = ("leaf", "stone", "bug")
open_boxes = partial(open_source, kind="boxes")
FORMS = ("coco polygons", "coco runs", "coco boxes", "yolo boxes", "yolo outlines", "yolo mixed")


def any_objects(seed: int) -> list[tuple[int, np.ndarray]]:
    """(class, corners (N, 2)) of some that lie in the picture."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(int(draw.integers(0, 6))):
        count = int(draw.integers(3, 9))
        middle, reach = draw.uniform((8, 8), (WIDTH - 8, HEIGHT - 8)), draw.uniform(2, 8)
        turns = np.sort(draw.uniform(0, 2 * np.pi, count))
        found.append((int(draw.integers(3)), middle + reach * np.stack([np.cos(turns), np.sin(turns)], axis=1)))
    return found


def around(corners: np.ndarray) -> list[float]:
    return [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()]


def mask_of(corners: np.ndarray) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    fill(mask, corners, 1)
    return mask


def lay(root: Path, form: str, pictures: int = 8) -> Path:
    """A folder in this form."""
    every = [any_objects(seed) for seed in range(pictures)]
    annotations = []
    for number, objects in enumerate(every):
        picture(root / f"images/{number}.png", (WIDTH, HEIGHT))
        lines = []
        for place, (label, corners) in enumerate(objects):
            box = around(corners)
            told = {"image_id": number + 1, "category_id": label + 1, "bbox": bbox(box)}
            if form == "coco polygons":
                told["segmentation"] = [corners.reshape(-1).tolist()]
            if form == "coco runs":
                told["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": counts_of(mask_of(corners))}
            annotations.append(told)
            boxes = form == "yolo boxes" or (form == "yolo mixed" and place % 2)
            lines.append(yolo_box(label, box, WIDTH, HEIGHT) if boxes else yolo_outline(label, corners, WIDTH, HEIGHT))
        if form.startswith("yolo"):
            write(root / f"labels/{number}.txt", "\n".join(lines))
    if form.startswith("coco"):
        files = [f"{number}.png" for number in range(pictures)]
        write(root / "result.json", coco(files, annotations, CLASSES, (WIDTH, HEIGHT)))
    else:
        write(root / "data.yaml", f"names: [{', '.join(CLASSES)}]\n")
    return root


@pytest.mark.parametrize("form", FORMS)
def test_one_scene_in_every_form_is_the_same(tmp_path: Path, form: str) -> None:
    source = pickle.loads(pickle.dumps(open_boxes(lay(tmp_path, form))))
    assert source.classes == CLASSES
    assert source.kind == "boxes"
    assert len(source) == 8
    for index in range(8):
        told, objects = source.target(index), any_objects(int(Path(source.name(index)).stem))
        assert told.labels.tolist() == [label for label, _ in objects]
        expected = np.array([around(corners) for _, corners in objects]).reshape(-1, 4)
        assert np.allclose(told.boxes, expected, atol=1e-4)
        assert told.boxes.dtype == np.float64
        for row, (_, corners) in enumerate(objects):
            shape = told.shapes[row]
            if shape is None:
                assert form in ("coco boxes", "yolo boxes") or (form == "yolo mixed" and row % 2)
                x1, y1, x2, y2 = around(corners)
                assert told.areas[row] == pytest.approx((x2 - x1) * (y2 - y1), abs=1e-2)
                continue
            painted = np.zeros((HEIGHT, WIDTH), bool)
            shape.paint(painted, 1)
            assert (painted != mask_of(corners)).sum() <= (2 if form.startswith("yolo") else 0)  # they write 7 digits


@pytest.mark.parametrize("form", ["coco polygons", "coco runs", "yolo outlines"])
def test_masks_are_drawn_of_the_same_objects(tmp_path: Path, form: str) -> None:
    masks, boxes = open_source(lay(tmp_path, form), kind="mask"), open_boxes(tmp_path)
    assert masks.classes == ("background", *boxes.classes)
    for index in range(len(masks)):
        told, painted = boxes.target(index), np.zeros((HEIGHT, WIDTH), np.uint8)
        for label, shape in zip(told.labels.tolist(), told.shapes, strict=True):
            shape.paint(painted, label + 1)
        assert np.array_equal(masks.target(index), painted)


# ---------------------------------------------------------------------------------------------------------------------
# pictures that their EXIF turns


def lay_turned(root: Path, form: str, drawn_on: str) -> None:
    """A bright rectangle in the stored pixels of each picture, drawn around as it is shown or stored."""
    annotations, images = [], []
    for orientation in range(1, 9):
        stored = np.zeros((HEIGHT, WIDTH), np.uint8)
        stored[5:17, 9:40] = 255
        exif = Image.Exif()
        exif[0x0112] = orientation
        (root / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(stored).save(root / f"images/{orientation}.png", exif=exif)
        shown = np.asarray(decode(root / f"images/{orientation}.png"))[..., 0]
        mask = (shown if drawn_on == "shown" else stored) > 0
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        corners = np.array([[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]], float)
        height, width = mask.shape
        runs = {"size": [height, width], "counts": counts_of(mask)}
        segmentation = {"coco runs": runs, "coco polygons": [corners.reshape(-1).tolist()], "coco boxes": []}.get(form)
        images.append({"id": orientation, "file_name": f"{orientation}.png"})
        if "sizes" in form:
            images[-1] |= {"width": width, "height": height}
        annotations.append({"image_id": orientation, "bbox": bbox(box), "segmentation": segmentation})
        line = yolo_box(0, box, width, height) if form == "yolo boxes" else yolo_outline(0, corners, width, height)
        if form.startswith("yolo"):
            write(root / f"labels/{orientation}.txt", line)
    if form.startswith("coco"):
        write(root / "result.json", coco(images, annotations, ["thing"]))
    else:
        write(root / "classes.txt", "thing")


@pytest.mark.parametrize("drawn_on", ["shown", "stored"])
@pytest.mark.parametrize("form", ["coco polygons", "coco runs", "coco boxes", "yolo boxes", "yolo outlines"])
def test_objects_lie_where_the_turned_picture_shows_them(tmp_path: Path, form: str, drawn_on: str) -> None:
    lay_turned(tmp_path, form, drawn_on)
    source = open_boxes(tmp_path, drawn_on=drawn_on)
    for index in range(8):
        bright = np.asarray(source.load(index))[..., 0] > 128
        told: Annotated = source.target(index)
        painted = np.zeros(bright.shape, bool)
        x1, y1, x2, y2 = np.round(told.boxes[0]).astype(int).tolist()
        painted[y1:y2, x1:x2] = True
        assert np.array_equal(painted, bright)
        if told.shapes[0] is not None:
            outlined = np.zeros(bright.shape, bool)
            told.shapes[0].paint(outlined, 1)
            assert np.array_equal(outlined, bright)


def test_the_size_in_the_file_tells_what_was_drawn_on(tmp_path: Path) -> None:
    lay_turned(tmp_path, "coco polygons with sizes", "stored")
    source = open_boxes(tmp_path)
    assert [source.may_be_turned(index) for index in range(8)] == [False, True, True, True, *[False] * 4]
    for index in (0, *range(4, 8)):  # those of equal sizes need --data.drawn_on stored
        x1, y1, x2, y2 = np.round(source.target(index).boxes[0]).astype(int).tolist()
        assert (np.asarray(source.load(index))[y1:y2, x1:x2, 0] > 128).all()
    assert not any(open_boxes(tmp_path, drawn_on="stored").may_be_turned(index) for index in range(8))


# ---------------------------------------------------------------------------------------------------------------------
# real photographs


@pytest.mark.skipif("VOLOVAN_DATA" not in os.environ, reason="VOLOVAN_DATA does not name the folder of data packs")
@pytest.mark.parametrize("split", ["train", "val"])
def test_real_annotations_are_those_that_pycocotools_reads(split: str) -> None:
    from pycocotools import mask as oracle
    from pycocotools.coco import COCO

    root = Path(os.environ["VOLOVAN_DATA"]) / "coco_tiny"
    source, theirs = open_boxes(root, split), COCO(root / f"annotations/instances_{split}.json")
    assert len(source) == len(theirs.imgs)
    ids = sorted(theirs.cats)
    assert source.classes == tuple(theirs.cats[id]["name"] for id in ids)
    by_name = {image["file_name"]: image for image in theirs.imgs.values()}
    for index in range(len(source)):
        image = by_name[Path(source.name(index)).name]
        anns, told = theirs.imgToAnns[image["id"]], source.target(index)
        assert told.labels.tolist() == [ids.index(one["category_id"]) for one in anns]
        assert told.crowd.tolist() == [bool(one["iscrowd"]) for one in anns]
        assert told.areas.tolist() == [one["area"] for one in anns]
        assert np.allclose([bbox(box) for box in told.boxes.tolist()] or np.zeros(0), [one["bbox"] for one in anns])
        for one, shape in zip(anns, told.shapes, strict=True):
            painted = np.zeros((image["height"], image["width"]), bool)
            shape.paint(painted, 1)
            drawn = oracle.decode(theirs.annToRLE(one)).astype(bool)
            if isinstance(shape, Polygons):  # they draw at five times the size, and take in some of the border
                assert (painted != drawn).sum() <= 8 + 1.5 * sum(map(len, shape.parts)) + 0.03 * drawn.sum() + 60
            else:
                assert np.array_equal(painted, drawn)
