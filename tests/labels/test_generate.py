"""Labelling that is interrupted, shared out or repeated gives the same files as one that is not."""

import os
import random
import signal
import time
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from volovan.data.samples import ArraySource, FileSource
from volovan.engine.distributed import Place, distributed
from volovan.files import whole as files_whole
from volovan.labels import LabelError
from volovan.labels.generate import Plan, generate
from volovan.labels.keys import label_key
from volovan.labels.store import open_labels
from volovan.labels.view import TeacherView, seen_size

ALONE = Place(torch.device("cpu"))
PLAN = Plan(size=32, batch_size=8, workers=0, shard_bytes=10_240)  # 320 bytes a map: 32 pictures a shard
LAYOUTS = ("compact", "published")


def quiet(line):
    """Nothing."""


@pytest.fixture
def small_units(monkeypatch):
    """16 pictures a unit, so that few pictures make many of them."""
    for module in ("writers", "generate"):
        monkeypatch.setattr(f"volovan.labels.{module}.UNIT", 16)


@pytest.fixture
def whole(tmp_path, tiny_teacher, digits, small_units):
    """whole(plan, count): the folder that an uninterrupted labelling gives."""

    def make(plan, count=200):
        folder = tmp_path / "whole"
        made = generate(tiny_teacher, digits(count), folder, plan, ALONE, quiet)
        assert (made.made, made.kept, made.skipped) == (count, 0, ())
        return folder

    return make


