"""Settings of a run. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from volovan.room.settings import RoomRecipe, SizedSettings


@dataclass
class DataSettings(SizedSettings):
    """Where pictures come from."""

    source: str = "digits"
    """anything with pictures"""
    size: int | tuple[int, int] = 32
    """pixels of a side, or [height, width]"""


@dataclass
class Recipe(RoomRecipe):
    """A colour run: all settings."""

    RESERVED: ClassVar[Mapping[str, str]] = {"num_classes": "the task, which has three"}
    task: Literal["colour"] = "colour"
    data: DataSettings = field(default_factory=DataSettings)
