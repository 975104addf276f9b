"""CUB-200-2011, Oxford Flowers 102, VizWiz-Classification and ImageNet-22K in their layouts, on small copies."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from volovan.data import SourceError, list_splits, open_source
from volovan.data.published import imagenet as imagenet_module
from volovan.data.published.mat5 import read_numbers

Jpeg = Callable[..., bytes]

# ---------------------------------------------------------------------------------------------------------------------
# CUB-200-2011

BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")
# Picture numbers are not those of the order of files, nor 1, 2, 3: what counts is what the three files say together.
CUB = {1: (2, 1), 2: (1, 0), 3: (1, 1), 5: (3, 0), 4: (2, 1)}  # picture number -> class from 1, train


@pytest.fixture
def cub(tmp_path: Path, jpeg: Jpeg) -> Path:
    root = tmp_path / "CUB_200_2011"
    root.mkdir()
    files = {number: f"{BIRDS[label - 1]}/bird_{number:04}.jpg" for number, (label, _) in CUB.items()}
    for number, file in files.items():
        (root / "images" / file).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / file).write_bytes(jpeg(number))
    (root / "classes.txt").write_text("".join(f"{place} {name}\n" for place, name in enumerate(BIRDS, 1)))
    (root / "images.txt").write_text("".join(f"{number} {file}\n" for number, file in files.items()))
    (root / "image_class_labels.txt").write_text("".join(f"{n} {label}\n" for n, (label, _) in sorted(CUB.items())))
    (root / "train_test_split.txt").write_text("".join(f"{n} {train}\n" for n, (_, train) in sorted(CUB.items())))
    return root


def test_cub_splits_and_labels_are_those_of_its_files(cub: Path, jpeg: Jpeg) -> None:
    assert list_splits(cub) == ("train", "test")
    train, test = open_source(cub, "train"), open_source(cub, "test")
    assert train.classes == test.classes == BIRDS
    assert [(train.name(i), train.target(i)) for i in range(len(train))] == [
        ("002.Laysan_Albatross/bird_0001.jpg", 1),
        ("001.Black_footed_Albatross/bird_0003.jpg", 0),
        ("002.Laysan_Albatross/bird_0004.jpg", 1),
    ]
    assert [(test.name(i), test.target(i), test.raw(i)) for i in range(len(test))] == [
        ("001.Black_footed_Albatross/bird_0002.jpg", 0, jpeg(2)),
        ("003.Sooty_Albatross/bird_0005.jpg", 2, jpeg(5)),
    ]
    assert train.load(0).size == (12, 9)


def test_cub_is_found_from_the_folder_above_and_gives_test_as_val(cub: Path) -> None:
    val = open_source(cub.parent, "val")
    assert (len(val), val.classes) == (2, BIRDS)
    assert "test is used in its place" in val.note


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("images.txt", "1 a.jpg\n2\n", r"images\.txt line 2 is '2', expected a number and a text"),
        ("images.txt", "1 a.jpg\n\n1 b.jpg\n", r"images\.txt line 3 has the number 1 a second time"),
        ("images.txt", "\n", r"images\.txt is empty"),
        ("images.txt", "1 a.jpg\n9 b.jpg\n", r"image_class_labels\.txt has no line for picture 9, b\.jpg"),
        (
            "image_class_labels.txt",
            "1 1\n2 1\n3 4\n4 1\n5 1\n",
            r"labels\.txt line 3: .* has '4', .* from 1 to 3",
        ),
        (
            "train_test_split.txt",
            "1 1\n2 0\n3 1\n4 yes\n5 1\n",
            r"split\.txt line 4: .* has 'yes', .* from 0 to 1",
        ),
        ("classes.txt", "1 a\n3 b\n", r"classes\.txt line 2 has the number 3, expected 2"),
        ("train_test_split.txt", "1 0\n2 0\n3 0\n4 0\n5 0\n", r"split\.txt leaves no picture for train"),
    ],
    ids=["no-text", "twice", "empty", "no-label", "class", "split", "class-order", "all-test"],
)
def test_cub_names_file_and_line(cub: Path, file: str, content: str, message: str) -> None:
    (cub / file).write_text(content)
    with pytest.raises(SourceError, match=message):
        open_source(cub, "train")


# ---------------------------------------------------------------------------------------------------------------------
# Oxford Flowers 102

FLOWERS = {"trnid": [6, 1], "valid": [2, 5], "tstid": [3, 4, 7]}
PETALS = [77, 3, 1, 2, 77, 3, 2]  # class from 1 of picture 1, 2, ...


@pytest.fixture
def flowers(tmp_path: Path, jpeg: Jpeg) -> Path:
    savemat = pytest.importorskip("scipy.io").savemat
    (tmp_path / "jpg").mkdir()
    for number in range(1, len(PETALS) + 1):
        (tmp_path / "jpg" / f"image_{number:05}.jpg").write_bytes(jpeg(number))
    savemat(tmp_path / "imagelabels.mat", {"labels": np.array([PETALS], np.uint8)}, do_compression=True)
    savemat(tmp_path / "setid.mat", {name: np.array([ids], np.uint16) for name, ids in FLOWERS.items()})
    return tmp_path


@pytest.mark.parametrize(("split", "name"), [("train", "trnid"), ("val", "valid"), ("test", "tstid")])
def test_flowers_splits_are_those_of_setid(flowers: Path, jpeg: Jpeg, split: str, name: str) -> None:
    source = open_source(flowers, split)
    assert [source.name(i) for i in range(len(source))] == [f"jpg/image_{number:05}.jpg" for number in FLOWERS[name]]
    assert [source.target(i) for i in range(len(source))] == [PETALS[number - 1] - 1 for number in FLOWERS[name]]
    assert source.raw(0) == jpeg(FLOWERS[name][0])
    assert source.classes == tuple(str(number) for number in range(1, 78))


def test_flowers_take_names_where_they_lie_beside(flowers: Path) -> None:
    names = {str(number): f"flower {number}" for number in range(1, 78)}
    (flowers / "cat_to_name.json").write_text(json.dumps(names))
    assert open_source(flowers, "train").classes[2] == "flower 3"
    (flowers / "cat_to_name.json").write_text(json.dumps({"1": "pink primrose"}))
    with pytest.raises(SourceError, match=r"cat_to_name\.json cannot be read \(KeyError '2'\)"):
        open_source(flowers, "train")


def test_flowers_name_what_is_wrong(flowers: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    labels, ids = flowers / "imagelabels.mat", flowers / "setid.mat"
    savemat(ids, {**FLOWERS, "trnid": [[8]]})
    with pytest.raises(SourceError, match=r"setid\.mat: trnid has picture 8, but imagelabels\.mat has 7 labels"):
        open_source(flowers, "train")
    savemat(ids, {"other": [[1]]})
    with pytest.raises(SourceError, match=r'setid\.mat cannot be read: it has no array "trnid"'):
        open_source(flowers, "train")
    savemat(labels, {"labels": [[1.5, 2.0]]})
    with pytest.raises(SourceError, match=r"imagelabels\.mat: labels should hold whole numbers"):
        open_source(flowers, "train")
    labels.write_bytes(b"MATLAB" * 40)
    with pytest.raises(SourceError, match=r"imagelabels\.mat cannot be read: it is no MAT-file of level 5"):
        open_source(flowers, "train")


def test_flowers_say_that_the_pictures_are_packed(flowers: Path) -> None:
    for picture in (flowers / "jpg").iterdir():
        picture.unlink()
    (flowers / "jpg").rmdir()
    with pytest.raises(SourceError, match=r"has no folder jpg; unpack 102flowers\.tgz"):
        open_source(flowers, "train")


@pytest.mark.parametrize("compressed", [True, False])
def test_mat_numbers_read_as_scipy_does(compressed: bool) -> None:
    scipy = pytest.importorskip("scipy.io")
    file = io.BytesIO()
    values = {"small": np.array([[1, 2]], np.uint8), "wide": np.arange(300.0)[None], "text": "abc"}
    scipy.savemat(file, values, do_compression=compressed)
    assert read_numbers(file.getvalue(), "small").tolist() == [1, 2]
    assert read_numbers(file.getvalue(), "wide").tolist() == list(range(300))
    with pytest.raises(ValueError, match='no array "text"'):
        read_numbers(file.getvalue(), "text")


# ---------------------------------------------------------------------------------------------------------------------
# VizWiz-Classification

CATEGORIES = [{"id": 291, "wordnet_id": "n02129165"}, {"id": 287, "wordnet_id": "n02127052"}]
LABELS = {"VizWiz_val_00000002.jpg": [291], "VizWiz_val_00000001.jpg": [287, 291]}


@pytest.fixture
def vizwiz(tmp_path: Path, jpeg: Jpeg) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(1, 4):
        (tmp_path / "images" / f"VizWiz_val_{number:08}.jpg").write_bytes(jpeg(number))
    images = [f"VizWiz_val_{number:08}.jpg" for number in range(1, 4)]
    (tmp_path / "annotations.json").write_text(json.dumps({"categories": CATEGORIES, "images": images}))
    return tmp_path


def test_vizwiz_as_handed_out_is_an_unlabelled_test_set(vizwiz: Path) -> None:
    assert list_splits(vizwiz) == ("test",)
    source = open_source(vizwiz, "test")
    assert (len(source), source.classes, source.target(0)) == (3, (), None)
    assert "keeps its labels" in source.note


def test_vizwiz_labels_are_called_by_their_synsets(vizwiz: Path, jpeg: Jpeg) -> None:
    (vizwiz / "train.json").write_text(json.dumps({name: {"labels": ids} for name, ids in LABELS.items()}))
    source = open_source(vizwiz, "train")
    assert list_splits(vizwiz) == ("train",)
    assert source.classes == ("n02127052", "n02129165")
    assert [(source.name(i), source.target(i)) for i in range(2)] == [
        ("VizWiz_val_00000002.jpg", 1),
        ("VizWiz_val_00000001.jpg", 0),
    ]
    assert source.raw(0) == jpeg(2)
    assert source.note == "1 pictures have several labels; the first one counts."


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train.json", '{"a.jpg":\n oops}', r"train\.json line 2 cannot be read"),
        ("train.json", '{"a.jpg": {"labels": []}}', r"train\.json: a\.jpg has \{'labels': \[\]\}, expected"),
        (
            "train.json",
            '{"a.jpg": {"labels": [5]}}',
            r"train\.json: a\.jpg has label 5, which none of the 2",
        ),
        ("train.json", "{}", r"train\.json lists no pictures"),
        ("train.json", "[]", r"train\.json holds a list"),
        ("annotations.json", '{"categories": [{"id": 1}], "images": []}', r"categories\[0\] is .* expected \"id\""),
        ("annotations.json", '{"images": []}', r'annotations\.json has no list "categories"'),
    ],
    ids=["json", "no-label", "unknown-label", "empty", "list", "category", "no-categories"],
)
def test_vizwiz_names_file_and_place(vizwiz: Path, file: str, content: str, message: str) -> None:
    (vizwiz / "train.json").write_text('{"a.jpg": {"labels": [291]}}')
    (vizwiz / file).write_text(content)
    with pytest.raises(SourceError, match=message):
        open_source(vizwiz, "train")


# ---------------------------------------------------------------------------------------------------------------------
# ImageNet-22K

SYNSETS = ("n00004475", "n01440764", "n15299783")


def tar_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def synset_tars(jpeg: Jpeg) -> dict[str, bytes]:
    return {
        f"{synset}.tar": tar_of({f"{synset}_{number}.JPEG": jpeg(10 * place + number) for number in range(4)})
        for place, synset in enumerate(SYNSETS)
    }


def as_whole(root: Path, jpeg: Jpeg) -> Path:
    (root / "fall11_whole.tar").write_bytes(tar_of(synset_tars(jpeg)))
    return root


def as_archive(root: Path, jpeg: Jpeg) -> Path:
    return as_whole(root, jpeg) / "fall11_whole.tar"


def as_tars(root: Path, jpeg: Jpeg) -> Path:
    for name, content in synset_tars(jpeg).items():
        (root / name).write_bytes(content)
    return root


def as_folders(root: Path, jpeg: Jpeg) -> Path:
    for place, synset in enumerate(SYNSETS):
        (root / synset).mkdir()
        for number in range(4):
            (root / synset / f"{synset}_{number}.JPEG").write_bytes(jpeg(10 * place + number))
    return root


@pytest.mark.parametrize("layout", [as_whole, as_archive, as_tars, as_folders])
def test_imagenet22k_is_read_in_every_layout(
    tmp_path: Path, jpeg: Jpeg, monkeypatch: pytest.MonkeyPatch, layout: Callable[[Path, Jpeg], Path]
) -> None:
    monkeypatch.setattr(imagenet_module, "_MORE_THAN_1K", 2)
    root = layout(tmp_path, jpeg)
    assert list_splits(root) == ("train", "val")
    train, val = open_source(root, "train"), open_source(root, "val")
    assert train.classes == val.classes == SYNSETS
    # So few pictures: of each class one is in val, by the hash of its name.
    assert (len(train), len(val)) == (9, 3)
    for source in (train, val):
        for index in range(len(source)):
            name = source.name(index).rpartition("/")[2].rpartition("!")[2]
            synset, _, number = name.removesuffix(".JPEG").partition("_")
            assert SYNSETS[source.target(index) or 0] == synset
            assert source.raw(index) == jpeg(10 * SYNSETS.index(synset) + int(number))
    assert {train.name(i) for i in range(9)}.isdisjoint({val.name(i) for i in range(3)})
    assert "0.5% of each class" in val.note


def test_folders_of_few_synsets_are_class_folders(tmp_path: Path, jpeg: Jpeg) -> None:
    root = as_folders(tmp_path, jpeg)
    assert list_splits(root) == ()
    assert open_source(root).classes == SYNSETS


def test_imagenet22k_names_an_empty_and_a_cut_archive(tmp_path: Path, jpeg: Jpeg) -> None:
    root = as_tars(tmp_path, jpeg)
    (root / "n01440764.tar").write_bytes(tar_of({"README": b"nothing"}))
    with pytest.raises(SourceError, match=r"n01440764\.tar holds no pictures"):
        open_source(root, "train")
    (root / "n01440764.tar").write_bytes(synset_tars(jpeg)["n01440764.tar"][:700])
    with pytest.raises(SourceError, match=r"n01440764\.tar .*cut off"):
        open_source(root, "train")
