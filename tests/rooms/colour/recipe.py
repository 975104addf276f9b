"""Settings of a run. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from volovan.room.settings import RoomRecipe, SourceSettings, TrunkSettings, sides_at_least


@dataclass
class DataSettings(SourceSettings):
    """Where pictures come from."""

    source: str = "digits"
    """anything with pictures"""
    size: int = 32
    """pixels of a side"""


@dataclass
class Recipe(RoomRecipe):
    """A colour run: all settings."""

    RESERVED: ClassVar[Mapping[str, str]] = {"num_classes": "the task, which has three", "img_size": "data.size"}
    task: Literal["colour"] = "colour"
    """the room"""
    model: TrunkSettings = field(default_factory=TrunkSettings)
    data: DataSettings = field(default_factory=DataSettings)

    def check(self) -> None:
        super().check()
        sides_at_least("data.size", self.data.size, 32)
