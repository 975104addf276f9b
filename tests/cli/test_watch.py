"""The watch of tests/support/file_watch.py over the user's files finds a verb that touches them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from volovan.cli import VERBS, main


def rewrite(path: Path) -> None:
    """The same size, and the times put back."""
    state = path.stat()
    path.write_text("else")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


OFFENDERS = {
    "a changed file": lambda data: rewrite(data / "1.png"),
    "a new file": lambda data: (data / "2.png").write_text("new"),
    "a new folder": lambda data: (data / "new").mkdir(),
    "a removed file": lambda data: (data / "1.png").unlink(),
    "the same content again": lambda data: shutil.move(shutil.copy(data / "1.png", data / "x"), data / "1.png"),
}


@pytest.fixture
def verb(tmp_path, monkeypatch):
    """verb(what it does): a verb of that name, and the data that it is called with."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "1.png").write_text("mine")

    def make(does):
        def run(args):
            does(data)
            return 0

        def add_arguments(parser):
            parser.add_argument("source")
            parser.add_argument("--out")

        monkeypatch.setitem(sys.modules, "offender", SimpleNamespace(add_arguments=add_arguments, run=run))
        monkeypatch.setitem(VERBS, "offend", ("offender", "touches what is the user's"))
        return data

    return make


@pytest.mark.parametrize("what", OFFENDERS)
def test_a_verb_that_touches_the_users_files_fails_its_test(verb, tmp_path, what):
    data = verb(OFFENDERS[what])
    with pytest.raises(AssertionError, match=r"offend .* has changed, added or removed: .*data"):
        main(["offend", str(data), "--out", str(tmp_path / "out")])


def test_files_that_no_word_names_are_watched_in_the_working_folder(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    verb(lambda data: Path("left.txt").write_text("left"))
    with pytest.raises(AssertionError, match=r"left\.txt"):
        main(["offend", "digits"])
    verb(lambda data: Path("left.txt").write_text("else"))
    with pytest.raises(AssertionError, match=r"left\.txt"):
        main(["offend", "digits"])


def test_a_verb_that_keeps_to_its_folder_passes(verb, tmp_path):
    def obey(data):
        (tmp_path / "out" / "deep").mkdir(parents=True)
        (tmp_path / "out" / "deep" / "1.png").write_text("result")

    data = verb(obey)
    assert main(["offend", str(data), "--out", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("run", [subprocess.run, lambda *args, **options: subprocess.Popen(*args, **options).wait()])
def test_a_process_of_its_own_is_watched(tmp_path, run):
    (tmp_path / "volovan.py").write_text("import pathlib; pathlib.Path('left.txt').write_text('left')")
    command = [sys.executable, "-m", "volovan", "predict", "digits", "--out", "out"]
    with pytest.raises(AssertionError, match=r"volovan predict digits --out out has .*left\.txt"):
        run(command, cwd=tmp_path)
