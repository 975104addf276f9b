"""Files that are made once and kept: unpacked archives and indices. The user's own files are never changed."""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from volovan.data.errors import SourceError


def cache_folder() -> Path:
    """VOLOVAN_CACHE, else volovan below XDG_CACHE_HOME, else ~/.cache/volovan."""
    if folder := os.environ.get("VOLOVAN_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "volovan"


def cached_file(source: Path, suffix: str, write: Callable[[BinaryIO], None]) -> Path:
    """The file that write() makes of source, from the cache if it is there.

    The key is path, size and time of change of source, so a changed source is a new key. The file appears under its
    name only when it is complete; processes that race for it do the work twice, at worst.
    """
    status = source.stat()
    key = f"{source.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    made = cache_folder() / (
        hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest() + suffix
    )
    if made.exists():
        return made
    partial: str | None = None
    try:
        made.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(made.parent)
        with tempfile.NamedTemporaryFile(dir=made.parent, suffix=".partial", delete=False) as file:
            partial = file.name
            write(file)  # type: ignore[arg-type]
        os.replace(partial, made)
    except OSError as error:
        if error.filename not in (None, partial, str(made), str(made.parent)):
            raise
        raise SourceError(
            f"{source} cannot be unpacked into {made.parent}: {error.strerror or error}; "
            "set VOLOVAN_CACHE to a folder on a disk with room"
        ) from None
    finally:
        if partial is not None and os.path.exists(partial):
            os.unlink(partial)
    return made


def _remove_abandoned(folder: Path, age: float = 86_400) -> None:
    """Delete what processes that were killed a day ago have left half written."""
    for partial in folder.glob("*.partial"):
        try:
            if time.time() - partial.stat().st_mtime > age:
                partial.unlink()
        except OSError:
            continue  # another process was faster
