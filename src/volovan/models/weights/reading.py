"""Reading weight files without running anything that lies in them.

Two kinds are read, told apart by their first bytes and never by their name: safetensors, and what torch.save writes
(zip since torch 1.6, plain pickle before). Pickles are read with weights_only=True; what real training scripts leave
beside the tensors (arguments, NumPy scalars, paths, loss histories) is allowed by name below. Anything else that a
pickle asks for is refused with its name, and nothing of it has run by then.
"""

import argparse
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from volovan.files.checkpoint import is_whole
from volovan.files.described import OURS
from volovan.files.hidden import is_hidden


class WeightsError(ValueError):
    """Weights that cannot be read, found or loaded; the text says why and what to do.

    found    what is wrong, and what to do where that is the same at every door
    python   what to do in a program: the end of the text
    fit      in its place, for `volovan fit`
    use      in its place, for the verbs that take --weights; None: as `fit`
    details  further lines
    """

    def __init__(self, found: str, python: str = "", fit: str = "", use: str | None = None, details: str = ""):
        def whole(remedy: str) -> str:
            return found + (f"; {remedy}" if remedy else "") + (f"\n{details}" if details else "")

        super().__init__(whole(python))
        self.fit, self.use = whole(fit), whole(fit if use is None else use)

    def typed(self, verb: str) -> str:
        """The text for the command line."""
        return self.fit if verb in ("fit", "ablate") else self.use


def of_another(found: str, model: str, weights: object, use: str = "") -> WeightsError:
    """WeightsError where weights are those of another model, which is known; use: what to name as the model."""
    remedy = f'use create_model("{model}", weights="{weights}")'
    return WeightsError(found, remedy, f"add --model.name {model}", f"name {use or model} as the model")


@dataclass(frozen=True)
class RawFile:
    """Content of a weight file as it was written: nested dictionaries, and safetensors metadata (else empty)."""

    path: Path
    content: Any
    metadata: dict[str, str] = field(default_factory=dict)


def safe_read(path: str | Path) -> RawFile:
    """Read a weight file to CPU tensors; WeightsError says in one sentence what is wrong with it."""
    path = Path(path).expanduser()
    if path.is_dir():
        kinds = {".safetensors", ".bin", ".pt", ".pth", ".tar"}
        inside = sorted(p.name for p in path.iterdir() if p.suffix in kinds and not is_hidden(p.name))
        names = f"name one of its files: {', '.join(inside)}" if inside else "it holds no weight file"
        raise WeightsError(f"{path} is a folder; {names}")
    if not path.is_file():
        raise WeightsError(f"{path} does not exist")
    with path.open("rb") as file:
        head = file.read(512)
    kind = _kind(head)
    if kind == "safetensors":
        return _read_safetensors(path)
    if kind in {"zip", "pickle"}:
        return _read_pickle(path, kind)
    raise WeightsError(f"{path} is not a weight file: {kind}")


def _kind(head: bytes) -> str:
    """ "safetensors", "zip", "pickle", or a phrase that says what the file is instead."""
    start = head.lstrip()[:64].lower()
    if not head:
        return "it is empty (0 bytes); download it again"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, probably an error page saved by a download; download the file again"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the real file with `git lfs pull`"
    if head[:2] == b"PK":
        return "zip"
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return "pickle"
    if head[257:262] == b"ustar":
        return (
            "it is a tar archive (torch before 0.1.10, or packed files); save it again with a newer torch, or unpack it"
        )
    if head[:2] == b"\x1f\x8b":
        return "it is compressed with gzip; unpack it first"
    if len(head) > 8 and head[8:9] == b"{":
        return "safetensors"
    return f"it starts with {head[:8]!r}, expected safetensors or a file of torch.save"


