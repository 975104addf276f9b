"""Numbers out of files that people write: as numbers, or as text that is one."""

from typing import Any

import numpy as np

from volovan.data.errors import shortened

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
    raise ValueError(f"{what} {shortened(said)}, expected {expected}")
