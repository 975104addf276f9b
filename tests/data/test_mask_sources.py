"""Layouts of pictures with class masks, each on a small generated copy, and the packs where they are."""

import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from volovan.data.errors import BadImage, SourceError
from volovan.data.masks.coding import IGNORE, MaskSource
from volovan.data.samples import take
from volovan.data.sources import list_splits, open_source

Jpeg = Callable[..., bytes]
Lay = Callable[..., None]
SIZE = (12, 9)
open_masks, list_masks = partial(open_source, kind="mask"), partial(list_splits, kind="mask")
PACKS = os.environ.get("VOLOVAN_DATA", "")


def held(source: MaskSource) -> list[tuple[str, list[int]]]:
    """[(name, values of the mask)], read from a copy as a loader process has it."""
    copy = pickle.loads(pickle.dumps(source))
    assert all(copy.load(index).size == SIZE for index in range(len(copy)))
    assert len(copy.palette) == len(copy.classes)
    return [(copy.name(index), np.unique(copy.target(index)).tolist()) for index in range(len(copy))]


# ---------------------------------------------------------------------------------------------------------------------
# known layouts


@pytest.mark.parametrize("above", ["", "ADEChallengeData2016/"], ids=["itself", "above"])
def test_ade20k(tmp_path: Path, lay: Lay, above: str) -> None:
    lay(f"{above}images/training/ADE_1.jpg", f"{above}annotations/training/ADE_1.png", 0, 1, 150)
    lay(f"{above}images/validation/ADE_2.jpg", f"{above}annotations/validation/ADE_2.png", 2)
    if not above:
        (tmp_path / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n")
    assert list_masks(tmp_path) == ("train", "val")
    train = open_masks(tmp_path, "train")
    assert held(train) == [("images/training/ADE_1.jpg", [0, 149, IGNORE])]
    assert held(open_masks(tmp_path, "val"))[0][1] == [1]
    assert (len(train.classes), train.classes[:3], train.classes[-1]) == (150, ("wall", "building", "sky"), "flag")
    assert (train.palette[0], train.palette[-1]) == ((120, 120, 120), (92, 0, 255))
    assert len(set(train.classes)) == 150
    lay("", f"{above}annotations/training/ADE_1.png", 151)
    with pytest.raises(BadImage, match=r"ADE_1\.png: id 151 in 108 pixels, expected 1 to 150 .* fetch ADE20K again"):
        train.target(0)


def test_cityscapes(tmp_path: Path, lay: Lay) -> None:
    for split, city in (("train", "aachen"), ("val", "ulm")):
        lay(f"leftImg8bit/{split}/{city}/{city}_0_leftImg8bit.png", "", 0)
        lay("", f"gtFine/{split}/{city}/{city}_0_gtFine_labelIds.png", 0, 7, 8, 33, 29)
        lay("", f"gtFine/{split}/{city}/{city}_0_gtFine_instanceIds.png", 7)
    source = open_masks(tmp_path, "train")
    assert held(source) == [("leftImg8bit/train/aachen/aachen_0_leftImg8bit.png", [0, 1, 18, IGNORE])]
    assert (len(source.classes), source.palette[13]) == (19, (0, 0, 142))
    lay("", "gtFine/train/aachen/aachen_0_gtFine_labelTrainIds.png", 3, 255)
    source = open_masks(tmp_path, "train")
    assert held(source)[0][1] == [3, IGNORE]
    assert "labelTrainIds" in source.note
    with pytest.raises(SourceError, match="no test split, it has train, val"):
        open_masks(tmp_path, "test")


def test_pascal_voc(tmp_path: Path, lay: Lay) -> None:
    for name, values in (("a", (0, 20, 255)), ("b", (15,)), ("c", (1,))):
        lay(f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png", *values)
    lay("JPEGImages/unlabelled.jpg", "")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b\n")
    assert list_masks(tmp_path) == ("train", "val")
    source = open_masks(tmp_path, "train")
    assert held(source) == [("JPEGImages/a.jpg", [0, 20, IGNORE])]
    assert (source.classes[0], source.classes[20], source.palette[1]) == ("background", "tvmonitor", (128, 0, 0))
    lay("", "SegmentationClassAug/c.png", 5)
    (lists / "trainaug.txt").write_text("/JPEGImages/c.jpg /SegmentationClassAug/c.png\n")
    assert held(open_masks(tmp_path, "train")) == [("JPEGImages/c.jpg", [5])]
    assert held(open_masks(tmp_path, "val")) == [("JPEGImages/b.jpg", [15])]
    (lists / "val.txt").write_text("b\nunlabelled\n")
    with pytest.raises(SourceError, match=r"^JPEGImages/unlabelled\.jpg has no mask in SegmentationClass; add what"):
        open_masks(tmp_path, "val")


@pytest.mark.parametrize("masks", ["stuffthingmaps", "annotations"])
def test_coco_stuff(tmp_path: Path, lay: Lay, masks: str) -> None:
    pictures = {"stuffthingmaps": "train2017", "annotations": "images/train2017"}[masks]
    lay(f"{pictures}/9.jpg", f"{masks}/train2017/9.png", 0, 10, 12, 91, 181, 255)
    source = open_masks(tmp_path, "train")
    assert held(source) == [(f"{pictures}/9.jpg", [0, 10, 11, 80, 170, IGNORE])]
    assert [source.classes[number] for number in (0, 10, 11, 80, 170)] == [
        "person", "fire hydrant", "stop sign", "banner", "wood",
    ]  # fmt: skip
    assert len(set(source.classes)) == 171
    lay("", f"{masks}/train2017/9_labelTrainIds.png", 170)
    assert held(open_masks(tmp_path, "train"))[0][1] == [170]
    lay("", f"{masks}/train2017/9.png", 11)
    (tmp_path / masks / "train2017" / "9_labelTrainIds.png").unlink()
    with pytest.raises(BadImage, match=r"id 11 in 108 pixels, expected 0 to 10, 12 to 24"):
        open_masks(tmp_path, "train").target(0)


def test_graz02(tmp_path: Path, lay: Lay) -> None:
    for folder, stem in (("bikes", "bike"), ("cars", "carsgraz"), ("people", "person")):
        for number in (1, 2):
            lay(f"{folder}/{stem}_{number:03}.image.png", "")
            red = np.zeros((*SIZE[::-1], 3), np.uint8)
            red[:2, :, 0] = 255  # seen
            red[4:, :, 1] = 255  # hidden
            Image.fromarray(red).save(tmp_path / folder / f"{stem}_{number:03}.mask.0.png")
    second = np.zeros((*SIZE[::-1], 3), np.uint8)
    second[8:, :, 0] = 255
    Image.fromarray(second).save(tmp_path / "cars" / "carsgraz_001.mask.1.png")
    assert list_masks(tmp_path) == ("train", "test")
    train, test = open_masks(tmp_path, "train"), open_masks(tmp_path, "test")
    assert train.classes == ("background", "bike", "car", "person")
    assert held(train) == [
        ("bikes/bike_001.image.png", [0, 1]),
        ("cars/carsgraz_001.image.png", [0, 2]),
        ("people/person_001.image.png", [0, 3]),
    ]
    assert [name for name, _ in held(test)] == [name.replace("_001", "_002") for name, _ in held(train)]
    assert np.flatnonzero(train.target(1)[:, 0]).tolist() == [0, 1, 8]  # both objects, nothing that is hidden
    assert "odd numbers train" in train.note
    for folder, stem in (("bikes", "bike"), ("cars", "carsgraz"), ("people", "person")):
        (tmp_path / f"{folder}_train.txt").write_text(f"{stem}_002\n")
        (tmp_path / f"{folder}_test.txt").write_text(f"{stem}_001.image.png\n")
    assert [name for name, _ in held(open_masks(tmp_path, "train"))] == [name for name, _ in held(test)]
    (tmp_path / "bikes" / "bike_001.mask.0.png").unlink()
    with pytest.raises(SourceError, match=r"bikes/bike_001\.image\.png has no mask bike_001\.mask\.0\.png"):
        open_masks(tmp_path, "test")


def test_camvid_as_segnet_has_it(tmp_path: Path, lay: Lay) -> None:
    for split in ("train", "val", "test"):
        lay(f"{split}/a.png", f"{split}annot/a.png", 0, 10, 11)
    source = open_masks(tmp_path, "test")
    assert held(source) == [("test/a.png", [0, 10, IGNORE])]
    assert (source.classes[8], source.palette[8]) == ("car", (64, 0, 128))


def test_camvid_as_kaggle_has_it(tmp_path: Path, lay: Lay) -> None:
    """32 colours, and masks that are called a_L.png."""
    lay("train/a.png", "train_labels/a_L.png", 0)
    pixels = np.zeros((*SIZE[::-1], 3), np.uint8)
    pixels[0] = 64, 128, 64
    Image.fromarray(pixels).save(tmp_path / "train_labels" / "a_L.png")
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nAnimal,64,128,64\nVoid,0,0,0\nSky,128,128,128\n")
    source = open_masks(tmp_path, "train")
    assert source.classes == ("Animal", "Sky")
    assert source.palette == ((64, 128, 64), (128, 128, 128))
    assert held(source) == [("train/a.png", [0, IGNORE])]


# ---------------------------------------------------------------------------------------------------------------------
# the folder people have


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("images/a.jpg", "masks/a.png"),
        ("image/a.jpg", "label/a.png"),
        ("img/a.jpeg", "mask/a.png"),
        ("JPEGImages/a.jpg", "SegmentationClass/a.png"),
        ("Images/deep/er/a.jpg", "Labels/deep/er/a.png"),
        ("images/a.b.jpg", "masks/a.b.png"),
        ("images/a.jpg", "masks/a_mask.png"),
    ],
    ids=["images-masks", "image-label", "img-mask", "voc-like", "deep-and-capital", "dots", "ending"],
)
def test_two_folders_are_paired_by_name(tmp_path: Path, lay: Lay, picture: str, mask: str) -> None:
    lay(picture, mask, 0, 1, 255)
    source = open_masks(tmp_path)
    assert held(source) == [(picture, [0, 1, IGNORE])]
    assert source.classes == ("class 0", "class 1")
    assert source.note == "No class file: the masks hold 0 to 1, 255, so there are 2 classes."


