"""A folder of results: what is replaced, what never is, and what a kill leaves."""

import json
import logging
import multiprocessing
import shutil
from pathlib import Path

import pytest

from volovan.files.results import (
    MARK,
    ResultsError,
    holds_results_alone,
    is_result,
    mark,
    marked,
    may_replace,
    named_above,
    refuse_foreign,
    results,
    results_in,
    unmark,
)
from volovan.files.whole import write_text


def write(folder: Path, names: list[str], verb: str = "predict", text: str = "", **how) -> None:
    with results(folder, verb, **how):
        for name in names:
            write_text(folder / name, text or name)


def files(folder: Path) -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if name != MARK}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_results_of_another_call_are_replaced_whole_and_it_is_said(out, caplog):
    write(out, ["t.csv", "masks/a/1.png", "masks/2.png"])
    with caplog.at_level(logging.INFO, "volovan"):
        write(out, ["t.jsonl", "masks/2.png"], text="new")
    assert files(out) == {"t.jsonl", "masks/2.png"}
    assert not (out / "masks" / "a").exists()
    assert caplog.messages == [f"the results of an earlier volovan predict in {out} are replaced"]
    assert results_in(out) == {"t.jsonl", "masks/2.png"}


def test_results_of_other_verbs_and_lasting_ones_stay(out):
    write(out, ["metrics.json"], "validate")
    write(out, ["old.csv", "features"], "probe")
    write(out, ["new.csv"], "probe", lasting=["features"])
    assert files(out) == {"metrics.json", "features", "new.csv"}


@pytest.mark.parametrize("there", ["mine.txt", "masks/1.png", "empty/"])
def test_a_folder_with_other_things_is_refused_and_left_as_it_is(out, there):
    path = out / there
    path.mkdir(parents=True) if there.endswith("/") else write_text(path, "mine")
    before = files(out)
    with pytest.raises(ResultsError, match=rf"holds {there.split('/')[0]}, which volovan has not written") as refused:
        write(out, ["t.csv"])
    assert files(out) == before
    remedy = Path(str(refused.value).split("--out ")[1])
    write(remedy, ["t.csv"])
    assert files(remedy) == {"t.csv"}


def test_hidden_files_are_in_nobodys_way(out):
    write_text(out / ".DS_Store", "x")
    write(out, ["t.csv"])
    assert files(out) == {".DS_Store", "t.csv"}


def test_what_is_named_may_lie_beside_results(out):
    write_text(out / "images" / "1.png", "mine")
    write(out, ["masks/1.png"], beside=["images"])
    write(out, ["masks/1.png"])
    assert files(out) == {"images/1.png", "masks/1.png"}
    with pytest.raises(ResultsError, match=r"images/1\.png is not of volovan"):
        write(out, ["images/1.png"])
    assert (out / "images" / "1.png").read_text() == "mine"


def test_a_result_that_was_corrected_is_the_users(out):
    write(out, ["masks/1.png", "t.csv"])
    (out / "masks" / "1.png").write_text("corrected")
    with pytest.raises(ResultsError, match=r"masks/1\.png was changed since volovan predict wrote it"):
        write(out, ["masks/1.png"])
    assert files(out) == {"masks/1.png", "t.csv"}
    assert (out / "masks" / "1.png").read_text() == "corrected"
    (out / "masks" / "1.png").rename(out / "masks" / "mine.png")  # the remedy
    write(out, ["masks/1.png"])
    assert files(out) == {"masks/1.png", "masks/mine.png"}


def test_a_copy_of_results_is_still_one(out, tmp_path):
    write(out, ["t.csv"])
    shutil.copytree(out, tmp_path / "copy", copy_function=shutil.copyfile)
    write(tmp_path / "copy", ["u.csv"])
    assert files(tmp_path / "copy") == {"u.csv"}


def test_a_call_that_fails_before_its_first_file_changes_nothing(out):
    write(out, ["t.csv"])
    before = (out / MARK).read_text()
    with pytest.raises(ZeroDivisionError), results(out, "predict"):
        raise ZeroDivisionError
    assert files(out) == {"t.csv"}
    assert (out / MARK).read_text() == before


