"""A watch over the files of the user: a verb leaves them as they are, but for those in the folder that it writes to."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

_UNSAID = ("predictions", "check-data", "probe", "runs", "benchmark")  # where verbs write without --out
_CACHES = ("VOLOVAN_CACHE", "HF_HOME", "XDG_CACHE_HOME")


class Watch:
    """Begins when it is made. Looked at are the working folder `here`, `folder` (that of a test) and whatever the words
    of the command name; `streams` are what it prints to."""

    def __init__(
        self, verb: str, words: list[str], here: Path = Path(), folder: Path | None = None, streams: Iterable[Any] = ()
    ) -> None:
        self.command = f"volovan {verb} {' '.join(words)}"
        self.here = here = Path(os.path.realpath(here))
        outs = [here / place for word, place in pairwise(words) if word in ("--out", "--resume")]
        outs = outs or [here / name for name in _UNSAID]
        pages = [here / place for word, place in pairwise(words) if word == "--page"]  # written where the user says
        outs += [*pages, *(page.parent / "img" for page in pages)]
        outs += [Path(os.environ[name]) for name in _CACHES if os.environ.get(name)]
        outs += [Path(str(getattr(stream, "name", ""))) for stream in (sys.stdout, sys.stderr, *streams)]
        self.hidden = {os.path.realpath(out) for out in outs}
        self.above = {str(folder) for out in self.hidden for folder in Path(out).parents}
        self.roots = {here / word for word in words if len(word) < 200} | ({folder} if folder else set())
        if here.is_relative_to(tempfile.gettempdir()):
            self.roots.add(here)
        self.before = self._states()

    def check(self) -> None:
        """AssertionError if the verb has changed, added or removed a file outside of the folder that it writes to."""
        before, after = self.before, self._states()
        changed = {path for path in {*before, *after} - self.above - self.hidden if before.get(path) != after.get(path)}
        wrong = sorted(changed)[:9]
        assert not wrong, f"{self.command} has changed, added or removed: {', '.join(wrong)}"

    def _states(self) -> dict[str, tuple[int, ...]]:
        """Of each file what changes with its content, or when it is put back: size, times, number."""
        found: dict[str, tuple[int, ...]] = {str(self.here / name): () for name in os.listdir(self.here)}
        looked: set[str] = set()

        def look(path: str) -> None:
            if path in looked or path in self.hidden or path.endswith(("__pycache__", "/.git")):
                return
            looked.add(path)
            state = os.lstat(path)
            if not stat.S_ISDIR(state.st_mode):
                found[path] = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
                return
            found[path] = (state.st_ino,)
            for entry in os.scandir(path):
                look(entry.path)

        for root in {os.path.realpath(root) for root in self.roots if root.exists()}:
            look(root)
        return found


class WatchedProcess(subprocess.Popen):  # type: ignore[type-arg]
    """In the place of subprocess.Popen: a process that runs a verb is watched until it was waited for."""

    folder: Callable[[], Path | None] = staticmethod(lambda: None)

    def __init__(self, args: Any, *rest: Any, **options: Any) -> None:
        words = [str(word) for word in args] if isinstance(args, list | tuple) else []
        self.watch: Watch | None = None
        if "volovan" in words[:-1]:
            verb, *said = words[words.index("volovan") + 1 :]
            streams = (options.get("stdout"), options.get("stderr"))
            self.watch = Watch(verb, said, Path(options.get("cwd") or Path()), self.folder(), streams)
        super().__init__(args, *rest, **options)

    def wait(self, timeout: float | None = None) -> int:
        status = super().wait(timeout)
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.check()
        return status