@pytest.mark.parametrize(
    "form", ["images/{}/{}.jpg masks/{}/{}.png", "{}/images/{}.jpg {}/masks/{}.png"], ids=["below", "above"]
)
def test_splits_may_be_above_or_below(tmp_path: Path, lay: Lay, form: str) -> None:
    for split, value in (("train", 0), ("valid", 1), ("test", 4)):
        picture, mask = form.format(split, "a", split, "a").split()
        lay(picture, mask, 0, 1, 2, value)
    assert list_masks(tmp_path) == ("train", "val", "test")
    source = open_masks(tmp_path, "train")
    assert source.classes == tuple(f"class {number}" for number in range(5))  # one numbering for all splits
    assert "No mask holds 3." in source.note
    assert len(open_masks(tmp_path)) == 3


def test_lists_of_names_are_splits(tmp_path: Path, lay: Lay) -> None:
    for name in "abc":
        lay(f"images/{name}.jpg", f"masks/{name}.png", 0, 1)
    (tmp_path / "train.txt").write_text("c\na.jpg\n\n")
    (tmp_path / "val.txt").write_text("b\n")
    assert [name for name, _ in held(open_masks(tmp_path, "train"))] == ["images/c.jpg", "images/a.jpg"]
    assert [name for name, _ in held(open_masks(tmp_path, "val"))] == ["images/b.jpg"]
    (tmp_path / "val.txt").write_text("images/b.jpg masks/b.png\n")
    assert [name for name, _ in held(open_masks(tmp_path, "val"))] == ["images/b.jpg"]
    (tmp_path / "val.txt").write_text("b.jpg b.png\n")
    assert [name for name, _ in held(open_masks(tmp_path, "val"))] == ["images/b.jpg"]
    lay("images/two words.jpg", "masks/two words.png", 0)
    (tmp_path / "val.txt").write_text("two words\n")
    assert [name for name, _ in held(open_masks(tmp_path, "val"))] == ["images/two words.jpg"]
    (tmp_path / "val.txt").write_text("b\nd\n")
    with pytest.raises(SourceError, match=r"^d is listed, but has no picture in images"):
        open_masks(tmp_path, "val")
    (tmp_path / "val.txt").write_text("b\nb.jpg\n")
    with pytest.raises(SourceError, match=r"val\.txt lists b twice"):
        open_masks(tmp_path, "val")


