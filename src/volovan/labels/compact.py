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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor

from volovan.data.samples import Names
from volovan.labels.about import About, Coverage, ShardEntry, read_about, write_about, write_whole
from volovan.labels.errors import LabelError
from volovan.labels.keys import find_key

INDEX = "index.safetensors"
SHARD_BYTES = 64 << 20
_REMEDY = "remove the file and call volovan label again, which makes it anew"
_DTYPES = {
    "F16": np.float16, "F32": np.float32, "I16": np.int16, "I32": np.int32, "I64": np.int64, "U8": np.uint8,
    "U32": np.uint32,
}  # fmt: skip
Tensors = dict[str, tuple[np.dtype[Any], tuple[int, ...], int]]  # name -> type, shape, place in the file


class CompactStore:
    """Label maps in shards. The index is mapped into memory, shards are opened for a read and closed at once.

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
        self.about: About = about
        self.shards = about.shards
        path = folder / INDEX
        index = _mapped(path)
        try:
            self.keys = Names(())
            self.keys.text, self.keys.ends = index["keys"], index["key_ends"]
            self.shard, self.start, self.grid, self.crc = (index[name] for name in ("shard", "start", "grid", "crc"))
        except KeyError as error:
            raise LabelError(f"{path} is damaged: it has no {error}; {_REMEDY}") from None
        _check_index(index, path)
        if len(self.keys) != sum(shard.pictures for shard in self.shards):
            raise LabelError(f"{path} lists {len(self.keys):,} maps, but labels.json another number; copy both again")
        self._places: dict[int, Tensors] = {}

    def __reduce__(self) -> tuple[type[CompactStore], tuple[Path]]:
        return CompactStore, (self.folder,)

    @property
    def top(self) -> int:
        return self.about.top

    @property
    def classes(self) -> tuple[str, ...] | None:
        return self.about.classes

    @property
    def coverage(self) -> Coverage | None:
        return self.about.coverage

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and find_key(self.keys, key) >= 0

    def file(self, key: str) -> str:
        """Where the map of `key` is, for messages."""
        place = find_key(self.keys, key)
        number = -1 if place < 0 else int(self.shard[place])
        return str(self.folder / (self.shards[number].file if 0 <= number < len(self.shards) else INDEX))

    def read(self, key: str) -> Tensor:
        """(2, top, h, w); LabelError if the map is missing or damaged.

        float16 if the maps are kept so and their class indices fit, else float32.
        """
        place = find_key(self.keys, key)
        if place < 0:
            raise LabelError(f"{self.folder / INDEX}: there is no label map {key!r}; make it with volovan label")
        logits, classes = self._read(place, key)
        dtype = np.dtype(self.about.tensor_dtype)
        return torch.from_numpy(np.stack([logits.astype(dtype), classes.astype(dtype)]))

    def _read(self, place: int, key: str) -> tuple[np.ndarray, np.ndarray]:
        number, start = int(self.shard[place]), int(self.start[place])
        shape = (self.top, *map(int, self.grid[place]))
        count = self.top * shape[1] * shape[2]
        if not (0 <= number < len(self.shards) and start >= 0 and min(shape) > 0):
            raise LabelError(f"{self.folder / INDEX}: the entry of label map {key!r} is damaged; {_REMEDY}")
        path = self.folder / self.shards[number].file
        try:
            if number not in self._places:
                self._places[number] = read_header(path)
            # Opened anew each time: processes that share an open file also share its position.
            with open(path, "rb", buffering=0) as file:
                planes = []
                for name in ("logits", "classes"):
                    dtype, (length,), begin = self._places[number][name]
                    if start + count > length:
                        raise ValueError(f"it ends before the place that {INDEX} gives")
                    file.seek(begin + start * dtype.itemsize)
                    planes.append(np.frombuffer(file.read(count * dtype.itemsize), dtype))
            damaged = any(len(plane) != count for plane in planes) or checksum(*planes) != int(self.crc[place])
        except (OSError, KeyError, ValueError) as error:
            reason = getattr(error, "strerror", None) or f"is damaged ({error})"
            raise LabelError(f"{path}: label map {key!r} cannot be read: {reason}; {_REMEDY}") from None
        if damaged:
            raise LabelError(f"{path}: label map {key!r} is damaged: its checksum does not fit; {_REMEDY}")
        return planes[0].reshape(shape), planes[1].reshape(shape)


def _check_index(index: dict[str, np.ndarray], path: Path) -> None:
    """LabelError if types or lengths are not those of an index."""
    count = len(index["key_ends"]) - 1
    expected = {
        "keys": (np.uint8, index["keys"].shape[:1]), "key_ends": (np.int64, (count + 1,)),
        "shard": (np.int32, (count,)), "start": (np.int64, (count,)), "grid": (np.int32, (count, 2)),
        "crc": (np.uint32, (count,)),
    }  # fmt: skip
    for name, (dtype, shape) in expected.items():
        if index[name].dtype != dtype or index[name].shape != shape:
            raise LabelError(f"{path} is damaged: {name} is {index[name].dtype} {index[name].shape}; {_REMEDY}")


def checksum(logits: np.ndarray, classes: np.ndarray) -> int:
    """CRC-32 of one map."""
    return zlib.crc32(classes.tobytes(), zlib.crc32(logits.tobytes()))


# ---------------------------------------------------------------------------------------------------------------------
# writing


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
    names = Names(keys)
    return save(
        {
            "keys": names.text,
            "key_ends": names.ends,
            "grid": np.array([one.shape[2:] for one in maps], np.int32).reshape(-1, 2),
            "logits": np.concatenate(logits),
            "classes": np.concatenate(classes),
        }
    )


def join(files: Sequence[Path], order: Sequence[str], top: int) -> bytes:
    """The content of one shard with the maps of several files, in this order of their keys.

    Of a key that is in two files the last one counts. raises LabelError: a file is damaged
    """
    parts = [unpack(file.read_bytes(), str(file)) for file in files]
    places: dict[str, tuple[int, int, slice]] = {}  # key -> file, row of its grid, values
    for number, part in enumerate(parts):
        starts, ends = _spans(part["grid"], top)
        for row, (key, start, end) in enumerate(zip(keys_of(part), starts.tolist(), ends.tolist(), strict=True)):
            places[key] = (number, row, slice(start, end))
    names = [key for key in order if key in places]
    chosen = [places[key] for key in names]
    values = {
        name: np.concatenate([parts[0][name][:0], *(parts[number][name][span] for number, _, span in chosen)])
        for name in ("logits", "classes")
    }
    grid = np.array([parts[number]["grid"][row] for number, row, _ in chosen], np.int32).reshape(-1, 2)
    packed = Names(names)
    return save({"keys": packed.text, "key_ends": packed.ends, "grid": grid, **values})


def _spans(grid: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the values of each map begin and end."""
    ends = top * np.cumsum(grid.astype(np.int64).prod(axis=1))
    return np.concatenate([[0], ends[:-1]]).astype(np.int64), ends


