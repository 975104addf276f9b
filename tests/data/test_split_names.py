"""What is called like a split, and is one or not: folders, archives, tables."""

import io
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from volovan.data import Source, check_data, list_splits, open_source
from volovan.data.checks.report import render

Tree = Callable[..., Path]
Jpeg = Callable[..., bytes]


def counts(source: Source) -> dict[str, int]:
    return dict(Counter(source.classes[source.target(index)] for index in range(len(source))))


@pytest.mark.parametrize("name", ["train", "Test", "valid"])
def test_a_class_called_like_a_split_is_a_class(class_tree: Tree, name: str) -> None:
    root = class_tree({"bus": 10, "car": 10, name: 10})
    assert list_splits(root) == ()
    assert counts(open_source(root, "train")) == {"bus": 9, "car": 9, name: 9}
    assert counts(open_source(root, "val")) == {"bus": 1, "car": 1, name: 1}
    note = f"{name} is not taken for a split, since the folders bus, car lie beside it; if it is one, move those away."
    assert note in open_source(root, "train").note
    assert note in render(check_data(str(root)))


def test_the_remedy_for_a_split_among_others_works(class_tree: Tree, tmp_path: Path) -> None:
    class_tree({"diesel": 2, "steam": 2}, below="train")
    root = class_tree({"extra": 3})
    assert open_source(root).classes == ("extra", "train")
    (root / "extra").rename(tmp_path / "extra")
    assert (list_splits(root), open_source(root, "train").classes) == (("train",), ("diesel", "steam"))


def test_two_splits_are_splits_whatever_lies_beside(class_tree: Tree) -> None:
    class_tree({"cat": 2, "dog": 2}, below="train")
    class_tree({"cat": 2, "dog": 2}, below="val")
    root = class_tree({"unlabelled": 3, "more": 1})
    train = open_source(root, "train")
    assert (list_splits(root), train.classes, len(train)) == (("train", "val"), ("cat", "dog"), 4)
    assert train.note == "The folders more, unlabelled are left out, since train, val beside them are splits."


def test_folders_without_pictures_count_for_nothing(class_tree: Tree) -> None:
    class_tree({"cat": 2, "dog": 2}, below="train")
    root = class_tree({"scripts": 0})
    (root / "scripts" / "run.py").write_text("x")
    assert (list_splits(root), open_source(root, "train").note) == (("train",), "")


@pytest.fixture
def archives(tmp_path: Path, jpeg: Jpeg) -> Callable[..., Path]:
    def write(*names: str) -> Path:
        for place, name in enumerate(names):
            with tarfile.open(tmp_path / name, "w") as tar:
                for number in range(4):
                    for suffix, content in (("jpg", jpeg(10 * place + number)), ("cls", b"%d" % (number % 2))):
                        member = tarfile.TarInfo(f"{place}_{number}.{suffix}")
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
        return tmp_path

    return write


def test_archives_follow_the_same_rule(archives: Callable[..., Path]) -> None:
    root = archives("bus.tar", "car.tar", "train.tar")
    assert (list_splits(root), len(open_source(root))) == ((), 12)
    assert "train.tar is not taken for a split, since the archives bus.tar, car.tar lie" in open_source(root).note
    archives("val-0.tar")
    assert (list_splits(root), len(open_source(root, "train")), len(open_source(root, "val"))) == (
        ("train", "val"),
        4,
        4,
    )
    assert "The archives bus.tar, car.tar are left out" in open_source(root, "val").note


@pytest.mark.parametrize("name", ["trains-0.tar", "valley.tar", "testosterone.tar"])
def test_words_that_only_begin_like_a_split_are_none(archives: Callable[..., Path], name: str) -> None:
    assert list_splits(archives(name)) == ()


@pytest.mark.parametrize("name", ["train-0.tar", "training_000.tar", "TRAIN.tar", "train2017-0.tar", "trainval-1.tar"])
def test_words_that_mean_a_split_are_one(archives: Callable[..., Path], name: str) -> None:
    assert list_splits(archives(name)) == ("train",)


def test_tables_follow_the_same_rule(tmp_path: Path, jpeg: Jpeg) -> None:
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    pytest.importorskip("datasets")

    def write(name: str) -> None:
        rows = {"image": [{"bytes": jpeg(n), "path": None} for n in range(4)], "label": ["cat", "dog"] * 2}
        parquet.write_table(arrow.table(rows), tmp_path / name)

    write("bus.parquet")
    write("train.parquet")
    assert (list_splits(tmp_path), len(open_source(tmp_path))) == ((), 8)
    write("test-00000-of-00001.parquet")
    assert list_splits(tmp_path) == ("train", "test")


def test_masks_follow_the_same_rule(class_tree: Tree) -> None:
    for folder in ("images", "masks"):
        root = class_tree({"bus": 2, "train": 2}, below=folder)
    for mask in (root / "masks").rglob("*.jpg"):
        Image.new("L", (12, 9), 1).save(mask.with_suffix(".png"))
        mask.unlink()
    assert (list_splits(root, "mask"), len(open_source(root, kind="mask"))) == ((), 4)
    for folder in ("images", "masks"):
        (root / folder / "bus").rename(root / folder / "val")
    assert list_splits(root, "mask") == ("train", "val")
