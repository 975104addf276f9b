"""A lock on a folder that ends with the process that holds it, however it ends."""

import errno
from pathlib import Path
from typing import Any

LOCK = ".lock"
"""the file in the folder"""


def lock(folder: Path) -> Any:
    """An open file that keeps other processes out until it is closed; None where the system has no such locks.

    raises  BlockingIOError: another process holds it
    """
    try:
        import fcntl
    except ImportError:
        return None
    file = (folder / LOCK).open("a")
    try:
        # A POSIX lock, not flock: loader processes do not inherit it, so a killed run can be taken up at once.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise BlockingIOError(errno.EAGAIN, "held by another process", file.name) from error
        raise
    return file


def is_locked(folder: Path) -> bool:
    """Whether another process holds it."""
    try:
        held = lock(folder) if (folder / LOCK).exists() else None
    except BlockingIOError:
        return True
    except OSError:  # nobody locks what cannot be written to
        return False
    if held is not None:
        held.close()
    return False
