"""Checkpoints: one safetensors file each, written atomically, verified by a digest, safe to load.

Tensors lie under `model.`, `ema.`, `optimizer.` and so on; everything else (step, settings, best metric) is JSON in
the file's metadata under the key `volovan`. A digest over names, types, shapes, bytes and that JSON stands beside it.
Files are written under another name, flushed to the disk and renamed, so that a name stands for a whole file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FORMAT = "volovan-checkpoint-1"
_STEP = re.compile(r"step-(\d{8})\.safetensors")


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, is damaged, or is not there."""


def write_checkpoint(path: Path, tree: dict[str, Any]) -> None:
    """Write nested dicts and lists of tensors and JSON values to `path`; the file appears whole or not at all."""
    tensors: dict[str, Tensor] = {}
    skeleton = _take_tensors(tree, "", tensors)
    state = json.dumps({"format": FORMAT, "tree": skeleton}, sort_keys=True)
    metadata = {"volovan": state, "sha256": _digest(tensors, state)}
    with _new_file(path) as part:
        save_file(tensors, part, metadata)


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """A name to write to; what lies there in the end is flushed and renamed to `path`, or all of it is removed.

    It lies in a folder of its own, since writers of files leave temporary files of their own when they are killed.
    """
    folder = path.with_name(f".{path.name}.{os.getpid()}.part")
    part = folder / path.name
    shutil.rmtree(folder, ignore_errors=True)  # of a killed process with the same number
    try:
        folder.mkdir()
        yield part
        part.chmod(folder.stat().st_mode & 0o666)  # as the umask wants it; safetensors makes it private
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"checkpoint {path} could not be written ({error}); earlier checkpoints are untouched: "
            f"free some disk space and go on with: volovan fit --resume {path.parent.parent}"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read and verify what `write_checkpoint` wrote; CheckpointError when one byte differs."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged or incomplete ({error})") from error
    state = metadata.get("volovan", "")
    if metadata.get("sha256") != _digest(tensors, state):
        raise CheckpointError(f"checkpoint {path} is damaged: its content does not fit its digest")
    return _put_tensors(json.loads(state)["tree"], tensors)


def _take_tensors(tree: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Replace each tensor by a mark, keeping it in `tensors` under its path; dict keys become strings."""
    if isinstance(tree, Tensor):
        if path in tensors:
            raise ValueError(f"two tensors of a checkpoint would be called {path}")
        # A copy: the file format refuses tensors that share memory, as tied weights do.
        tensors[path] = tree.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        return {"$tensor": path}
    if isinstance(tree, dict):
        keys = {str(k): _take_tensors(v, f"{path}.{k}" if path else str(k), tensors) for k, v in tree.items()}
        return {"$int_keys": keys} if tree and all(isinstance(k, int) for k in tree) else keys
    if isinstance(tree, list | tuple):
        return [_take_tensors(v, f"{path}.{i}", tensors) for i, v in enumerate(tree)]
    return tree


def _put_tensors(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, dict):
        if "$tensor" in tree:
            return tensors[tree["$tensor"]]
        if "$int_keys" in tree:
            return {int(k): _put_tensors(v, tensors) for k, v in tree["$int_keys"].items()}
        return {k: _put_tensors(v, tensors) for k, v in tree.items()}
    if isinstance(tree, list):
        return [_put_tensors(v, tensors) for v in tree]
    return tree


def _digest(tensors: dict[str, Tensor], state: str) -> str:
    """Must agree with `checkpoint_digest` of volovan.models.weights.reading, which may not import the engine."""
    hasher = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():
            hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable (not every system lets a folder be opened)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class CheckpointFolder:
    """The `checkpoints/` of a run: `step-00001200.safetensors`, the newest few of them, and `best.safetensors`."""

    def __init__(self, folder: Path, keep_last: int) -> None:
        self.folder = folder
        self.keep_last = max(1, keep_last)
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def best(self) -> Path:
        return self.folder / "best.safetensors"

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.safetensors"

    def steps(self) -> list[int]:
        """Steps with a checkpoint, oldest first."""
        found = [_STEP.fullmatch(path.name) for path in self.folder.iterdir()]
        return sorted(int(match[1]) for match in found if match)

    def save(self, step: int, tree: dict[str, Any], is_best: bool) -> Path:
        """Write the checkpoint of `step`, make it the best if it is, then let the oldest go.

        Later steps go too: they are damaged ones that a resume has passed over, and would push out whole ones.
        """
        write_checkpoint(self.path(step), tree)
        if is_best:
            self.mark_best(step)
        earlier = [other for other in self.steps() if other <= step]
        for other in set(self.steps()) - set(earlier[-self.keep_last :]):
            self.path(other).unlink(missing_ok=True)
        return self.path(step)

    def sweep(self) -> None:
        """Remove what a killed process left half-written."""
        for rest in self.folder.glob(".*.part"):
            shutil.rmtree(rest, ignore_errors=True)

    def mark_best(self, step: int) -> None:
        """Let `best.safetensors` be the checkpoint of `step`, in one rename."""
        with _new_file(self.best) as part:
            try:
                os.link(self.path(step), part)
            except OSError:  # a file system without hard links
                shutil.copyfile(self.path(step), part)

    def newest(self) -> Iterator[Path]:
        """Checkpoints, newest first; at the end the best, which may be as old as the first validation."""
        for step in reversed(self.steps()):
            yield self.path(step)
        if self.best.is_file():
            yield self.best

    def load_newest(self, report: Callable[[str], Any] = print) -> dict[str, Any]:
        """The newest checkpoint that is whole; damaged ones are named through `report` and passed over."""
        for path in self.newest():
            try:
                return read_checkpoint(path)
            except CheckpointError as error:
                report(f"{error}; trying the one before")
        raise CheckpointError(f"{self.folder} holds no usable checkpoint; start the run anew")


def describe_checkpoint(path: Path) -> dict[str, Any] | None:
    """What a checkpoint says of its task (`Task.describe`), read without its tensors; None if it is none of ours."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        said = json.loads(metadata.get("volovan", "{}")).get("tree", {}).get("task")
    except (OSError, SafetensorError, ValueError, AttributeError):
        return None
    return said if isinstance(said, dict) else None


def best_checkpoint(run: Path) -> Path:
    """`best.safetensors` of a run folder, else its newest checkpoint."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        raise CheckpointError(f"{run} is no run folder (it holds no checkpoints)")
    checkpoints = CheckpointFolder(folder, keep_last=1)
    best = checkpoints.best if checkpoints.best.is_file() else next(checkpoints.newest(), None)
    if best is None:
        raise CheckpointError(f"{run} has no checkpoint yet")
    return best


def newest_description(run: Path) -> dict[str, Any] | None:
    """What the newest whole checkpoint of a run says of its model (the task's `describe`); None without a checkpoint.

    Only the metadata are read: whether the tensors are whole is found out by those who load them.
    """
    for path in CheckpointFolder(run / "checkpoints", keep_last=1).newest():
        if said := describe_checkpoint(path):
            return said
    return None