def _read_safetensors(path: Path) -> RawFile:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            content = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = dict(file.metadata() or {})
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{path} is damaged or truncated ({error}); download or save it again") from error
    if OURS in metadata and not is_whole(content, metadata):
        raise WeightsError(f"{path} is damaged: its content does not fit its digest; copy it again")
    return RawFile(path, content, metadata)


def _read_pickle(path: Path, kind: str) -> RawFile:
    try:
        if kind == "zip":
            _check_zip(path)
        # only what is not allowed already: leaving the context would take it away from the caller too
        already = set(torch.serialization.get_safe_globals())
        allowed = torch.serialization.safe_globals([entry for entry in inert_globals() if entry not in already])
        with allowed, warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore", UserWarning)  # about the pickle protocol: the refusal says it
            # an open file, since torch.load goes by the suffix of a path
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch puts advice around the reason and keeps the bare one as context
        raise WeightsError(_refusal(path, str(error.__context__ or error))) from error
    except WeightsError:
        raise
    except Exception as error:  # a damaged file can make the parser fail in any way
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise WeightsError(f"{path} is damaged or truncated ({reason}); download or save it again") from error
    return RawFile(path, content)


def _check_zip(path: Path) -> None:
    """Say what a zip is if it is not one of torch.save."""
    if not zipfile.is_zipfile(path):
        raise WeightsError(f"{path} is truncated (its zip directory is missing); download or save it again")
    with zipfile.ZipFile(path) as archive:
        names = [pathlib.PurePosixPath(name).name for name in archive.namelist()]
    if "constants.pkl" in names:
        raise WeightsError(f"{path} is a TorchScript archive, which holds code; save its state_dict() instead")
    if "data.pkl" not in names:
        raise WeightsError(f"{path} is a zip archive without weights of torch.save; unpack it first")


def _refusal(path: Path, message: str) -> str:
    wanted = re.search(r"GLOBAL ([\w.]+)", message) or re.search(r"Unsupported class (\S+)", message)
    if wanted:
        return (
            f"{path} was refused: it asks for {wanted[1]}, which is not on the list of inert types, and a pickle can "
            "run any code; nothing of it has run. If you trust the file, load it where it was made and save only "
            "its state_dict"
        )
    if "Unsupported operand" in message:
        return (
            f"{path} was refused: it uses pickle instructions that the safe reader of torch does not know "
            f"({message.strip()}); save it again with the default protocol of torch.save"
        )
    if "truncated" in message or "Ran out of input" in message:
        return f"{path} is truncated; download or save it again"
    return f"{path} was refused: its pickle cannot be read safely ({message.splitlines()[0][:200]})"


class _Placeholder:
    """Stands in for an object whose content nobody needs: takes any arguments and any state, keeps nothing."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def inert_globals() -> list[Callable | tuple[Callable, str]]:
    """What a pickle may ask for beside tensors: types without side effects, or harmless stand-ins under their names.

    NumPy moved its internals from numpy.core to numpy._core, so files use both names.
    """
    multiarray = np._core.multiarray  # type: ignore[attr-defined]
    dtypes = {value for name, value in vars(np.dtypes).items() if name.endswith("DType")}
    scalars = {np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.float16, np.float32, np.float64}
    both = [
        (function, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name, function in (("_reconstruct", multiarray._reconstruct), ("scalar", multiarray.scalar))
    ]
    paths = [
        (pathlib.PurePosixPath if "Posix" in name else pathlib.PureWindowsPath, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    ]
    return [
        argparse.Namespace,
        np.ndarray,
        np.dtype,
        *dtypes,
        *scalars,
        *both,
        *paths,
        *((kind, f"builtins.{kind.__name__}") for kind in (bool, int, float, str, bytes, list, tuple, dict, frozenset)),
        *((kind, f"builtins.{kind.__name__}") for kind in (slice, range)),
        (_Placeholder, "mmengine.logging.history_buffer.HistoryBuffer"),
        (lambda *_: None, "builtins.getattr"),  # by which those histories name their own functions
    ]
