"""What a checkpoint says of itself, read without its tensors and without torch."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

OURS = "volovan"
"""key of the metadata in which a checkpoint describes itself"""


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, is damaged, or is not there."""


def description(metadata: dict[str, str]) -> dict[str, Any]:
    """What the metadata of a file say of the task that it is of (`Task.describe`); empty if they say nothing."""
    try:
        said = json.loads(metadata.get(OURS, "{}"))
    except json.JSONDecodeError:
        return {}
    # Files of weights alone may hold the description itself.
    task = said.get("tree", {}).get("task", said) if isinstance(said, dict) else {}
    return task if isinstance(task, dict) else {}


def describe_checkpoint(path: Path) -> dict[str, Any] | None:
    """The `description` of a checkpoint, read without its tensors; None if the file is none of ours."""
    try:
        with safe_open(path, framework="np") as file:
            said = description(file.metadata() or {})
    except (OSError, SafetensorError, ValueError):
        return None
    return said if "task" in said else None
