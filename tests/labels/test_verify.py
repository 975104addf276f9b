"""verify names what is missing, damaged or odd, and is silent about what is whole."""

import shutil

import numpy as np
import pytest
import torch

from volovan.data.samples import ArraySource, FileSource
from volovan.labels import LabelError, compact, published
from volovan.labels.about import read_about, write_whole
from volovan.labels.store import open_labels
from volovan.labels.verify import problem, verify

LAYOUTS = ("published", "compact")


def problems(folder, source=None, workers=0):
    return list(verify(folder, source, workers))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_whole_maps_have_no_problems(tmp_path, make_maps, write_maps, layout, workers):
    maps = make_maps()
    write_maps(tmp_path, maps, layout)
    source = FileSource(tmp_path, [f"train/{key}.JPEG" for key in maps])
    assert problems(tmp_path, source, workers) == []


HARM = {
    "range": (lambda one: one[1].__setitem__((0, 2, 3), 1000), "has class index 1000, but there are 1,000 classes"),
    "nan": (lambda one: one[0].__setitem__((0, 2, 3), torch.nan), "holds values that are no finite numbers"),
    "inf": (lambda one: one[0].__setitem__((0, 2, 3), torch.inf), "holds values that are no finite numbers"),
    "order": (lambda one: one[0].__setitem__((4, 2, 3), 90), "has logits that are not in descending order"),
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_odd_values_are_named(tmp_path, make_maps, write_maps, layout, harm):
    maps = make_maps()
    key = list(maps)[13]
    spoil, said = HARM[harm]
    spoil(maps[key])
    store = write_maps(tmp_path, maps, layout)
    (line,) = problems(tmp_path)
    assert line.startswith(f"{store.file(key)}: label map '{key}' {said}")


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [((1, 0, 1, 1), -1, "not whole numbers"), ((1, 0, 1, 1), 2.5, "not whole numbers")],
    ids=["negative", "fraction"],
)
def test_class_indices_must_be_whole_numbers(make_maps, place, value, said):
    one = next(iter(make_maps(count=1).values()))
    assert problem(one, 5, 1000) == problem(one, 5, None) == ""
    one[place] = value
    assert said in problem(one, 5, None)
    assert problem(one, 4, None) == "has 5 classes at each position, expected 4"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_grid_unlike_the_others_is_named(tmp_path, make_maps, write_maps, layout):
    maps = make_maps()
    key = list(maps)[3]
    maps[key] = maps[key][..., :5].contiguous()
    store = write_maps(tmp_path / "centre", maps, layout)
    assert problems(tmp_path / "centre") == [
        f"{store.file(key)}: label map {key!r} has 6 x 5 positions, most others have 6 x 6"
    ]
    write_maps(tmp_path / "image", maps, layout, coverage="image")
    assert problems(tmp_path / "image") == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_without_a_map_are_named(tmp_path, make_maps, write_maps, layout):
    maps = make_maps()
    store = write_maps(tmp_path, maps, layout)
    source = FileSource(tmp_path, [*(f"{key}.JPEG" for key in maps), "val/dog/x.jpg"])
    assert problems(tmp_path, source) == [f"{store.file('dog/x')}: there is no label map of val/dog/x.jpg"]


def test_a_published_folder_is_checked_against_the_classes_of_its_source(tmp_path, make_maps, write_maps):
    """Published files do not say how many classes there are."""
    maps = make_maps(count=3, classes=10)
    key = list(maps)[1]
    maps[key][1, 0, 0, 0] = 10
    write_maps(tmp_path, maps, "published")
    (tmp_path / "labels.json").unlink()
    assert problems(tmp_path) == []
    images = np.zeros((1, 8, 8), np.uint8)
    source = ArraySource("digits", images, np.zeros(1), [str(digit) for digit in range(10)])
    lines = problems(tmp_path, source)
    assert any(f"label map '{key}' has class index 10, but there are 10 classes (0 to 9)" in line for line in lines)


def test_damaged_published_files_are_named(tmp_path, make_maps, write_maps):
    maps = make_maps()
    write_maps(tmp_path, maps, "published")
    keys = list(maps)
    first, second, third = (tmp_path / f"{keys[number]}.pt" for number in (0, 7, 20))
    first.write_bytes(first.read_bytes()[:900])
    second.write_bytes(b"")
    third.write_bytes(published.serialise(torch.zeros(3)))
    lines = problems(tmp_path)
    assert len(lines) == 3
    assert all(any(str(path) in line for line in lines) for path in (first, second, third))


def test_damaged_shards_are_named_with_the_maps_in_them(tmp_path, make_maps, write_maps):
    maps = make_maps()
    write_maps(tmp_path, maps, "compact")
    shard = tmp_path / "shard-00001.safetensors"
    key = list(maps)[30]
    content = bytearray(shard.read_bytes())
    content[content.index(maps[key][0].numpy().tobytes()) + 5] ^= 1
    shard.write_bytes(content)
    lines = problems(tmp_path)
    remedy = "remove the file and call volovan label again, which makes it anew"
    assert lines[0] == f"{shard} is damaged: its SHA-256 is not the one in labels.json; {remedy}"
    assert lines[1:] == [f"{shard}: label map {key!r} is damaged: its checksum does not fit; {remedy}"]
    shard.unlink()
    lines = problems(tmp_path)
    assert lines[0] == f"{shard}: 20 label maps cannot be read (No such file or directory)"
    assert len(lines) == 21


def test_a_flipped_byte_of_the_index_is_named_wherever_it_is(tmp_path, make_maps, write_maps):
    """Reading gives the true map or a LabelError that names a file, never another error."""
    maps = make_maps(count=3)
    write_maps(tmp_path, maps, "compact", shards=1)
    path = tmp_path / compact.INDEX
    content = path.read_bytes()
    said = []
    for place in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[place] ^= 0xFF if place % 2 else 0x01
        path.write_bytes(flipped)
        for key, one in maps.items():
            try:
                assert torch.equal(open_labels(tmp_path).read(key), one)
            except LabelError as error:
                said.append(str(error))
        if place % 60 == 0:
            said += problems(tmp_path)
    assert len(said) > 300
    assert all(line.startswith(str(tmp_path)) for line in said)
    assert f"{path} is damaged: its SHA-256 is not the one in labels.json" in "".join(said)


def test_a_shard_of_another_folder_is_noticed(tmp_path, make_maps, write_maps):
    write_maps(tmp_path / "a", make_maps(), "compact")
    write_maps(tmp_path / "b", make_maps(classes=50), "compact")
    shutil.copy(tmp_path / "b/shard-00000.safetensors", tmp_path / "a/shard-00000.safetensors")
    lines = problems(tmp_path / "a")
    assert "is damaged: its SHA-256" in lines[0]
    assert len(lines) == 21


def test_what_cannot_be_opened_is_the_only_problem(tmp_path):
    (line,) = problems(tmp_path / "none")
    assert "there is no such folder" in line
    write_whole(tmp_path, compact.INDEX, b"")
    assert read_about(tmp_path) is None
    (line,) = problems(tmp_path)
    assert "holds no label maps" in line
