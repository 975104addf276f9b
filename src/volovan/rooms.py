"""The rooms as the command line sees them: task name -> where its settings, its task and its verbs are."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Room:
    """Dotted names `module:attribute`, resolved when they are used, so that help needs no torch."""

    recipe: str
    task: str
    validate: str
    predict: str


ROOMS = {
    "classify": Room(
        recipe="volovan.classify.recipe:Recipe",
        task="volovan.classify.task:classification_task",
        validate="volovan.classify.validate:validate",
        predict="volovan.classify.predict:predict",
    ),
    "segment": Room(
        recipe="volovan.segment.recipe:Recipe",
        task="volovan.segment.task:SegmentTask",
        validate="volovan.segment.validate:validate",
        predict="volovan.segment.predict:predict",
    ),
    "saliency": Room(
        recipe="volovan.saliency.recipe:Recipe",
        task="volovan.saliency.task:SaliencyTask",
        validate="volovan.saliency.validate:validate",
        predict="volovan.saliency.predict:predict",
    ),
}


def resolve(dotted: str) -> Any:
    """`module:attribute` -> the attribute."""
    module, attribute = dotted.split(":")
    return getattr(import_module(module), attribute)
