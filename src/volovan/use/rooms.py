"""The rooms, by the name of their task. What a room has is imported when it is asked for: help needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


def _classify() -> Room:
    def recipe() -> Any:
        from volovan.classify.recipe import Recipe

        return Recipe

    def options() -> ModuleType:
        from volovan.classify import arguments

        return arguments

    def task() -> Any:
        from volovan.classify.task import classification_task

        return classification_task

    def ready() -> Any:
        from volovan.classify.ready import ReadyClassifier

        return ReadyClassifier

    def rehearsal() -> ModuleType:
        from volovan.classify import rehearse

        return rehearse

    return Room(recipe, options, task, ready, rehearsal, kind="class")


def _segment() -> Room:
    def recipe() -> Any:
        from volovan.segment.recipe import Recipe

        return Recipe

    def options() -> ModuleType:
        from volovan.segment import arguments

        return arguments

    def task() -> Any:
        from volovan.segment.task import SegmentTask

        return SegmentTask

    def ready() -> Any:
        from volovan.segment.ready import ReadySegmenter

        return ReadySegmenter

    def rehearsal() -> ModuleType:
        from volovan.segment import rehearse

        return rehearse

    return Room(recipe, options, task, ready, rehearsal, kind="mask")


def _saliency() -> Room:
    def recipe() -> Any:
        from volovan.saliency.recipe import Recipe

        return Recipe

    def options() -> ModuleType:
        from volovan.saliency import arguments

        return arguments

    def task() -> Any:
        from volovan.saliency.task import SaliencyTask

        return SaliencyTask

    def ready() -> Any:
        from volovan.saliency.ready import ReadySaliency

        return ReadySaliency

    def rehearsal() -> ModuleType:
        from volovan.saliency import rehearse

        return rehearse

    return Room(recipe, options, task, ready, rehearsal, kind="map")


ROOMS: dict[str, Room] = {"classify": _classify(), "segment": _segment(), "saliency": _saliency()}
