"""Folders that appear whole or not at all, under a name that nothing had before."""

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from volovan.files.whole import UnwritableError


@contextmanager
def workshop(path: Path) -> Iterator[Path]:
    """A hidden folder beside a path, to make what shall be there in; it is gone in the end, and so are those of calls
    that were killed."""
    part = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        shutil.rmtree(part, ignore_errors=True)  # of a killed process with the same number
        part.mkdir(parents=True)
        _sweep(path, but=part)
        yield part
    except OSError as error:
        named = Path(os.path.abspath(os.fsdecode(error.filename or os.sep)))
        place = Path(os.path.abspath(part))
        if place not in (named, *named.parents) and named not in place.parents:
            raise  # of something else, as pictures that are read meanwhile
        raise UnwritableError(
            f"{path} could not be written ({error.strerror or error}); make room there, or name another place with "
            "--out"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder beside it, which takes its name in the end; after an error nothing is left.

    raises  UnwritableError: something is there, or it cannot be written
    """
    folder = Path(os.path.realpath(folder))  # where a link leads
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise UnwritableError(f"{folder} is there already; name a new folder with --out")
    made = [above for above in folder.parents if not above.exists()]
    part = folder.parent / f".{folder.name}.{os.getpid()}.part"
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _sweep(folder, but=part)
        yield part
        if folder.is_dir():
            folder.rmdir()
        os.replace(part, folder)
    except OSError as error:
        named = Path(os.path.abspath(os.fsdecode(error.filename))) if error.filename else part
        if named != folder and part not in (named, *named.parents) and named not in folder.parents:
            raise  # of something else, as data that are read meanwhile
        raise UnwritableError(
            f"{folder} could not be written ({error.strerror or error}); make room there, or name another folder with "
            "--out"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        for above in made if not folder.exists() else ():
            with suppress(OSError):
                above.rmdir()


def _sweep(folder: Path, but: Path) -> None:
    """Remove what calls that were killed have left of it."""
    for rest in folder.parent.glob(f".{glob.escape(folder.name)}.*.part"):
        number = rest.name.removesuffix(".part").rpartition(".")[2]
        if rest != but and number.isdigit() and not _alive(int(number)):
            shutil.rmtree(rest, ignore_errors=True)


def _alive(process: int) -> bool:
    if os.name == "nt":  # where a signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
