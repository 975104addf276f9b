"""What a file says of the network in it: one text of JSON, in the metadata of whatever format."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from volovan.predictor import FORMAT, KEY, FileError, said_of, unreadable
from volovan.room.settings import Size

__all__ = ["KEY", "About", "ExportError"]


class ExportError(FileError):
    """A network that cannot be exported, or a file that cannot be used."""


@dataclass(frozen=True)
class About:
    """What has to be known to use the network of a file.

    name       of the network
    said       what makes the network in use again: task, config, preprocessing, classes ... (`Ready.describe`)
    outputs    names of what the file gives
    raw        whether it takes (B, H, W, 3) uint8, not (B, 3, H, W) float32 that is normalised
    size       (height, width) that it takes alone; None: any
    batch      pictures that it takes at once; None: any number
    answers    whether it gives answers, not what volovan makes them of
    precision  of its weights and sums: "fp32", "fp16", "bf16", "int8", "int8-weights"
    """

    name: str
    said: dict[str, Any]
    outputs: tuple[str, ...]
    raw: bool = False
    size: Size | None = None
    batch: int | None = None
    answers: bool = False
    precision: str = "fp32"

    @property
    def task(self) -> str:
        return str(self.said["task"])

    def text(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)

    @classmethod
    def read(cls, text: str | None, path: Path) -> About:
        """From the metadata of a file; FileError where it is none of ours, or says what nobody wrote."""
        found = said_of(text, path)
        size = found.pop("size")
        try:
            return cls(**{**found, "outputs": tuple(found["outputs"])}, size=size and (size[0], size[1]))
        except TypeError:  # more than there is, or less
            raise unreadable(path) from None
