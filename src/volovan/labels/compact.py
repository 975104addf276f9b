"""The compact layout: label maps of many pictures in a few safetensors files, and an index that opens at once.

shard-00000.safetensors   keys, key_ends   UTF-8 text of the keys, and where each ends (first entry 0)
                          grid             (N, 2) int32, rows and columns of each map
                          logits           all values of all maps one after the other, each (top, h, w)
                          classes          likewise, int16, or int32 where int16 is too small
index.safetensors         keys, key_ends   of all shards, sorted; shard, start, grid, crc in that order
labels.json               About, with the SHA-256 of every shard and of the index

Values are those of the published layout, bit for bit. Only class indices are kept as integers, which also holds where
float16 cannot (above 2,048). The index can be made again from the shards.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from volovan.data.samples import Names
from volovan.labels.about import About, ShardEntry, read_about, write_about, write_whole
from volovan.labels.errors import LabelError
from volovan.labels.keys import find_key

INDEX = "index.safetensors"
SHARD_BYTES = 64 << 20
_REMEDY = "remove the file and call volovan label again, which makes it anew"
_DTYPES = {"F16": np.float16, "F32": np.float32, "I16": np.int16, "I32": np.int32}


class CompactStore:
    """Label maps in shards, see `LabelStore`. The index is mapped into memory, shards are opened for each read.

    Picklable: a copy in another process maps the index anew.
    """

    layout = "compact"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = read_about(folder)
        if about is None or about.layout != "compact":
            raise LabelError(f"{folder} holds no label maps in the compact layout")
        if about.shards is None or about.pictures is None:
            raise LabelError(
                f"{folder}: these label maps are not finished; call volovan label once more with the same settings"
            )
        self.about, self.shards = about, about.shards
        self.top, self.classes, self.coverage = about.top, about.classes, about.coverage
        path = folder / INDEX
        index = read_arrays(path)
        _check_index(index, path)
        self.keys = keys_of(index)
        self._places: dict[int, list[tuple[np.dtype[Any], int]]] = {}
        self.shard, self.start, self.grid, self.crc = (index[name] for name in ("shard", "start", "grid", "crc"))
        if len(self.keys) != sum(shard.pictures for shard in self.shards):
            raise LabelError(f"{path} lists {len(self.keys):,} maps, but labels.json another number; copy both again")

    def __reduce__(self) -> tuple[type[CompactStore], tuple[Path]]:
        return CompactStore, (self.folder,)

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, key: str) -> bool:
        return find_key(self.keys, key) >= 0

    def file(self, key: str) -> str:
        place = find_key(self.keys, key)
        number = -1 if place < 0 else int(self.shard[place])
        return str(self.folder / (self.shards[number].file if 0 <= number < len(self.shards) else INDEX))

    def read(self, key: str) -> Tensor:
        """(2, top, h, w), float16 if the maps are kept so and their class indices fit, else float32.

        LabelError if the map is missing or damaged.
        """
        place = find_key(self.keys, key)
        if place < 0:
            raise LabelError(f"{self.folder / INDEX}: there is no label map {key!r}; make it with volovan label")
        number, start = int(self.shard[place]), int(self.start[place])
        shape = (self.top, *map(int, self.grid[place]))
        if not (0 <= number < len(self.shards) and start >= 0 and min(shape) > 0):
            raise LabelError(f"{self.folder / INDEX}: the entry of label map {key!r} is damaged; {_REMEDY}")
        path = self.folder / self.shards[number].file
        planes = []
        try:
            if number not in self._places:
                self._places[number] = _places(path)
            # Opened anew each time: processes that share an open file also share its position.
            with open(path, "rb", buffering=0) as file:
                for dtype, begin in self._places[number]:
                    file.seek(begin + start * dtype.itemsize)
                    planes.append(np.frombuffer(file.read(prod(shape) * dtype.itemsize), dtype))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or f"is damaged ({error})"
            raise LabelError(f"{path}: label map {key!r} cannot be read: {reason}; {_REMEDY}") from None
        if checksum(*planes) != int(self.crc[place]):
            raise LabelError(f"{path}: label map {key!r} is damaged: its checksum does not fit; {_REMEDY}")
        tensor_dtype = self.about.tensor_dtype
        return torch.from_numpy(np.stack([plane.astype(tensor_dtype).reshape(shape) for plane in planes]))


def _places(path: Path) -> list[tuple[np.dtype[Any], int]]:
    """Type and first byte of the logits and of the classes in a shard, which safetensors' own reader does not tell."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(size, 1 << 20)))
            fields = [header[name] for name in ("logits", "classes")]
            return [(np.dtype(_DTYPES[field["dtype"]]), 8 + size + field["data_offsets"][0]) for field in fields]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError("it is no safetensors file") from error


