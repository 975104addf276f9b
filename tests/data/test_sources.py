import multiprocessing
import operator
import os
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from volovan.data import BadImage, Source, SourceError, list_splits, open_images, open_source
from volovan.data.samples import Names

Tree = Callable[..., Path]
Jpeg = Callable[..., bytes]


def names(source: Source) -> list[str]:
    return [source.name(index) for index in range(len(source))]


def labels(source: Source) -> list[int | None]:
    return [source.target(index) for index in range(len(source))]


# ---------------------------------------------------------------------------------------------------------------------
# class folders


def test_folder_with_splits_numbers_classes_alike(class_tree: Tree) -> None:
    class_tree({"cat": 3, "dog": 2}, below="train")
    root = class_tree({"ant": 1, "dog": 2}, below="validation")
    assert list_splits(root) == ("train", "val")
    train, val = open_source(root, "train"), open_source(root, "val")
    assert train.classes == val.classes == ("ant", "cat", "dog")
    assert Counter(labels(train)) == {1: 3, 2: 2}
    assert names(val) == ["validation/ant/000.jpg", "validation/dog/000.jpg", "validation/dog/001.jpg"]
    assert len(open_source(root)) == 8
    assert val.load(0).size == (12, 9)
    assert val.raw(0) == (root / "validation/ant/000.jpg").read_bytes()


def test_folder_without_splits_holds_out_a_tenth_that_mostly_stays(class_tree: Tree, jpeg: Jpeg) -> None:
    root = class_tree({"cat": 150, "dog": 40, "eel": 2, "one": 1})
    train, val = open_source(root, "train"), open_source(root, "val")
    assert not set(names(train)) & set(names(val))
    assert len(train) + len(val) == len(open_source(root)) == 193
    share = Counter(labels(val))
    assert share == {0: 15, 1: 4, 2: 1}  # eel: one in each part; a class of one is in train
    assert 3 in labels(train)
    assert "20 of 193 samples (10% of each class, rounded; chosen by the hash of their names) are held out" in val.note
    for number in range(50):
        (root / "dog" / f"new{number}.jpg").write_bytes(jpeg(number))
    more = open_source(root, "val")
    assert Counter(labels(more)) == {0: 15, 1: 9, 2: 1}
    assert len(set(names(val)) & set(names(more))) >= 18  # most stay; 4 of 40 dogs are not the first 9 of 90


def test_folder_called_like_a_split_is_that_split(class_tree: Tree, tmp_path: Path) -> None:
    root = class_tree({"cat": 30}, root=tmp_path / "train")
    assert len(open_source(root, "train")) == 30
    with pytest.raises(SourceError, match="has no val split, it has train"):
        open_source(root, "val")


def test_folder_takes_nested_files_and_leaves_out_others(class_tree: Tree, jpeg: Jpeg) -> None:
    root = class_tree({"cat": 2})
    (root / "cat" / "deep" / "er").mkdir(parents=True)
    (root / "cat" / "deep" / "er" / "x.JPEG").write_bytes(jpeg())
    (root / "cat" / "notes.txt").write_text("no")
    (root / "cat" / "._000.jpg").write_bytes(b"")
    (root / ".cache").mkdir()
    (root / "cat" / "loop").symlink_to(root / "cat")
    source = open_source(root)
    assert names(source) == ["cat/000.jpg", "cat/001.jpg", "cat/deep/er/x.JPEG"]
    assert source.note == (
        "1 files are left out since their suffix is not that of a picture (.txt: 1). "
        "1 links are left out since they lead back to a folder above (cat/loop)."
    )


def test_folder_leaves_out_links_that_lead_above_and_follows_others(class_tree: Tree, tmp_path: Path) -> None:
    root = class_tree({"cat": 2, "dog": 1})
    (root / "self").symlink_to(root)
    (root / "above").symlink_to("..")
    (root / "dog" / "all").symlink_to(root)  # would make dogs of cats
    (root / "nowhere").symlink_to("nowhere")
    (root / "eel").symlink_to(class_tree({"x": 1}, root=tmp_path / "elsewhere"))
    source = open_source(root)
    assert (source.classes, names(source)) == (
        ("cat", "dog", "eel"),
        ["cat/000.jpg", "cat/001.jpg", "dog/000.jpg", "eel/x/000.jpg"],
    )
    assert source.note == "3 links are left out since they lead back to a folder above (above, self, dog/all)."


