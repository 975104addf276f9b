"""Pictures with annotated objects: each format has a page, here they are told apart."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError
from volovan.data.formats.coco import coco_file_splits, coco_splits
from volovan.data.formats.yolo import yolo_file_splits, yolo_splits
from volovan.data.layouts.masks import with_wrapped
from volovan.data.objects.files import ObjectFiles, Tellings, Told
from volovan.data.pairing.pairs import Folders, two_folders
from volovan.data.source import Splits
from volovan.data.synthetic.shapes import is_shapes, shapes_splits

_REMEDY = (
    "give a folder with a JSON of COCO, or with images and labels of YOLO (docs/data.md shows how it may look), a JSON "
    "of COCO, a data.yaml of YOLO, or shapes"
)


def object_splits(spec: str) -> Splits:
    """The splits of pictures with objects in boxes."""
    if is_shapes(spec):
        return shapes_splits(spec, "boxes")
    path = Path(spec).expanduser()
    if not path.exists():
        raise SourceError(f"{spec}: there is no such file or folder; {_REMEDY}")
    found: Tellings | None = None
    if path.is_dir():
        found = folder_objects(path)
    elif path.suffix.lower() == ".json":
        found = coco_file_splits(path)
    elif path.suffix.lower() in (".yaml", ".yml"):
        found = yolo_file_splits(path)
    if not found:
        raise SourceError(f"{spec} is no source of pictures with objects that is known; {_REMEDY}")
    return {split: partial(_objects, opener) for split, opener in found.items()}


def folder_objects(folder: Path) -> Tellings | None:
    """What formats tell of a folder, or of the only folder in it; None if none does."""
    for path in with_wrapped(folder):
        if found := told_objects(path):
            return found
    return None


def told_objects(folder: Path) -> Tellings | None:
    """The same, of the folder itself."""
    return yolo_splits(folder, _two_folders(folder)) or coco_splits(folder)


def _two_folders(folder: Path) -> dict[str, Folders]:
    with suppress(SourceError):  # where nothing is paired
        return two_folders(folder)
    return {}


def _objects(opener: Callable[[], Told]) -> ObjectFiles:
    return ObjectFiles(opener())
