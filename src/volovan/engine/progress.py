"""Progress: a bar with rate and time left on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Generator, Iterable
from typing import Any


def on_terminal() -> bool:
    return sys.stderr.isatty()


def bar(items: Iterable[Any], total: int, label: str, unit: str, leads: bool) -> Generator[Any, None, None]:
    """The items, with a bar on a terminal and without one elsewhere; closing it takes the bar away."""
    if not (leads and on_terminal()):
        yield from items
        return
    from tqdm import tqdm

    with tqdm(items, total=total, desc=label, unit=unit, leave=False, dynamic_ncols=True) as shown:
        yield from shown


def speak(line: str) -> None:
    """Print a line, above the bar if there is one."""
    if not on_terminal():
        print(line, flush=True)
        return
    from tqdm import tqdm

    tqdm.write(line)


class Pace:
    """Samples per second and time left, measured since the run (or the resume) began.

    before: seconds that the run had taken until it was stopped.
    """

    def __init__(self, total_steps: int, step: int, samples_per_step: int, before: float = 0.0) -> None:
        self.total, self.first, self.samples, self.before = total_steps, step, samples_per_step, before
        self.begin = time.perf_counter()

    def seconds(self) -> float:
        """Of the whole run."""
        return self.before + self._here()

    def _here(self) -> float:
        return time.perf_counter() - self.begin

    def rate(self, step: int) -> float:
        """Samples per second, validation included."""
        return (step - self.first) * self.samples / max(self._here(), 1e-9)

    def left(self, step: int) -> str:
        """Time left, as h:mm:ss."""
        done = max(step - self.first, 1)
        return clock(self._here() / done * (self.total - step))


def clock(seconds: float) -> str:
    """3725 -> 1:02:05."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
