"""Files that appear whole or not at all: what was there before stays until the new one is finished.

A file is written under its own name in a hidden folder beside its place, and renamed. So a name always stands for a
whole file, and a killed process leaves no more than a hidden folder, which `sweep` removes.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from volovan.files.results import MARK, keep

OTHER_FOLDER = ", or name another folder with --out"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UnwritableError(ValueError):
    """A file could not be written; the message names it, the reason and what to do."""


@contextmanager
def new_file(
    path: Path,
    *,
    durable: bool = False,
    below: Path | None = None,
    remedy: str = OTHER_FOLDER,
    error: type[ValueError] = UnwritableError,
) -> Iterator[Path]:
    """A path to write to; the file that lies there in the end takes the place of `path`, after an error nothing does.

    durable  flush file and folder to the disk, so that a power cut cannot leave an empty file
    below    folder for what is unfinished; default: the folder of `path`. It must be of the same file system
    remedy   what the user can do besides making room or seeing to the rights: the end of the sentence
    error    raised where the file cannot be written; an error about another file passes through
    """
    # A folder for each file, since some writers leave temporary files of their own beside it when they are killed.
    folder = (below or path.parent) / f".{path.name}.{os.getpid()}.part"
    part = folder / path.name
    try:
        _make_folder(path.parent)
        shutil.rmtree(folder, ignore_errors=True)  # of a killed process with the same number
        folder.mkdir(parents=True)
        yield part
        part.chmod(folder.stat().st_mode & 0o666)  # as the umask wants it; some writers make files private
        if durable:
            _flush(part)
        keep(path, part)
        os.replace(part, path)
        if durable:
            _flush(path.parent)
    except OSError as reason:
        if reason.filename is not None and not _concerns(Path(os.fsdecode(reason.filename)), path, folder):
            raise
        make = "free some space" if reason.errno in _FULL else "see that it can be written"
        raise error(f"{path} could not be written ({reason.strerror or reason}); {make}{remedy}") from reason
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def whole_file(path: Path, **how: Any) -> Iterator[TextIO]:
    """A text file that takes the place of `path` when the block ends well; keywords as in `new_file`."""
    with new_file(path, **how) as part, part.open("w", newline="", encoding="utf-8") as file:
        yield file


def write_text(path: Path, text: str, **how: Any) -> None:
    """All of a text file at once."""
    with whole_file(path, **how) as file:
        file.write(text)


def write_bytes(path: Path, content: bytes, **how: Any) -> None:
    """All of a file at once."""
    with new_file(path, **how) as part:
        part.write_bytes(content)


def sweep(folder: Path) -> None:
    """Remove what killed processes have left unfinished in a folder that nobody else writes to now."""
    for rest in folder.glob(".*.part"):
        shutil.rmtree(rest, ignore_errors=True)  # a file of that name is none of ours


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # the system does not say what is in the way
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def _concerns(named: Path, path: Path, folder: Path) -> bool:
    """Whether an error about `named` is one of writing `path`: it, what is unfinished of it, or a folder above."""
    marks = named.name.startswith(MARK)
    return marks or named in (path, folder) or folder in named.parents or named in (*path.parents, *folder.parents)


def _flush(path: Path) -> None:
    """Make what is written there durable. Not every system lets a folder be opened."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
