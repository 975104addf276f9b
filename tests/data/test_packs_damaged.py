"""A pack that was damaged since it was written is refused in one sentence that names the file."""

import json

import numpy as np
import pytest

import volovan
from volovan.data import open_source
from volovan.data.errors import BadImage, SourceError
from volovan.files.whole import UnwritableError


@pytest.fixture
def packed(tmp_path):
    volovan.pack("shapes:6@64x64", tmp_path / "pack", task="detect", workers=0)
    return tmp_path / "pack"


def changed(packed, **more):
    path = packed / "pack.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def cut(path, count=700):
    path.write_bytes(path.read_bytes()[:-count])


def overwritten(packed):
    """The objects of the first sample, without a change of the size."""
    with np.load(packed / "train.npz") as index:
        place = int(index["offsets"][0, 1])
    with open(packed / "train-000000.tar", "r+b") as file:
        file.seek(place)
        file.write(b"}{")


DAMAGE = {
    "shard cut": (lambda packed: cut(packed / "train-000000.tar"), "has"),
    "shard gone": (lambda packed: (packed / "train-000000.tar").unlink(), "is missing"),
    "table gone": (lambda packed: (packed / "train.npz").unlink(), "train.npz"),
    "table cut": (lambda packed: cut(packed / "train.npz"), "train.npz"),
    "pack.json cut": (lambda packed: cut(packed / "pack.json", 40), "pack.json"),
    "pack.json a list": (lambda packed: (packed / "pack.json").write_text("[]"), "pack.json"),
    "another version": (lambda packed: changed(packed, volovan_pack=2), "version"),
    "unknown kind": (lambda packed: changed(packed, kind="smells"), "damaged"),
    "no splits": (lambda packed: changed(packed, splits=3), "damaged"),
    "a path": (lambda packed: changed(packed, splits={"../x": {"shards": [], "pictures": 0}}), "damaged"),
    "a shard's path": (lambda packed: changed(packed, splits={"train": {"shards": [["/etc/passwd", 1]]}}), "damaged"),
    "another kind": (lambda packed: None, "packed with targets of the kind boxes"),
    "target": (overwritten, "target in the pack is damaged"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_was_damaged_is_named_in_one_sentence(packed, what):
    damage, said = DAMAGE[what]
    damage(packed)
    kind = "mask" if what == "another kind" else "boxes"
    with pytest.raises((SourceError, BadImage)) as refusal:
        open_source(packed, "train", kind).target(0)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_full_folder_name_is_refused_from_python_too(packed):
    with pytest.raises(UnwritableError, match="is there already"):
        volovan.pack("digits", packed)


TYPES = [None, True, 3, "x", [1], {"a": 1}, [["a"]]]


FIELDS = ["kind", "classes", "palette", "things", "skeleton", "splits"]
LIES = [(key, value) for key in FIELDS for value in TYPES if (key, value) != ("skeleton", None)]  # boxes have none


@pytest.mark.parametrize(("key", "value"), LIES, ids=str)
def test_a_table_of_other_types_is_one_sentence(packed, key, value):
    changed(packed, **{key: value})
    with pytest.raises(SourceError, match=r"pack\.json is damaged") as refusal:
        open_source(packed, "train", "boxes")
    assert str(packed) in str(refusal.value)


INDEX = {
    "short": lambda values: values[:-1],
    "long": lambda values: np.concatenate([values, values[-1:]]),
    "float": lambda values: values.astype(np.float64),
    "without axes": lambda values: np.array(3),
    "one axis more": lambda values: values[..., None],
    "negative": lambda values: values - 10**6 if values.dtype != np.uint8 else values[:0],
    "huge": lambda values: values + 2**40 if values.dtype != np.uint8 else values[:0],
}


@pytest.mark.parametrize("column", ["keys", "key_ends", "shard", "sizes", "offsets", "lengths", "labels"])
@pytest.mark.parametrize("what", INDEX)
def test_an_index_that_does_not_fit_is_one_sentence(packed, column, what):
    path = packed / "train.npz"
    with np.load(path) as kept:
        index = dict(kept)
    index[column] = INDEX[what](index[column])
    np.savez(path, **index)
    with pytest.raises(SourceError, match=r"train\.npz is damaged"):
        open_source(packed, "train", "boxes")


def test_other_files_under_the_name_of_the_index_are_refused(packed):
    path = packed / "train.npz"
    for content in (b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", path.read_bytes().replace(b"PK\x01\x02", b"PK\x01\x03")):
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"train\.npz is damaged"):
            open_source(packed, "train", "boxes")
