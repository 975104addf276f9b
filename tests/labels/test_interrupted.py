"""Labelling that is interrupted, shared out or repeated gives the same files as one that is not."""

import os
import random
import signal
import time
from contextlib import redirect_stdout
from dataclasses import replace

import pytest

from labelling import ALONE, LAYOUTS, PLAN, quiet
from volovan.engine.distributed import distributed
from volovan.files import whole as files_whole
from volovan.labels.generate import generate
from volovan.labels.store import open_labels


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
    # compact: labels.json twice, the mark of results, three parts, two shards, the index
    assert writes == 9 if layout == "compact" else writes > 30


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


def test_a_batch_size_may_change_on_the_way(small_units, tmp_path, tiny_teacher, digits, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as stopped:
        stopped.setattr("volovan.labels.writers.CompactWriter.finish", lambda self: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            generate(tiny_teacher, digits(50), out, PLAN, ALONE, quiet)
    made = generate(tiny_teacher, digits(50), out, replace(PLAN, batch_size=3), ALONE, quiet)
    assert made.made + made.kept == 50
    assert len(open_labels(out)) == 50
