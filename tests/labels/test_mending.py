"""A finished folder of label maps is mended where it was damaged, and completed where pictures had been left out."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from labelling import ALONE, PLAN, quiet
from volovan.data.samples import FileSource
from volovan.labels import LabelError
from volovan.labels.generate import generate
from volovan.labels.store import open_labels

SHARD, INDEX = "shard-00001.safetensors", "index.safetensors"
HARM = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "foreign": lambda path: path.write_bytes((path.parent / "shard-00000.safetensors").read_bytes()),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_shard_of_a_finished_folder_is_made_anew(whole, tiny_teacher, digits, contents, harm):
    out = whole(PLAN, 70)  # shards of 32, 32 and 6 pictures
    expected = contents(out)
    HARM[harm](out / SHARD)
    made = generate(tiny_teacher, digits(70), out, PLAN, ALONE, quiet)
    assert (made.made, made.kept) == (32, 38)
    assert contents(out) == expected


@pytest.mark.parametrize("harm", ["gone", "half", "foreign"])
def test_a_damaged_index_of_a_finished_folder_is_made_anew(whole, tiny_teacher, digits, contents, harm):
    out = whole(PLAN, 40)
    expected = contents(out)
    HARM[harm](out / INDEX)
    made = generate(tiny_teacher, digits(40), out, PLAN, ALONE, quiet)
    assert (made.made, made.kept) == (0, 40)
    assert contents(out) == expected


def test_a_flipped_bit_is_not_covered_up_when_another_shard_is_mended(whole, tiny_teacher, digits, contents):
    out = whole(PLAN, 70)
    expected = contents(out)
    flipped = bytearray(expected["shard-00000.safetensors"])
    flipped[len(flipped) // 2] ^= 1  # a logit
    (out / "shard-00000.safetensors").write_bytes(flipped)
    (out / SHARD).unlink()
    for _ in range(2):  # it is remembered
        with pytest.raises(
            LabelError, match=r"shard-00000\.safetensors is damaged: .*; remove the file and call volovan label"
        ):
            generate(tiny_teacher, digits(70), out, PLAN, ALONE, quiet)
    (out / "shard-00000.safetensors").unlink()
    assert generate(tiny_teacher, digits(70), out, PLAN, ALONE, quiet).made == 32
    assert contents(out) == expected


def test_pictures_left_out_are_tried_again(tmp_path, tiny_teacher, small_units, contents):
    files = [f"cat/{number}.png" for number in range(70)]
    (tmp_path / "in" / "cat").mkdir(parents=True)
    for file in files:
        Image.effect_noise((40, 36), 60).convert("RGB").save(tmp_path / "in" / file)
    picture = (tmp_path / "in" / files[40]).read_bytes()
    (tmp_path / "in" / files[40]).write_bytes(b"hello")
    source = FileSource(tmp_path / "in", files, [0] * 70, ["cat"])
    out, skip = tmp_path / "out", replace(PLAN, skip_bad=True)
    made = generate(tiny_teacher, source, out, skip, ALONE, quiet)
    assert (made.made, made.kept, len(made.skipped)) == (69, 0, 1)
    before = contents(out)
    made = generate(tiny_teacher, source, out, skip, ALONE, quiet)
    assert (made.made, made.kept, len(made.skipped)) == (0, 69, 1)
    assert contents(out) == before
    with pytest.raises(LabelError, match=r"cat/40\.png: .*"):
        generate(tiny_teacher, source, out, PLAN, ALONE, quiet)
    assert len(open_labels(out)) == 69  # still whole for a training run
    (tmp_path / "in" / files[40]).write_bytes(picture)
    old = {key: open_labels(out).read(key) for key in open_labels(out).keys}
    said = []
    made = generate(tiny_teacher, source, out, PLAN, ALONE, said.append)
    assert (made.made, made.kept, len(made.skipped)) == (1, 69, 0)
    assert said[0] == "70 pictures, 69 of them labelled already"
    store = open_labels(out)
    assert len(store) == 70
    assert "cat/40" in store
    assert all(torch.equal(store.read(key), one) for key, one in old.items())
