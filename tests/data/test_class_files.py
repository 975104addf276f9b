"""Files that name classes: every form that people write, and what is no class."""

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from volovan.data import check_data
from volovan.data.checks.recognise import recognise
from volovan.data.errors import BadImage, SourceError
from volovan.data.masks.coding import IGNORE, MaskSource
from volovan.data.published.ade20k import CODING
from volovan.data.sources import open_source

Lay = Callable[..., None]
SIZE = (12, 9)
open_masks = partial(open_source, kind="mask")


def values_of(*values: int) -> np.ndarray:
    """A mask that holds these values, and only these."""
    return np.resize(np.array(values, np.uint8), SIZE[::-1])


def held(source: MaskSource) -> list[tuple[str, list[int]]]:
    """[(name, values of the mask)], read from a copy as a loader process has it."""
    copy = pickle.loads(pickle.dumps(source))
    assert len(copy.palette) == len(copy.classes)
    return [(copy.name(index), np.unique(copy.target(index)).tolist()) for index in range(len(copy))]


@pytest.mark.parametrize(
    ("file", "text", "values", "classes", "found"),
    [
        ("classes.txt", "sky\nroad\n\n", (0, 1, 255), ("sky", "road"), [0, 1, IGNORE]),
        ("classes.txt", "0 sky\n7 road\n9 void\n", (0, 7, 9), ("sky", "road"), [0, 1, IGNORE]),
        ("classes.txt", "\ufeff0: sky\n1: a road (ignore)\n", (0, 1), ("sky",), [0, IGNORE]),
        ("classes.csv", "id,name\n3,sky\n300,road\n", (3, 255), ("sky", "road"), [0, IGNORE]),
        ("classes.csv", "name;id;r;g;b\nsky;5;1;2;3\nroad;6;4;5;6\n", (5, 6), ("sky", "road"), [0, 1]),
        ("classes.txt", "unlabelled\nsky\nbox\n", (0, 1, 2), ("sky", "box"), [0, 1, IGNORE]),
        ("classes.txt", "id name\n0 sky\n1 road\n", (0, 1), ("sky", "road"), [0, 1]),
        ("classes.txt", "# name, id\nsky, 7\nlane 1, 3\n", (3, 7), ("sky", "lane 1"), [0, 1]),
        ("classes.txt", "# of ours\nsky\n# and\n2 wheeler\nroad\n", (0, 2), ("sky", "2 wheeler", "road"), [0, 2]),
        ("labels.txt", "__ignore__\n_background_\ncat\n", (0, 1, 255), ("_background_", "cat"), [0, 1, IGNORE]),
        ("classes.txt", "sky\nroad\nroad\n", (0, 1, 2), ("sky", "road"), [0, 1]),
        ("classes.csv", "id,name\n0,sky\n1,road\n5,sky\n", (1, 5), ("sky", "road"), [0, 1]),
        ("classes.csv", "label,name\n4,sky\n2,road\n", (2, 4), ("sky", "road"), [0, 1]),
        ("classes.csv", "4,sky\n2,road\n", (2, 4), ("sky", "road"), [0, 1]),
        ("_classes.csv", "Pixel Value, Class\n0, sky\n3, road\n", (0, 3), ("sky", "road"), [0, 1]),
        ("data.yaml", "nc: 2\nnames: [sky, road]\n", (0, 1), ("sky", "road"), [0, 1]),
        ("dataset.yaml", "names:\n  0: sky\n  4: road\n", (0, 4), ("sky", "road"), [0, 1]),
        ("classes.json", '["sky", "road"]', (0, 1), ("sky", "road"), [0, 1]),
        ("id2label.json", '{"0": "sky", "9": "road"}', (0, 9), ("sky", "road"), [0, 1]),
        ("classes.json", '{"sky": 3, "road": 9}', (3, 9), ("sky", "road"), [0, 1]),
        ("classes.txt", "names\nsky\nroad\n", (0, 1), ("sky", "road"), [0, 1]),
    ],
)
def test_class_files_name_ids(
    tmp_path: Path, lay: Lay, file: str, text: str, values: tuple[int, ...], classes: tuple[str, ...], found: list[int]
) -> None:
    lay("images/a.jpg", "masks/a.png", *values)
    (tmp_path / file).write_text(text, encoding="utf-8")
    source = open_masks(tmp_path)
    assert source.classes == classes
    assert held(source) == [("images/a.jpg", found)]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:250,50,83::\n"),
        ("label_colors.txt", "0 0 0 background\n250 50 83\tcar\n"),
        ("classes.txt", "background 0 0 0\ncar 250 50 83\n"),
        ("classes.txt", "name, red, green, blue\nbackground, 0, 0, 0\ncar, 250, 50, 83\n"),
        ("classes.txt", "0 background 0 0 0\n1 car 250 50 83\n"),
        ("classes.txt", "7 0 0 0 background\n9 250 50 83 car\n"),
        ("classes.csv", "name, R, G, B\nbackground,0,0,0\ncar,250,50,83\n"),
    ],
    ids=["cvat", "camvid-like", "name-first", "heading", "id-name-colour", "id-colour-name", "csv"],
)
def test_class_files_name_colours(tmp_path: Path, lay: Lay, file: str, text: str) -> None:
    lay("images/a.jpg", "masks/a.png", 0)
    pixels = np.zeros((*SIZE[::-1], 3), np.uint8)
    pixels[3] = 250, 50, 83
    Image.fromarray(pixels).save(tmp_path / "masks" / "a.png")
    (tmp_path / file).write_text(text)
    source = open_masks(tmp_path)
    assert source.classes == ("background", "car")
    assert source.palette == ((0, 0, 0), (250, 50, 83))
    assert source.target(0).sum() == SIZE[0]
    pixels[0, 0] = 1, 1, 1
    Image.fromarray(pixels).save(tmp_path / "masks" / "a.png")
    with pytest.raises(BadImage, match=rf"^masks/a\.png: colour \(1, 1, 1\) at row 0, column 0.*{file}$"):
        source.target(0)


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("classes.txt", "", "names no classes"),
        ("classes.txt", "0 sky\nroad\n2 car\n", "line 2 is 'road', where other lines are ID NAME; write it so too"),
        ("classes.txt", "id name r g b\n0 sky 1 2 3\n1 road\n", "line 3 is '1 road', where the heading says ID NAME R"),
        ("classes.csv", "nom,valeur\nsky,1\n", "has the columns nom, valeur, expected name"),
        ("classes.yaml", "names: {sky: blue}\n", "entry 1 is sky: 'blue', expected ID: NAME, such as 0: sky"),
        ("classes.yaml", "names: [sky\n", "is no valid YAML"),
        ("classes.json", '["sky", ["road"]]', r"has \"\['road'\]\" as the name of a class, expected text"),
        ("classes.txt", "1 sky\n1 road\n", "line 2 has the id 1 of line 1 again"),
        ("classes.csv", "name,r,g,b\nsky,1,2,3\nroad,1,2,3\n", r"line 3 has the colour \(1, 2, 3\) of line 2 again"),
        ("classes.txt", "0 99999 sky\n70000 x\n", "line 2 has an id above 65535"),
        ("classes.csv", "name,r,g\nsky,1,2\n", "has the columns name, r, g, expected name, and id or r,g,b"),
        ("classes.csv", "name,r,g,b\nsky,1,2,x\n", "line 2 has 'x' as b"),
        ("classes.csv", "name,r,g,b\nsky,1,2,256\n", "line 2 has an id above 65535 or a colour above 255"),
        ("labelmap.txt", "sky:1,2\n", r"line 1 is 'sky:1,2', expected NAME:R,G,B::"),
        ("classes.txt", "\n".join(f"c{number}" for number in range(300)), "has 300 classes, expected 1 to 254"),
    ],
)
def test_class_files_that_cannot_be_meant_are_refused(
    tmp_path: Path, lay: Lay, file: str, text: str, sentence: str
) -> None:
    lay("images/a.jpg", "masks/a.png", 0)
    (tmp_path / file).write_text(text)
    with pytest.raises(SourceError, match=sentence) as caught:
        open_masks(tmp_path)
    assert file in str(caught.value)


