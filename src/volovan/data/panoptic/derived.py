"""Segments that follow from other targets: masks of classes, where nothing is counted, and outlines, where all is."""

from __future__ import annotations

import numpy as np

from volovan.data.errors import BadImage
from volovan.data.masks.coding import IGNORE
from volovan.data.masks.files import DrawnOn, MaskedPictures
from volovan.data.objects.annotated import Annotated
from volovan.data.panoptic.segments import VOID, Panoptic, Segment
from volovan.data.samples import OfOthers, join_notes, palette_of, picture_size_of, unpaired_of
from volovan.data.source import Source


class Derived(OfOthers):
    """Samples of another source with targets of their own."""

    kind = "panoptic"
    of_things: bool
    said: str

    def __init__(self, source: Source) -> None:
        self.source, self.classes, self.palette = source, source.classes, palette_of(source)
        self.note, self.unpaired = join_notes(self.said, source.note), unpaired_of(source)
        self.things = (self.of_things,) * len(self.classes)

    def __len__(self) -> int:
        return len(self.source)

    def _find(self, index: int) -> tuple[Source, int]:
        return self.source, index

    @property
    def drawn_on(self) -> DrawnOn | None:
        """What the other targets were drawn on."""
        return getattr(self.source, "drawn_on", None)

    @drawn_on.setter
    def drawn_on(self, what: DrawnOn | None) -> None:
        if isinstance(self.source, MaskedPictures):
            self.source.drawn_on = what


class SegmentsOfMasks(Derived):
    """Each class of a mask is one segment; its id is the class number and 1."""

    of_things = False
    said = "Masks of classes: all that is of one class is one segment, none is counted as things are."

    def target(self, index: int) -> Panoptic:
        mask: np.ndarray = self.source.target(index)
        ids = np.where(mask == IGNORE, VOID, mask.astype(np.int32) + 1)
        labels = np.flatnonzero(np.bincount(mask.reshape(-1), minlength=IGNORE + 1)[:IGNORE]).tolist()
        return Panoptic(ids, tuple(Segment(label + 1, label) for label in labels))


class SegmentsOfObjects(Derived):
    """Each object with an outline is a segment, later ones lie on earlier ones; what none covers is unknown."""

    of_things = True
    said = "Outlines of objects: each is a thing, later ones lie over earlier ones, what none of them holds is unknown."

    def target(self, index: int) -> Panoptic:
        told: Annotated = self.source.target(index)
        width, height = picture_size_of(self.source, index)
        ids = np.full((height, width), VOID, np.int32)
        for row, shape in enumerate(told.shapes):
            if shape is None:
                place = f"{told.places[row]} " if told.places else ""
                raise BadImage(self.name(index), f"{place}has a box but no outline; export outlines for segments")
            shape.paint(ids, row + 1)
        seen = {*np.unique(ids).tolist()}  # of some nothing may be left
        each = enumerate(zip(told.labels.tolist(), told.crowd.tolist(), strict=True), 1)
        return Panoptic(ids, tuple(Segment(id, label, crowd) for id, (label, crowd) in each if id in seen))
