"""What a file says of the network in it: one text of JSON, in the metadata of whatever format."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from volovan.predictor import FileError
from volovan.room.settings import Size

KEY = "volovan"
"""under which the text lies in the metadata of a file"""
FORMAT = "volovan-export-1"


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
        """From the metadata of a file; ExportError where it is none of ours, or says what nobody wrote."""
        if not text:
            raise ExportError(
                f"{path} does not say what network it holds, as files of `volovan export` do; export the network again"
            )
        try:
            found = json.loads(text)
            if found.pop("format") != FORMAT:
                raise KeyError(FORMAT)
            size = found.pop("size")
            about = cls(**{**found, "outputs": tuple(found["outputs"])}, size=size and (int(size[0]), int(size[1])))
            kinds = {"task": str, "config": dict, "preprocessing": dict, "classes": list}
            if not all(isinstance(about.said[key], kind) for key, kind in kinds.items()):
                raise TypeError("another kind")
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            raise ExportError(
                f"{path} says of its network what this version of volovan cannot read; export the network again"
            ) from None
        return about
