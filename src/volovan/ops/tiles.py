"""How large the programs of kernels in Triton are: as chosen on paper, or as measured on the card at hand.

`volovan benchmark ops --tune` tries the choices of every kernel and keeps the fastest of them in a table of a few
lines, `tiles.json` in the cache of volovan. It is read once; no call ever tries anything, so that none takes long.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

Chosen = dict[str, int]
"""constants of a kernel, and `num_warps`, which Triton knows"""


@dataclass(frozen=True)
class Tiles:
    """Of one kernel.

    usual   what it takes where nothing was measured
    others  what else may be tried, of each constant
    """

    kernel: str
    usual: Mapping[str, int]
    others: Mapping[str, tuple[int, ...]]

    def of(self, device: torch.device, dtype: torch.dtype) -> Chosen:
        """What it takes on a device for tensors of a dtype."""
        known = _tried.get(self.kernel) or measured(device).get(self.key(dtype), {})
        return {name: known.get(name, value) for name, value in self.usual.items()}

    def key(self, dtype: torch.dtype) -> str:
        """Its line in the table of a card."""
        return f"{self.kernel} {str(dtype).removeprefix('torch.')}"


_tried: dict[str, Chosen] = {}


@contextmanager
def trying(kernel: str, chosen: Chosen) -> Iterator[None]:
    """A kernel takes these, whatever was measured."""
    _tried[kernel] = chosen
    try:
        yield
    finally:
        del _tried[kernel]


def table_path() -> Path:
    """The file of what was measured."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "volovan" / "tiles.json"


def card(device: torch.device) -> str:
    """What a measurement holds for."""
    import triton

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{name}, triton {triton.__version__}"


@cache
def measured(device: torch.device) -> dict[str, Chosen]:
    """What was measured on the card: line -> constants. Without a table, or with one that cannot be read, nothing."""
    if device.type != "cuda":
        return {}
    return read_table().get(card(device), {})


def read_table() -> dict[str, dict[str, Chosen]]:
    """Card -> line -> constants; nothing of a file that is no such table."""
    try:
        found = json.loads(table_path().read_text(encoding="utf-8"))
        return {
            str(name): {str(line): {str(key): int(value) for key, value in own.items()} for line, own in lines.items()}
            for name, lines in found.items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
