"""Predict with a network that `volovan export --to onnx` wrote, without torch and without volovan: copy this file.

    python predictor.py model.onnx photo.jpg other.png --out predictions

or from Python

    from predictor import Predictor
    answer = Predictor("model.onnx")("photo.jpg")

Needs onnxruntime, numpy and pillow. Licence: Apache-2.0.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

KEY = "volovan"
"""under which a file says in its metadata what network it holds"""


class FileError(ValueError):
    """A file that cannot be used; the sentence says why."""


# The file


class Session:
    """A file that onnxruntime runs. threads: of a CPU; None: as onnxruntime has them.

    metadata  what it says of itself
    inputs, outputs  their names
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise FileError(f"{path} is run by onnxruntime, which is not installed: pip install onnxruntime") from None
        self.path = Path(path)
        refuse_scattered(self.path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is wrong is said below, once
        if threads:
            options.intra_op_num_threads = threads
        there = onnxruntime.get_available_providers()
        providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in there]
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # of files that are damaged, of many classes of its own
            raise FileError(f"{path} is cut off, damaged or no ONNX file ({one_line(error)})") from None
        self.metadata: dict[str, str] = dict(self.session.get_modelmeta().custom_metadata_map)
        self.inputs = [one.name for one in self.session.get_inputs()]
        self.outputs = [one.name for one in self.session.get_outputs()]

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """Its outputs of an input; FileError in one sentence."""
        try:
            found: list[np.ndarray] = self.session.run(None, {self.inputs[0]: images})
        except Exception as error:
            raise FileError(f"{self.path} cannot take an input of {images.shape} ({one_line(error)})") from None
        return found


def refuse_scattered(path: Path) -> None:
    """FileError for a file that is not there, or that has weights in others: it says which, and might say any."""
    content = readable(path)
    # of a tensor whose data are elsewhere the format has an entry "location" with the name of a file
    named = re.search(rb"\x0a\x08location\x12(.)", content, re.DOTALL)
    if named:
        other = content[named.end() : named.end() + named[1][0]].decode("utf-8", "replace")
        raise FileError(f"{path} has its weights in another file, {other!r}; save the network as one file")


def metadata_of(path: Path) -> str | None:
    """What a file says of its network, read without onnxruntime: the text behind the key, in a field of its own behind
    the graph."""
    content = readable(path)
    at = content.rfind(b"\x0a" + bytes([len(KEY)]) + KEY.encode() + b"\x12")
    if at < 0:
        return None
    at += len(KEY) + 3
    length = shift = 0
    while at < len(content):
        byte = content[at]
        length |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            break
    return content[at : at + length].decode("utf-8", "replace")


def readable(path: Path) -> bytes:
    """The content of a file, or FileError."""
    try:
        if not path.is_file():
            raise FileError(f"{path}: there is no such file")
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror})") from None


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def processors() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
