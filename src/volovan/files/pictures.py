"""Pictures as files, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from volovan.files.whole import new_file

if TYPE_CHECKING:
    from PIL import Image


def save_picture(path: Path, picture: Image.Image) -> Path:
    """A picture in the format of its suffix; JPEG with quality 92."""
    options: dict[str, Any] = {"quality": 92} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    with new_file(path) as part:
        picture.save(part, **options)
    return path
