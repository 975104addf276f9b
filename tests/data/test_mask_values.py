"""What the values in mask files mean, where a file says it, a published layout, or nobody."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from volovan.data import check_data
from volovan.data.errors import SourceError
from volovan.data.masks.coding import IGNORE, MaskSource
from volovan.data.sources import open_source

Lay = Callable[..., None]
SIZE = (12, 9)
open_masks = partial(open_source, kind="mask")


def save(path: Path, values: np.ndarray, **how: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **how)


def held(source: MaskSource) -> list[tuple[str, list[int]]]:
    """[(name, values of the mask)]."""
    return [(source.name(index), np.unique(source.target(index)).tolist()) for index in range(len(source))]


def test_black_and_white_masks_are_two_classes(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "masks/a.png", 0, 255)
    source = open_masks(tmp_path)
    assert held(source) == [("images/a.jpg", [0, 1])]
    assert "0 and 255, two classes" in source.note


def test_values_that_are_no_class_numbers_need_a_class_file(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "masks/a.png", 38, 75, 113)
    with pytest.raises(SourceError, match="hold the values 38, 75, 113, which are no class numbers from 0"):
        open_masks(tmp_path)
    lay("images/a.jpg", "masks/a.png", 255)
    with pytest.raises(SourceError, match="hold 255 only, which is ignored"):
        open_masks(tmp_path)
    save(tmp_path / "masks" / "a.png", np.full((*SIZE[::-1], 3), (1, 2, 3), np.uint8))
    with pytest.raises(
        SourceError, match=r"tells classes: masks/a\.png: colours instead of ids, .*; put a classes\.csv"
    ):
        open_masks(tmp_path)


def test_masks_that_change_are_looked_at_again(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "masks/a.png", 0, 1)
    assert len(open_masks(tmp_path).classes) == 2
    lay("", "masks/a.png", 0, 1, 2, 3)
    assert len(open_masks(tmp_path).classes) == 4


# ---------------------------------------------------------------------------------------------------------------------
# black and white


@pytest.mark.parametrize(
    ("file", "text"),
    [("classes.txt", "ground\nhouse\n"), ("classes.csv", "id,name\n0,ground\n1,house\n")],
    ids=["names", "ids"],
)
def test_white_is_the_second_of_two_named_classes(tmp_path: Path, lay: Lay, file: str, text: str) -> None:
    lay("images/train/a.jpg", "masks/train/a.png", 0, 255)
    lay("images/train/b.jpg", "masks/train/b.png", 0)
    lay("images/val/c.jpg", "masks/val/c.png", 255)
    (tmp_path / file).write_text(text)
    train, val = open_masks(tmp_path, "train"), open_masks(tmp_path, "val")
    assert train.note == val.note == f"The masks hold 0 and 255: 255 is house, the second class of {file}."
    assert [values for _, values in held(train)] == [[0, 1], [0]]
    assert held(val) == [("images/val/c.jpg", [1])]
    report = check_data(str(tmp_path), "mask")
    assert (report.empty_classes, report.notes[0]) == ([], train.note)


@pytest.mark.parametrize(
    ("masks", "text"),
    [
        ([(0, 1, 255), (0, 255)], "ground\nhouse\n"),  # 255 beside 1: where nothing is known
        ([(0, 255), (0,)], "0 ground\n1 house\n255 ignore\n"),  # as the file says
        ([(0, 255), (0, 2)], "ground\nhouse\ncar\n"),
        ([(0, 1), (255,)], "ground\nhouse\n"),  # the second is not labelled yet
    ],
    ids=["beside", "said", "three", "empty"],
)
def test_white_is_ignored_where_it_is_no_class(
    tmp_path: Path, lay: Lay, masks: list[tuple[int, ...]], text: str
) -> None:
    for place, values in enumerate(masks):
        lay(f"images/{place}.jpg", f"masks/{place}.png", *values)
    (tmp_path / "classes.txt").write_text(text)
    found = [value for _, values in held(open_masks(tmp_path)) for value in values]
    assert found == [value for values in masks for value in values]  # 255 is IGNORE


@pytest.mark.parametrize("text", ["", "ground\nhouse\n"], ids=["no-file", "names"])
def test_a_mix_of_two_ways_to_write_two_classes_is_refused(tmp_path: Path, lay: Lay, text: str) -> None:
    """And the remedy works, either way."""
    for place, values in enumerate([(0, 1), (0, 1), (0, 255), (0,)]):
        lay(f"images/{place}.jpg", f"masks/{place}.png", *values)
    if text:
        (tmp_path / "classes.txt").write_text(text)
    first, second = text.split() or ("class 0", "class 1")
    sentence = (
        f"0 and 255 are in masks/2.png, 0 and 1 in masks/0.png and 1 other, so whether 255 is {second} as well is "
        f"unknown; {'write into classes.txt' if text else 'put a classes.txt beside the folders with'} the lines "
        f"'0 {first}', '1 {second}' and '255 {second}' if it is, or '255 ignore' if it is not"
    )
    for read in (open_masks, partial(check_data, kind="mask")):
        with pytest.raises(SourceError) as caught:
            read(str(tmp_path))
        assert str(caught.value) == sentence
    (tmp_path / "classes.txt").write_text(f"0 {first}\n1 {second}\n255 {second}\n")
    assert held(open_masks(tmp_path))[2][1] == [0, 1]
    (tmp_path / "classes.txt").write_text(f"0 {first}\n1 {second}\n255 ignore\n")
    assert held(open_masks(tmp_path))[2][1] == [0, IGNORE]


def test_white_alone_needs_a_word_where_more_classes_are_named(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "masks/a.png", 0, 255)
    (tmp_path / "classes.txt").write_text("ground\nhouse\ncar\n")
    with pytest.raises(SourceError, match=r"hold 0 and 255 only, where classes\.txt names 3 classes .* '255 house' or"):
        open_masks(tmp_path)
    (tmp_path / "classes.txt").write_text("0 ground\n1 house\n2 car\n255 house\n")
    assert held(open_masks(tmp_path))[0][1] == [0, 1]


def test_white_is_the_second_class_beside_one_that_is_none(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "masks/a.png", 0, 255)
    (tmp_path / "classes.txt").write_text("ground\nhouse\nvoid\n")
    source = open_masks(tmp_path)
    assert (source.classes, held(source)[0][1]) == (("ground", "house"), [0, 1])


def test_a_list_of_pairs_has_the_same_rules(tmp_path: Path, lay: Lay) -> None:
    lay("photos/a.jpg", "drawn/x.png", 0, 255)
    (tmp_path / "pairs.csv").write_text("image,mask\nphotos/a.jpg,drawn/x.png\n")
    (tmp_path / "classes.txt").write_text("ground\nhouse\n")
    assert held(open_masks(tmp_path / "pairs.csv")) == [("photos/a.jpg", [0, 1])]


# ---------------------------------------------------------------------------------------------------------------------
# layouts of published data sets


def lay_voc(root: Path, lay: Lay, *values: int, below: str = "") -> None:
    lists = root / below / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    for split, name in (("train", "a"), ("val", "b")):
        lay(f"{below}JPEGImages/{name}.jpg", f"{below}SegmentationClass/{name}.png", *values)
        (lists / f"{split}.txt").write_text(f"{name}\n")


def lay_camvid(root: Path, lay: Lay, *values: int) -> None:
    for split in ("train", "val"):
        lay(f"{split}/a.png", f"{split}annot/a.png", *values)


def lay_ade20k(root: Path, lay: Lay, *values: int) -> None:
    (root / "objectInfo150.txt").write_text("Idx\n")
    for split in ("training", "validation"):
        lay(f"images/{split}/a.jpg", f"annotations/{split}/a.png", *values)


def lay_cityscapes(root: Path, lay: Lay, *values: int) -> None:
    for split in ("train", "val"):
        lay(f"leftImg8bit/{split}/x/a_leftImg8bit.png", f"gtFine/{split}/x/a_gtFine_labelIds.png", *values)


def lay_coco(root: Path, lay: Lay, *values: int) -> None:
    for split in ("train", "val"):
        lay(f"images/{split}2017/a.jpg", f"annotations/{split}2017/a.png", *values)


LAYOUTS = pytest.mark.parametrize(
    ("lay_out", "title", "count"),
    [
        (lay_voc, "Pascal VOC", 21), (lay_camvid, "CamVid", 11), (lay_ade20k, "ADE20K", 150),
        (lay_cityscapes, "Cityscapes", 19), (lay_coco, "COCO-Stuff", 171),
    ],
    ids=["voc", "camvid", "ade20k", "cityscapes", "coco"],
)  # fmt: skip


@LAYOUTS
def test_a_class_file_wins_over_a_layout(
    tmp_path: Path, lay: Lay, lay_out: Callable[..., None], title: str, count: int
) -> None:
    lay_out(tmp_path, lay, 0, 1, 2)
    (tmp_path / "classes.txt").write_text("ground\nscratch\ndent\n")
    for split in ("train", "val"):
        source = open_masks(tmp_path, split)
        assert source.classes == ("ground", "scratch", "dent")
        assert [values for _, values in held(source)] == [[0, 1, 2]]
        assert source.note == (
            f"The folders are laid out as those of {title}, but the classes are those of classes.txt."
        )


@LAYOUTS
def test_published_classes_are_read_only_where_masks_fit(
    tmp_path: Path, lay: Lay, lay_out: Callable[..., None], title: str, count: int
) -> None:
    lay_out(tmp_path, lay, 0, 1, 2)
    source = open_masks(tmp_path, "val")
    assert source.classes == ("class 0", "class 1", "class 2")
    assert source.note == (
        f"The folders are laid out as those of {title}, but the masks hold ids of your own. No class file: the masks "
        "hold 0 to 2, so there are 3 classes."
    )
    lay_out(tmp_path, lay, 0, 1, 7, 9)
    assert len(open_masks(tmp_path, "train").classes) == count
    assert title in open_masks(tmp_path, "train").note


def test_the_class_file_of_a_data_set_itself_changes_nothing(tmp_path: Path, lay: Lay) -> None:
    """labels.txt of COCO-Stuff counts from 1, the maps from 0."""
    lay_coco(tmp_path, lay, 0, 5, 255)
    names = open_masks(tmp_path, "train").classes
    rows = ["0: unlabeled", *(f"{number}: {name}" for number, name in enumerate(names, 1))]
    (tmp_path / "labels.txt").write_text("\n".join(rows))
    source = open_masks(tmp_path, "train")
    assert (source.classes, held(source)[0][1]) == (names, [0, 5, IGNORE])
    assert source.note.endswith("labels.txt names the classes of it.")


def test_a_class_file_beside_the_folder_of_a_data_set_is_read(tmp_path: Path, lay: Lay) -> None:
    lay_voc(tmp_path, lay, 0, 1, below="VOCdevkit/VOC2012/")
    (tmp_path / "classes.txt").write_text("ground\nscratch\n")
    assert open_masks(tmp_path, "train").classes == ("ground", "scratch")


# ---------------------------------------------------------------------------------------------------------------------
# palettes, channels, files that cannot be read


def lay_palettes(root: Path, lay: Lay, orders: list[list[int]]) -> list[np.ndarray]:
    """Masks of three colours, whose indices differ from file to file; the colours as numbers 0, 1, 2."""
    colours = [(0, 0, 0), (200, 0, 0), (0, 200, 0)]
    drawn = []
    for place, order in enumerate(orders):
        lay(f"images/{place}.jpg", "")
        meant = np.random.default_rng(place).integers(0, 3, SIZE[::-1]).astype(np.uint8)
        image = Image.fromarray(np.argsort(order).astype(np.uint8)[meant])
        image.putpalette([channel for number in order for channel in colours[number]])
        (root / "masks").mkdir(exist_ok=True)
        image.save(root / "masks" / f"{place}.png")
        drawn.append(meant)
    return drawn


@pytest.mark.parametrize("names", ["", "ground\nred\ngreen\n"], ids=["no-file", "names"])
def test_palettes_that_contradict_each_other_are_refused(tmp_path: Path, lay: Lay, names: str) -> None:
    """And the remedy works: colours in a class file."""
    drawn = lay_palettes(tmp_path, lay, [[0, 1, 2], [0, 1, 2], [2, 0, 1]])
    if names:
        (tmp_path / "classes.txt").write_text(names)
    sentence = (
        r"the palettes of masks/0\.png and masks/2\.png show the colour .* so their ids mean different things; if the "
        r"colours are right, put a classes\.csv with the heading name,r,g,b beside the folders \(lines: NAME,0,0,0, "
        r"NAME,0,200,0, NAME,200,0,0\), if the ids are, save the masks as 8-bit grey"
    )
    with pytest.raises(SourceError, match=sentence):
        open_masks(tmp_path)
    (tmp_path / "classes.csv").write_text("name,r,g,b\nground,0,0,0\nred,200,0,0\ngreen,0,200,0\n")
    source = open_masks(tmp_path)
    assert all((source.target(place) == mask).all() for place, mask in enumerate(drawn))


def test_palettes_that_only_differ_are_for_people(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "")
    lay("images/b.jpg", "")
    for name, palette in (("a", [0, 0, 0, 200, 0, 0]), ("b", [0, 0, 0, 1, 1, 1])):
        image = Image.fromarray(np.resize(np.array([0, 1], np.uint8), SIZE[::-1]))
        image.putpalette(palette)
        (tmp_path / "masks").mkdir(exist_ok=True)
        image.save(tmp_path / "masks" / f"{name}.png")
    assert [values for _, values in held(open_masks(tmp_path))] == [[0, 1], [0, 1]]


@pytest.mark.parametrize("mode", ["P", "L", "1", "RGB"])
def test_colours_alone_say_the_class_in_any_kind_of_file(tmp_path: Path, lay: Lay, mode: str) -> None:
    """White is named first, so that ids by the lines would be the other way round; red is in no mask."""
    lay("images/a.jpg", "masks/a.png", 0, 0, 255)
    (tmp_path / "classes.csv").write_text("name,r,g,b\nhouse,255,255,255\nground,0,0,0\nroof,255,0,0\n")
    with Image.open(tmp_path / "masks" / "a.png") as image:
        image.convert(mode).save(tmp_path / "masks" / "a.png")
    source = open_masks(tmp_path)
    assert np.bincount(source.target(0).ravel()).tolist() == [36, 72]
    assert source.classes == ("house", "ground", "roof")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_ids_in_equal_channels_are_seen_and_read_alike(tmp_path: Path, lay: Lay, mode: str) -> None:
    lay("images/a.jpg", "masks/a.png", 0, 1, 2)
    with Image.open(tmp_path / "masks" / "a.png") as image:
        image.convert(mode).save(tmp_path / "masks" / "a.png")
    assert held(open_masks(tmp_path)) == [("images/a.jpg", [0, 1, 2])]


@pytest.mark.parametrize(
    ("suffix", "values", "reason"),
    [
        ("jpg", np.zeros((9, 12), np.uint8), "a mask as JPEG, which changes ids along borders; draw it again"),
        ("gif", np.zeros((9, 12), np.uint8), "a mask as GIF, which may change ids; save it as PNG"),
        (
            "tif",
            np.full((9, 12), -1, np.int32),
            "ids from -1 to -1, expected 0 to 65535; save it with 8 bits, with 255",
        ),
        ("tif", np.zeros((9, 12), np.float32), "pixels of the kind F, expected ids as 8-bit grey"),
    ],
    ids=["jpeg", "gif", "negative", "floats"],
)
def test_why_no_mask_can_be_read_is_said_by_file(
    tmp_path: Path, lay: Lay, suffix: str, values: np.ndarray, reason: str
) -> None:
    for name in "ab":
        lay(f"images/{name}.jpg", "")
        save(tmp_path / "masks" / f"{name}.{suffix}", values)
    with pytest.raises(SourceError, match=rf"no mask of .* tells classes: masks/a\.{suffix}: {reason}.*\(1 other"):
        open_masks(tmp_path)


def test_one_mask_that_cannot_be_read_hides_no_class(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "masks/a.png", 0, 1)
    lay("images/b.jpg", "")
    save(tmp_path / "masks" / "b.gif", np.zeros(SIZE[::-1], np.uint8))
    report = check_data(str(tmp_path), "mask")
    assert (report.classes, [sample.name for sample in report.bad_masks]) == (("class 0", "class 1"), ["masks/b.gif"])
