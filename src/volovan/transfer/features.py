"""Features of a frozen network, to a file that need not fit into memory.

features.safetensors: `features` (N, C) float32, `labels` (N,) int32 (-1: none) and `indices` (N,) int32 (the picture of
each row), rows in the order of the input; metadata `classes` (a JSON list of names) and `model`. features.csv beside
it: row, file, label, class and, for a picture that could not be read and has no row, the error.
"""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from volovan.classify.ready import ReadyClassifier
from volovan.data.images import open_images, pairs_in
from volovan.data.samples import UNLABELLED, class_of
from volovan.data.source import Source
from volovan.data.sources import open_unchecked
from volovan.files.whole import new_file, whole_file
from volovan.room.ready import Answer, Size, outcomes

HEADER = 8
"""bytes in which a safetensors file states the length of its JSON header"""


@dataclass
class Written:
    """What a file of features holds; failed: (name, reason) of the pictures without a row."""

    rows: int = 0
    width: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Features:
    """A file read back: features (N, C) float32, labels (N,) int64 or -1, names of the classes, and the numbers (N,) of
    the pictures in their source, of which those that could not be read are missing."""

    features: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    indices: Tensor


def pooled(model: nn.Module) -> nn.Module:
    """The network without its head, in place: (B, 3, H, W) -> (B, C).

    VAN: mean over positions of the last map after its norm; VOLO and LV-ViT: the class token after the norm (VOLO
    without class blocks: the mean of the tokens). It is what the head saw.
    """
    model.reset_classifier(0)  # type: ignore[operator]
    return model.eval()


def open_with_labels(names: Sequence[str], split: str | None = None) -> Source:
    """The pictures of what the user names; a single source that has classes keeps its labels."""
    if len(names) == 1 and (split or not pairs_in(Path(names[0]).expanduser())):
        source = open_unchecked(names[0], split)
        if source.kind == "class" or split:
            return source
    return open_images(names)


@dataclass(frozen=True)
class Vector(Answer):
    """The pooled features of one picture: (C,) float32."""

    value: np.ndarray

    def row(self) -> dict[str, Any]:
        return {"features": self.value.tolist()}

    def cells(self) -> dict[str, str]:
        return {str(place): f"{value:.6g}" for place, value in enumerate(self.value)}

    def draw(self) -> Image.Image:
        return self.picture()


class Extractor(ReadyClassifier):
    """A classifier without its head. The head of the network that it is made of is gone."""

    @classmethod
    def of(cls, ready: ReadyClassifier) -> Self:
        """The same network and options."""
        made = cls(ready.name, pooled(ready.model), ready.classes, mode=ready.mode).to(ready.device)
        made.options = ready.options
        return made

    def answers(self, images: Tensor, sizes: Sequence[Size], seen: Sequence[dict[str, Any]]) -> list[Any]:
        values = self.model(images).float().cpu().numpy()
        return [Vector(value, **own) for value, own in zip(values, seen, strict=True)]


def write_features(
    ready: ReadyClassifier,
    source: Source,
    path: Path,
    *,
    batch_size: int = 32,
    workers: int = 0,
    precision: str = "fp32",
    about: dict[str, str] | None = None,
) -> Written:
    """Write features.safetensors to `path` and the table beside it, block by block; `about` goes into the metadata.

    The head of the classifier is gone afterwards. UnwritableError: the disk does not take the file.
    """
    extractor, written, labels, indices = Extractor.of(ready), Written(), array("i"), array("i")
    found = outcomes(extractor, source, batch_size=batch_size, workers=workers, precision=precision)
    metadata = {"model": ready.name, "classes": json.dumps(list(source.classes)), **(about or {})}
    with whole_file(path.with_suffix(".csv")) as text, _safetensors(path, metadata, written, labels, indices) as data:
        table = csv.writer(text)
        table.writerow(["row", "file", "label", "class", "error"])
        for outcome in found:
            name, label = outcome.name, class_of(source, outcome.index)
            known = label is not None and 0 <= label < len(source.classes)
            shown = ["" if label is None else label, source.classes[label] if known and label is not None else ""]
            if outcome.answer is None:
                written.failed.append((name, outcome.error))
                table.writerow(["", name, *shown, outcome.error])
                continue
            value: np.ndarray = outcome.answer.value  # type: ignore[union-attr]
            table.writerow([written.rows, name, *shown, ""])
            data.write(np.ascontiguousarray(value, dtype="<f4").tobytes())
            labels.append(UNLABELLED if label is None else label)
            indices.append(outcome.index)
            written.width = len(value)
            written.rows += 1
    return written


@contextmanager
def _safetensors(
    path: Path, metadata: dict[str, str], written: Written, labels: array[int], indices: array[int]
) -> Iterator[BinaryIO]:
    """Take rows of float32 as bytes; the whole numbers and the header, which are known last, are added at the end.

    The format allows spaces after the JSON of its header, so room for the largest numbers is left at the beginning.
    """
    room = len(_header(metadata, 10**12, 10**6))
    room += -(HEADER + room) % 8
    with new_file(path) as part, part.open("wb") as data:
        data.write(bytes(HEADER + room))
        yield data
        for numbers in (labels, indices):
            data.write(np.asarray(numbers, dtype="<i4").tobytes())
        data.seek(0)
        data.write(room.to_bytes(HEADER, "little") + _header(metadata, written.rows, written.width).ljust(room))


def _header(metadata: dict[str, str], rows: int, width: int) -> bytes:
    features, column = 4 * rows * width, 4 * rows
    entries: dict[str, Any] = {
        "__metadata__": metadata,
        "features": {"dtype": "F32", "shape": [rows, width], "data_offsets": [0, features]},
        "labels": {"dtype": "I32", "shape": [rows], "data_offsets": [features, features + column]},
        "indices": {"dtype": "I32", "shape": [rows], "data_offsets": [features + column, features + 2 * column]},
    }
    return json.dumps(entries).encode()


def read_about(path: Path) -> dict[str, str] | None:
    """The metadata of a file of features; None if there is no such file, or none that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):
        return None


def read_features(path: Path) -> Features:
    """Read a file that `write_features`, or `volovan predict --features`, has written."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        classes = tuple(json.loads((file.metadata() or {}).get("classes", "[]")))
        features, labels = file.get_tensor("features"), file.get_tensor("labels").to(torch.long)
        # Files from before the numbers were kept have none.
        known = "indices" in file.keys()  # noqa: SIM118
        indices = file.get_tensor("indices").to(torch.long) if known else torch.arange(len(features))
        return Features(features, labels, classes, indices)