def test_classes_of_one_colour_are_told_apart_by_ids(tmp_path: Path, lay: Lay) -> None:
    """ADE20K gives (140, 140, 140) to road and to skyscraper."""
    road, skyscraper = (CODING.classes.index(name) for name in ("road", "skyscraper"))
    assert CODING.palette[road] == CODING.palette[skyscraper] == (140, 140, 140)
    rows = [
        f"{number},{name},{','.join(map(str, colour))}"
        for number, (name, colour) in enumerate(zip(CODING.classes, CODING.palette, strict=True))
    ]
    (tmp_path / "classes.csv").write_text("\n".join(["id,name,r,g,b", *rows]))
    lay("images/a.jpg", "masks/a.png", 0)
    image = Image.fromarray(values_of(0, road, skyscraper, 149))
    image.putpalette([channel for colour in CODING.palette for channel in colour])
    image.save(tmp_path / "masks" / "a.png")
    source = open_masks(tmp_path)
    assert (source.classes, source.palette) == (CODING.classes, CODING.palette)
    assert held(source) == [("images/a.jpg", [0, road, skyscraper, 149])]
    coloured = Image.fromarray(values_of(0, 149))  # as colours alone it can be read where no such class is
    coloured.putpalette([channel for colour in CODING.palette for channel in colour])
    coloured.convert("RGB").save(tmp_path / "masks" / "a.png")
    assert held(source) == [("images/a.jpg", [0, 149])]
    image.convert("RGB").save(tmp_path / "masks" / "a.png")
    sentence = (
        r"a\.png: colour \(140, 140, 140\) at row 0, column 1, which classes\.csv gives to road and to skyscraper"
    )
    with pytest.raises(BadImage, match=sentence):
        source.target(0)


