"""`-` among the sources of a command: names of files, one per line, or one picture, on standard input."""

import contextlib
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from volovan.data.errors import SourceError


def expand_standard_input(sources: Sequence[str], stack: contextlib.ExitStack) -> tuple[list[str], str | None]:
    """Put in place of `-` what standard input holds.

    The second value is the file that a picture was kept in; it goes when the stack is closed.
    """
    if "-" not in sources:
        return list(sources), None
    from PIL import Image

    content = sys.stdin.buffer.read()
    if not content.strip():
        raise SourceError("standard input is empty; send a picture, or file names one per line")
    piped = None
    try:
        Image.open(io.BytesIO(content)).close()
    except (OSError, ValueError, SyntaxError):
        try:
            names = [line for line in content.decode("utf-8").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise SourceError("standard input is neither a picture nor a list of file names") from error
    else:
        kept = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "stdin"
        kept.write_bytes(content)
        piped = str(kept)
        names = [piped]
    return [name for source in sources for name in (names if source == "-" else [source])], piped
