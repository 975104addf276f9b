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
    """The parts of a room.

    words     imports without torch: the dataclass of its settings, the module that adds its options to validate and
              predict
    networks  imports (recipe, about) -> its training task, its class of networks in use, and the module with
              stand_in(recipe, folder, classes, batch, pictures) and example(recipe, classes)
    kind      of the targets of its data, see volovan.data.source
    """

    words: Callable[[], tuple[Any, ModuleType]]
    networks: Callable[[], tuple[Callable[..., Any], type[Ready], ModuleType]]
    kind: str

    def recipe(self) -> Any:
        return self.words()[0]

    def options(self) -> ModuleType:
        return self.words()[1]

    def task(self) -> Callable[..., Any]:
        return self.networks()[0]

    def ready(self) -> type[Ready]:
        return self.networks()[1]

    def rehearsal(self) -> ModuleType:
        return self.networks()[2]


def _classify() -> Room:
    def words() -> Any:
        from volovan.classify import arguments
        from volovan.classify.recipe import Recipe

        return Recipe, arguments

    def networks() -> Any:
        from volovan.classify import rehearse
        from volovan.classify.ready import ReadyClassifier
        from volovan.classify.task import classification_task

        return classification_task, ReadyClassifier, rehearse

    return Room(words, networks, kind="class")


def _segment() -> Room:
    def words() -> Any:
        from volovan.segment import arguments
        from volovan.segment.recipe import Recipe

        return Recipe, arguments

    def networks() -> Any:
        from volovan.segment import rehearse
        from volovan.segment.ready import ReadySegmenter
        from volovan.segment.task import SegmentTask

        return SegmentTask, ReadySegmenter, rehearse

    return Room(words, networks, kind="mask")


def _saliency() -> Room:
    def words() -> Any:
        from volovan.saliency import arguments
        from volovan.saliency.recipe import Recipe

        return Recipe, arguments

    def networks() -> Any:
        from volovan.saliency import rehearse
        from volovan.saliency.ready import ReadySaliency
        from volovan.saliency.task import SaliencyTask

        return SaliencyTask, ReadySaliency, rehearse

    return Room(words, networks, kind="map")


def _detect() -> Room:
    def words() -> Any:
        from volovan.detect import arguments
        from volovan.detect.recipe import Recipe

        return Recipe, arguments

    def networks() -> Any:
        from volovan.detect import rehearse
        from volovan.detect.ready import ReadyDetector
        from volovan.detect.task import DetectTask

        return DetectTask, ReadyDetector, rehearse

    return Room(words, networks, kind="boxes")


def _pose() -> Room:
    def words() -> Any:
        from volovan.pose import arguments
        from volovan.pose.recipe import Recipe

        return Recipe, arguments

    def networks() -> Any:
        from volovan.pose import rehearse
        from volovan.pose.ready import ReadyPose
        from volovan.pose.task import PoseTask

        return PoseTask, ReadyPose, rehearse

    return Room(words, networks, kind="points")


def _panoptic() -> Room:
    def words() -> Any:
        from volovan.panoptic import arguments
        from volovan.panoptic.recipe import Recipe

        return Recipe, arguments

    def networks() -> Any:
        from volovan.panoptic import rehearse
        from volovan.panoptic.ready import ReadyPanoptic
        from volovan.panoptic.task import PanopticTask

        return PanopticTask, ReadyPanoptic, rehearse

    return Room(words, networks, kind="panoptic")


ROOMS: dict[str, Room] = {
    "classify": _classify(),
    "segment": _segment(),
    "saliency": _saliency(),
    "detect": _detect(),
    "panoptic": _panoptic(),
    "pose": _pose(),
}
