"""The published layout: `<root>/<key>.pt`, one serialised tensor (2, top, h, w) a picture (volo.md 6.1).

[0] the largest logits of each position, descending; [1] their class indices, in the same floating type.
"""

import io
import os
import pickle
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from volovan.data.samples import Names
from volovan.files.hidden import is_hidden
from volovan.labels.about import read_about
from volovan.labels.errors import LabelError, existing

SUFFIX = ".pt"
_ZIP = b"PK\x03\x04"
_SAYING = ("data.pkl", "byteorder")
"""records of a file of torch.save that say what the bytes in data/0 are"""
_DTYPES = (torch.float16, torch.float32)


class PublishedStore:
    """Label maps in files of their own, see `LabelStore`. Nothing is kept open."""

    layout = "published"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[bytes, ...], tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self.about = about = read_about(folder)
        if about is not None:
            self.top, self.classes, self.coverage = about.top, about.classes, about.coverage
            return
        first = next(files_below(folder), None)
        if first is None:
            raise LabelError(f"{folder} holds no label maps; expected <class>/<picture>{SUFFIX} below it")
        self.top, self.classes, self.coverage = int(self.read(first).shape[1]), None, None

    @cached_property
    def keys(self) -> Names:
        return Names(sorted(files_below(self.folder)))

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, key: str) -> bool:
        return Path(self.file(key)).is_file()

    def file(self, key: str) -> str:
        return str(self.folder / f"{key}{SUFFIX}")

    def read(self, key: str) -> Tensor:
        """(2, top, h, w). Nothing in the file is run; LabelError if it is missing, damaged or no such tensor."""
        label_map = f"{self.file(key)}: label map {key!r}"
        try:
            content = Path(self.file(key)).read_bytes()
        except FileNotFoundError:
            raise LabelError(f"{self.file(key)}: there is no label map {key!r}; make it with volovan label") from None
        except OSError as error:
            raise LabelError(f"{label_map} cannot be read ({error.strerror})") from None
        try:
            found = self._tensor(content)
        except pickle.UnpicklingError:
            raise LabelError(
                f"{label_map} is refused, since reading it would run code or it is no file of torch.save; expected one "
                "tensor"
            ) from None
        except Exception as error:  # a damaged file raises nearly anything
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise LabelError(f"{label_map} is damaged ({reason}); make it anew with volovan label") from None
        if not isinstance(found, Tensor):
            raise LabelError(f"{label_map} is a {type(found).__name__}, expected one tensor (2, top, h, w)")
        dtype, shape = found.dtype, tuple(found.shape)
        if len(shape) != 4 or shape[0] != 2 or 0 in shape or dtype not in _DTYPES:
            raise LabelError(
                f"{label_map} is {str(dtype).removeprefix('torch.')} {shape}, expected float16 or float32 "
                "(2, top, h, w)"
            )
        return found

    def _tensor(self, content: bytes) -> Any:
        """What torch.load gives, several times faster for a second file of the same dtype and shape.

        A file of torch.save is a zip of a pickle, which says dtype and shape, and the bytes of the tensor. What torch
        has read a pickle as, an equal one need not be asked again.
        """
        if not content.startswith(_ZIP):  # torch < 1.6
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            records = {name.partition("/")[2]: name for name in archive.namelist()}
            if sum(record.file_size for record in archive.infolist()) > len(content):
                raise ValueError("it is compressed, which torch.save never does")  # a small file may hide gigabytes
            said = tuple(archive.read(records[name]) for name in _SAYING if name in records)
            if said in self._known:
                dtype, shape = self._known[said]
                return torch.from_numpy(np.frombuffer(archive.read(records["data/0"]), dtype).reshape(shape).copy())
            damaged = archive.testzip()  # torch does not compare the checksums that its files carry
            if damaged:
                raise ValueError(f"the checksum of {damaged} does not fit")
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            if isinstance(found, Tensor) and found.dtype in _DTYPES:
                values = np.asarray(found)
                if "data/0" in records and archive.read(records["data/0"]) == values.tobytes():
                    self._known[said] = values.dtype, values.shape
            return found


def serialise(maps: Tensor) -> bytes:
    """The content of a file; always the same bytes for the same tensor."""
    content = io.BytesIO()
    torch.save(maps.cpu().contiguous().clone(), content)  # a clone: a view would be written with all that it views
    return content.getvalue()


def files_below(folder: Path) -> Iterator[str]:
    """Keys of the files, unsorted."""
    for path, folders, files in os.walk(existing(folder), followlinks=True):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        start = Path(path).relative_to(folder).as_posix()
        for name in sorted(files):
            if name.endswith(SUFFIX) and not is_hidden(name):
                stem = name.removesuffix(SUFFIX)
                yield stem if start == "." else f"{start}/{stem}"
