"""The lines of a label file of YOLO: CLASS X Y WIDTH HEIGHT or CLASS X Y X Y X Y ..., from 0 to 1."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from volovan.data.errors import BadImage, SourceError, printable, shortened
from volovan.data.objects.annotated import Thing
from volovan.data.objects.shapes import Polygons
from volovan.data.samples import Names
from volovan.data.text import read_lines

_FARTHEST = 1.5  # of a picture: outlines end at its border, but for rounding
_ROUNDED = 0.01  # by which boxes may be larger than a picture
_LOOKED_AT = 50  # files with lines, to tell outlines from boxes


YoloLine = tuple[str, int, np.ndarray]
"""("line 1", id, numbers from 0 to 1): of a box 4, else corners"""


class YoloTeller:
    """files: paths of the label files, "" for a picture without one. points: lines are boxes with keypoints behind."""

    def __init__(self, root: Path, files: Sequence[str], points: bool = False) -> None:
        self.root, self.files, self.points = root, Names(files), points

    def name(self, index: int) -> str:
        return printable(self.files[index])

    def size_said(self, index: int) -> tuple[int, int] | None:
        return None

    def categories(self, index: int) -> Iterable[Hashable]:
        return [number for _, number, _ in self._lines(index)]

    def things(self, index: int, width: int, height: int) -> Iterator[Thing]:
        for place, number, values in self._lines(index):
            said = values.reshape(-1, 2) * (width, height)
            if len(values) > 4:
                yield Thing(number, None, Polygons((said,)), place=place)
            else:
                (x1, y1), (x2, y2) = said[0] - said[1] / 2, said[0] + said[1] / 2
                yield Thing(number, (x1, y1, x2, y2), place=place)

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


def yolo_lines(path: Path, name: str, points: bool = False) -> Iterator[YoloLine]:
    """Those of a file; BadImage names one that is wrong. points: those behind a box are left out."""
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
        values = values[:4] if points else values
        if not number.is_integer():
            raise BadImage(
                name, f"{place} is {shortened(line)}, expected CLASS X Y WIDTH HEIGHT or CLASS X Y X Y X Y ..."
            )
        if len(values) == 5:
            raise BadImage(
                name,
                f"{place} has 5 numbers after the class, a box and a confidence, as predictions have; labels are "
                "CLASS X Y WIDTH HEIGHT, so leave out the last one",
            )
        if len(values) % 2 or len(values) < 4:
            raise BadImage(
                name,
                f"{place} has {len(values)} numbers after the class; expected 4 of a box, X Y WIDTH HEIGHT, or 3 or "
                "more corners, X Y",
            )
        low, high = (-_ROUNDED, 1 + _ROUNDED) if len(values) == 4 else (-_FARTHEST, _FARTHEST)
        if not ((values >= low) & (values <= high)).all():
            wrong = values[~((values >= low) & (values <= high))][0]
            raise BadImage(name, f"{place} has {wrong:g}, expected 0 to 1 of width or height")
        yield place, int(number), values