def _check_index(index: dict[str, np.ndarray], path: Path) -> None:
    """LabelError if names, types or lengths are not those of an index."""
    try:
        count = len(index["key_ends"]) - 1
        expected = {
            "keys": (np.uint8, index["keys"].shape[:1]), "key_ends": (np.int64, (count + 1,)),
            "shard": (np.int32, (count,)), "start": (np.int64, (count,)), "grid": (np.int32, (count, 2)),
            "crc": (np.uint32, (count,)),
        }  # fmt: skip
        found = {name: (index[name].dtype, index[name].shape) for name in expected}
    except KeyError as error:
        raise LabelError(f"{path} is damaged: it has no {error}; {_REMEDY}") from None
    for name, (dtype, shape) in found.items():
        if (dtype, shape) != expected[name]:
            raise LabelError(f"{path} is damaged: {name} is {dtype} {shape}; {_REMEDY}")


def checksum(logits: np.ndarray, classes: np.ndarray) -> int:
    """CRC-32 of one map."""
    return zlib.crc32(classes.tobytes(), zlib.crc32(logits.tobytes()))


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.safetensors"


def pack(keys: Sequence[str], maps: Sequence[Tensor], about: About, where: str) -> bytes:
    """The content of a shard with these maps, each (2, top, h, w); the same bytes for the same maps.

    raises  LabelError: a map is not of the type or top of `about`, or has class indices that are not whole numbers
    """
    largest = max((one[1].max().item() for one in maps), default=0)
    if about.num_classes is not None:
        largest = about.num_classes - 1
    dtype = np.int16 if largest <= np.iinfo(np.int16).max else np.int32
    logits, classes = [np.zeros(0, about.dtype)], [np.zeros(0, dtype)]
    for key, one in zip(keys, maps, strict=True):
        values = one.numpy()
        if values.dtype != about.tensor_dtype or values.shape[1] != about.top:
            raise LabelError(
                f"{where}: label map {key!r} is {values.dtype} with {values.shape[1]} classes at a position, expected "
                f"{about.tensor_dtype} with {about.top} as the others; make it anew"
            )
        with np.errstate(invalid="ignore"):
            numbers = values[1].astype(dtype)
        if numbers.astype(values.dtype).tobytes() != values[1].tobytes() or numbers.min() < 0:
            raise LabelError(
                f"{where}: label map {key!r} has class indices that are not whole numbers from 0 to "
                f"{np.iinfo(dtype).max:,}; make it anew"
            )
        logits.append(values[0].astype(about.dtype).reshape(-1))
        classes.append(numbers.reshape(-1))
    grid = np.array([one.shape[2:] for one in maps], np.int32).reshape(-1, 2)
    return _with_keys(keys, grid=grid, logits=np.concatenate(logits), classes=np.concatenate(classes))


def _with_keys(keys: Iterable[str], **arrays: np.ndarray) -> bytes:
    names = Names(keys)
    return save({"keys": names.text, "key_ends": names.ends, **arrays})


