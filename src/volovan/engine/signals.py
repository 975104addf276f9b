"""SIGTERM and Ctrl-C ask the loop to stop after its step; a second Ctrl-C stops at once.

Elsewhere a signal may end work as Ctrl-C does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StopRequest:
    """Context manager: `asked` is set by a signal here, `everywhere` by the loop when any process was asked."""

    def __init__(self) -> None:
        self.asked = False
        self.everywhere = False
        self.number = signal.SIGTERM
        self._before: dict[int, Any] = {}

    @property
    def name(self) -> str:
        return "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name

    @property
    def status(self) -> int:
        """Exit status by the shell's convention: 128 + number of the signal."""
        return 128 + self.number

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        again = (
            "; Ctrl-C again stops at once" if number == signal.SIGINT else f", as {signal.Signals(number).name} asks"
        )
        os.write(2, f"\nstopping after this step{again}\n".encode())  # print may be in the middle of something
        self.asked, self.number = True, signal.Signals(number)

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._before[number] = signal.signal(number, self._ask)
            except ValueError:  # not the main thread: somebody else owns the signals
                return self
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextmanager
def as_interrupted(number: signal.Signals) -> Iterator[None]:
    """A signal is a KeyboardInterrupt within the block, so that what is unfinished is cleared away."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(number, interrupt)
    except ValueError:  # not the main thread: somebody else owns the signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(number, before)
