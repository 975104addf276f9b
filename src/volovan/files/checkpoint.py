"""The format of checkpoints: one safetensors file each, written whole, verified by a digest, safe to read.

Tensors lie under `model.`, `ema.`, `optimizer.` and so on; everything else (step, settings, best metric) is JSON in
the file's metadata under the key `volovan`. A digest over names, types, shapes, bytes and that JSON stands beside it.
"""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from volovan.files.described import OURS, CheckpointError
from volovan.files.whole import new_file

FORMAT = "volovan-checkpoint-1"


def write_checkpoint(path: Path, tree: dict[str, Any]) -> None:
    """Write nested dicts and lists of tensors and JSON values to `path`; the file appears whole or not at all."""
    tensors: dict[str, Tensor] = {}
    skeleton = _take_tensors(tree, "", tensors)
    state = json.dumps({"format": FORMAT, "tree": skeleton}, sort_keys=True)
    remedy = f"; earlier checkpoints are untouched: go on with: volovan fit --resume {path.parent.parent}"
    with new_file(path, durable=True, remedy=remedy, error=CheckpointError) as part:
        try:
            save_file(tensors, part, {OURS: state, "sha256": digest(tensors, state)})
        except SafetensorError as error:  # tells the reason in words, with the number of the system at their end
            found = re.search(r"os error (\d+)", str(error))
            raise (OSError(int(found[1]), os.strerror(int(found[1]))) if found else OSError(str(error))) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read and verify what `write_checkpoint` wrote; CheckpointError when one byte differs."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged or incomplete ({error})") from error
    if not is_whole(tensors, metadata):
        raise CheckpointError(f"checkpoint {path} is damaged: its content does not fit its digest")
    return _put_tensors(json.loads(metadata[OURS])["tree"], tensors)


def is_whole(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bool:
    """Whether tensors and metadata of a file are what its digest was made of."""
    return OURS in metadata and metadata.get("sha256") == digest(tensors, metadata[OURS])


def digest(tensors: dict[str, Tensor], state: str) -> str:
    """SHA-256 over the JSON string `state`, then over name, type, shape and bytes of each tensor, in order of names."""
    hasher = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():
            hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


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
