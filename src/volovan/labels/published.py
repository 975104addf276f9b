"""The published layout: `<root>/<key>.pt`, one serialised tensor (2, top, h, w) a picture (volo.md 6.1).

[0] the largest logits of each position, descending; [1] their class indices, in the same floating type.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from volovan.data.samples import Names
from volovan.labels.about import EXACT, UNFINISHED, About, Coverage, read_about, write_whole
from volovan.labels.errors import LabelError
from volovan.labels.keys import find_key

SUFFIX = ".pt"
_ZIP = b"PK\x03\x04"


class PublishedStore:
    """Label maps in files of their own. Nothing is kept open; the list of keys is made when it is first asked for."""

    layout = "published"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about: About | None = read_about(folder)
        self._keys: Names | None = None
        if self.about is None:
            first = next(files_below(folder), None)
            if first is None:
                raise LabelError(f"{folder} holds no label maps; expected <class>/<picture>{SUFFIX} below it")
            self.top = int(self.read(first).shape[1])
        else:
            self.top = self.about.top

    @property
    def classes(self) -> tuple[str, ...] | None:
        return None if self.about is None else self.about.classes

    @property
    def coverage(self) -> Coverage | None:
        return None if self.about is None else self.about.coverage

    @property
    def keys(self) -> Names:
        """All keys, sorted."""
        if self._keys is None:
            self._keys = Names(sorted(files_below(self.folder)))
        return self._keys

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        return self.path(key).is_file() if self._keys is None else find_key(self._keys, key) >= 0

    def file(self, key: str) -> str:
        """Where the map of `key` is, for messages."""
        return str(self.path(key))

    def path(self, key: str) -> Path:
        return self.folder / f"{key}{SUFFIX}"

    def read(self, key: str) -> Tensor:
        """(2, top, h, w); LabelError if the map is missing, damaged or no such tensor."""
        path = self.path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise LabelError(f"{path}: there is no label map {key!r}; make it with volovan label") from None
        except OSError as error:
            raise LabelError(f"{path}: label map {key!r} cannot be read ({error.strerror})") from None
        return parse(content, str(path), key)

    def write(self, key: str, maps: Tensor) -> None:
        write_whole(self.folder, f"{key}{SUFFIX}", serialise(maps), durable=False)


def serialise(maps: Tensor) -> bytes:
    """The content of a file; always the same bytes for the same tensor."""
    content = io.BytesIO()
    torch.save(maps.cpu().contiguous().clone(), content)  # a clone: a view would be written with all that it views
    return content.getvalue()


def parse(content: bytes, file: str, key: str) -> Tensor:
    """The tensor (2, top, h, w) of a file. Nothing in the file is run; LabelError if it holds anything else."""
    try:
        if content.startswith(_ZIP):  # torch does not compare the checksums that its files carry
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                damaged = archive.testzip()
            if damaged:
                raise ValueError(f"the checksum of {damaged} does not fit")
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise LabelError(
            f"{file}: label map {key!r} is refused, since reading it would run code or it is no file of torch.save; "
            "expected one tensor"
        ) from None
    except Exception as error:  # a damaged file raises nearly anything
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise LabelError(f"{file}: label map {key!r} is damaged ({reason}); make it anew with volovan label") from None
    if not isinstance(found, Tensor):
        raise LabelError(f"{file}: label map {key!r} is a {type(found).__name__}, expected one tensor (2, top, h, w)")
    if found.ndim != 4 or found.shape[0] != 2 or 0 in found.shape or found.dtype not in (torch.float16, torch.float32):
        raise LabelError(
            f"{file}: label map {key!r} is {str(found.dtype).removeprefix('torch.')} {tuple(found.shape)}, expected "
            "float16 or float32 (2, top, h, w)"
        )
    return found


def refuse_inexact(num_classes: int, dtype: str) -> None:
    """The published layout keeps class indices in the type of the logits."""
    if dtype == "float16" and num_classes - 1 > EXACT:
        raise LabelError(
            f"the teacher has {num_classes:,} classes, and float16 holds whole numbers up to {EXACT:,} exactly; use "
            "--dtype float32 or --layout compact, which keeps class indices as integers"
        )


def files_below(folder: Path) -> Iterator[str]:
    """Keys of the files, unsorted."""
    if not folder.is_dir():
        raise LabelError(f"{folder}: there is no such folder; make label maps with volovan label")
    for path, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if name != UNFINISHED)
        start = Path(path).relative_to(folder).as_posix()
        for name in sorted(files):
            if name.endswith(SUFFIX):
                stem = name.removesuffix(SUFFIX)
                yield stem if start == "." else f"{start}/{stem}"
