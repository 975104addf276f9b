"""What a source holds now, as one digest: names, labels, classes, and whether its files are those of before."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from volovan.data import BadImage, Source
from volovan.data.formats.shards import ShardSource
from volovan.data.samples import ArraySource, Chain, Part, PictureFiles, class_of
from volovan.data.synthetic.generated import GeneratedSource


def source_digest(source: Source) -> str:
    """Changes with any name, label or class, with their order, and with any picture.

    Files and shards are known by size and time of change, so that none is read; pictures that are pixels, or bytes in a
    table, by their content.
    """
    digest = hashlib.blake2b(json.dumps(list(source.classes)).encode(), digest_size=16)
    for index in range(len(source)):
        digest.update(repr((source.name(index), class_of(source, index))).encode("utf-8", "replace"))
    for stamp in _stamps(source, np.arange(len(source))):
        digest.update(stamp)
    return digest.hexdigest()


def _stamps(source: Source, indices: np.ndarray) -> Iterator[bytes]:
    """One for each of these pictures; of a chain those of its first source first."""
    if isinstance(source, Part):
        yield from _stamps(source.whole, source.indices[indices])
    elif isinstance(source, Chain):
        for inner, start in zip(source.sources, source.starts, strict=False):  # starts ends with the number of all
            yield from _stamps(inner, indices[(indices >= start) & (indices < start + len(inner))] - start)
    elif isinstance(source, PictureFiles):
        for index in indices.tolist():
            yield _file_stamp(source.root / source.files[index])
    elif isinstance(source, ShardSource):
        for number, shard in enumerate(source.shards):
            start, end = source.starts[number], source.starts[number + 1]
            inside = indices[(indices >= start) & (indices < end)] - start
            if len(inside):
                yield _file_stamp(shard.path)
                yield np.ascontiguousarray(shard.offsets[inside]).tobytes()
    elif isinstance(source, ArraySource):
        for index in indices.tolist():
            yield np.ascontiguousarray(source.images[index]).tobytes()
    elif isinstance(source, GeneratedSource):
        yield repr((source.split, source.size)).encode()  # all that its pictures depend on besides their numbers
    else:
        for index in indices.tolist():
            try:
                data = source.raw(index)
                yield source.load(index).tobytes() if data is None else data
            except BadImage as error:
                yield error.reason.encode("utf-8", "replace")


def _file_stamp(path: Path) -> bytes:
    try:
        found = path.stat()
    except OSError:
        return b"missing"
    return repr((found.st_size, found.st_mtime_ns)).encode()
