"""Checkpoints: what comes back, what is noticed, and what is left when the writer is killed or the disk is full."""

import os
import random
import resource
import shutil
import subprocess
import time

import pytest
import torch

from volovan.engine.checkpoint import CheckpointFolder
from volovan.files.checkpoint import read_checkpoint, write_checkpoint
from volovan.files.described import CheckpointError, describe_checkpoint


def tree(step=0, size=10):
    return {
        "model": {"a.weight": torch.full((size,), float(step)), "flags": torch.tensor([True, False])},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}, 1: {}}, "groups": [{"lr": 0.1 + 0.2, "betas": (0, 1)}]},
        "empty": torch.zeros(0, 3),
        "half": torch.randn(4, 3).bfloat16(),
        "count": torch.tensor(7),
        "task": {"task": "toy", "classes": ["a", "b"]},
        "state": {"step": step, "best": None, "big": 2**53 + 1, "text": "Müller \U0001f600", "nan": float("nan")},
    }


def assert_same(a, b):
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, two in zip(a, b, strict=True):
            assert_same(one, two)
    else:
        assert a == b or (a != a and b != b)


def test_a_checkpoint_comes_back_bit_equal(tmp_path):
    before = tree(5)
    write_checkpoint(tmp_path / "x.safetensors", before)
    assert_same(read_checkpoint(tmp_path / "x.safetensors"), before)


def test_any_layout_and_shared_memory_are_written_as_values(tmp_path):
    image = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tied = torch.randn(4, 4)
    write_checkpoint(tmp_path / "x.safetensors", {"a": image, "b": tied, "c": tied, "d": tied.t(), "e": tied[1]})
    back = read_checkpoint(tmp_path / "x.safetensors")
    assert torch.equal(back["a"], image)
    assert torch.equal(back["c"], tied)
    assert torch.equal(back["d"], tied.t())
    assert torch.equal(back["e"], tied[1])


def test_optimizer_state_survives_the_file(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    write_checkpoint(tmp_path / "x.safetensors", {"optimizer": optimizer.state_dict()})
    other = torch.optim.AdamW(model.parameters())
    other.load_state_dict(read_checkpoint(tmp_path / "x.safetensors")["optimizer"])
    assert_same(other.state_dict()["state"], optimizer.state_dict()["state"])


def test_two_tensors_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"two tensors of a checkpoint would be called a\.b"):
        write_checkpoint(tmp_path / "x.safetensors", {"a": {"b": torch.ones(1)}, "a.b": torch.zeros(1)})


def test_the_file_has_the_rights_that_the_umask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        write_checkpoint(tmp_path / "x.safetensors", tree())
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF], ids=hex)
def test_a_flipped_byte_is_noticed_wherever_it_is(tmp_path, flip):
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, tree(size=600))
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    draw = random.Random(flip)
    places = [*range(24), *draw.sample(range(24, header), 250), header - 1, header, len(whole) - 1]
    places += draw.sample(range(header, len(whole)), 250)
    for place in places:
        broken = bytearray(whole)
        broken[place] ^= flip
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=r"x\.safetensors is damaged"):
            read_checkpoint(path)


@pytest.mark.parametrize("length", [0, 1, 8, 100, -1])
def test_a_cut_file_is_noticed(tmp_path, length):
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, tree())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"x\.safetensors is damaged"):
        read_checkpoint(path)


def test_a_foreign_safetensors_file_is_no_checkpoint(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="is damaged"):
        read_checkpoint(tmp_path / "x.safetensors")


def test_the_newest_whole_one_is_taken_and_the_damaged_are_named(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_last=3)
    for step in (5, 10, 15):
        folder.save(step, tree(step), is_best=step == 5)
    for step in (10, 15):
        content = bytearray(folder.path(step).read_bytes())
        content[-3] ^= 4
        folder.path(step).write_bytes(content)
    said = []
    assert folder.load_newest(said.append)["state"]["step"] == 5
    assert [("step-00000015" in line, "trying the one before" in line) for line in said] == [
        (True, True),
        (False, True),
    ]


def test_the_best_is_the_last_resort(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_last=1)
    folder.save(5, tree(5), is_best=True)
    folder.save(10, tree(10), is_best=False)
    folder.path(10).write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match=r"start the run anew with --model.weights \S+best.safetensors"):
        folder.load_newest(lambda line: None)
    folder.best.unlink()
    with pytest.raises(CheckpointError, match=r"holds no usable checkpoint; start the run anew$"):
        folder.load_newest(lambda line: None)


def test_the_best_of_an_earlier_version_can_be_gone_on_from(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_last=1)
    write_checkpoint(folder.best, tree(5))
    assert folder.load_newest(print)["state"]["step"] == 5