def test_an_empty_folder_is_a_class(class_tree: Tree) -> None:
    source = open_source(class_tree({"cat": 2, "daisy": 0}))
    assert source.classes == ("cat", "daisy")
    assert source.note == ""  # fit and check-data say it, whatever the source is


@pytest.mark.parametrize("spec", ["", " "])
def test_empty_source_is_not_the_current_folder(spec: str) -> None:
    with pytest.raises(SourceError, match=r"^the source is empty; give a folder"):
        open_source(spec)
    with pytest.raises(SourceError, match=r"^the source is empty; give a folder"):
        open_images([spec])


def test_folder_flat_is_unlabelled(tmp_path: Path, jpeg: Jpeg) -> None:
    for name in ("b.jpg", "a.jpg"):
        (tmp_path / name).write_bytes(jpeg())
    source = open_source(tmp_path)
    assert (source.classes, names(source), labels(source)) == ((), ["a.jpg", "b.jpg"], [None, None])


def test_folder_refuses_in_one_sentence(class_tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty holds no pictures; expected"):
        open_source(tmp_path / "empty")
    with pytest.raises(SourceError, match=r"emptie: there is no such file or folder; did you mean .*empty\?"):
        open_source(tmp_path / "emptie")
    root = class_tree({"cat": 2}, below="train")
    with pytest.raises(SourceError, match="set has no val split, it has train; ask for"):
        open_source(root, "val")
    with pytest.raises(SourceError, match="split 'validate' is unknown; expected train, val or test"):
        open_source(root, "validate")
    (root / "valid").mkdir()
    (root / "val").mkdir()
    with pytest.raises(SourceError, match="two val folders"):
        open_source(root, "train")
    with pytest.raises(SourceError, match="has no test split, it has no splits"):
        open_source(class_tree({"cat": 2}, root=tmp_path / "unsplit"), "test")
    (tmp_path / "notes.docx").write_text("x")
    with pytest.raises(SourceError, match="no source of pictures that is known; give a folder"):
        open_source(tmp_path / "notes.docx")


def test_file_that_vanishes_is_a_bad_image(class_tree: Tree) -> None:
    root = class_tree({"cat": 2})
    source = open_source(root)
    (root / "cat" / "001.jpg").unlink()
    with pytest.raises(BadImage, match=r"^cat/001\.jpg: there is no such file$"):
        source.load(1)
    with pytest.raises(BadImage, match=r"^cat/001\.jpg: the file cannot be read"):
        source.raw(1)


def test_names_that_are_not_utf8_are_readable(tmp_path: Path, jpeg: Jpeg) -> None:
    folder = os.fsencode(tmp_path / "café")
    os.mkdir(folder)
    with open(folder + b"/\xff\n.jpg", "wb") as file:
        file.write(jpeg())
    source = open_source(tmp_path)
    assert names(source) == [r"café/\xff\n.jpg"]
    assert source.load(0).size == (12, 9)


def test_names_equal_the_list_they_were_made_of() -> None:
    texts = ["a", "", "müll/\udcff.jpg", "z" * 1000]
    kept = Names(texts)
    assert list(kept) == texts
    assert list(kept[1:3]) == texts[1:3]
    assert list(Names([])) == []
    with pytest.raises(IndexError):
        kept[4]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_sources_work_in_other_processes(class_tree: Tree, method: str) -> None:
    source = open_source(class_tree({"cat": 12, "dog": 12}), "train")
    assert names(pickle.loads(pickle.dumps(source))) == names(source)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        there = pool.submit(operator.methodcaller("load", 0), source).result()
    assert there.tobytes() == source.load(0).tobytes()


# ---------------------------------------------------------------------------------------------------------------------
# manifests


def manifest(folder: Path, text: str, jpeg: Jpeg, name: str = "list.csv", encoding: str = "utf-8") -> Path:
    for number, file in enumerate(("a.jpg", "b.jpg", "c, d.jpg")):
        (folder / file).write_bytes(jpeg(number))
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("list.csv", 'path,label\na.jpg,cat\nb.jpg,dog\n"c, d.jpg",cat\n', "utf-8"),
        ("list.csv", 'a.jpg,cat\nb.jpg,dog\n"c, d.jpg",cat', "utf-8"),
        ("list.csv", 'Label;id;Image\r\ncat;1;a.jpg\r\n\r\ndog;2;b.jpg\r\ncat;3;"c, d.jpg"\r\n', "utf-8-sig"),
        ("list.tsv", "filename\tclass\na.jpg\tcat\nb.jpg\tdog\nc, d.jpg\tcat\n", "utf-8"),
    ],
    ids=["heading", "no heading", "semicolon, byte order mark, other order", "tabs"],
)
def test_manifest_reads_paths_and_labels(tmp_path: Path, jpeg: Jpeg, name: str, text: str, encoding: str) -> None:
    source = open_source(manifest(tmp_path, text, jpeg, name, encoding))
    assert source.classes == ("cat", "dog")
    assert names(source) == ["a.jpg", "b.jpg", "c, d.jpg"]
    assert labels(source) == [0, 1, 0]
    assert source.load(2).size == (12, 9)