def test_a_csv_names_pairs_anywhere(tmp_path: Path, lay: Lay) -> None:
    lay("photos/x.jpg", "drawn/one.png", 0, 2)
    lay("photos/y.jpg", "drawn/two.png", 1)
    rows = ("split,mask,image", "train,drawn/one.png,photos/x.jpg", "val,drawn/two.png,photos/y.jpg")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    assert held(open_masks(tmp_path / "list.csv", "train")) == [("photos/x.jpg", [0, 2])]
    (tmp_path / "list.csv").write_text("image,mask\nphotos/x.jpg,drawn/gone.png\nphotos/y.jpg,drawn/two.png\n")
    with pytest.raises(SourceError, match=r"^drawn/gone\.png, which list\.csv line 2 lists, is not there; add"):
        open_masks(tmp_path / "list.csv")
    (tmp_path / "list.csv").write_text("image,mask,split\nphotos/x.jpg,drawn/one.png,often\n")
    with pytest.raises(SourceError, match="line 2 has split 'often', expected train, val or test"):
        open_masks(tmp_path / "list.csv")
    (tmp_path / "list.csv").write_text("file,remark\nphotos/x.jpg,drawn/one.png\n")
    with pytest.raises(SourceError, match="has the columns file, remark, expected image, mask"):
        open_masks(tmp_path / "list.csv")