def write_index(folder: Path, about: About, files: Sequence[str]) -> None:
    """Write the index of finished shards, and labels.json with them, which makes the labels complete.

    raises  LabelError: a shard is damaged, or not the one that labels.json knows of it
    """
    found = read_about(folder)
    known = {entry.file: entry for entry in (found.shards if found else None) or ()}
    keys: list[str] = []
    parts: dict[str, list[np.ndarray]] = {"shard": [], "start": [], "grid": [], "crc": []}
    entries = []
    for number, file in enumerate(files):
        entry, names, grid, starts, sums = _describe(folder, file, about.top)
        if known.get(file, entry).sha256 != entry.sha256:
            raise changed(folder / file)
        entries.append(entry)
        keys += names
        parts["shard"].append(np.full(len(names), number, np.int32))
        parts["start"].append(starts)
        parts["grid"].append(grid)
        parts["crc"].append(sums)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    index = Names(keys[place] for place in order)
    arrays = {name: np.concatenate(pieces)[order] for name, pieces in parts.items()}
    content = save({"keys": index.text, "key_ends": index.ends, **arrays})
    write_whole(folder, INDEX, content)
    digest = hashlib.sha256(content).hexdigest()
    write_about(folder, replace(about, layout="compact", index=digest, pictures=len(keys), shards=tuple(entries)))