def test_the_best_is_the_network_alone_and_averaged(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_last=1)
    folder.save(1, {**tree(1), "ema": tree(7)["model"]}, is_best=True)
    kept = read_checkpoint(folder.best)
    assert kept.keys() == {"model", "task", "state", "averaged"}
    assert torch.equal(kept["model"]["a.weight"], torch.full((10,), 7.0))
    assert kept["averaged"]
    assert describe_checkpoint(folder.best) == tree()["task"]


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_later_checkpoint_never_pushes_out_a_whole_one(tmp_path, keep):
    folder = CheckpointFolder(tmp_path, keep_last=keep)
    folder.path(20).write_bytes(b"rubbish")
    for step in (10, 15):
        folder.save(step, tree(step), is_best=False)
        assert folder.load_newest(print)["state"]["step"] == step


def test_the_last_few_and_the_best_are_kept(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_last=2)
    for step in range(1, 7):
        folder.save(step, tree(step), is_best=step == 2)
    assert folder.steps() == [5, 6]
    assert read_checkpoint(folder.best)["state"]["step"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.safetensors",
        "step-00000005.safetensors",
        "step-00000006.safetensors",
    ]


SIZE = 4_000_000


def write_for_ever(path, first):
    """Checkpoints of 16 MB, every other one the best, until somebody kills us."""
    folder = CheckpointFolder(path, keep_last=2)
    folder.sweep()
    if first % 2 == 0:
        folder.keep_best(
            read_checkpoint(folder.path(first))
        )  # as a resume does, since a kill may have come between the two
    step = first
    while True:
        step += 1
        folder.save(step, tree(step, SIZE), is_best=step % 2 == 0)


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_a_writer_killed_at_any_moment_leaves_a_whole_checkpoint(tmp_path, child, kills):
    folder = CheckpointFolder(tmp_path, keep_last=2)
    folder.save(0, tree(0, SIZE), is_best=True)
    newest, draw, interrupted = 0, random.Random(kills), 0
    for number in range(kills):
        writer = child(write_for_ever, tmp_path, newest)
        deadline = time.monotonic() + 60
        while number % 2 and max(folder.steps()) <= newest and time.monotonic() < deadline:  # a busy machine is slow
            time.sleep(0.01)
        time.sleep(0.05 + draw.random() * 0.4)
        writer.kill()
        writer.join()
        interrupted += bool(list(tmp_path.glob(".*.part")))
        damaged = []
        found = folder.load_newest(damaged.append)
        assert not damaged
        step = found["state"]["step"]
        assert step >= newest
        assert torch.equal(found["model"]["a.weight"], torch.full((SIZE,), float(step)))
        best = read_checkpoint(folder.best)
        assert best["state"]["step"] in (step, step - 1, step - 2)
        assert best["state"]["step"] % 2 == 0
        newest = step
    assert interrupted, "no kill hit a write: the test shows nothing"
    assert newest > 0
    folder.sweep()
    names = {path.name for path in tmp_path.iterdir()}
    assert names <= {"best.safetensors", *(folder.path(step).name for step in folder.steps())}


def assert_earlier_is_untouched(folder, said):
    assert "step-00000002.safetensors could not be written" in said
    assert "free some space; earlier checkpoints are untouched: go on with: volovan fit --resume" in said
    assert "\n" not in said
    assert sorted(path.name for path in folder.folder.iterdir()) == ["best.safetensors", "step-00000001.safetensors"]
    assert folder.load_newest(print)["state"]["step"] == 1
    assert read_checkpoint(folder.best)["state"]["step"] == 1


def save_under_limit(folder, report):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    try:
        folder.save(2, tree(2, SIZE), is_best=True)
    except CheckpointError as error:
        report.write_text(str(error))


def test_a_file_that_cannot_grow_leaves_the_earlier_ones(tmp_path, child):
    """A limit on the size of files stops the writing as a full disk does, and needs no rights."""
    folder = CheckpointFolder(tmp_path / "checkpoints", keep_last=1)
    folder.save(1, tree(1, SIZE), is_best=True)
    writer = child(save_under_limit, folder, tmp_path / "said")
    writer.join(60)
    assert writer.exitcode == 0
    assert_earlier_is_untouched(folder, (tmp_path / "said").read_text())


def test_a_full_disk_leaves_the_earlier_ones(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs rights that this user has not")
    try:
        folder = CheckpointFolder(disk / "run" / "checkpoints", keep_last=1)
        folder.save(1, tree(1, SIZE), is_best=True)
        with pytest.raises(CheckpointError) as error:
            folder.save(2, tree(2, SIZE), is_best=True)
        assert_earlier_is_untouched(folder, str(error.value))
        assert "No space left" in str(error.value)
        assert shutil.disk_usage(disk).free > 4_000_000, "what was half-written still takes room"
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_an_unwritable_folder_is_named(tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoints", keep_last=1)
    shutil.rmtree(tmp_path / "checkpoints")
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"step-00000001\.safetensors could not be written"):
        folder.save(1, tree(1), is_best=False)


def test_what_is_no_json_is_a_programming_error(tmp_path):
    with pytest.raises(TypeError):
        write_checkpoint(tmp_path / "x.safetensors", {"a": object()})
    assert not list(tmp_path.iterdir())
