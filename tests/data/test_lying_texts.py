"""Labels of YOLO, and a data.yaml, that lie: one sentence each, with file and place."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.support.annotating import picture, write
from tests.support.opened import opened_files

from volovan.data.errors import BadImage, SourceError
from volovan.data.sources import open_source

open_boxes = partial(open_source, kind="boxes")
LINE = "0 0.5 0.5 0.25 0.25"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a picture and its labels, beside another one, which must not be opened."""
    picture(tmp_path / "outside/images/a.png")
    write(tmp_path / "outside/labels/a.txt", LINE)
    picture(tmp_path / "set/images/a.png")
    write(tmp_path / "set/labels/a.txt", LINE)
    write(tmp_path / "set/classes.txt", "cat\ndog")
    with opened_files() as opened:
        yield tmp_path / "set"
    assert opened
    assert not [path for path in opened if str(tmp_path / "outside") in path]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("0 0.5 0.5 0.1 0.1 0.93", "line 1 has 5 numbers after the class, a box and a confidence, as predictions have"),
        ("0 0.5 0.5 0.1", "line 1 has 3 numbers after the class; expected 4 of a box"),
        ("0", "line 1 has 0 numbers after the class; expected 4 of a box"),
        ("0.5 0.5 0.5 0.1 0.1", r"line 1 is '0\.5 0\.5 0\.5 0\.1 0\.1', expected CLASS X Y WIDTH HEIGHT or"),
        ("cat 0.5 0.5 0.1 0.1", r"line 1 is 'cat 0\.5"),
        ("nan 0.5 0.5 0.1 0.1", r"line 1 is 'nan 0\.5"),
        ("inf 0.5 0.5 0.1 0.1", r"line 1 is 'inf 0\.5"),
        ("0,0.5,0.5,0.1,0.1", r"line 1 is '0,0\.5"),
        ("0 0,5 0,5 0,1 0,1", "line 1 is '0 0,5"),
        ("\x00\x01\x02", r"line 1 is '\\x00\\x01\\x02', expected"),
        ("0 " + "0.5 " * 100_001, r"line 1 has 100001 numbers"),
        ("0 0.5 0.5 1e999 0.1", "line 1 has inf, expected 0 to 1 of width or height"),
        ("0 0.5 0.5 -0.1 0.1", r"line 1 has -0\.1, expected 0 to 1"),
        ("0 6 4 3 2", "line 1 has 6, expected 0 to 1"),
        ("0 0.5 0.5 nan 0.1", "line 1 has nan, expected 0 to 1"),
        ("0 0 0 1 0 32 1", "line 1 has 32, expected 0 to 1"),
        ("7 0.5 0.5 0.1 0.1", "line 1 has class 7, expected 0 to 1; mend the file or name the class"),
        ("-1 0.5 0.5 0.1 0.1", "line 1 has class -1, expected 0 to 1; mend"),
        ("1e300 0.5 0.5 0.1 0.1", "line 1 has class 1000.* expected 0 to 1; mend"),
        (LINE + "\n0 0 0 1 0 1", "line 2 has 5 numbers after the class"),
        ("<object>\n", "line 1 is '<object>', expected CLASS"),
    ],
)
def test_wrong_lines_are_named(folder: Path, line: str, why: str) -> None:
    write(folder / "labels/a.txt", line)
    source = open_boxes(folder)
    with pytest.raises(BadImage, match=rf"^labels/a\.txt: {why}") as caught:
        source.target(0)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", [LINE.encode("utf-16"), b"\xff\xfe\x00", "0 0.5 ½".encode("latin-1")])
def test_labels_that_are_no_text_are_named(folder: Path, content: bytes) -> None:
    (folder / "labels/a.txt").write_bytes(content)
    with pytest.raises(BadImage, match=r"^labels/a\.txt: .*a\.txt is not UTF-8 text; save it as UTF-8"):
        open_boxes(folder).target(0)


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("\ufeff" + LINE, 1),
        (LINE.replace(" ", "\t") + "\r\n" + LINE, 2),
        (f"  {LINE}  \n\n\n", 1),
        ("0.0 5e-1 .5 0.25 0.25", 1),
        ("", 0),
        ("0 0.5 0.5 0 0", 1),
        ("0 0.5 0.5 1.000001 1.000001", 1),
    ],
)
def test_lines_that_are_odd_but_right_are_read(folder: Path, text: str, boxes: int) -> None:
    (folder / "labels/a.txt").write_text(text, newline="")
    assert len(open_boxes(folder).target(0)) == boxes


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("train: images\nnames: [cat", "data.yaml is no valid YAML"),
        ("train: images\nnames: [[cat]]", r"data\.yaml has .* as the name of a class, expected text"),
        ("train: images\nnames: 3", r"data\.yaml names no classes"),
        ("train: images\nnames: {cat: dog}", r"data\.yaml entry 1 is cat: 'dog', expected ID: NAME"),
        ("train: images\nnames: {0: cat, 0.5: dog}", r"data\.yaml entry 2 is 0.5: 'dog', expected ID: NAME"),
        ("train: images\nnames: [cat]\nnc: 80", "says nc: 80, but names 1 classes; mend either of them"),
        ("train: images\nnames: [cat]\nnc: many", "says nc: 'many', but names 1 classes"),
        ("train: images\nnames: " + "[" * 5000, "data.yaml is no valid YAML"),
        ("train: images\nborn: 2026-99-99\nnames: [cat]", "data.yaml is no valid YAML"),
        ("train: 3\nnames: [cat]", r"says where pictures are \(train: 3\), but no such folder or list"),
        ("train: {a: b}\nnames: [cat]", r"says where pictures are \(train: {'a': 'b'}\), but no such folder"),
        ("train: ''\nnames: [cat]", r"says where pictures are \(nowhere\), but no such folder"),
        ("train: gone\nnames: [cat]", r"says where pictures are \(train: 'gone'\), but no such folder"),
        ("train: list.csv\nnames: [cat]", "but no such folder or list with labels"),
        (
            "train: list.txt\nnames: [cat]",
            r"^\.\./outside/b\.png is not there, which list\.txt lists in line 1; add",
        ),
        ("path: .", "is no source of pictures with objects"),
        ("- cat", "is no source of pictures with objects"),
        ("", "is no source of pictures with objects"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\ntrain: images\nnames: *c", "as the name of a class, expected"),
    ],
)
def test_a_data_yaml_that_lies_is_named(folder: Path, content: str, why: str) -> None:
    (folder / "classes.txt").unlink()
    write(folder / "list.txt", "../outside/b.png")
    write(folder / "list.csv", "images/a.png")
    path = write(folder / "data.yaml", content)
    with pytest.raises(SourceError, match=why) as caught:
        open_boxes(path)
    assert str(caught.value).isprintable()


def test_a_class_that_nobody_has_named_is_no_million(folder: Path) -> None:
    (folder / "classes.txt").unlink()
    write(folder / "labels/a.txt", f"{LINE}\n1e12 0.5 0.5 0.1 0.1")
    with pytest.raises(SourceError, match=r"a\.txt line 2 has class 1000000000000; name the classes in a data\.yaml"):
        open_boxes(folder)
