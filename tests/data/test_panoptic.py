"""A segment for every pixel: what open_source takes of drawn scenes, COCO's panoptic files, masks and outlines."""

import json
import pickle
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.annotating import CORNERS, SIZE, coco, picture, write
from tests.support.painting import CATEGORIES, ids_of, lay, panoptic, png, segments

from volovan.data.checks.recognise import recognise
from volovan.data.errors import BadImage, SourceError
from volovan.data.formats.coco_places import is_panoptic
from volovan.data.panoptic.overlay import segment_colours, segments_overlay
from volovan.data.panoptic.segments import VOID, Panoptic, Segment, classes_of, objects_in, pixels_of, rows_of
from volovan.data.panoptic.teaching import useless_segments
from volovan.data.sources import list_splits, open_source
from volovan.data.synthetic.shapes import draw_scene
from volovan.data.synthetic.shapes_classes import SHAPE_CLASSES

open_panoptic = partial(open_source, kind="panoptic")


def test_scenes_have_segments() -> None:
    source = pickle.loads(pickle.dumps(open_panoptic("shapes:6@64x48", "train")))
    assert source.kind == "panoptic"
    assert source.things == tuple(about.is_thing for about in SHAPE_CLASSES)
    masks = open_source("shapes:6@64x48", "train", kind="mask")
    for index in range(6):
        scene, told = draw_scene("train", index, 48, 64), source.target(index)
        assert np.array_equal(told.ids, scene.panoptic)
        assert told.ids.dtype == np.int32
        assert told.areas().tolist() == [one.area for one in scene.segments]
        labels = np.zeros(int(told.ids.max()) + 1, int)
        labels[[segment.id for segment in told.segments]] = [segment.label for segment in told.segments]
        assert np.array_equal(labels[told.ids], masks.target(index))


# COCO's files


def test_ids_are_read_as_coco_paints_them(tmp_path: Path) -> None:
    lay(tmp_path)
    source = pickle.loads(pickle.dumps(open_panoptic(tmp_path, "train")))
    assert list_splits(tmp_path, "panoptic") == ("train",)
    assert (source.kind, source.classes, source.things) == ("panoptic", ("cat", "sky"), (True, False))
    assert source.palette == ((10, 20, 30), (40, 50, 60))
    told = source.target(0)
    assert np.array_equal(told.ids, ids_of())
    assert told.segments == (Segment(70000, 0), Segment(300, 1))
    assert told.areas().tolist() == [48, 48]
    assert source.doubts(0, told) == []


@pytest.mark.parametrize(
    ("json_at", "pngs", "pictures", "split"),
    [
        ("annotations/panoptic_train2017.json", "annotations/panoptic_train2017", "train2017", "train"),
        ("annotations/panoptic_val2017.json", "panoptic_val2017", "images/val2017", "val"),
        ("ade20k_panoptic_train.json", "ade20k_panoptic_train", "images/training", "train"),
        ("ade20k_panoptic_val.json", "ade20k_panoptic_val", "images/validation", "val"),
        (
            "gtFine/cityscapes_panoptic_train.json",
            "gtFine/cityscapes_panoptic_train",
            "leftImg8bit/train/bonn",
            "train",
        ),
        ("told.json", "told", "images", None),
    ],
)
def test_layouts_of_the_tools(tmp_path: Path, json_at: str, pngs: str, pictures: str, split: str | None) -> None:
    ids = ids_of()
    for name in ("a", "b"):
        picture(tmp_path / pictures / f"{name}.jpg")
        png(tmp_path / pngs / f"{name}.png", ids)
    write(tmp_path / json_at, panoptic(["a.jpg", "b.jpg"], [segments(ids, {70000: 1, 300: 7})] * 2))
    for spec in (tmp_path, tmp_path / json_at):
        source = open_panoptic(spec, split)
        assert [source.target(index).segments[0] for index in range(2)] == [Segment(70000, 0)] * 2
        assert {Path(source.name(index)).name for index in range(2)} == {"a.jpg", "b.jpg"}


