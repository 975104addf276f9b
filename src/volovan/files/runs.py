"""Where the checkpoints of a run lie: the newest few as `checkpoints/step-00001200.safetensors`, and the best."""

import re
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from volovan.files.described import CheckpointError, describe_checkpoint

RECIPE = "recipe.yaml"
"""what makes a folder the folder of a run"""
CHECKPOINTS, BEST = "checkpoints", "best.safetensors"
_STEP = re.compile(r"step-(\d{8})\.safetensors")


def is_run(path: Path) -> bool:
    """Whether a folder is that of a run."""
    return (path / RECIPE).is_file() or (path / CHECKPOINTS).is_dir()


def runs_like(word: str) -> list[str]:
    """Run folders that a word which names none may have meant, nearest first: beside it, and below `runs`.

    The beginning of a name will do, since the names of runs end in a date; the latest is first then.
    """
    path = Path(word).expanduser()
    beside: dict[str, Path] = {}
    for place in (Path("runs"), path.parent):
        with suppress(OSError):
            beside |= {one.name: one for one in place.iterdir() if is_run(one)}
    begins = sorted((name for name in beside if path.name and name.startswith(path.name)), reverse=True)
    names = begins or get_close_matches(path.name, beside, n=3)
    return [str(beside[name]) for name in names]


def missing_weights(words: str) -> str | None:
    """What to say of words that can only mean a file or a run folder, where there is none; else None."""
    if words.startswith("hf:") or re.fullmatch(r"[\w-]+", words) or Path(words).expanduser().exists():
        return None  # of the hub, a name of published weights, or there
    near = runs_like(words)
    hub = "a name on the hub is written hf:NAME" if "/" in words else "`volovan models` lists what is published"
    return f"{words}: there is no such file; {f'did you mean {near[0]}?' if near else hub}"


def checkpoint_name(step: int) -> str:
    return f"step-{step:08d}.safetensors"


def checkpoint_steps(folder: Path) -> list[int]:
    """Steps with a checkpoint in a folder of checkpoints, oldest first."""
    found = [_STEP.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(match[1]) for match in found if match)


def best_checkpoint(run: Path) -> Path:
    """`best.safetensors` of a run folder, else its newest checkpoint; CheckpointError without any."""
    folder = run / CHECKPOINTS
    if not folder.is_dir():
        raise CheckpointError(f"{run} is no run folder (it holds no checkpoints); name one that fit has made")
    if (folder / BEST).is_file():
        return folder / BEST
    steps = checkpoint_steps(folder)
    if not steps:
        raise CheckpointError(f"{run} has no checkpoint yet; volovan fit --resume {run} goes on to the first")
    return folder / checkpoint_name(steps[-1])


def newest_checkpoints(folder: Path) -> Iterator[Path]:
    """Checkpoints in a folder of them, newest first; at the end the best, as old as the validation it came from."""
    for step in reversed(checkpoint_steps(folder)):
        yield folder / checkpoint_name(step)
    if (folder / BEST).is_file():
        yield folder / BEST


def newest_description(run: Path) -> dict[str, Any] | None:
    """What the newest whole checkpoint of a run says of its model (the task's `describe`); None without a checkpoint.

    Only the metadata are read: whether the tensors are whole is found out by those who load them.
    """
    return next(filter(None, map(describe_checkpoint, newest_checkpoints(run / CHECKPOINTS))), None)
