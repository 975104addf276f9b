"""Progress: a bar with rate and time left on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any


def on_terminal() -> bool:
    return sys.stderr.isatty()


def bar(items: Iterable[Any], total: int, label: str, unit: str, leads: bool) -> Iterable[Any]:
    """The items, with a bar on a terminal and without one elsewhere."""
    if not (leads and on_terminal()):
        return items
    from tqdm import tqdm

    return tqdm(items, total=total, desc=label, unit=unit, leave=False, dynamic_ncols=True)


class Pace:
    """Samples per second and time left, measured since the run (or the resume) began."""

    def __init__(self, total_steps: int, step: int, samples_per_step: int) -> None:
        self.total, self.first, self.samples = total_steps, step, samples_per_step
        self.begin = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self.begin

    def rate(self, step: int) -> float:
        """Samples per second, validation included."""
        return (step - self.first) * self.samples / max(self.seconds(), 1e-9)

    def left(self, step: int) -> str:
        """Time left, as h:mm:ss."""
        done = max(step - self.first, 1)
        return clock(self.seconds() / done * (self.total - step))


def clock(seconds: float) -> str:
    """3725 -> 1:02:05."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def numbers(values: dict[str, float]) -> Iterator[str]:
    """`name 0.123` for each value, four digits that matter."""
    for name, value in values.items():
        yield f"{name} {value:.4g}"