def test_names_say_which_class_is_which(tmp_path: Path) -> None:
    lay(tmp_path)
    swapped = [CATEGORIES[0] | {"id": 7}, CATEGORIES[1] | {"id": 1}]
    lay(tmp_path, "val", categories=swapped)
    train, val = open_panoptic(tmp_path, "train"), open_panoptic(tmp_path, "val")
    assert train.classes == val.classes == ("sky", "cat") or train.classes == ("cat", "sky")
    called = [[source.classes[segment.label] for segment in source.target(0).segments] for source in (train, val)]
    assert called == [["cat", "sky"], ["sky", "cat"]]


def test_crowds_and_pictures_without_segments(tmp_path: Path) -> None:
    ids = np.zeros(SIZE[::-1], int)
    lay(tmp_path)
    picture(tmp_path / "images/train/b.png")
    png(tmp_path / "annotations/panoptic_train/b.png", ids)
    said = panoptic(["a.png", "b.png"], [segments(ids_of(), {70000: 1, 300: 1}, iscrowd=1), []])
    said["images"].append({"id": 3, "file_name": "c.png"})
    write(tmp_path / "annotations/panoptic_train.json", said)
    source = open_panoptic(tmp_path, "train")
    assert [segment.crowd for segment in source.target(0).segments] == [True, True]
    assert source.target(1).segments == ()
    assert "1 pictures of panoptic_train.json have no segments and are left out" in source.note
    assert useless_segments("here", source, "train") == (
        "here: no picture of the train split (2) shows a segment (crowds: 2), so nothing can be learned; paint some"
    )


def test_an_area_that_is_not_that_of_the_pixels_is_a_doubt(tmp_path: Path) -> None:
    said = lay(tmp_path)
    said["annotations"][0]["segments_info"][0]["area"] = 12
    del said["annotations"][0]["segments_info"][1]["area"]
    write(tmp_path / "annotations/panoptic_train.json", said)
    source = open_panoptic(tmp_path, "train")
    assert source.doubts(0, source.target(0)) == ["segment 70000, cat: 48 pixels, but its area is 12"]


def test_objects_and_masks_beside_panoptic_files_are_not_read(tmp_path: Path) -> None:
    lay(tmp_path)
    write(tmp_path / "annotations/instances_train.json", coco(["a.png"], [{"segmentation": [CORNERS]}]))
    source = open_panoptic(tmp_path, "train")
    assert "Panoptic annotations are read, those of COCO are not." in source.note
    assert len(open_source(tmp_path, "train", kind="boxes").target(0)) == 1


@pytest.mark.parametrize("name", ["told", "Panoptic", "coco_segments"])
def test_a_panoptic_json_is_none_of_objects_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    ids = ids_of()
    picture(tmp_path / "images/a.png")
    png(tmp_path / name / "a.png", ids)
    write(tmp_path / f"{name}.json", panoptic(["a.png"], [segments(ids, {70000: 1, 300: 7})]))
    assert recognise(str(tmp_path)) == ("panoptic", "")
    assert open_panoptic(tmp_path).note == ""
    with pytest.raises(SourceError, match="is no source of pictures with objects that is known"):
        open_source(tmp_path, kind="boxes")
    write(tmp_path / "result.json", coco(["a.png"], [{"segmentation": [CORNERS]}]))
    objects = open_source(tmp_path, kind="boxes")
    assert (objects.classes, len(objects.target(0))) == (("cat", "dog"), 1)
    assert open_panoptic(tmp_path).target(0).segments == (Segment(70000, 0), Segment(300, 1))


