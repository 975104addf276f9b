"""What goes wrong with label maps."""

from pathlib import Path


class LabelError(ValueError):
    """Label maps that cannot be made, read or used; one sentence, with the file, and the key where there is one."""


def existing(folder: str | Path) -> Path:
    """The folder, if there is one; else LabelError."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise LabelError(f"{path}: there is no such folder; make label maps with volovan label")
    return path
