"""One skeleton of what files tell of named points, where every point stands for itself (labelme, CVAT)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from volovan.data.folder import listed_names
from volovan.data.masks.coding import IGNORE
from volovan.data.objects.kept import Kept
from volovan.data.objects.skeleton import Skeleton


@dataclass(frozen=True)
class KeptPoints:
    """classes, numbers: those of objects with points, as of boxes; others are ignored."""

    skeleton: Skeleton
    classes: tuple[str, ...]
    numbers: dict[str, int]
    note: str


def kept_points(
    kept: Iterable[Kept], classes: Sequence[str], numbers: Mapping[str, int], told: Skeleton | None = None
) -> KeptPoints | None:
    """None where no object has a point. classes, numbers: of all objects; told: names that come first, and lines."""
    every = [thing for one in kept for thing in one.things]
    names = dict.fromkeys((*(told.names if told else ()), *(name for thing in every for name in thing[5] or ())))
    if not names:
        return None
    pointed = {thing[0] for thing in every if thing[5]}
    taken = tuple(name for number, name in enumerate(classes) if any(numbers.get(one) == number for one in pointed))
    of_objects = {numbers.get(thing[0]) for thing in every}
    left = [name for number, name in enumerate(classes) if name not in taken and number in of_objects]
    place = {
        one: taken.index(classes[number]) if number != IGNORE and classes[number] in taken else IGNORE
        for one, number in numbers.items()
    }
    note = f"Not read, since they have no named points: objects of {listed_names(left)}." if left else ""
    return KeptPoints(Skeleton(tuple(names), told.lines if told else ()), taken, place, note)