def test_without_splits_a_tenth_is_held_out(tmp_path: Path, lay: Lay) -> None:
    for number in range(30):
        lay(f"images/{number}.jpg", f"masks/{number}.png", 0, 1)
    train, val = open_masks(tmp_path, "train"), open_masks(tmp_path, "val")
    names = [{name for name, _ in held(part)} for part in (train, val)]
    assert (len(names[0] | names[1]), names[0] & names[1]) == (30, set())
    assert 1 <= len(val) <= 8
    assert "are held out as val" in val.note
    lay("images/new.jpg", "masks/new.png", 0)
    assert names[1] <= {name for name, _ in held(open_masks(tmp_path, "val"))}  # nobody changes sides
    with pytest.raises(SourceError, match="no test split, it has no splits, of which train and val can be made"):
        open_masks(tmp_path, "test")


def test_test_stands_in_for_val(tmp_path: Path, lay: Lay) -> None:
    for split in ("train", "test"):
        lay(f"{split}/images/a.jpg", f"{split}/masks/a.png", 0, 1)
    val = open_masks(tmp_path, "val")
    assert val.name(0) == "test/images/a.jpg"
    assert "There is no val split: test is used in its place." in val.note


def test_take_is_the_same_for_every_run(tmp_path: Path, lay: Lay) -> None:
    for number in range(9):
        lay(f"images/{number}.jpg", f"masks/{number}.png", 0, 1)
    whole = open_masks(tmp_path)
    part = take(whole, 4)
    names = [part.name(index) for index in range(4)]
    assert names == [f"images/{number}.jpg" for number in (2, 4, 5, 6)] == sorted(names)
    assert (part.classes, part.palette, part.kind) == (whole.classes, whole.palette, "mask")
    assert "4 of 9 pictures are trained on" in part.note
    assert take(whole, 99) is take(whole, None) is whole