def test_manifest_has_splits_numbers_and_absolute_paths(tmp_path: Path, jpeg: Jpeg) -> None:
    text = f"a.jpg,2,train\n{tmp_path / 'b.jpg'},0,valid\nc.jpg,,test\n"
    path = manifest(tmp_path, text, jpeg)
    assert list_splits(path) == ("train", "val", "test")
    assert labels(open_source(path)) == [2, 0, None]
    assert open_source(path, "train").classes == ("0", "1", "2")
    assert open_source(path, "val").load(0).size == (12, 9)


def test_manifest_takes_names_from_classes_txt(tmp_path: Path, jpeg: Jpeg) -> None:
    (tmp_path / "classes.txt").write_text("zebra\ncat\ndog\n\n")
    path = manifest(tmp_path, "a.jpg,dog\nb.jpg,zebra\n", jpeg)
    assert open_source(path).classes == ("zebra", "cat", "dog")
    assert labels(open_source(path)) == [2, 0]
    path.write_text("a.jpg,1\nb.jpg,3\n")
    with pytest.raises(SourceError, match=r"b\.jpg has label 3, but .* has 3 classes \(0 to 2\)"):
        open_source(path)
    path.write_text("a.jpg,dog\nb.jpg,wolf\n")
    with pytest.raises(SourceError, match=r"label 'wolf' \(1 such\) is none of the 3 in classes\.txt"):
        open_source(path)
    (tmp_path / "classes.txt").write_text("cat\ncat\n")
    with pytest.raises(SourceError, match=r"classes\.txt needs one different class name a line"):
        open_source(path)


def test_manifest_numbers_are_numbers_and_gaps_are_told(tmp_path: Path, jpeg: Jpeg) -> None:
    path = manifest(tmp_path, "a.jpg,0\nb.jpg,10\nc.jpg,2\n", jpeg)
    source = open_source(path)
    assert (source.classes, labels(source)) == (tuple(map(str, range(11))), [0, 10, 2])
    assert "8 of them have no pictures (1, 3, 4, 5, 6, 7, 8, 9)" in source.note
    path.write_text("a.jpg,0\nb.jpg,1\n")
    assert open_source(path).note == ""
    path.write_text("a.jpg,0\nb.jpg,ten\n")
    assert open_source(path).classes == ("0", "ten")  # one word makes all of them names


@pytest.mark.parametrize("label", ["-1", "1000001", "1e9", "1e999999999", "9" * 5000])
def test_manifest_refuses_numbers_that_are_no_class(tmp_path: Path, jpeg: Jpeg, label: str) -> None:
    path = manifest(tmp_path, f"a.jpg,0\nb.jpg,{label}\nc.jpg,1\n", jpeg)
    with pytest.raises(
        SourceError, match=rf"^b\.jpg has label {label[:40]}, expected a class number from 0 to 1,000,000"
    ):
        open_source(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected lines"),
        ("path,label\n", "lists no pictures"),
        ("path,label\na.jpg\n", "line 2 has 1 columns, expected 2"),
        ("path,label\n,cat\n", "line 2 has no path"),
        ("path,label,split\na.jpg,cat,trian\n", "line 2 has split 'trian', expected train, val or test"),
        ('path,label\n"a.jpg,cat\n', "cannot be read .*; check its quotes"),
    ],
    ids=["empty", "heading only", "short line", "no path", "split", "quote"],
)
def test_manifest_names_the_line_that_is_wrong(tmp_path: Path, jpeg: Jpeg, text: str, message: str) -> None:
    with pytest.raises(SourceError, match=rf"list\.csv .*{message}"):
        open_source(manifest(tmp_path, text, jpeg))