@pytest.mark.parametrize("annotations_first", [False, True])
def test_the_first_annotation_says_whether_objects_or_segments_are_listed(
    tmp_path: Path, annotations_first: bool
) -> None:
    """The rest of a JSON of objects, which may be large, is not looked at."""
    of_objects = coco(["a.png"], [{"segmentation": [CORNERS]}, {"segments_info": []}])
    of_segments = panoptic(["a.png"], [segments(ids_of(), {70000: 1, 300: 7})])
    for content, segments_told in ((of_objects, False), (of_segments, True)):
        order = sorted(content, reverse=not annotations_first)
        path = write(tmp_path / "told.json", {key: content[key] for key in order})
        assert is_panoptic(path) == segments_told


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("drawn_on", ["shown", "stored"])
def test_segments_follow_the_turn_of_their_picture(tmp_path: Path, orientation: int, drawn_on: str) -> None:
    said = lay(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = orientation
    ids = np.arange(1, 109).reshape(9, 12)
    bright = np.repeat((ids * 2)[..., None], 3, axis=-1).astype(np.uint8)
    Image.fromarray(bright).save(tmp_path / "images/train/a.png", exif=exif)
    table = segments(ids, dict.fromkeys(range(1, 109), 1))
    source = open_source(tmp_path, "train", kind="panoptic", drawn_on=drawn_on)
    shown = np.asarray(source.load(0))[..., 0] // 2
    png(tmp_path / "annotations/panoptic_train/a.png", shown if drawn_on == "shown" else ids)
    said["annotations"][0]["segments_info"] = table
    write(tmp_path / "annotations/panoptic_train.json", said)
    source = open_source(tmp_path, "train", kind="panoptic", drawn_on=drawn_on)
    assert np.array_equal(source.target(0).ids, shown)


# of other targets


def test_masks_of_classes_are_segments_that_are_not_counted(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    mask = np.full(SIZE[::-1], 3, np.uint8)
    mask[2:5, 1:4], mask[0, 0] = 1, 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks/a.png")
    write(tmp_path / "classes.txt", "a\nb\nc\nd")
    source = pickle.loads(pickle.dumps(open_panoptic(tmp_path)))
    assert (source.classes, source.things) == (("a", "b", "c", "d"), (False,) * 4)
    told = source.target(0)
    assert told.segments == (Segment(2, 1), Segment(4, 3))
    assert np.array_equal(told.ids, np.where(mask == 255, 0, mask.astype(int) + 1))
    assert told.ids.dtype == np.int32
    assert "none is counted as things are" in source.note
    listed = write(tmp_path / "masks.csv", "image,mask\nimages/a.png,masks/a.png")
    assert open_panoptic(listed).target(0).segments == told.segments


def test_outlines_of_objects_are_things_later_ones_on_top(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    square = [[1, 1, 6, 1, 6, 6, 1, 6]]
    hidden, above = {"segmentation": [[4, 4, 6, 4, 6, 6, 4, 6]]}, {"segmentation": [[3, 3, 9, 3, 9, 8, 3, 8]]}
    crowd = {"segmentation": [[0, 8, 12, 8, 12, 9, 0, 9]], "iscrowd": 1, "category_id": 2}
    write(tmp_path / "r.json", coco(["a.png"], [{"segmentation": square}, hidden, above, crowd]))
    source = pickle.loads(pickle.dumps(open_panoptic(tmp_path)))
    assert (source.classes, source.things) == (("cat", "dog"), (True, True))
    told = source.target(0)
    assert told.segments == (Segment(1, 0), Segment(3, 0), Segment(4, 1, True))  # nothing is left of the second one
    assert told.areas().tolist() == [16, 30, 12]
    assert (told.ids == 0).sum() == 108 - 16 - 30 - 12
    assert "what none of them holds is unknown" in source.note


def test_objects_without_an_outline_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    write(tmp_path / "r.json", coco(["a.png"], [{"bbox": [1, 1, 3, 3]}]))
    with pytest.raises(SourceError, match=r"annotation 1 of a\.png has no outline"):
        open_panoptic(tmp_path)


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_what_other_targets_were_drawn_on_is_heard(tmp_path: Path, orientation: int) -> None:
    picture(tmp_path / "images/a.png", orientation=orientation)
    write(tmp_path / "r.json", coco([{"id": 1, "file_name": "a.png"}], [{"segmentation": [CORNERS]}]))
    source = open_source(tmp_path, kind="panoptic", drawn_on="stored")
    mask = open_source(tmp_path, kind="mask", drawn_on="stored").target(0)
    assert np.array_equal(source.target(0).ids > 0, mask > 0)
    assert source.target(0).areas().tolist() == [12]


def test_what_has_no_segments_is_told_what_would_have(tmp_path: Path) -> None:
    picture(tmp_path / "cat/a.png")
    for spec in (tmp_path, tmp_path / "gone", write(tmp_path / "other.json", [1])):
        with pytest.raises(SourceError, match=r"give a folder with panoptic_train\.json .*, or shapes$"):
            open_panoptic(spec)


# parts


def test_pixels_are_counted_run_by_run() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        ids = draw.integers(0, 4, draw.integers(1, 9, 2)).astype(np.int32) * 70_000
        values, counts = np.unique(ids, return_counts=True)
        assert pixels_of(ids) == dict(zip(values.tolist(), counts.tolist(), strict=True))


def drawn(draw: np.random.Generator) -> Panoptic:
    """Rectangles of any ids over each other on void, some of them crowds, in any order, of seven classes; of some
    nothing is left."""
    ids = np.full(draw.integers(1, 40, 2), VOID, np.int32)
    numbers = [1, 256**3 - 1, *(draw.permutation(20)[: draw.integers(0, 9)] * 7000 + 300).tolist()]
    for number in numbers:
        top, left = (int(draw.integers(0, side)) for side in ids.shape)
        ids[top : top + draw.integers(1, 30), left : left + draw.integers(1, 30)] = number
    order = draw.permutation(len(numbers)).tolist()
    return Panoptic(ids, tuple(Segment(numbers[n], int(draw.integers(7)), bool(draw.random() < 0.2)) for n in order))


OF_THINGS = (True, False, True, False, True, True, False)


def test_things_are_objects_with_their_pixels() -> None:
    draw = np.random.default_rng(0)
    seen = hidden = crowds = 0
    for _ in range(60):
        told = drawn(draw)
        found = objects_in(told, OF_THINGS)
        kept = [segment for segment in told.segments if OF_THINGS[segment.label]]
        assert found.labels.tolist() == [segment.label for segment in kept]
        assert found.crowd.tolist() == [segment.crowd for segment in kept]
        for row, segment in enumerate(kept):
            own = told.ids == segment.id
            painted = np.zeros_like(own)
            shape = found.shapes[row]
            assert shape is not None
            shape.paint(painted, True)
            assert np.array_equal(painted, own)
            assert found.areas[row] == own.sum()
            if own.any():
                down, across = np.nonzero(own)
                assert found.boxes[row].tolist() == [across.min(), down.min(), across.max() + 1, down.max() + 1]
            else:
                assert found.boxes[row, 2:].tolist() == found.boxes[row, :2].tolist()  # nothing at all
            seen, hidden, crowds = seen + own.any(), hidden + (not own.any()), crowds + segment.crowd
    assert min(seen, hidden, crowds) > 20


def test_where_nothing_is_counted_there_are_no_objects() -> None:
    ids = np.full((5, 8), 3, np.int32)
    for told, things in ((Panoptic(ids, (Segment(3, 0),)), [False]), (Panoptic(np.zeros_like(ids), ()), [True])):
        found = objects_in(told, things)
        assert len(found) == 0
        assert found.boxes.shape == (0, 4)
        assert (found.labels.dtype, found.crowd.dtype) == (np.int64, bool)


def test_pixels_have_the_class_of_their_segment() -> None:
    draw = np.random.default_rng(1)
    seen = np.zeros(256, int)
    for _ in range(60):
        told = drawn(draw)
        label = {segment.id: segment.label for segment in told.segments} | {VOID: 255}
        wanted = [[label[id] for id in row] for row in told.ids.tolist()]
        found = classes_of(told)
        assert found.dtype == np.uint8
        assert found.tolist() == wanted
        seen += np.bincount(found.ravel(), minlength=256)
    assert np.flatnonzero(seen).tolist() == [*range(7), 255]


def test_254_classes_fit_into_a_mask_and_nothing_is_the_last_number() -> None:
    ids = np.arange(255, dtype=np.int32).reshape(5, 51)  # 0: void
    told = Panoptic(ids, tuple(Segment(id, id - 1) for id in range(1, 255)))
    assert classes_of(told).ravel().tolist() == [255, *range(254)]
    nothing = classes_of(Panoptic(np.zeros((3, 4), np.int32), ()))
    assert (nothing == 255).all()
    assert nothing.shape == (3, 4)


def test_the_place_of_each_pixel_is_that_in_the_list() -> None:
    draw = np.random.default_rng(2)
    for _ in range(40):
        ids = draw.integers(0, 6, (7, 9)).astype(np.int32) * 3_000_000
        which = (draw.permutation(6)[: draw.integers(0, 7)] * 3_000_000).tolist()
        wanted = [[which.index(id) if id in which else -1 for id in row] for row in ids.tolist()]
        assert rows_of(ids, which).tolist() == wanted


def test_each_thing_has_a_colour_of_its_own() -> None:
    told = Panoptic(np.zeros((1, 1), np.int32), tuple(Segment(id, id % 2) for id in range(1, 13)))
    colours = segment_colours(told, [(200, 60, 60), (60, 60, 200)], [True, False])
    assert len({*colours[1::2]}) == 6
    assert {*colours[0::2]} == {(60, 60, 200)}


def test_void_keeps_its_colours_and_crowds_are_striped() -> None:
    ids = np.zeros((20, 30), np.int32)
    ids[:, 10:20], ids[:, 20:] = 5, 3
    told = Panoptic(ids, (Segment(5, 0), Segment(3, 0, True)))
    shown = np.asarray(segments_overlay(Image.new("RGB", (30, 20), (0, 0, 0)), told, [(200, 100, 0)], [False]))
    assert not shown[:, :10].any()
    assert {*map(tuple, shown[:, 10:20].reshape(-1, 3).tolist())} == {(110, 55, 0)}
    assert {*map(tuple, shown[:, 20:].reshape(-1, 3).tolist())} == {(110, 55, 0), (0, 0, 0)}
    nothing = segments_overlay(Image.new("RGB", (4, 3), (9, 9, 9)), Panoptic(np.zeros((3, 4), np.int32), ()), [], [])
    assert (np.asarray(nothing) == 9).all()


def test_many_pictures_take_little_memory(tmp_path: Path) -> None:
    """A table is text: as objects the segments of these would take about 40 MB."""
    lay(tmp_path)
    ids = ids_of()
    table = segments(ids, {70000: 1, 300: 7})
    names = [f"{number}.png" for number in range(3000)]
    source_png, source_picture = tmp_path / "annotations/panoptic_train/a.png", tmp_path / "images/train/a.png"
    for name in names:
        (tmp_path / "images/train" / name).hardlink_to(source_picture)
        (tmp_path / "annotations/panoptic_train" / name).hardlink_to(source_png)
    write(tmp_path / "annotations/panoptic_train.json", panoptic(names, [table * 1] * len(names)))
    source = open_panoptic(tmp_path, "train")
    assert len(source) == 3000
    tracemalloc.start()
    copy = pickle.loads(pickle.dumps(source))
    for index in range(0, 3000, 100):
        copy.target(index)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2e6


def test_a_png_of_any_size_takes_no_memory(tmp_path: Path) -> None:
    lay(tmp_path)
    Image.new("RGB", (1, 1)).save(tmp_path / "small.png")
    content = bytearray((tmp_path / "small.png").read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    (tmp_path / "annotations/panoptic_train/a.png").write_bytes(bytes(content))
    with pytest.raises(BadImage, match=r"panoptic_train/a\.png"):
        open_panoptic(tmp_path, "train").target(0)
    assert json.loads((tmp_path / "annotations/panoptic_train.json").read_text())
