"""CIFAR-10 and CIFAR-100 (A. Krizhevsky, 2009) in their original files: the Python and the binary version, and their
.tar.gz archives as downloaded. Images are 32 x 32 RGB; train has 50,000, test 10,000.

The Python version is made of pickles, and loading a pickle runs what it names. Ours may name NumPy arrays only.
"""

import io
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct

from volovan.data.cache import unpacked
from volovan.data.errors import SourceError
from volovan.data.samples import ArraySource
from volovan.data.source import Splits


@dataclass(frozen=True)
class Layout:
    """One version: how its archive is called, the folder in it, the files of train and test, that of the classes."""

    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    labels: bytes | int  # key in the pickle; or the bytes before the pixels of a record, of which the last is the label


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_BINARY = tuple(f"{name}.bin" for name in _BATCHES)
LAYOUTS = (
    Layout("cifar-10-python.", "cifar-10-batches-py", _BATCHES, "test_batch", "batches.meta", b"labels"),
    Layout("cifar-100-python.", "cifar-100-python", ("train",), "test", "meta", b"fine_labels"),
    Layout("cifar-10-binary.", "cifar-10-batches-bin", _BINARY, "test_batch.bin", "batches.meta.txt", 1),
    Layout("cifar-100-binary.", "cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", 2),
)
_PIXELS = 3 * 32 * 32

Read = Callable[[str], bytes]  # content of a file of the layout


def cifar_splits(path: Path) -> Splits | None:
    """{"train": opener, "test": opener} if path is CIFAR: its folder, the folder above, or the archive; else None."""
    for layout in LAYOUTS:
        if path.is_dir():
            for folder in (path, path / layout.folder):
                if all((folder / name).is_file() for name in (*layout.train, layout.test, layout.names)):
                    return _splits(layout, folder, partial(_read_file, folder))
        elif path.name.startswith(layout.archive):
            return _splits(layout, path, partial(_read_member, path, layout.folder))
    return None


def _splits(layout: Layout, where: Path, read: Read) -> Splits:
    files = {"train": layout.train, "test": (layout.test,)}
    return {split: partial(_open, layout, split, names, where, read) for split, names in files.items()}


def _open(layout: Layout, split: str, files: tuple[str, ...], where: Path, read: Read) -> ArraySource:
    parse = _binary if isinstance(layout.labels, int) else _pickled
    batches = [parse(read(name), layout.labels, where / name) for name in files]
    images = np.concatenate([pixels for pixels, _ in batches]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    title = f"{layout.folder.rsplit('-', 1)[0].removesuffix('-batches')}-{split}"
    labels = np.concatenate([labels for _, labels in batches])
    return ArraySource(title, np.ascontiguousarray(images), labels, _class_names(layout, read, where))


def _class_names(layout: Layout, read: Read, where: Path) -> list[str]:
    content = read(layout.names)
    if layout.names.endswith(".txt"):
        return content.decode().split()
    meta = _unpickle(content, where / layout.names)
    names = meta.get(b"label_names" if layout.labels == b"labels" else b"fine_label_names", [])
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _binary(content: bytes, before: Any, where: Path) -> tuple[np.ndarray, np.ndarray]:
    record = before + _PIXELS
    if not content or len(content) % record:
        raise SourceError(
            f"{where} has {len(content):,} bytes, expected a multiple of {record:,}: cut off? fetch it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, record)
    return records[:, before:], records[:, before - 1].astype(np.int64)


def _pickled(content: bytes, key: Any, where: Path) -> tuple[np.ndarray, np.ndarray]:
    batch = _unpickle(content, where)
    pixels, labels = batch.get(b"data"), batch.get(key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (len(labels or ()), _PIXELS):
        raise SourceError(f"{where} is no CIFAR batch: expected data (N, {_PIXELS}) and {key.decode()} (N)")
    return pixels, np.asarray(labels, dtype=np.int64)


class _Restricted(pickle.Unpickler):
    """Reads containers, numbers, texts and NumPy arrays; anything else is refused before it is called."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return _reconstruct
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return lambda text, _="latin1": text.encode("latin1")
        raise pickle.UnpicklingError(f"it wants to run {module}.{name}")


def _unpickle(content: bytes, where: Path) -> dict[Any, Any]:
    try:
        value = _Restricted(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise SourceError(
            f"{where} is refused: {error or type(error).__name__}; fetch it again from its authors"
        ) from None
    if not isinstance(value, dict):
        raise SourceError(f"{where} is no CIFAR file: expected a dict, found {type(value).__name__}")
    return {key.encode() if isinstance(key, str) else key: item for key, item in value.items()}


def _read_file(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise SourceError(f"{folder / name} cannot be read: {error.strerror}") from None


def _read_member(path: Path, folder: str, name: str) -> bytes:
    try:
        with tarfile.open(unpacked(path)) as archive, archive.extractfile(f"{folder}/{name}") as file:  # type: ignore[union-attr]
            return file.read()
    except KeyError:
        raise SourceError(f"{path} has no {folder}/{name}; fetch it again") from None
    except (tarfile.ReadError, OSError, AttributeError) as error:  # AttributeError: a folder of that name
        raise SourceError(f"{path} is damaged or cut off ({error}); fetch it again") from None
