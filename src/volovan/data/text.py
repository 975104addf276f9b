"""Text, and files of it, read whole; SourceError says which one cannot be."""

import json
from pathlib import Path
from typing import Any

from volovan.data.errors import SourceError


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None


def read_json(path: Path) -> Any:
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise SourceError(f"{path}{where} cannot be read as JSON ({error}); mend it, or fetch it again") from None


def read_lines(path: Path) -> list[tuple[int, str]]:
    """(number, text) of each line that is not empty, without white space around it."""
    return [(number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]


def is_text(said: Any) -> bool:
    """Whether it says anything, and can be written again."""
    if not isinstance(said, str) or not said.strip():
        return False
    try:
        return bool(said.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # half of a character
        return False
