"""Pictures with annotated objects, of whatever format tells of them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError
from volovan.data.layouts.masks import with_wrapped
from volovan.data.layouts.told import told_file, told_folder
from volovan.data.objects.files import ObjectFiles, Told
from volovan.data.source import Splits
from volovan.data.synthetic.shapes_sources import is_shapes, shapes_splits
from volovan.files.nearest import nearest_beside

_REMEDY = (
    "give a folder with annotations of COCO, YOLO, Pascal VOC, labelme or CVAT (docs/data.md shows how it may look), a "
    "JSON of COCO, a data.yaml of YOLO, an XML of CVAT, or shapes"
)
_POINTS_REMEDY = (
    "give a folder with annotations of COCO whose categories name keypoints (person_keypoints_train.json), of YOLO "
    "with kpt_shape in its data.yaml, skeletons of CVAT, points of labelme (docs/data.md shows how it may look), a "
    "file of these, or shapes"
)


def object_splits(spec: str, points: bool = False) -> Splits:
    """The splits of pictures with objects in boxes; points: whose named points are read too."""
    if is_shapes(spec):
        return shapes_splits(spec, "points" if points else "boxes")
    path = Path(spec).expanduser()
    what, remedy = ("objects with named points", _POINTS_REMEDY) if points else ("objects", _REMEDY)
    if not path.exists():
        raise SourceError(f"{spec}: there is no such file or folder{nearest_beside(path, remedy)}")
    places = with_wrapped(path) if path.is_dir() else ()
    found = next((told for folder in places if (told := told_folder(folder, points))), None)
    found = found or told_file(path, points)
    if not found:
        raise SourceError(f"{spec} is no source of pictures with {what} that is known; {remedy}")
    return {split: partial(_objects, opener) for split, opener in found.items()}


def _objects(opener: Callable[[], Told]) -> ObjectFiles:
    return ObjectFiles(opener())
