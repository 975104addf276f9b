"""Pictures of which every pixel belongs to a segment: COCO's panoptic files, else masks of classes, or outlines."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError
from volovan.data.formats.coco_panoptic import panoptic_file_splits, panoptic_folder_splits
from volovan.data.formats.outlines import OutlineFiles
from volovan.data.layouts.masks import known_masks, noted, path_splits, with_wrapped
from volovan.data.layouts.told import told_besides
from volovan.data.objects.files import ObjectFiles
from volovan.data.panoptic.derived import SegmentsOfMasks, SegmentsOfObjects
from volovan.data.source import Source, Splits
from volovan.data.synthetic.shapes_sources import is_shapes, shapes_splits
from volovan.files.nearest import nearest_beside

_REMEDY = (
    "give a folder with panoptic_train.json and panoptic_train/ beside the pictures (docs/data.md shows how it may "
    "look), one of these JSONs, a folder of images and masks, one of objects with outlines, or shapes"
)


def panoptic_splits(spec: str) -> Splits:
    """The splits of pictures with segments."""
    if is_shapes(spec):
        return shapes_splits(spec, "panoptic")
    path = Path(spec).expanduser()
    if not path.exists():
        raise SourceError(f"{spec}: there is no such file or folder{nearest_beside(path, _REMEDY)}")
    for folder in with_wrapped(path) if path.is_dir() else ():
        if found := panoptic_folder_splits(folder):
            others = [*told_besides(folder), *(["its masks"] if known_masks(folder) else [])]
            note = f"Panoptic annotations are read, those of {' and '.join(others)} are not." if others else ""
            return {split: partial(noted, opener, note) for split, opener in found.items()}
    if path.suffix.lower() == ".json" and (found := panoptic_file_splits(path)):
        return found
    found = path_splits(path, "mask")
    if not found:
        raise SourceError(f"{spec} is no source of pictures with segments that is known; {_REMEDY}")
    return {split: partial(_derived, opener) for split, opener in found.items()}


def _derived(opener: Callable[[], Source]) -> Source:
    source = opener()
    return SegmentsOfObjects(ObjectFiles(source.told)) if isinstance(source, OutlineFiles) else SegmentsOfMasks(source)
