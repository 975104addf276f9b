"""The rooms, by the name of their task. What a room has is imported when it is asked for: help needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pkgutil import resolve_name
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volovan.room.ready import Ready


@dataclass(frozen=True)
class Room:
    """Functions that import and give a part of a room.

    recipe     the dataclass of its settings
    options    the module that adds its options to validate and predict; both without torch
    task       (recipe, about) -> its training task
    ready      its class of networks in use
    rehearsal  the module with stand_in(recipe, folder, classes, batch, pictures) and example(recipe, classes)
    kind       of the targets of its data, see volovan.data.source
    """

    recipe: Callable[[], Any]
    options: Callable[[], ModuleType]
    task: Callable[[], Callable[..., Any]]
    ready: Callable[[], type[Ready]]
    rehearsal: Callable[[], ModuleType]
    kind: str


def _room(package: str, task: str, ready: str, kind: str) -> Room:
    """The room of a package. task, ready: what task.py and ready.py call its task and its networks in use."""

    def part(name: str) -> partial[Any]:
        return partial(resolve_name, f"{package}.{name}")

    return Room(
        recipe=part("recipe:Recipe"),
        options=part("arguments"),
        task=part(f"task:{task}"),
        ready=part(f"ready:{ready}"),
        rehearsal=part("rehearse"),
        kind=kind,
    )


ROOMS = {
    "classify": _room("volovan.classify", "classification_task", "ReadyClassifier", kind="class"),
    "segment": _room("volovan.segment", "SegmentTask", "ReadySegmenter", kind="mask"),
    "saliency": _room("volovan.saliency", "SaliencyTask", "ReadySaliency", kind="map"),
}
