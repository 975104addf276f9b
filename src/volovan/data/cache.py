"""Files that are made once and kept: unpacked archives and indices. The user's own files are never changed."""

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from volovan.data.errors import SourceError
from volovan.files.whole import new_file

_UNPACKERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


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
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    made = cache_folder() / f"{digest}{suffix}"
    if made.exists():
        return made
    remedy = ", or set VOLOVAN_CACHE to a folder on a disk with room"
    with new_file(made, remedy=remedy, error=SourceError) as part, part.open("wb") as file:
        for abandoned in made.parent.glob(".*.part"):  # by processes that were killed a day ago
            with suppress(OSError):  # another process was faster
                if time.time() - abandoned.stat().st_mtime > 86_400:
                    shutil.rmtree(abandoned)
        write(file)
    return made


def unpacked(path: Path) -> Path:
    """path itself, or if its content is compressed, the unpacked copy in the cache."""
    with path.open("rb") as file:
        head = file.read(8)
    opener = next((opener for magic, opener in _UNPACKERS.items() if head.startswith(magic)), None)
    if opener is None:
        return path

    def unpack(target: BinaryIO) -> None:
        try:
            with opener(path, "rb") as packed:
                shutil.copyfileobj(packed, target, 1 << 20)
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise SourceError(f"{path} is damaged or cut off ({error}); fetch it again") from None

    return cached_file(path, ".tar", unpack)
