"""Result files that appear whole or not at all: what was there before stays until the new one is finished."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


class UnwritableError(ValueError):
    """A result could not be written; the message names the file and the reason."""


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of `path` when the block ends well; after an error `path` is as before."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", newline="", encoding="utf-8") as file:
            yield file
        os.replace(part, path)
    except OSError as error:
        raise UnwritableError(
            f"{path} could not be written ({error.strerror or error}); free some space, or name another folder with "
            "--out"
        ) from error
    finally:
        part.unlink(missing_ok=True)
