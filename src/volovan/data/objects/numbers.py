"""Numbers out of files that people write: as numbers, or as text that is one."""

from typing import Any

import numpy as np

from volovan.data.errors import SHOWN, shortened

FARTHEST = 1e7
"""pixels: larger than any picture, and what lies farther away is a mistake"""


def numbers_of(said: Any, what: str, expected: str, largest: float = FARTHEST) -> np.ndarray:
    """(N,) float64 of a list of finite numbers. ValueError otherwise, with a reason that goes on after "has"."""
    if isinstance(said, list) and {*map(type, said)} <= {int, float, str}:  # True is an int, and no number
        try:
            found = np.array([*map(float, said)])
        except (ValueError, OverflowError):
            found = np.array([np.nan])
        if (abs(found) <= largest).all():
            return found
    raise ValueError(f"{what} {shortened(said)}{_not_shown(said, largest)}, expected {expected}")


def _not_shown(said: Any, largest: float) -> str:
    """The first one that is wrong, where `shortened` leaves it out."""
    for place, one in enumerate(said if isinstance(said, list) else []):
        try:
            fine = type(one) in (int, float, str) and abs(float(one)) <= largest
        except (ValueError, OverflowError):
            fine = False
        if not fine:
            return f" with {shortened(one)}" if place >= SHOWN else ""
    return ""
