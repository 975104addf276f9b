"""How pictures find their masks: names, folders and lists as people and their tools write them."""

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from volovan.data import check_data
from volovan.data.checks.recognise import recognise
from volovan.data.checks.report import render
from volovan.data.errors import BadImage, SourceError
from volovan.data.sources import list_splits, open_source

Jpeg = Callable[..., bytes]
Lay = Callable[..., None]
SIZE = (12, 9)
open_masks, list_masks = partial(open_source, kind="mask"), partial(list_splits, kind="mask")


@pytest.fixture
def lay(tmp_path: Path, jpeg: Jpeg) -> Lay:
    """lay("a/b.jpg", "c/b.png", 0, 1): files, those with other suffixes than .jpg hold the values."""

    def make(*files: str | int) -> None:
        values = [value for value in files if isinstance(value, int)] or [0, 1]
        for number, path in enumerate(tmp_path / file for file in files if isinstance(file, str)):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".jpg":
                path.write_bytes(jpeg(len(list(path.parent.iterdir())) + number, SIZE))
            else:
                Image.fromarray(np.resize(np.array(values, np.uint8), SIZE[::-1])).save(path)

    return make


def paired(folder: Path, split: str | None = None) -> dict[str, str]:
    source = open_masks(folder, split)
    parts = getattr(source, "sources", (source,))
    return {part.name(index): part.masks[index] for part in parts for index in range(len(part))}


# ---------------------------------------------------------------------------------------------------------------------
# names


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("bed", "bed_mask"),
        ("bed", "bed-GT"),
        ("bed", "mask_bed"),
        ("bed", "bed.jpg"),
        ("bed", "bed.jpg.mask"),
        ("bed_jpg.rf.ab0", "bed_jpg.rf.ab0_mask"),
        ("image_1", "mask_1"),
        ("img1", "mask1"),
        ("Image 1", "Label_1"),
        ("um_000001", "um_label_000001"),
        ("1_sat", "1_mask"),
        ("bed_RGB", "bed_label"),
        ("0001TP_006690", "0001TP_006690_L"),
        ("a/bed_1", "a/bed_1_segmentation"),
    ],
)
def test_names_pair_up_without_words_for_mask_and_picture(tmp_path: Path, lay: Lay, picture: str, mask: str) -> None:
    lay(f"images/{picture}.jpg", f"masks/{mask}.png")
    lay(f"images/{picture}9.jpg", f"masks/{picture}9.png")  # others by their own name
    assert paired(tmp_path)[f"images/{picture}.jpg"] == f"masks/{mask}.png"


def test_a_picture_with_two_masks_is_refused(tmp_path: Path, lay: Lay) -> None:
    lay("images/bed.jpg", "masks/bed.png", "masks/bed_mask.png")
    with pytest.raises(
        SourceError, match=r"^masks/bed\.png and masks/bed_mask\.png are both called as images/bed\.jpg"
    ):
        open_masks(tmp_path)


def test_words_of_which_several_fit_pair_nothing(tmp_path: Path, lay: Lay) -> None:
    lay("images/img_1.jpg", "images/photo_1.jpg", "masks/mask_1.png", "images/2.jpg", "masks/2.png")
    with pytest.raises(SourceError, match=r"^images/img_1\.jpg has no mask in masks \(2 others as well\)"):
        open_masks(tmp_path)


def test_further_files_of_a_mask_are_left_out_and_said(tmp_path: Path, lay: Lay) -> None:
    for name in "abc":
        lay(f"images/{name}.jpg", f"masks/{name}.png", f"masks/{name}_color.png")
    lay("masks/a_instance.png")  # of one picture alone: who knows what it is
    with pytest.raises(SourceError, match=r"^masks/a_instance\.png has no picture in images; add"):
        open_masks(tmp_path)
    lay("masks/b_instance.png")
    source = open_masks(tmp_path)
    assert len(source) == 3
    assert "5 files in masks are left out, since their pictures have masks besides (3 *color, 2 *inst" in source.note
    lay("masks/c_2.png")  # a number is another picture, which is not there
    with pytest.raises(SourceError, match=r"^masks/c_2\.png has no picture in images; add"):
        open_masks(tmp_path)


def test_names_that_fit_nothing_are_shown(tmp_path: Path, lay: Lay) -> None:
    lay("images/bed.jpg", "masks/sofa.png")
    with pytest.raises(SourceError, match=r"images/bed\.jpg and masks/sofa\.png are the first .* or list them in a"):
        open_masks(tmp_path)
    (tmp_path / "masks.csv").write_text("image,mask\nimages/bed.jpg,masks/sofa.png\n")  # the remedy
    assert paired(tmp_path) == {"images/bed.jpg": "masks/sofa.png"}


