"""The lines of a label file of YOLO: CLASS X Y WIDTH HEIGHT or CLASS X Y X Y X Y ..., from 0 to 1."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from volovan.data.errors import BadImage, SourceError, printable, shortened
from volovan.data.formats.yolo_pose import Pose
from volovan.data.objects.annotated import Thing
from volovan.data.objects.shapes import Box, Polygons
from volovan.data.samples import Names
from volovan.data.text import read_lines

_FARTHEST = 1.5  # of a picture: outlines end at its border, but for rounding
_ROUNDED = 0.01  # by which boxes may be larger than a picture
_LOOKED_AT = 50  # files with lines, to tell outlines from boxes


YoloLine = tuple[str, int, np.ndarray]
"""("line 1", id, numbers from 0 to 1): of a box 4, perhaps with points behind, else corners"""


class YoloTeller:
    """files: paths of the label files, "" for a picture without one. points: whether lines are boxes with points behind
    them, or what these are, where they are read."""

    def __init__(self, root: Path, files: Sequence[str], points: bool | Pose = False) -> None:
        self.root, self.files, self.points = root, Names(files), points

    def name(self, index: int) -> str:
        return printable(self.files[index])

    def size_said(self, index: int) -> tuple[int, int] | None:
        return None

    def categories(self, index: int) -> Iterable[Hashable]:
        return [number for _, number, _ in self._lines(index)]

    def things(self, index: int, width: int, height: int) -> Iterator[Thing]:
        for place, number, values in self._lines(index):
            said = (values[:4] if self.points else values).reshape(-1, 2) * (width, height)
            if isinstance(self.points, Pose):
                yield Thing(number, _box(said), place=place, points=self.points.points(values) * (width, height, 1))
            elif len(values) > 4:
                yield Thing(number, None, Polygons((said,)), place=place)
            else:
                yield Thing(number, _box(said), place=place)

    def _lines(self, index: int) -> Iterator[YoloLine]:
        if file := self.files[index]:
            yield from yolo_lines(self.root / file, self.name(index), self.points)

    def no_masks(self) -> str:
        """Looks at the first files."""
        boxed: list[str] = []
        for file in filter(None, self.files):
            lines = [line.split() for _, line in read_lines(self.root / file)]
            if not self.points and any(len(line) != 5 for line in lines):
                return ""
            boxed += [file] if lines else []
            if len(boxed) == _LOOKED_AT:
                break
        if not boxed:
            return ""
        return (
            f"{(self.root / boxed[0]).parent} holds boxes (CLASS X Y WIDTH HEIGHT), not outlines (CLASS X Y X Y ...); "
            "masks cannot be made of them, so export the labels for segmentation"
        )


def _box(said: np.ndarray) -> Box:
    """said: (2, 2) middle and sides in pixels."""
    (x1, y1), (x2, y2) = said[0] - said[1] / 2, said[0] + said[1] / 2
    return (x1, y1, x2, y2)


def yolo_lines(path: Path, name: str, points: bool | Pose = False) -> Iterator[YoloLine]:
    """Those of a file; BadImage names one that is wrong. points: True leaves those behind a box out."""
    try:
        lines = read_lines(path)
    except SourceError as error:
        raise BadImage(name, str(error)) from None
    for at, line in lines:
        place, cells = f"line {at}", line.split()
        try:
            number, values = float(cells[0]), np.array(cells[1:], np.float64)
        except ValueError:
            number, values = np.nan, np.zeros(0)
        if not number.is_integer():
            raise BadImage(
                name, f"{place} is {shortened(line)}, expected CLASS X Y WIDTH HEIGHT or CLASS X Y X Y X Y ..."
            )
        values = values[:4] if points is True else values
        try:
            _check_pose(values, points) if isinstance(points, Pose) else _check(values)
        except ValueError as error:
            raise BadImage(name, f"{place} has {error}") from None
        yield place, int(number), values


def _check(values: np.ndarray) -> None:
    """ValueError: neither a box nor an outline, a reason that goes on after "has"."""
    if len(values) == 5:
        raise ValueError(
            "5 numbers after the class, a box and a confidence, as predictions have; labels are CLASS X Y WIDTH "
            "HEIGHT, so leave out the last one"
        )
    if len(values) % 2 or len(values) < 4:
        raise ValueError(
            f"{len(values)} numbers after the class; expected 4 of a box, X Y WIDTH HEIGHT, or 3 or more corners, X Y"
        )
    if len(values) == 4:
        _check_places(values, -_ROUNDED, 1 + _ROUNDED)
    else:
        _check_places(values, -_FARTHEST, _FARTHEST)


def _check_pose(values: np.ndarray, pose: Pose) -> None:
    """Likewise of a box with points behind; where those are that are not labelled does not matter."""
    if len(values) != pose.numbers:
        raise ValueError(
            f"{len(values)} numbers after the class, expected {pose.numbers}: 4 of a box and {pose.width} of each of "
            f"{len(pose.skeleton)} points, as kpt_shape says"
        )
    _check_places(values[:4], -_ROUNDED, 1 + _ROUNDED)
    _check_places(pose.points(values)[:, :2].reshape(-1), -_FARTHEST, _FARTHEST)


def _check_places(values: np.ndarray, low: float, high: float) -> None:
    inside = (values >= low) & (values <= high)
    if not inside.all():
        raise ValueError(f"{values[~inside][0]:g}, expected 0 to 1 of width or height")
