"""Pictures with PNGs of ids, whose segments a table lists, as COCO has it: id = R + 256 G + 65,536 B."""

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volovan.data.errors import BadImage, printable, shortened
from volovan.data.masks.files import PairedMasks, inside
from volovan.data.pairing.partners import Pairs
from volovan.data.panoptic.segments import VOID, Panoptic, Segment, pixels_of
from volovan.data.pictures.decoding import decode_stored
from volovan.data.pictures.palettes import Colour
from volovan.data.samples import Names

_LAST = 256**3 - 1
_CROWD = {None: False, 0: False, 1: True}  # False is 0, and True is 1


class PanopticFiles(PairedMasks):
    """Pictures and PNGs.

    tables     of each JSON, [[width, height], [[id, category, iscrowd, area], ...]]
    listed_in  the file that has them
    numbers    category id -> class number
    """

    def __init__(
        self,
        root: Path,
        pairs: Pairs,
        tables: Sequence[str],
        listed_in: str,
        numbers: Mapping[Hashable, int],
        classes: Sequence[str],
        palette: Sequence[Colour],
        things: Sequence[bool],
        note: str,
    ) -> None:
        super().__init__(root, pairs, read_ids, classes, palette, note, "panoptic")
        self.tables, self.listed_in, self.numbers, self.things = Names(tables), listed_in, dict(numbers), tuple(things)

    def target(self, index: int) -> Panoptic:
        name = printable(inside(self.masks[index]))
        try:
            segments = tuple(self._segments(index))
        except ValueError as error:
            raise BadImage(name, f"{self.listed_in} has {error}") from None
        ids = self.upright(index)
        size = json.loads(self.tables[index])[0]
        if None not in size and sorted(size) != sorted(ids.shape):  # a turn may have swapped them
            said = f"{self.listed_in} says that its picture is {size[0]} x {size[1]}"
            raise BadImage(name, f"{ids.shape[1]} x {ids.shape[0]}, but {said}; export it again")
        listed, found = {segment.id for segment in segments}, pixels_of(ids)
        if unlisted := sorted(found.keys() - listed - {VOID}):
            row, column = (int(at[0]) for at in np.nonzero(ids == unlisted[0]))
            raise BadImage(
                name,
                f"id {unlisted[0]} ({found[unlisted[0]]:,} pixels, the first in row {row}, column {column})"
                f"{_others(unlisted)} is not in the segments_info of {self.listed_in}; add it there, or paint it 0",
            )
        if unpainted := sorted(listed - found.keys()):
            raise BadImage(
                name,
                f"{self.listed_in} has segment {unpainted[0]}{_others(unpainted)} in segments_info, which no pixel "
                "shows; remove it there, or paint it",
            )
        return Panoptic(ids, segments)

    def _segments(self, index: int) -> Iterator[Segment]:
        """ValueError: a reason that goes on after "has"."""
        seen: set[int] = set()
        for id, category, crowd, _ in json.loads(self.tables[index])[1]:
            if type(id) is not int or not 0 < id <= _LAST:
                raise ValueError(f"a segment with the id {shortened(id)}, expected 1 to {_LAST:,}; export it again")
            if id in seen:
                raise ValueError(f"segment {id} twice in segments_info; give each segment an id of its own")
            seen.add(id)
            if not isinstance(category, int | str) or category not in self.numbers:
                raise ValueError(
                    f"the category_id {shortened(category)} of segment {id}, which it does not list; export it again"
                )
            if not isinstance(crowd, int | None) or crowd not in _CROWD:
                raise ValueError(f"iscrowd {shortened(crowd)} of segment {id}, expected 0 or 1")
            yield Segment(id, self.numbers[category], _CROWD[crowd])

    def doubts(self, index: int, target: Panoptic) -> list[str]:
        """Sentences on what the table says of segments and their pixels do not. target: as it was read."""
        areas = {id: area for id, _, _, area in json.loads(self.tables[index])[1]}
        pairs = zip(target.segments, target.areas().tolist(), strict=True)
        return [
            f"segment {segment.id}, {self.classes[segment.label]}: {area:,} pixels, but its area is {said}"
            for segment, area in pairs
            if (said := _area(areas[segment.id])) not in (None, area)
        ]


def _area(said: Any) -> Any:
    """A number, or what else is said."""
    return said if said is None or (isinstance(said, int | float) and not isinstance(said, bool)) else shortened(said)


def _others(ids: Sequence[int]) -> str:
    return f" ({len(ids) - 1:,} others as well)" if len(ids) > 1 else ""


def read_ids(path: Path, name: str) -> np.ndarray:
    """(H, W) int32 of a PNG in colours; BadImage if it is none."""
    image = decode_stored(path, name)
    if image.mode not in ("RGB", "RGBA") or image.info["format"] != "PNG":
        raise BadImage(
            name,
            f"{image.info['format']} of the mode {image.info['mode']}, expected a PNG in colours (8 bits of red, "
            "green, blue) with the ids of segments as R + 256 G + 65,536 B; write it as panopticapi's id2rgb does",
        )
    pixels = np.asarray(image)[..., :3].astype(np.int32)
    found: np.ndarray = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
    return found