def join(files: Sequence[Path], order: Sequence[str], top: int) -> bytes:
    """The content of one shard with the maps of several files, in this order of their keys.

    Of a key that is in two files the last one counts. raises LabelError: a file is damaged
    """
    maps: dict[str, tuple[np.ndarray, ...]] = {}  # grid (1, 2), logits, classes
    for file in files:
        part = read_arrays(file)
        starts, ends = _spans(part["grid"], top)
        for row, (key, start, end) in enumerate(zip(keys_of(part), starts.tolist(), ends.tolist(), strict=True)):
            maps[key] = (part["grid"][row : row + 1], part["logits"][start:end], part["classes"][start:end])
    names = [key for key in order if key in maps]
    none = tuple(part[name][:0] for name in ("grid", "logits", "classes"))  # keeps the types where there is no map
    grid, logits, classes = map(np.concatenate, zip(none, *(maps[key] for key in names), strict=True))
    return _with_keys(names, grid=grid, logits=logits, classes=classes)


def _spans(grid: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the values of each map begin and end."""
    ends = top * np.cumsum(grid.astype(np.int64).prod(axis=1))
    return np.concatenate([[0], ends[:-1]]).astype(np.int64), ends


def write_index(folder: Path, about: About, files: Sequence[str]) -> None:
    """Write the index of finished shards, and labels.json with them, which makes the labels complete.

    raises  LabelError: a shard is damaged, or not the one that labels.json knows of it
    """
    found = read_about(folder)
    known = {entry.file: entry.sha256 for entry in (found.shards if found else None) or ()}
    keys: list[str] = []
    parts: dict[str, list[np.ndarray]] = {"shard": [], "start": [], "grid": [], "crc": []}
    entries = []
    for number, file in enumerate(files):
        arrays = read_arrays(folder / file)
        digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        if known.get(file, digest) != digest:
            raise changed(folder / file)
        names = keys_of(arrays)
        entries.append(ShardEntry(file, len(names), digest))
        keys += names
        starts, ends = _spans(arrays["grid"], about.top)
        logits, classes = arrays["logits"], arrays["classes"]
        sums = [checksum(logits[start:end], classes[start:end]) for start, end in zip(starts, ends, strict=True)]
        parts["shard"].append(np.full(len(names), number, np.int32))
        parts["start"].append(starts)
        parts["grid"].append(arrays["grid"])
        parts["crc"].append(np.array(sums, np.uint32))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    arrays = {name: np.concatenate(pieces)[order] for name, pieces in parts.items()}
    content = _with_keys((keys[place] for place in order), **arrays)
    write_whole(folder, INDEX, content)
    digest = hashlib.sha256(content).hexdigest()
    write_about(folder, replace(about, layout="compact", index=digest, pictures=len(keys), shards=tuple(entries)))


def changed(path: Path) -> LabelError:
    return LabelError(f"{path} is damaged: its SHA-256 is not the one in labels.json; {_REMEDY}")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, mapped into memory: all processes share its pages, read when needed.

    raises  LabelError: the file is missing, cannot be read, or is damaged
    """
    try:
        with safe_open(path, "pt") as file:  # as tensors they are mapped, as arrays they would be copied
            return {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        raise LabelError(f"{path}: there is no such file; copy the folder again, or make the labels anew") from None
    except OSError as error:
        raise LabelError(f"{path} cannot be read ({error}); make the labels anew") from None
    except (SafetensorError, TypeError) as error:  # TypeError: a type that numpy has not
        raise LabelError(f"{path} is damaged ({error}); remove it and call volovan label again") from None


def keys_in(path: Path) -> Names | None:
    """The keys of a shard; None if it is missing, or its header or length is wrong. Values are not read."""
    try:
        arrays = read_arrays(path)
    except LabelError:
        return None
    whole = arrays.keys() >= {"keys", "key_ends", "grid", "logits", "classes"}
    return keys_of(arrays) if whole and len(arrays["key_ends"]) == len(arrays["grid"]) + 1 else None


def keys_of(arrays: dict[str, np.ndarray]) -> Names:
    names = Names(())
    names.text, names.ends = arrays["keys"], arrays["key_ends"]
    return names
