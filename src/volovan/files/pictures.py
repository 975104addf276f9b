"""Pictures as files, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from volovan.files.whole import new_file

if TYPE_CHECKING:
    from PIL import Image


def save_picture(path: Path, picture: Image.Image, **options: Any) -> Path:
    """A picture in the format of its suffix; options as Pillow's `save` takes them, JPEG has quality 92 by default."""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        options.setdefault("quality", 92)
    with new_file(path) as part:
        picture.save(part, **options)
    return path