def test_folders_without_masks_say_what_they_hold(tmp_path: Path, lay: Lay) -> None:
    lay("images/bed.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "bed.mat").write_bytes(b"")
    with pytest.raises(SourceError, match=r"labels holds files of other kinds \(1 \.mat\), expected masks as labels"):
        open_masks(tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# one file for each class


@pytest.mark.parametrize("form", ["masks/{}_{}.png", "masks/{}/{}.png", "masks/{1}/{0}.png", "masks/{1}/{0}_XY.png"])
def test_one_black_and_white_file_for_each_class(tmp_path: Path, lay: Lay, form: str) -> None:
    lay("images/a.jpg", "images/b.jpg")
    lay(form.format("a", "cat"), form.format("b", "cat"), 255, 0, 0)
    lay(form.format("b", "dog"), 0, 0, 1)
    source = pickle.loads(pickle.dumps(open_masks(tmp_path)))
    assert source.classes == ("background", "cat", "dog")
    assert [source.target(index).ravel()[:3].tolist() for index in range(2)] == [[1, 0, 0], [1, 0, 2]]
    assert "One file for each class (cat, dog): what none shows is background" in source.note
    assert recognise(str(tmp_path)) == ("mask", "")
    with pytest.raises(SourceError, match="has several masks for a picture, one each for cat, dog; one mask"):
        open_source(tmp_path, kind="map")


def test_classes_that_overlap_need_an_order(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg")
    lay("masks/a_cat.png", 255, 255, 0)
    lay("masks/a_hat.png", 0, 255, 0)
    with pytest.raises(
        BadImage, match=r"^masks/a_hat\.png: row 0, column 1 is 'hat' here and 'cat' in another mask .* a classes\.txt"
    ):
        open_masks(tmp_path).target(0)
    for names, found in (("cat\nhat", [1, 2, 0]), ("Hat\nCat", [2, 2, 0]), ("background\nsofa\ncat\nhat", [2, 3, 0])):
        (tmp_path / "classes.txt").write_text(names)
        assert open_masks(tmp_path).target(0).ravel()[:3].tolist() == found
    (tmp_path / "classes.txt").write_text("cat")
    with pytest.raises(SourceError, match=r"has masks for a class 'hat' .* but classes\.txt names cat; add its name"):
        open_masks(tmp_path)


def test_a_class_file_of_another_size_or_with_many_values_is_refused(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg")
    lay("masks/a_cat.png", 0, 1, 2)
    lay("masks/a_dog.png", 0, 255)
    with pytest.raises(BadImage, match=r"^masks/a_cat\.png: values 0, 1, 2, expected black and white"):
        open_masks(tmp_path).target(0)
    Image.new("L", (4, 4)).save(tmp_path / "masks" / "a_cat.png")
    with pytest.raises(BadImage, match=r"^masks/a_dog\.png: 12 x 9, the other masks of the picture are 4 x 4"):
        open_masks(tmp_path).target(0)


def test_one_ending_for_all_is_a_name_for_masks(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "masks/a_retina.png", "images/b.jpg", "masks/b_retina.png")
    assert paired(tmp_path) == {"images/a.jpg": "masks/a_retina.png", "images/b.jpg": "masks/b_retina.png"}
    assert "Masks in masks are those called as their picture and retina." in open_masks(tmp_path).note


# ---------------------------------------------------------------------------------------------------------------------
# folders


@pytest.mark.parametrize(
    "form",
    [
        "img_dir/{0}/a.jpg ann_dir/{0}/a.png",
        "{0}_images/a.jpg {0}_masks/a.png",
        "images-{0}/a.jpg labels-{0}/a.png",
        "{0}/img_dir/a.jpg {0}/ann_dir/a.png",
        "Set_{0}_Input/a.jpg Set_{0}_GroundTruth/a.png",
        "{0}/a.jpg {0}/a_mask.png",
        "{0}/a.jpg {0}/a.png",
        "{0}/a_sat.jpg {0}/a_mask.png",
        "{0}/a.jpg {0}_masks/a.png",
    ],
)
def test_folders_are_known_by_their_words(tmp_path: Path, lay: Lay, form: str) -> None:
    for split in ("train", "valid"):
        lay(*form.format(split).split())
    assert list_masks(tmp_path) == ("train", "val")
    picture, mask = form.format("valid").split()
    assert paired(tmp_path, "val") == {picture: mask}
    assert recognise(str(tmp_path))[0] == "mask"


@pytest.mark.parametrize(
    "form", ["image/a.jpg alpha/a.png", "original_images/a.jpg label_images_semantic/a.png", "a.jpg a.png"]
)
def test_folders_without_splits(tmp_path: Path, lay: Lay, form: str) -> None:
    lay(*form.split(), *form.replace("a.", "b.").split(), 0, 1, 2)
    assert paired(tmp_path) == dict([form.split(), form.replace("a.", "b.").split()])
    for folder in ("masks_color", "Labels_json"):  # a usual name, or one with masks in it, comes first
        (tmp_path / folder).mkdir()
    if "/" in form and "alpha" in form:
        assert len(paired(tmp_path)) == 2


def test_a_folder_around_a_data_set(tmp_path: Path, lay: Lay) -> None:
    lay("set/export/images/a.jpg", "set/export/masks/a.png")
    assert paired(tmp_path) == {"images/a.jpg": "masks/a.png"}
    assert recognise(str(tmp_path))[0] == "mask"
    (tmp_path / "classes.txt").write_text("sky\nroad\n")  # the user's, beside what was unpacked
    assert open_masks(tmp_path).classes == ("sky", "road")
    assert recognise(str(tmp_path)) == ("mask", "")
    lay("set/ADEChallengeData2016/images/training/a.jpg", "set/ADEChallengeData2016/annotations/training/a.png")
    with pytest.raises(SourceError, match="is no source of pictures with masks"):  # two of them
        open_masks(tmp_path / "set" / "export" / "images")


def test_masks_in_folders_with_other_names_are_never_classes(tmp_path: Path, lay: Lay) -> None:
    for name in "abc":
        lay(f"left/{name}.jpg", f"right/{name}.png")
    with pytest.raises(
        SourceError, match=r"looks like pictures and their masks.*: right has masks for the pictures of left; call the"
    ):
        recognise(str(tmp_path))
    (tmp_path / "left").rename(tmp_path / "images")
    (tmp_path / "right").rename(tmp_path / "masks")  # the remedy
    assert recognise(str(tmp_path))[0] == "mask"


def test_class_folders_stay_classes(tmp_path: Path, jpeg: Jpeg) -> None:
    for place, name in enumerate(("with_mask", "without_mask", "label")):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.jpg").write_bytes(jpeg(10 * place + number, SIZE))
    assert recognise(str(tmp_path)) == ("class", "")


def test_a_guess_is_not_called_fine(tmp_path: Path, lay: Lay, capsys: pytest.CaptureFixture[str]) -> None:
    from volovan.cli import main

    for name in "abc":
        lay(f"images/{name}.jpg", f"masks/{name}.png", 0, 1)
    words = ["check-data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "Nothing is wrong" not in text
    assert "What the masks mean was guessed; say --task segment or --task saliency." in text
    assert main([*words, "--task", "segment"]) == 0
    assert "Nothing is wrong" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------------------
# lists


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        ({"train.csv": "image,mask\nA", "valid.csv": "image,mask\nB"}, ("train", "val")),
        ({"train.tsv": "img\tlabel\nA", "test.csv": "image_path;annotation\nB"}, ("train", "test")),
        ({"masks.csv": "img_path,mask_path,set\nA,training\nB,valid"}, ("train", "val")),
        ({"metadata.csv": "id,split,sat_image_path,mask_path\n1,train,A\n2,val,B"}, ("train", "val")),
        ({"list.csv": "A\nB"}, ()),
        ({"list.csv": "mask,filename\nA\nB"}, ()),
        ({"pairs.csv": "image,mask\nA\nB", "scores.csv": "image,score\nphotos/a.jpg,1"}, ()),
    ],
    ids=["two", "mixed", "headings", "deepglobe", "no-heading", "turned", "others"],
)
def test_tables_of_pairs(tmp_path: Path, lay: Lay, files: dict[str, str], splits: tuple[str, ...]) -> None:
    lay("photos/a.jpg", "drawn/1.png", "photos/b.jpg", "drawn/2.png")
    for name, text in files.items():
        mark = next((mark for mark in "\t;," if mark in text), ",")
        both = [[rf"photos\{letter}.jpg", f"drawn/{number}.png"] for letter, number in (("a", 1), ("b", 2))]
        for letter, pair in zip("AB", both, strict=True):
            text = text.replace(f"{letter}", mark.join(reversed(pair) if text.startswith("mask") else pair))
        (tmp_path / name).write_text(text)
    assert list_masks(tmp_path) == splits
    assert paired(tmp_path) == {"photos/a.jpg": "drawn/1.png", "photos/b.jpg": "drawn/2.png"}
    assert recognise(str(tmp_path))[0] == "mask"


def test_missing_files_of_a_table_are_all_named(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "images/b.jpg", "masks/a.png")
    (tmp_path / "masks.csv").write_text("image,mask\nimgs/a.jpg,masks\\a.png\nimgs/b.jpg,masks/b.png\n")
    where = "which masks.csv line {} lists, is not there"
    expected = [
        f"imgs/a.jpg, {where.format(2)} (images/a.jpg is: mend the path)",
        f"imgs/b.jpg, {where.format(3)} (images/b.jpg is: mend the path)",
        f"masks/b.png, {where.format(3)}",
    ]
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    report = check_data(str(tmp_path), "mask")
    assert report.unpaired == expected
    text = render(report)
    assert all(f"  {sentence}" in text.splitlines() for sentence in expected)
    assert not report.ok
    assert "add pictures" not in text
    with pytest.raises(SourceError, match=r"^imgs/a\.jpg, which masks\.csv line 2 lists, is not there \(images"):
        open_masks(tmp_path, "train")


def test_several_tables_are_refused_until_one_is_called_masks(tmp_path: Path, lay: Lay) -> None:
    lay("photos/a.jpg", "drawn/1.png")
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text("image,mask\nphotos/a.jpg,drawn/1.png\n")
    with pytest.raises(SourceError, match=r"several lists of pictures and masks, one\.csv and two\.csv; call one of"):
        open_masks(tmp_path)
    (tmp_path / "one.csv").rename(tmp_path / "masks.csv")
    assert len(paired(tmp_path)) == 1
