"""What loading weights did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LoadReport:
    """What load_weights did.

    source      the file
    layout      whose names it used
    loaded      number of tensors copied
    missing, unexpected   names left aside (strict=False only)
    notes       sentences: new head, resized position embedding, adapted channels, averaged weights
    """

    source: Path
    layout: str
    loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.loaded} tensors from {self.source.name} ({self.layout})"
        aside = [f"{len(n)} {word}" for word, n in (("missing", self.missing), ("unexpected", self.unexpected)) if n]
        return "; ".join([text, *aside, *self.notes])
