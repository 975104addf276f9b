"""Which categories of COCO's JSONs have named points: those that share one skeleton are the classes.

Names decide: where files or categories list the same points in another order, each is found by its name.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from volovan.data.errors import SourceError, printable
from volovan.data.folder import listed_names
from volovan.data.formats.coco_entries import called
from volovan.data.formats.coco_json import Described
from volovan.data.masks.coding import IGNORE
from volovan.data.objects.skeleton import Skeleton


@dataclass(frozen=True)
class Pointed:
    """classes, numbers: those with the skeleton, the others ignored; order: by file and category id, as `CocoTeller`
    takes it."""

    skeleton: Skeleton
    classes: tuple[str, ...]
    numbers: dict[Path, dict[Hashable, int]]
    order: dict[Path, dict[Hashable, tuple[int, ...]]]
    note: str


def with_points(
    every: Mapping[Path, Described], classes: Sequence[str], numbers: Mapping[Path, Mapping[Hashable, int]]
) -> Pointed:
    """SourceError: no category has points, or those that objects have are not the same. classes, numbers: of all."""
    every_one = [(path, id, skeleton) for path, found in every.items() for id, skeleton in found.skeletons.items()]
    if not every_one:
        raise SourceError(
            f"{next(iter(every))} has no category with keypoints (names of points, such as person has in COCO's "
            "person_keypoints_train2017.json), so there are no points to learn; export it with its keypoints"
        )
    used = [one for one in every_one if every[one[0]].categories[one[1]] in every[one[0]].used] or every_one
    path, id, skeleton = used[0]
    for other_path, other_id, other in used:
        if {*other.names} != {*skeleton.names}:
            raise SourceError(
                f"{_called(every, other_path, other_id)} has the keypoints {listed_names(other.names)}, but "
                f"{_called(every, path, id)} has {listed_names(skeleton.names)}; one skeleton is expected, so export "
                "the objects of one of them alone"
            )
    shared = [one for one in every_one if {*one[2].names} == {*skeleton.names}]
    order: dict[Path, dict[Hashable, tuple[int, ...]]] = {of_file: {} for of_file in every}
    for of_file, of_id, own in shared:
        order[of_file][of_id] = tuple(map(own.names.index, skeleton.names))
    called = {every[of_file].categories[of_id] for of_file, of_id, _ in shared}
    names = tuple(name for name in classes if name in called)
    for of_file, found in every.items():
        for of_id, name in found.categories.items():
            if name in called and of_id not in order[of_file] and name in found.used:
                raise SourceError(
                    f"{_called(every, of_file, of_id)} has no keypoints, but {_called(every, path, id)} has; export "
                    "both with the same ones"
                )
    taken = {
        of_file: {of_id: names.index(classes[n]) if classes[n] in called else IGNORE for of_id, n in known.items()}
        for of_file, known in numbers.items()
    }
    left = [name for name in classes if name not in called and any(name in found.used for found in every.values())]
    note = f"Not read, since they have no keypoints: objects of {listed_names(left)}." if left else ""
    return Pointed(skeleton, names, taken, order, note)


def _called(every: Mapping[Path, Described], path: Path, id: Hashable) -> str:
    return f"{path}: {called('category', id)} ({printable(every[path].categories[id])})"