def test_what_a_class_file_merges_heads_and_leaves_out_is_said(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "masks/a.png", 0, 1, 2, 4)
    (tmp_path / "classes.txt").write_text("id name\n0 sky\n1 road\n2 road\n4 void\n")
    (tmp_path / "labels.txt").write_text("something\nelse\n")
    assert open_masks(tmp_path).note == (
        "Line 1 of classes.txt (id name) is a heading. classes.txt names road (2 times): each name is one class. The "
        "classes are those of classes.txt; labels.txt beside it is not read. Pixels with id 4 are ignored, as "
        "classes.txt says."
    )


def test_two_colours_may_be_one_class(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "masks/a.png", 0)
    pixels = np.zeros((*SIZE[::-1], 3), np.uint8)
    pixels[0], pixels[1] = (1, 2, 3), (4, 5, 6)
    Image.fromarray(pixels).save(tmp_path / "masks" / "a.png")
    (tmp_path / "classes.csv").write_text("name,r,g,b\nsky,0,0,0\ncar,1,2,3\ncar,4,5,6\n")
    source = open_masks(tmp_path)
    assert (source.classes, source.palette) == (("sky", "car"), ((0, 0, 0), (1, 2, 3)))
    assert source.target(0).sum() == 2 * SIZE[0]


@pytest.mark.parametrize("folder", ["masks", "masks/train", "masks/train/deeper"])
def test_a_class_file_may_lie_with_the_masks(tmp_path: Path, lay: Lay, folder: str) -> None:
    lay("images/train/deeper/a.jpg", "masks/train/deeper/a.png", 0, 1)
    lay("images/val/b.jpg", "masks/val/b.png", 1)
    (tmp_path / folder / "classes.txt").write_text("sky\nroad\n")
    assert open_masks(tmp_path, "train").classes == open_masks(tmp_path, "val").classes == ("sky", "road")
    assert check_data(str(tmp_path), "mask").classes == ("sky", "road")


def test_class_files_of_splits_must_agree(tmp_path: Path, lay: Lay) -> None:
    for split in ("train", "val"):
        lay(f"{split}/images/a.jpg", f"{split}/masks/a.png", 0, 1)
        (tmp_path / split / "_classes.csv").write_text("Pixel Value, Class\n0, sky\n1, road\n")
    assert open_masks(tmp_path, "train").classes == ("sky", "road")
    (tmp_path / "val" / "_classes.csv").write_text("Pixel Value, Class\n0, road\n1, sky\n")
    with pytest.raises(SourceError, match=r"name different classes; put one that holds for all masks into") as caught:
        open_masks(tmp_path, "train")
    assert "train/_classes.csv and " in str(caught.value)
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    assert open_masks(tmp_path, "train").classes == ("sky", "road")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ant\nbee\n", ("ant", "bee")),
        ("1 bee\n0 ant\n", ("ant", "bee")),
        ("index,class\n0,ant\n1,bee\n", ("ant", "bee")),
        ("class\nant\nbee\n", ("ant", "bee")),
        ("label\nlogo\n", ("label", "logo")),
        ("3 musketeers\n5 star\n", ("3 musketeers", "5 star")),
        ("3 musketeers\nmars\n", ("3 musketeers", "mars")),
    ],
)
def test_class_files_of_labels_are_read_alike(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    (tmp_path / "classes.txt").write_text(text)
    (tmp_path / "list.csv").write_text("path,label\na.jpg,0\nb.jpg,1\n")
    assert open_source(tmp_path / "list.csv").classes == names


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("id name\n1 ant\n2 bee\n", r"has the numbers 1, 2 \.\.\., expected 0 to 1"),
        ("id name\n0 ant\nbee\n", "line 3 is 'bee', where the heading says ID NAME; write it so too"),
    ],
)
def test_class_files_of_labels_with_a_heading_keep_to_it(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    (tmp_path / "list.csv").write_text("path,label\na.jpg,0\nb.jpg,1\n")
    with pytest.raises(SourceError, match=sentence):
        open_source(tmp_path / "list.csv")


def test_a_class_file_of_something_else_hides_no_class_folders(tmp_path: Path, class_tree: Callable[..., Path]) -> None:
    root = class_tree({"cat": 2, "dog": 2})
    (root / "labels.txt").write_text("id name\n0 cat\ndog\n")
    (root / "classes.json").write_text('{"cat": {"count": 2}}')
    assert recognise(str(root)) == ("class", "")


def test_yaml_without_names_is_no_class_file(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "masks/a.png", 0, 1)
    (tmp_path / "data.yaml").write_text("train: images/train\n")
    assert open_masks(tmp_path).classes == ("class 0", "class 1")


def test_a_yaml_of_a_few_lines_that_says_a_billion_names_is_refused_at_once(tmp_path: Path, lay: Lay) -> None:
    lay("images/a.jpg", "masks/a.png", 0)
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{one}: &{one} [{', '.join([f'*{before}'] * 9)}]" for before, one in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    (tmp_path / "data.yaml").write_text("\n".join([*lines, "names: *i"]))
    with pytest.raises(SourceError, match="as the name of a class, expected text") as caught:
        open_masks(tmp_path)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))