def test_manifest_must_be_utf8(tmp_path: Path, jpeg: Jpeg) -> None:
    with pytest.raises(SourceError, match=r"list\.csv is not UTF-8 text; save it as UTF-8"):
        open_source(manifest(tmp_path, "é.jpg,cat\n", jpeg, encoding="latin1"))


# ---------------------------------------------------------------------------------------------------------------------
# digits, open_images, imports


def test_digits_are_split_for_ever() -> None:
    train, val = open_source("digits", "train"), open_source("digits", "val")
    assert (len(train), len(val), len(open_source("digits"))) == (1433, 364, 1797)
    assert not set(names(train)) & set(names(val))
    assert min(Counter(labels(val)).values()) == 35
    assert train.classes == tuple("0123456789")
    assert names(val)[:3] == ["digits[0]", "digits[1]", "digits[2]"]
    assert (labels(val)[:3], val.raw(0)) == ([0, 1, 2], None)
    image = val.load(0)
    assert (image.size, image.mode) == ((8, 8), "RGB")
    # The first row of the published file: 0,0,5,13,9,1,0,0 of 16.
    assert np.asarray(image)[0, :, 0].tolist() == [round(count * 255 / 16) for count in (0, 0, 5, 13, 9, 1, 0, 0)]
    with pytest.raises(SourceError, match="digits has no test split, it has train, val"):
        open_source("digits", "test")


def test_open_images_takes_files_folders_and_globs_in_order(
    class_tree: Tree, tmp_path: Path, jpeg: Jpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_tree({"cat": 2, "dog": 1})
    (tmp_path / "z.jpg").write_bytes(jpeg())
    (tmp_path / "notes.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    source = open_images(["z.jpg", "set", "set/*/000.jpg", "set/cat/{000,001}.jpg", "notes.txt"])
    found = ["z.jpg", "set/cat/000.jpg", "set/cat/001.jpg", "set/dog/000.jpg", "set/cat/000.jpg", "set/dog/000.jpg"]
    assert names(source) == [*found, "set/cat/000.jpg", "set/cat/001.jpg", "notes.txt"]
    with pytest.raises(BadImage, match=r"^notes\.txt: text, not a picture"):
        source.load(8)
    mixed = open_images(["z.jpg", "digits", "set/dog"])
    assert (len(mixed), names(mixed)[-1], mixed.target(5)) == (1799, "set/dog/000.jpg", None)
    with pytest.raises(SourceError, match=r"gone\.jpg: there is no such file"):
        open_images(["z.jpg", "gone.jpg"])
    with pytest.raises(SourceError, match=r"set/\*\.png: no file has such a name"):
        open_images(["set/*.png"])
    with pytest.raises(SourceError, match="no pictures were named"):
        open_images([])


def test_package_imports_nothing_heavy() -> None:
    code = "import sys, volovan.data; print([m for m in ('PIL', 'numpy', 'torch', 'datasets') if m in sys.modules])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"
    code = "import sys; from volovan.data import open_source, open_images, decode, run_check; open_source('digits')\n"
    code += "print([m for m in ('torch', 'datasets', 'scipy', 'sklearn', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("counts", [{"a": 4, "b": 5}, {"a": 14, "b": 15, "c": 24, "d": 25}, {"a": 2, "b": 3, "c": 60}])
def test_hold_out_is_a_tenth_of_each_class_rounded(class_tree: Tree, counts: dict[str, int]) -> None:
    root = class_tree(counts)
    held = Counter(labels(open_source(root, "val")))
    kept = Counter(labels(open_source(root, "train")))
    for number, count in enumerate(counts.values()):
        assert held[number] == max(1, int(count / 10 + 0.5))
        assert kept[number] == count - held[number] >= 1


def test_nothing_is_held_out_of_data_beside_others(class_tree: Tree, tmp_path: Path, monkeypatch) -> None:
    root = class_tree({"cat": 20, "dog": 20})
    other = tmp_path / "others"
    shutil.copytree(root, other)
    for split, beside in (("val", root), ("train", root), ("val", "")):
        found = open_source(other, split, beside=beside)
        assert (len(found), found.note) == (40, "")
    monkeypatch.chdir(other)
    assert len(open_source(".", "val", beside="")) == 40
    for same in (other, f"{other}/", str(other), "."):  # the same folder, however it is written
        assert len(open_source(other, "val", beside=same)) == 4
        assert len(open_source(other, "train", beside=same)) == 36