# ---------------------------------------------------------------------------------------------------------------------
# refusals


def test_missing_partners_are_named(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "masks/a.png", 0, 1)
    lay("images/b.jpg", "")
    with pytest.raises(SourceError, match=r"^images/b\.jpg has no mask in masks; add what is missing"):
        open_masks(tmp_path)
    lay("", "masks/c.png", 0)
    with pytest.raises(SourceError, match=r"^images/b\.jpg has no mask in masks \(1 others as well\)"):
        open_masks(tmp_path)
    (tmp_path / "images" / "b.jpg").unlink()
    for split in (None, "train", "val"):
        with pytest.raises(SourceError, match=r"^masks/c\.png has no picture in images"):
            open_masks(tmp_path, split)


def test_two_files_of_one_stem_are_refused(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "masks/a.png", 0)
    lay("images/a.webp", "")
    with pytest.raises(SourceError, match=r"a\.jpg and a\.webp differ only in their suffix"):
        open_masks(tmp_path)


def test_what_has_no_masks_is_refused(tmp_path: Path, lay: Lay) -> None:
    for spec in ("", "  "):
        with pytest.raises(SourceError, match="the source is empty"):
            open_masks(spec)
    with pytest.raises(SourceError, match="there is no such file or folder"):
        open_masks(tmp_path / "gone")
    lay("cat/a.jpg", "")
    with pytest.raises(SourceError, match=r"catt: there is no such file or folder; did you mean .*/cat\?$"):
        open_masks(tmp_path / "catt")
    with pytest.raises(SourceError, match="is no source of pictures with masks that is known"):
        open_masks(tmp_path)
    with pytest.raises(SourceError, match="is no source of pictures with masks that is known"):
        open_masks(tmp_path / "cat/a.jpg")
    lay("images/a.jpg", "masks/b.png", 0)
    with pytest.raises(SourceError, match=r"no file in .*masks .* is called as a picture in .*images"):
        open_masks(tmp_path)
    with pytest.raises(SourceError, match="split 'dev' is unknown; expected train, val or test"):
        open_masks("shapes", "dev")


def test_nothing_of_the_user_changes(tmp_path: Path, lay: Lay) -> None:
    for name in "abcd":
        lay(f"images/{name}.jpg", f"masks/{name}.png", 0, 1)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}
    held(open_masks(tmp_path, "train"))
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}
    assert before == after


def test_shapes_are_a_source_of_masks() -> None:
    source = open_masks("shapes:4@64x48", "train")
    assert len(source) == 4
    assert source.target(0).shape == (48, 64)
    assert source.target(0).max() < len(source.classes)
    assert list_masks("shapes:4@64x48") == ("train", "val")


@pytest.mark.skipif(not PACKS, reason="VOLOVAN_DATA is not set")
def test_camvid_pack() -> None:
    folder = Path(PACKS, "camvid")
    sizes = {split: len(open_masks(folder, split)) for split in list_masks(folder)}
    assert sizes == {"train": 367, "val": 101, "test": 193}
    source = open_masks(folder, "train")
    mask = source.target(0)
    assert mask.shape == source.load(0).size[::-1] == (360, 480)
    assert set(np.unique(mask)) <= {*range(11), IGNORE}
    assert (source.classes[3], source.palette[3]) == ("road", (128, 64, 128))
    roads = [(source.target(index) == 3).mean() for index in range(0, 367, 20)]
    assert 0.25 < np.mean(roads) < 0.4  # 31.7 % of all pixels
