"""What is told of pictures by files that call classes by their names: Pascal VOC's, labelme's, CVAT's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from volovan.data.errors import SourceError
from volovan.data.folder import listed_names
from volovan.data.formats.outlines import BACKGROUND
from volovan.data.masks.class_files import find_classes, is_no_class
from volovan.data.masks.coding import IGNORE
from volovan.data.objects.files import Told
from volovan.data.objects.kept import Kept, KeptTeller, bare_of
from volovan.data.objects.kept_points import kept_points
from volovan.data.objects.skeleton import Skeleton
from volovan.data.samples import join_notes


@dataclass(frozen=True)
class Points:
    """How a format speaks of named points, where they are read.

    missing   why there is nothing to learn where no object has some, behind the path of what has none
    left      why the rest is not read
    skeleton  names that come first, and lines, where files tell them
    """

    missing: str
    left: str
    skeleton: Skeleton | None = None


def told_by_names(
    root: Path,
    pictures: Mapping[str, tuple[str, Kept]],
    every: Mapping[str, Kept],
    folders: Iterable[Path],
    origin: str,
    note: str,
    unpaired: Sequence[str],
    labels: Sequence[str] = (),
    points: Points | None = None,
    where: Path | None = None,
) -> Told:
    """What is told of a split.

    pictures  {path relative to root: (how messages call what tells of it, what that tells)}
    every     of all splits, {where it stands: what is told}
    folders   that may hold a file of the classes
    note      on what the format leaves out, behind the others
    labels    classes that come first, besides those of the objects
    where     what has no points, where none are there; default: root
    raises    SourceError: points are read, and no object has any
    """
    classes, numbers, class_note = _classes(root, folders, every.values(), labels)
    found = kept_points(every.values(), classes, numbers, points.skeleton) if points else None
    if points and found is None and not any(one.wrong for one in every.values()):
        raise SourceError(f"{where or root} {points.missing}")
    classes, numbers = (found.classes, found.numbers) if found else (classes, numbers)
    skeleton = found.skeleton if found else None
    names, used = [name for name, _ in pictures.values()], [kept for _, kept in pictures.values()]
    teller = KeptTeller(names, used, bare_of(every), skeleton.names if skeleton else ())
    left = _left_note(used, points.left if points else "they have no area")
    notes = join_notes(class_note, found.note if found else "", left, note)
    return Told(root, tuple(pictures), teller, classes, numbers, origin, notes, unpaired, skeleton)


def _classes(
    root: Path, folders: Iterable[Path], kept: Iterable[Kept], told: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, int], str]:
    """(classes, numbers of names in files, note): of a class file, else those that are told, then the others.

    Class files of masks name the background too: it is none, unless an object is called so.
    """
    used = {thing[0] for one in kept for thing in one.things}
    nothing = sorted(name for name in {*used, *told} if is_no_class(name))
    numbers = dict.fromkeys(nothing, IGNORE)
    if found := find_classes(root, folders):
        grounds = {name for name in found.coding.classes if name.strip("_").lower() == BACKGROUND} - used
        names, note = tuple(name for name in found.coding.classes if name not in grounds), found.note
    else:
        names = tuple(dict.fromkeys(name for name in (*told, *sorted(used)) if name not in numbers))
        note = f"Objects called {listed_names(nothing)} are left out." if nothing else ""
    return names, numbers | {name: number for number, name in enumerate(names)}, note


def _left_note(kept: Iterable[Kept], why: str) -> str:
    """A sentence on what is not read."""
    counts: dict[str, int] = {}
    for kind, count in chain.from_iterable(one.left.items() for one in kept):
        counts[kind] = counts.get(kind, 0) + count
    listed = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    return f"Not read, since {why}: {listed}." if listed else ""
