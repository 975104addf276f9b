"""Results: a result never replaces what volovan did not write there, and a result is never a picture to look at.

A folder of results says in `.volovan.jsonl` which of its files are results: a line for each, with the verb that wrote
it and a digest of its content, added before the file appears. So after a kill, too, every file there is known, and one
that has been changed since (a mask that was corrected) is known to be the user's.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from volovan.files.hidden import is_hidden
from volovan.files.locks import LOCK, lock

MARK = ".volovan.jsonl"
_ABOUT = {
    "about": "The files below were written by volovan, which may replace them, and does not take them for pictures. "
    "All else here is yours. Keep this file beside them."
}
logger = logging.getLogger("volovan")


class ResultsError(ValueError):
    """Results cannot go there: something that is none of them is in the way."""


@dataclass
class Marked:
    """What a folder says of its results: {path in it: (verb, digest)}, a folder as `pictures/` without a digest; and
    the verbs whose last call there went to its end."""

    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)

    def of(self, verb: str) -> list[str]:
        return [name for name, (writer, _) in self.files.items() if writer == verb]

    def lines(self) -> Iterator[dict[str, Any]]:
        for name, (verb, digest) in self.files.items():
            yield {"verb": verb, "file": name, "digest": digest}
        for verb in sorted(self.finished):
            yield {"verb": verb, "finished": True}


def marked(folder: Path) -> Marked | None:
    """The mark of a folder of results; None if it is none."""
    try:
        lines = (folder / MARK).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    found = Marked()
    for line in lines:
        with suppress(json.JSONDecodeError):  # torn by a kill: then its file was not written
            match json.loads(line):
                case {"file": str(name), "verb": str(verb), "digest": str(digest)}:
                    found.files[name] = verb, digest
                    found.finished.discard(verb)
                case {"finished": True, "verb": str(verb)}:
                    found.finished.add(verb)
    return found


# what is read


def results_in(folder: str | Path) -> frozenset[str] | None:
    """The paths in a folder of results that are results, folders with a slash at their end; None if it is none."""
    named = _named(folder)
    return None if named is None else named.get("", frozenset())


def named_above(path: Path) -> frozenset[str]:
    """What of a file or folder the folders above it name as results: "" is all of it, else paths in it, folders with a
    slash at their end."""
    here, found = Path(os.path.abspath(path)), frozenset[str]()
    for folder in here.parents:
        if named := _named(folder):
            inside = here.relative_to(folder)
            above = (f"{part.as_posix()}/" for part in (inside, *inside.parents[:-1]))
            if inside.as_posix() in named[""] or any(part in named[""] for part in above):
                return frozenset([""])
            found |= named.get(inside.as_posix(), frozenset())
    return found


def _named(folder: str | Path) -> dict[str, frozenset[str]] | None:
    """{folder in a folder of results: the results in it}, "" for the folder itself; None if it is none."""
    try:
        state = os.stat(os.path.join(folder, MARK))
    except OSError:
        return None
    return _read_names(str(folder), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _read_names(folder: str, *stamp: int) -> dict[str, frozenset[str]]:
    found = marked(Path(folder))
    named: dict[str, set[str]] = {}
    for name in found.files if found else ():
        parts = name.split("/")
        for place in range(len(parts)):
            named.setdefault("/".join(parts[:place]), set()).add("/".join(parts[place:]))
    return {inside: frozenset(names) for inside, names in named.items()}


def is_result(path: Path) -> bool:
    """Whether a file is a result, or a folder lies in one that is."""
    return "" in named_above(path)


def holds_results_alone(folder: str | Path, named: Collection[str] = ()) -> bool:
    """Whether all that is seen in a folder, and in those below, are results. named: more of them, as paths in it."""
    if "" in named:
        return True
    own = results_in(folder)
    inside: dict[str, set[str]] = {}
    for name in {*named, *(own or ())}:
        first, _, rest = name.partition("/")
        inside.setdefault(first, set()).add(rest)
    found = bool(named) or own is not None  # an empty folder says nothing by itself
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            below = inside.get(entry.name, ())
            is_folder = entry.is_dir(follow_symlinks=False)
            if not (holds_results_alone(entry.path, below) if is_folder else "" in below):
                return False
            found = True
    return found


# what is written


@contextmanager
def results(
    folder: Path, verb: str, *, lasting: Collection[str] = (), beside: Collection[str] | None = ()
) -> Iterator[None]:
    """While it is open, every file that `new_file` writes below the folder is a result of the verb.

    The folder is new, empty, or has results already. With the first file, those of an earlier call of the verb go.

    lasting  results that stay until they are written again
    beside   what may lie in it although it holds no results yet, such as the pictures of a prediction; None: anything
    raises   ResultsError: the folder holds other things, a result that somebody has changed, or is being written to;
             and when a file of somebody else has the name of a result
    """
    one = _Folder(Path(os.path.abspath(folder)), verb, frozenset(lasting), str(folder))
    one.refuse_foreign(beside)
    with one.kept_to_itself():
        _open.append(one)
        try:
            yield
        finally:
            _open.remove(one)
        one.finish()


def may_replace(folder: Path) -> bool:
    """Whether nothing is lost if results go into a folder: it is empty, or holds what a killed call has left."""
    if not folder.exists() or (folder.is_dir() and not _visible(folder)):
        return True
    found = marked(folder)
    return found is not None and not found.finished and all(digest for _, digest in found.files.values())


def refuse_foreign(folder: Path, names: Sequence[str], remedy: str) -> None:
    """ResultsError if a folder holds one of these files or folders without its being a result."""
    found = marked(folder) or Marked()
    for name in names:
        if os.path.lexists(folder / name) and name not in found.files:
            raise ResultsError(f"{folder / name.rstrip('/')} is not of volovan and would be written over; {remedy}")


def mark(folder: Path, verb: str, names: Sequence[str]) -> None:
    """Say that these files and folders (`pictures/`) are results, whatever they hold from now on."""
    found = marked(folder) or Marked()
    if any(found.files.get(name) != (verb, "") for name in names):
        found.files |= dict.fromkeys(names, (verb, ""))
        _rewrite(folder, found)


def unmark(folder: Path, verb: str) -> None:
    """Take back what `mark` has said."""
    found = marked(folder) or Marked()
    found.files = {name: said for name, said in found.files.items() if said[0] != verb}
    if found.files:
        _rewrite(folder, found)
    else:
        (folder / MARK).unlink(missing_ok=True)


def keep(path: Path, part: Path) -> None:
    """Called with every finished file before it takes its place: it becomes a result if it lies in a folder of them."""
    here = Path(os.path.abspath(path))
    inside = [one for one in _open if here.is_relative_to(one.folder)]
    if not inside:
        return
    owner = max(inside, key=lambda one: len(one.folder.parts))
    nearest = next((folder for folder in here.parents if (folder / MARK).is_file()), owner.folder)
    if nearest == owner.folder or not nearest.is_relative_to(owner.folder):  # else it is of a run in the folder
        owner.take(here, part)


@dataclass
class _Folder:
    """A folder that is written to. shown: as the user calls it."""

    folder: Path
    verb: str
    lasting: frozenset[str]
    shown: str
    begun: bool = False
    mark: Marked = field(default_factory=Marked)

    def refuse_foreign(self, beside: Collection[str] | None) -> None:
        found = marked(self.folder)
        if found is None:
            there = [] if beside is None else [name for name in _visible(self.folder) if name not in beside]
            if there:
                others = f" and {len(there) - 1} more" if len(there) > 1 else ""
                raise ResultsError(
                    f"{self.shown} holds {there[0]}{others}, which volovan has not written; results go into a folder "
                    f"of their own, so that nothing of yours is replaced: --out {_free(Path(self.shown))}"
                )
            return
        self.mark = found
        for name in found.of(self.verb):
            if self.changed(name):
                raise self.yours(f"{Path(self.shown, name)} was changed since volovan {self.verb} wrote it")

    def yours(self, found: str) -> ResultsError:
        """The error for what would be replaced."""
        return ResultsError(
            f"{found}, and a result never replaces what is yours; move it away, or name another folder: "
            f"--out {_free(Path(self.shown))}"
        )

    def changed(self, name: str) -> bool:
        """Whether a result is there and not as it was written."""
        path, digest = self.folder / name, self.mark.files[name][1]
        return bool(digest) and path.is_file() and _digest(path) != digest

    @contextmanager
    def kept_to_itself(self) -> Iterator[None]:
        """No other process writes there meanwhile. A folder in which nothing was written is not left behind."""
        held = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            held = lock(self.folder)
        except BlockingIOError:
            raise ResultsError(
                f"another process is writing to {self.shown}; wait for its end, or name another folder with --out"
            ) from None
        except OSError:
            pass  # said by the first file that cannot be written
        try:
            yield
        finally:
            if held is not None:
                (self.folder / LOCK).unlink(missing_ok=True)
                held.close()
            with suppress(OSError):
                self.folder.rmdir()

    def take(self, path: Path, part: Path) -> None:
        """Note a result that is about to appear."""
        name = path.relative_to(self.folder).as_posix()
        if os.path.lexists(path) and (name not in self.mark.files or self.changed(name)):
            raise self.yours(f"{path} is not of volovan")
        if not self.begun:
            self.begin()
        self.say({"verb": self.verb, "file": name, "digest": _digest(part)})

    def begin(self) -> None:
        """Remove what an earlier call has left."""
        self.begun = True
        stale = [name for name in self.mark.of(self.verb) if name not in self.lasting]
        for folder in {self.folder, *((self.folder / name).parent for name in stale)}:
            for rest in folder.glob(".*.part"):  # of killed processes, since all others are locked out
                if not rest.name.endswith(f".{os.getpid()}.part"):
                    shutil.rmtree(rest, ignore_errors=True)
        if any((self.folder / name).is_file() for name in stale):
            logger.info("the results of an earlier volovan %s in %s are replaced", self.verb, self.shown)
        for name in stale:
            (self.folder / name).unlink(missing_ok=True)
            del self.mark.files[name]
            for above in (self.folder / name).parents:
                if above == self.folder:
                    break
                with suppress(OSError):  # others are in it
                    above.rmdir()
        self.mark.finished.discard(self.verb)
        _rewrite(self.folder, self.mark)

    def finish(self) -> None:
        if self.begun:
            self.say({"verb": self.verb, "finished": True})

    def say(self, line: dict[str, Any]) -> None:
        with (self.folder / MARK).open("a", encoding="utf-8") as file:
            print(json.dumps(line, ensure_ascii=False), file=file)
        if "file" in line:
            self.mark.files[line["file"]] = line["verb"], line["digest"]


_open: list[_Folder] = []


def _visible(folder: Path) -> list[str]:
    """What a user sees in a folder."""
    return sorted(name for name in os.listdir(folder) if not is_hidden(name)) if folder.is_dir() else []


def _free(folder: Path) -> Path:
    """A folder of results in a folder, that is not there yet."""
    names = ["results", *(f"results-{number}" for number in range(2, 1000))]
    return next(folder / name for name in names if not (folder / name).exists())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _rewrite(folder: Path, said: Marked) -> None:
    """The mark as a whole."""
    part = folder / f"{MARK}.{os.getpid()}"
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (_ABOUT, *said.lines()))
    part.write_text(text, encoding="utf-8")
    os.replace(part, folder / MARK)