def test_a_call_that_writes_nothing_leaves_no_folder(out):
    with results(out, "predict"):
        pass
    assert not out.exists()


def _write_and_wait(out: Path, ready) -> None:
    with results(out, "predict"):
        write_text(out / "masks" / "1.png", "x")
        (out / ".t.csv.1.part").mkdir()
        ready.set()
        multiprocessing.Event().wait()


def test_what_a_killed_call_has_left_is_replaced(out, child):
    ready = multiprocessing.get_context("fork").Event()
    process = child(_write_and_wait, out, ready)
    assert ready.wait(30)
    with pytest.raises(ResultsError, match="another process is writing to"):
        write(out, ["t.csv"])
    process.kill()
    process.join()
    assert may_replace(out)
    assert is_result(out / "masks" / "1.png")
    write(out, ["t.csv"])
    assert files(out) == {"t.csv"}
    assert not list(out.glob(".*.part"))
    assert not may_replace(out)


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_mark_claims_no_more_than_was_written(out, cut):
    write(out, ["masks/1.png", "masks/2.png"])
    text = (out / MARK).read_text().splitlines(keepends=True)
    (out / MARK).write_text("".join(text[:2]) + text[2][:cut])
    assert results_in(out) == {"masks/1.png"}


def test_lines_that_are_none_of_ours_claim_nothing(out):
    write(out, ["a.txt"])
    with (out / MARK).open("a") as file:
        file.write('[1]\nnull\n{"file": 3}\n{"file": "mine.png"}\n{"verb": "x"}\n{"finished": true}\n')
    assert results_in(out) == {"a.txt"}


def test_an_empty_or_missing_folder_may_be_replaced_and_one_of_the_user_may_not(out):
    assert may_replace(out)
    write_text(out / "x", "mine")
    assert not may_replace(out)
    (out / "x").unlink()
    assert may_replace(out)


def test_results_inside_of_results_belong_to_the_inner_folder(out):
    with results(out, "demo"):
        write(out / "inner", ["t.csv"], "validate")
        write_text(out / "page.html", "x")
        mark(out / "run", "fit", ["pictures/"]) if (out / "run").mkdir() is None else None
        write_text(out / "run" / "pictures" / "1.png", "x")
    assert results_in(out) == {"page.html"}
    assert results_in(out / "inner") == {"t.csv"}
    assert results_in(out / "run") == {"pictures/"}


def test_a_run_says_what_is_its_own(out):
    out.mkdir()
    write_text(out / "notes.txt", "mine")
    mark(out, "fit", ["pictures/", "log.txt"])
    assert is_result(out / "pictures" / "a" / "1.png")
    assert is_result(out / "log.txt")
    assert not is_result(out / "notes.txt")
    refuse_foreign(out, ["pictures/", "log.txt"], "")
    with pytest.raises(ResultsError, match=r"notes\.txt is not of volovan and would be written over; do so"):
        refuse_foreign(out, ["notes.txt"], "do so")
    unmark(out, "fit")
    assert marked(out) is None


def test_a_folder_of_results_alone_is_told_from_one_of_the_user(out):
    assert not holds_results_alone(out.parent)
    write(out / "deep" / "run", ["t.csv", "masks/a/1.png"])
    assert holds_results_alone(out)
    assert holds_results_alone(out / "deep" / "run")
    assert not holds_results_alone(out / "deep" / "run" / "masks")
    assert named_above(out / "deep" / "run" / "masks") == {"a/1.png"}
    assert holds_results_alone(out / "deep" / "run" / "masks", named_above(out / "deep" / "run" / "masks"))
    (out / "deep" / "run" / "masks" / "a" / "1.png").unlink()  # what is left of them is none of the user's
    assert holds_results_alone(out)
    for name in ("mine.txt", "deep/run/mine.txt", "deep/run/masks/a/mine.txt"):
        write_text(out / name, "mine")
        assert not holds_results_alone(out), name
        (out / name).unlink()
    write_text(out / ".hidden", "mine")
    assert holds_results_alone(out)


def test_a_mark_tells_people_what_it_is(out):
    write(out, ["t.csv"])
    assert "All else here is yours" in json.loads((out / MARK).read_text().splitlines()[0])["about"]
