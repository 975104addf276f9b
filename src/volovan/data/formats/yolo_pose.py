"""Named points in YOLO's annotations: kpt_shape, flip_idx and kpt_names of data.yaml, and the numbers behind a box."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volovan.data.errors import SourceError, shortened
from volovan.data.masks.class_files import read_yaml
from volovan.data.objects.skeleton import COCO_NAMES, Skeleton, flips_of
from volovan.data.text import is_text

_MOST = 1000  # points of an object: more are a slip
_UNSAID = "Points that have no visibility are visible, but for those at 0 0 or below, which are not labelled."


@dataclass(frozen=True)
class Pose:
    """width: numbers of a point, x y or x y v; note: what the user should know."""

    skeleton: Skeleton
    width: int
    note: str

    @property
    def numbers(self) -> int:
        """Of a line behind its class: box and points."""
        return 4 + self.width * len(self.skeleton)

    def points(self, values: np.ndarray) -> np.ndarray:
        """(K, 3) x, y, v of a line, x and y from 0 to 1. ValueError: a reason that goes on after "has"."""
        found = values[4:].reshape(-1, self.width)
        if self.width == 2:
            labelled = np.array((found >= 0).all(axis=1) & (found > 0).any(axis=1))
            return np.column_stack((found, 2.0 * labelled)) * labelled[:, None]
        if len(wrong := np.flatnonzero(~np.isin(found[:, 2], (0, 1, 2)))):
            raise ValueError(
                f"v {found[wrong[0], 2]:g} of point {wrong[0] + 1}, expected 0 (not labelled), 1 (hidden) or 2 "
                "(visible)"
            )
        return found * (found[:, 2:] > 0)


def read_pose(settings: Path) -> Pose | None:
    """What a data.yaml says of points, None where it says nothing. SourceError: it cannot be."""
    said = read_yaml(settings)
    if not isinstance(said, Mapping) or "kpt_shape" not in said:
        return None
    count, width = _shape(settings, said["kpt_shape"])
    names, note = _names(settings, said, count)
    flips = said.get("flip_idx")
    if flips is not None and not (isinstance(flips, list) and all(type(flip) is int for flip in flips)):
        raise SourceError(
            f"{settings} has the flip_idx {shortened(flips)}, expected {count} numbers from 0 on; mend it"
        )
    if flips is not None and len(flips) != count:
        raise SourceError(
            f"{settings} has {len(flips)} numbers as flip_idx, expected {count} as kpt_shape says; mend it"
        )
    if flips is None and flips_of(names) == tuple(range(count)):
        note += " No flip_idx says which points are left and right: none swap in a mirrored picture."
    try:
        skeleton = Skeleton(names, flips=tuple(flips or ()))
    except ValueError as error:
        raise SourceError(f"{settings} has {error}; mend it") from None
    return Pose(skeleton, width, f"{note} {_UNSAID if width == 2 else ''}".strip())


def _shape(settings: Path, said: Any) -> tuple[int, int]:
    if (
        not isinstance(said, list)
        or len(said) != 2
        or not all(type(one) is int for one in said)
        or not 1 <= said[0] <= _MOST
        or said[1] not in (2, 3)
    ):
        raise SourceError(
            f"{settings} has the kpt_shape {shortened(said)}, expected [points, 2] for x y or [points, 3] for x y v"
        )
    return said[0], said[1]


def _names(settings: Path, said: Mapping[str, Any], count: int) -> tuple[tuple[str, ...], str]:
    """(names, note). kpt_names is a list, or one for each class, {0: [...]}; else numbers count the points."""
    names = said.get("kpt_names")
    if names is None:
        if said.get("flip_idx") == list(flips_of(COCO_NAMES)):
            return COCO_NAMES, "flip_idx is that of COCO's persons, so the points are called as theirs."
        return tuple(f"point_{number}" for number in range(count)), "No kpt_names name the points."
    lists = [*names.values()] if isinstance(names, Mapping) else [names]
    lists = [lists] if all(isinstance(name, str) for name in lists) else lists  # {0: nose, 1: eye}
    for one in lists:
        if not isinstance(one, list) or not all(map(is_text, one)) or len(one) != count:
            raise SourceError(
                f"{settings} has the kpt_names {shortened(one)}, expected {count} names as kpt_shape says; mend it"
            )
        if one != lists[0]:
            raise SourceError(
                f"{settings} names the points {shortened(lists[0])} of one class and {shortened(one)} of another in "
                "kpt_names; one skeleton is expected, so give each class the same names"
            )
    return tuple(name.strip() for name in lists[0]), ""