def changed(path: Path) -> LabelError:
    return LabelError(f"{path} is damaged: its SHA-256 is not the one in labels.json; {_REMEDY}")


def _describe(folder: Path, file: str, top: int) -> tuple[ShardEntry, list[str], np.ndarray, np.ndarray, np.ndarray]:
    """One shard: its entry, and keys, grids, places and checksums of its maps."""
    content = (folder / file).read_bytes()
    arrays = unpack(content, str(folder / file))
    names = keys_of(arrays)
    grid = arrays["grid"]
    starts, ends = _spans(grid, top)
    sums = [
        checksum(arrays["logits"][start:end], arrays["classes"][start:end])
        for start, end in zip(starts, ends, strict=True)
    ]
    entry = ShardEntry(file, len(names), hashlib.sha256(content).hexdigest())
    return entry, list(names), grid, starts, np.array(sums, np.uint32)


# ---------------------------------------------------------------------------------------------------------------------
# reading safetensors by place, which its own reader does not offer


def read_header(path: Path) -> Tensors:
    """Type, shape and place of each tensor; ValueError if the file is none or was cut off."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > 1 << 20:
            raise ValueError("it is no safetensors file")
        header = file.read(size)
        file.seek(0, 2)
        return _places(header, 8 + size, file.tell())


def _places(header: bytes, begin: int, length: int) -> Tensors:
    """ValueError if the header is none, or the file ends too early."""
    try:
        fields = json.loads(header)
        found = {
            name: (np.dtype(_DTYPES[field["dtype"]]), tuple(field["shape"]), begin + int(field["data_offsets"][0]))
            for name, field in fields.items()
            if name != "__metadata__"
        }
        end = max((begin + int(field["data_offsets"][1]) for field in fields.values()), default=begin)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is no safetensors file") from error
    if end != length:
        raise ValueError(f"it has {length:,} bytes, expected {end:,}")
    return found


def keys_in(path: Path) -> Names | None:
    """The keys of a shard; None if it is missing, or its header or length is wrong. Values are not read."""
    try:
        places = read_header(path)
        arrays = {}
        with path.open("rb") as file:
            for name in ("keys", "key_ends"):
                dtype, shape, begin = places[name]
                file.seek(begin)
                arrays[name] = np.frombuffer(file.read(int(np.prod(shape)) * dtype.itemsize), dtype)
        maps = places["grid"][1][0]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
    whole = {"logits", "classes"} <= places.keys() and len(arrays["key_ends"]) == maps + 1
    return keys_of(arrays) if whole else None


def unpack(content: Any, where: str) -> dict[str, np.ndarray]:
    """The arrays in the content of a safetensors file, without copying it; LabelError if it is damaged."""
    try:
        size = int.from_bytes(bytes(content[:8]), "little")
        tensors = _places(bytes(content[8 : 8 + min(size, 1 << 20)]), 8 + size, len(content))
        return {
            name: np.frombuffer(content, dtype, int(np.prod(shape)), begin).reshape(shape)
            for name, (dtype, shape, begin) in tensors.items()
        }
    except (ValueError, TypeError, OverflowError) as error:
        raise LabelError(f"{where} is damaged ({error}); remove it and call volovan label again") from None


def keys_of(arrays: dict[str, np.ndarray]) -> Names:
    names = Names(())
    names.text, names.ends = arrays["keys"], arrays["key_ends"]
    return names


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, mapped into memory: pages are shared by all processes and read when needed."""
    try:
        content = np.memmap(path, np.uint8, mode="r")
    except FileNotFoundError:
        raise LabelError(f"{path}: there is no such file; copy the folder again, or make the labels anew") from None
    except (OSError, ValueError) as error:
        raise LabelError(f"{path} cannot be read ({error}); make the labels anew") from None
    return unpack(content, str(path))