@pytest.mark.parametrize("layout", LAYOUTS)
def test_maps_hold_the_largest_logits_of_the_teacher(tmp_path, tiny_teacher, digits, layout):
    source = digits(100)
    generate(tiny_teacher, source, tmp_path / "out", replace(PLAN, layout=layout), ALONE, quiet)
    store = open_labels(tmp_path / "out")
    view = TeacherView(tiny_teacher.preprocessing, 32, "centre", tiny_teacher.stride)
    assert (len(store), store.top, store.coverage, store.classes) == (100, 5, "centre", tuple("0123456789"))
    for index in (0, 37, 99):
        pixels = view.normalise(view.pixels(source.load(index), "x")[None])
        dense = tiny_teacher.head.dense(tiny_teacher.head.features(pixels))[0]
        read = store.read(label_key(source.name(index)))
        assert (read.dtype, read.shape) == (torch.float16, (2, 5, 4, 4))
        assert torch.allclose(read[0].float(), dense.sort(0, descending=True)[0][:5], atol=0.02, rtol=2e-3)
        assert torch.allclose(dense.gather(0, read[1].long()), read[0].float(), atol=0.02, rtol=2e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_layouts_hold_the_same_bits(whole, tmp_path, tiny_teacher, digits, layout):
    other = "published" if layout == "compact" else "compact"
    one = open_labels(whole(replace(PLAN, layout=layout), 60))
    generate(tiny_teacher, digits(60), tmp_path / "two", replace(PLAN, layout=other), ALONE, quiet)
    two = open_labels(tmp_path / "two")
    assert list(one.keys) == list(two.keys)
    assert all(one.read(key).numpy().tobytes() == two.read(key).numpy().tobytes() for key in one.keys)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize(("layout", "step"), [("compact", 1), ("published", 13)], ids=LAYOUTS)
def test_a_labelling_that_dies_at_any_write_goes_on(
    whole, tmp_path, tiny_teacher, digits, monkeypatch, contents, layout, step
):
    """The n-th file that should appear does not, or it does and the process ends then; for every n, or step-th."""
    plan = replace(PLAN, layout=layout)
    expected = contents(whole(plan, 34))
    moved, writes = os.replace, 0
    for number in range(0, 1000, step):
        out, calls = tmp_path / f"out{number}", iter(range(1000))

        def dying(source, target, number=number, calls=calls):
            last = next(calls) == number // 2
            if last and number % 2 == 0:
                raise Killed
            moved(source, target)
            if last:
                raise Killed

        monkeypatch.setattr(files_whole.os, "replace", dying)
        try:
            generate(tiny_teacher, digits(34), out, plan, ALONE, quiet)
            break  # there are not so many writes
        except Killed:
            writes = number // 2 + 1
        finally:
            monkeypatch.setattr(files_whole.os, "replace", moved)
        made = generate(tiny_teacher, digits(34), out, plan, ALONE, quiet)
        assert made.made + made.kept == 34
        assert contents(out) == expected
    # compact: labels.json twice, three parts, two shards, the index
    assert writes == 8 if layout == "compact" else writes > 30


def files_of(out):
    # os.walk, since rglob fails where a file goes away meanwhile
    return [name for _, _, names in os.walk(out) for name in names if name.endswith((".pt", ".safetensors"))]


def kill_often(fork, out, work, kills):
    """Start `work` and kill it a moment after a new file has appeared, again and again; then let it end.

    Every fifth time it is killed while it starts. Returns the kills, and the files that they left.
    """
    random.seed(4)
    for number in range(kills):
        before = len(files_of(out))
        process = fork(work)
        while number % 5 != 4 and len(files_of(out)) == before and process.is_alive():
            time.sleep(0.005)
        process.join(random.uniform(0, 0.08))
        if not process.is_alive():
            return number, len(files_of(out))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    left = len(files_of(out))
    last = fork(work)
    last.join(300)
    assert last.exitcode == 0
    return kills, left


def slowed(teacher, seconds):
    """The same teacher, taking so long for each batch that the kills to come cannot come too late."""

    class Slow:
        mean_is_logits = True
        dense = staticmethod(teacher.head.dense)

        def features(self, images):
            time.sleep(seconds)
            return teacher.head.features(images)

    return replace(teacher, head=Slow())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_three_kills_change_nothing(whole, tmp_path, tiny_teacher, digits, fork, contents, layout):
    plan = replace(PLAN, layout=layout)
    expected = contents(whole(plan, 200))
    out, teacher = tmp_path / "out", slowed(tiny_teacher, 0.05)
    work = lambda: generate(teacher, digits(200), out, plan, ALONE, quiet)  # noqa: E731
    kills, left = kill_often(fork, out, work, 3)
    assert kills == 3
    assert left > 0
    assert contents(out) == expected


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_fifty_kills_change_nothing(whole, tmp_path, tiny_teacher, digits, fork, contents, layout, workers):
    plan = replace(PLAN, layout=layout, workers=workers)
    expected = contents(whole(plan, 1433))
    out, teacher = tmp_path / "out", slowed(tiny_teacher, 0.08)  # 90 units of two batches, so 50 kills find work
    work = lambda: generate(teacher, digits(1433), out, plan, ALONE, quiet)  # noqa: E731
    kills, left = kill_often(fork, out, work, 50)
    assert kills == 50
    assert left > 10
    assert contents(out) == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_processes_equal_one(whole, tmp_path, tiny_teacher, digits, run_ranks, contents, layout):
    plan = replace(PLAN, layout=layout)
    expected = contents(whole(plan, 100))
    out = tmp_path / "out"

    def work():
        with (tmp_path / "log").open("a") as log, redirect_stdout(log), distributed("cpu") as place:
            made = generate(tiny_teacher, digits(100), out, plan, place)
            (tmp_path / f"made{place.rank}").write_text(f"{made.made} {made.kept}")

    assert run_ranks(2, work) == [0, 0]
    assert contents(out) == expected
    assert [(tmp_path / f"made{rank}").read_text() for rank in (0, 1)] == ["100 0", "100 0"]
    (out / "labels.json").touch()
    assert run_ranks(3, work) == [0, 0, 0]  # nothing is left to do, and nothing changes
    assert (tmp_path / "made2").read_text() == "0 100"
    assert contents(out) == expected


def test_what_is_there_is_not_made_anew(whole, tmp_path, tiny_teacher, digits, contents):
    plan = replace(PLAN, layout="published")
    out = whole(plan, 50)
    expected = contents(out)
    paths = sorted(out.rglob("*.pt"))
    times = {path: path.stat().st_mtime_ns for path in paths}
    paths[20].unlink()
    paths[30].write_bytes(b"")
    said = []
    made = generate(tiny_teacher, digits(50), out, plan, ALONE, said.append)
    assert (made.made, made.kept) == (2, 48)
    assert said[0] == "50 pictures, 48 of them labelled already"
    assert contents(out) == expected
    assert [path for path in paths if path.stat().st_mtime_ns != times[path]] == [paths[20], paths[30]]


CHANGES = {
    "size": ({"size": 64}, "--size was 32, now 64"),
    "crop": ({"coverage": "image"}, "--crop was centre, now image"),
    "top": ({"top": 3}, "--top was 5, now 3"),
    "dtype": ({"dtype": "float32"}, "--dtype was float16, now float32"),
    "layout": ({"layout": "published"}, "--layout was compact, now published"),
    "precision": ({"precision": "bf16"}, "--precision was fp32, now bf16"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_settings_are_refused_by_name(whole, tiny_teacher, digits, contents, change):
    out = whole(PLAN, 20)
    before = contents(out)
    values, said = CHANGES[change]
    with pytest.raises(
        LabelError, match=f"was begun with other settings: {said}; give the same ones to go on"
    ) as caught:
        generate(tiny_teacher, digits(20), out, replace(PLAN, **values), ALONE, quiet)
    assert str(out) in str(caught.value)
    assert contents(out) == before


def test_another_teacher_or_source_is_refused_by_name(whole, tiny_teacher, digits, tmp_path):
    out = whole(PLAN, 20)
    other = replace(tiny_teacher, name="other", digest="f" * 64)
    with pytest.raises(LabelError, match=r"the teacher was tiny with weights \w{12}, now other with weights f{12};"):
        generate(other, digits(20), out, PLAN, ALONE, quiet)
    with pytest.raises(LabelError, match=r"the pictures of the source \(or --limit\) have changed"):
        generate(tiny_teacher, digits(21), out, PLAN, ALONE, quiet)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(LabelError, match=r"mine holds thesis\.txt but no labels\.json; name a new or empty folder"):
        generate(tiny_teacher, digits(21), tmp_path / "mine", PLAN, ALONE, quiet)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_second_source_is_refused_in_both_layouts(whole, tiny_teacher, digits, contents, layout):
    plan = replace(PLAN, layout=layout, split="train")
    out = whole(plan, 20)
    before = contents(out)
    with pytest.raises(LabelError, match=r"the pictures of the source \(or --limit\) have changed, or their order"):
        generate(tiny_teacher, digits(21), out, plan, ALONE, quiet)
    with pytest.raises(LabelError, match=r"--split was train, now val"):  # digits/0 is in both
        generate(tiny_teacher, digits(20), out, replace(plan, split="val"), ALONE, quiet)
    generate(tiny_teacher, digits(20), out, replace(plan, split=None), ALONE, quiet)
    assert contents(out) == before


def test_a_batch_size_may_change_on_the_way(small_units, tmp_path, tiny_teacher, digits, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as stopped:
        stopped.setattr("volovan.labels.writers.CompactWriter.finish", lambda self: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            generate(tiny_teacher, digits(50), out, PLAN, ALONE, quiet)
    made = generate(tiny_teacher, digits(50), out, replace(PLAN, batch_size=3), ALONE, quiet)
    assert made.made + made.kept == 50
    assert len(open_labels(out)) == 50


@pytest.mark.parametrize(("layout", "workers"), [("compact", 2), ("published", 0)])
def test_unreadable_pictures_stop_or_are_left_out(tmp_path, tiny_teacher, small_units, layout, workers):
    files = [f"cat/{number}.png" for number in range(40)]
    (tmp_path / "in" / "cat").mkdir(parents=True)
    for file in files:
        Image.effect_noise((40, 36), 60).convert("RGB").save(tmp_path / "in" / file)
    (tmp_path / "in" / files[18]).write_bytes(b"hello")
    source = FileSource(tmp_path / "in", files, [0] * 40, ["cat"])
    plan = replace(PLAN, layout=layout, workers=workers)
    with pytest.raises(LabelError, match=r"cat/18\.png: .*text.*; remove or mend the file .* or use --on-bad skip"):
        generate(tiny_teacher, source, tmp_path / "out", plan, ALONE, quiet)
    made = generate(tiny_teacher, source, tmp_path / "out", replace(plan, skip_bad=True), ALONE, quiet)
    assert len(made.skipped) == 1
    assert made.skipped[0].startswith("cat/18.png: ")
    store = open_labels(tmp_path / "out")
    assert sorted(store.keys) == sorted(label_key(file) for file in files if file != files[18])


def test_two_pictures_of_one_key_are_refused_before_anything_is_made(tmp_path, tiny_teacher):
    source = FileSource(tmp_path, ["cat/a.b.jpg", "cat/a.c.jpg"])
    with pytest.raises(LabelError, match=r"cat/a\.b\.jpg and cat/a\.c\.jpg would share the label map 'cat/a'"):
        generate(tiny_teacher, source, tmp_path / "out", PLAN, ALONE, quiet)
    assert not (tmp_path / "out").exists()


def test_values_that_the_type_cannot_hold_are_refused(tmp_path, tiny_teacher, digits):
    class Loud:
        mean_is_logits = True
        features = staticmethod(tiny_teacher.head.features)

        def dense(self, features):
            return 1e5 * tiny_teacher.head.dense(features)

    with pytest.raises(LabelError, match=r"for the picture digits/\d+ that float16 cannot hold"):
        generate(replace(tiny_teacher, head=Loud()), digits(10), tmp_path / "a", PLAN, ALONE, quiet)
    generate(
        replace(tiny_teacher, head=Loud()), digits(10), tmp_path / "b", replace(PLAN, dtype="float32"), ALONE, quiet
    )


def test_whole_pictures_keep_their_proportion(tmp_path, tiny_teacher):
    """Stride 8, shorter side 32: 60 x 40 becomes 48 x 32, so the map is 6 wide and 4 high."""
    sizes = [(60, 40), (40, 60), (40, 40), (100, 40)]
    (tmp_path / "in").mkdir()
    for number, size in enumerate(sizes):
        Image.effect_noise(size, 60).convert("RGB").save(tmp_path / "in" / f"{number}.png")
    source = FileSource(tmp_path / "in", [f"{number}.png" for number in range(4)])
    generate(tiny_teacher, source, tmp_path / "out", replace(PLAN, coverage="image"), ALONE, quiet)
    store = open_labels(tmp_path / "out")
    assert store.coverage == "image"
    assert [tuple(store.read(str(n)).shape[2:]) for n in range(4)] == [(4, 6), (6, 4), (4, 4), (4, 10)]


@pytest.mark.parametrize(("size", "near"), [(36, "32 or 40"), (5, "8")])
def test_whole_pictures_need_a_size_of_whole_cells(tmp_path, tiny_teacher, digits, size, near):
    plan = replace(PLAN, coverage="image", size=size)
    with pytest.raises(LabelError, match=f"--size is {size}, .* must be a multiple of 8, .* of tiny; take {near}$"):
        generate(tiny_teacher, digits(4), tmp_path / "out", plan, ALONE, quiet)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("picture", "seen"),
    [((500, 375), (224, 288)), ((375, 500), (288, 224)), ((333, 333), (224, 224)), ((1000, 100), (224, 2240))],
)
def test_the_longer_side_is_whole_cells(picture, seen):
    assert seen_size(picture, 224, 32) == seen


def test_the_centre_square_is_that_of_the_resized_picture(tiny_teacher):
    """A white square in the middle of a black picture fills what the teacher sees; a strip at the side is not seen."""
    pixels = np.zeros((50, 150, 3), np.uint8)
    pixels[:, 50:100] = 255
    view = TeacherView(tiny_teacher.preprocessing, 32, "centre", 8)
    seen = np.array(view.picture(Image.fromarray(pixels)))
    assert seen.shape == (32, 32, 3)
    assert seen[:, 4:28].min() > 240
    assert view.picture(Image.fromarray(pixels[:, :50])).size == (32, 32)
    source = ArraySource("a", np.zeros((1, 2, 128, 3), np.uint8), np.zeros(1), ["x"])
    with pytest.raises(ValueError, match=r"a\[0\]: is 128x2; a side of more than 32 times the other is not labelled"):
        view.pixels(source.load(0), source.name(0))


def test_many_classes_get_exact_indices(tmp_path, tiny_teacher, digits):
    """Beyond 2,048 classes float16 would round the index, with logits of float16 too."""

    class Wide:
        mean_is_logits = True
        features = staticmethod(tiny_teacher.head.features)

        def dense(self, features):
            dense = tiny_teacher.head.dense(features)
            filler = torch.full((len(dense), 4991, *dense.shape[2:]), -1e4)
            return torch.cat([filler, dense], 1)

    teacher = replace(tiny_teacher, head=Wide(), num_classes=5001, classes=None)
    generate(teacher, digits(20), tmp_path / "out", PLAN, ALONE, quiet)
    generate(tiny_teacher, digits(20), tmp_path / "plain", PLAN, ALONE, quiet)
    wide, plain = open_labels(tmp_path / "out"), open_labels(tmp_path / "plain")
    for key in plain.keys:
        assert torch.equal(wide.read(key)[1], plain.read(key)[1].float() + 4991)
        assert torch.equal(wide.read(key)[0], plain.read(key)[0].float())
    with pytest.raises(LabelError, match="5,001 classes, and float16 holds whole numbers up to 2,048 exactly"):
        generate(teacher, digits(20), tmp_path / "no", replace(PLAN, layout="published"), ALONE, quiet)


# ---------------------------------------------------------------------------------------------------------------------
# mending a finished folder

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
