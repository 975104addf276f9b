"""A hold-out is what it says, whatever reads the data: a tenth of each class, rounded, never all of it, and always the
same."""

import io
import math
import random
import re
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from volovan.data import check_data, open_source
from volovan.data.source import Source

Written = tuple[Path, str]
"""(what to open, kind of its targets)"""


def picture(value: int = 0) -> bytes:
    content = io.BytesIO()
    Image.new("L", (2, 2), value).save(content, "png")
    return content.getvalue()


def classes_of(draw: random.Random) -> dict[str, list[str]]:
    """{class: names of its pictures}, of any size from one on."""
    sizes = [draw.choice([1, 2, 4, 5, 14, 15, 25, 40, 95]) for _ in range(draw.randint(1, 4))]
    return {
        f"class {number}": [f"{draw.getrandbits(40):x}.png" for _ in range(size)] for number, size in enumerate(sizes)
    }


def folders(draw: random.Random, root: Path, classes: dict[str, list[str]]) -> Written:
    for name, files in classes.items():
        (root / name).mkdir()
        for file in draw.sample(files, len(files)):
            (root / name / file).write_bytes(picture())
    return root, "class"


def a_list(draw: random.Random, root: Path, classes: dict[str, list[str]]) -> Written:
    folders(draw, root, classes)
    rows = [f"{name}/{file},{name}" for name, files in classes.items() for file in files]
    (root / "list.csv").write_text("\n".join(["path,label", *draw.sample(rows, len(rows))]))
    return root / "list.csv", "class"


def columns(draw: random.Random, root: Path, classes: dict[str, list[str]]) -> Written:
    """A column of 0 and 1 for each class; where all rows have one class, they are classes as well."""
    folders(draw, root, classes)
    rows = [
        ",".join([f"{name}/{file}", *(str(int(name == other)) for other in classes)])
        for name, files in classes.items()
        for file in files
    ]
    (root / "list.csv").write_text("\n".join([",".join(["path", *classes]), *draw.sample(rows, len(rows))]))
    return root / "list.csv", "class" if len(classes) > 1 else "labels"


def shards(draw: random.Random, root: Path, classes: dict[str, list[str]]) -> Written:
    with tarfile.open(root / "data.tar", "w") as tar:
        for name, file in draw.sample(
            [(name, file) for name, files in classes.items() for file in files], sum(map(len, classes.values()))
        ):
            for suffix, content in ((".png", picture()), (".cls", name.encode())):
                member = tarfile.TarInfo(file.removesuffix(".png") + suffix)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return root / "data.tar", "class"


def numbers(draw: random.Random, root: Path, classes: dict[str, list[str]]) -> Written:
    folders(draw, root, classes)
    rows = [f"{name}/{file},{draw.random()}" for name, files in classes.items() for file in files]
    (root / "list.csv").write_text("\n".join(["path,value", *rows]))
    return root / "list.csv", "numbers"


def masks(draw: random.Random, root: Path, classes: dict[str, list[str]]) -> Written:
    files = [file for files in classes.values() for file in files]
    for folder in ("images", "masks"):
        (root / folder).mkdir()
        for place, file in enumerate(draw.sample(files, len(files))):
            (root / folder / file).write_bytes(picture(255 * (place % 2)))
    return root, "mask"


def maps(draw: random.Random, root: Path, classes: dict[str, list[str]]) -> Written:
    return masks(draw, root, classes)[0], "map"


def table_of_masks(draw: random.Random, root: Path, classes: dict[str, list[str]]) -> Written:
    masks(draw, root, classes)
    rows = [f"images/{file},masks/{file}" for files in classes.values() for file in files]
    (root / "masks.csv").write_text("\n".join(["image,mask", *draw.sample(rows, len(rows))]))
    return root / "masks.csv", draw.choice(["mask", "map"])


def outlines(draw: random.Random, root: Path, classes: dict[str, list[str]]) -> Written:
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for files in classes.values():
        for file in draw.sample(files, len(files)):
            (root / "images" / file).write_bytes(picture())
            (root / "labels" / file).with_suffix(".txt").write_text("0 0 0 1 0 1 1\n")
    (root / "data.yaml").write_text("names: [cat]\n")
    return root, "mask"


def held(source: Source) -> set[str]:
    return {source.name(index) for index in range(len(source))}


def a_tenth(count: int) -> int:
    """Rounded, halves up; of two or more at least one, and one is left."""
    return min(max(1, math.floor(count / 10 + 0.5)), count - 1)


READERS = [folders, a_list, columns, shards, numbers, masks, maps, table_of_masks, outlines]


@pytest.mark.parametrize("write", READERS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("seed", range(6))
def test_a_tenth_of_each_class_is_held_out(tmp_path: Path, write: Callable[..., Written], seed: int) -> None:
    draw = random.Random(seed)
    classes = classes_of(draw)
    places = [tmp_path / str(time) for time in range(2)]  # the same data twice, written in another order
    for place in places:
        place.mkdir()
    spec, kind = write(draw, places[0], classes)
    again, _ = write(draw, places[1], classes)
    train, val = (open_source(spec, split, kind=kind) for split in ("train", "val"))
    assert not held(train) & held(val)
    assert len(held(train) | held(val)) == sum(map(len, classes.values()))
    assert held(val) == held(open_source(again, "val", kind=kind))
    if kind == "class":
        counts = Counter(val.classes[val.target(index)] for index in range(len(val)))
        assert counts == Counter({name: a_tenth(len(files)) for name, files in classes.items()})
    else:
        assert len(val) == a_tenth(sum(map(len, classes.values())))
    looked = check_data(str(spec), kind).splits
    assert {split: found.samples for split, found in looked.items()} == {"train": len(train), "val": len(val)}
    said = re.search(r"No splits found: ([\d,]+) of ([\d,]+) samples", val.note)
    assert said is not None
    assert [int(text.replace(",", "")) for text in said.groups()] == [len(val), len(train) + len(val)]
    assert np.array_equal(open_source(spec, "val", kind=kind).target(0), val.target(0)) if len(val) else True
