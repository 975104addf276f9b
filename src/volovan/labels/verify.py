"""What is wrong with a folder of label maps, each problem in one line that names the file."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from volovan.data.loader import evaluation_loader
from volovan.data.source import Source
from volovan.engine.progress import bar
from volovan.labels.compact import INDEX, CompactStore, changed
from volovan.labels.errors import LabelError
from volovan.labels.keys import label_key
from volovan.labels.store import LabelStore, missing, open_labels

_CHUNK = 256  # maps that a loader process checks at once


Grids = dict[tuple[int, int], list[str]]
"""(rows, columns) -> keys of the maps that have them"""


class _Maps:
    """Chunks of maps for the loader."""

    def __init__(self, store: LabelStore, num_classes: int | None) -> None:
        self.store, self.num_classes = store, num_classes

    def __len__(self) -> int:
        return -(-len(self.store) // _CHUNK)

    def name(self, index: int) -> str:
        return self.store.keys[index * _CHUNK]

    def read(self, index: int) -> tuple[Grids, list[str]]:
        """Grids of the maps of a chunk, and the problems found in them."""
        grids: Grids = {}
        problems = []
        for key in self.store.keys[index * _CHUNK : (index + 1) * _CHUNK]:
            try:
                maps = self.store.read(key)
            except LabelError as error:
                problems.append(str(error))
                continue
            grids.setdefault((maps.shape[2], maps.shape[3]), []).append(key)
            if reason := problem(maps, self.store.top, self.num_classes):
                problems.append(f"{self.store.file(key)}: label map {key!r} {reason}")
        return grids, problems

    def collate(self, samples: list[tuple[Grids, list[str]]]) -> tuple[Grids, list[str]]:
        """A batch is one chunk."""
        return samples[0]


def problem(maps: Tensor, top: int, num_classes: int | None) -> str:
    """What is wrong with one map (2, top, h, w), "" if nothing is."""
    logits, classes = maps.float()
    if maps.shape[1] != top:
        return f"has {maps.shape[1]} classes at each position, expected {top}"
    if not maps.isfinite().all():
        return "holds values that are no finite numbers"
    if (classes != classes.round()).any() or (classes < 0).any():
        return "has class indices that are not whole numbers from 0 on"
    if num_classes is not None and (classes >= num_classes).any():
        return f"has class index {int(classes.max())}, but there are {num_classes:,} classes (0 to {num_classes - 1:,})"
    if (logits.diff(dim=0) > 0).any():
        return "has logits that are not in descending order"
    return ""


def verify(folder: str | Path, source: Source | None = None, workers: int = 0) -> Iterator[str]:
    """Problems of a folder of label maps, in either layout.

    Damaged, unreadable or foreign files; class indices out of range; values that are not finite; maps of another size
    than the others, unless they cover pictures of any proportion; with a source also pictures without a map, and a
    number of classes that is not the source's.
    """
    try:
        store = open_labels(folder)
    except LabelError as error:
        yield str(error)
        return
    if isinstance(store, CompactStore):
        yield from _damaged_files(store)
    classes = None if store.about is None else store.about.num_classes
    if classes is None and source is not None and source.classes:
        classes = len(source.classes)
    grids: Grids = {}
    loader = evaluation_loader(_Maps(store, classes), batch_size=1, workers=workers)
    for batch in bar(loader, len(loader), "verify", f"x {_CHUNK} maps", True):
        if batch.failed:
            raise batch.failed
        found, problems = batch.data
        for grid, keys in found.items():
            grids.setdefault(grid, []).extend(keys)
        yield from problems
    if store.coverage != "image" and grids:
        usual = max(grids, key=lambda grid: len(grids[grid]))
        for (rows, columns), keys in grids.items():
            for key in keys if (rows, columns) != usual else ():
                yield (
                    f"{store.file(key)}: label map {key!r} has {rows} x {columns} positions, most others have "
                    f"{usual[0]} x {usual[1]}"
                )
    if source is not None:
        for name in missing(store, map(source.name, range(len(source)))):
            yield f"{store.file(label_key(name))}: there is no label map of {name}"


def _damaged_files(store: CompactStore) -> Iterator[str]:
    files = [(shard.file, shard.pictures, shard.sha256) for shard in store.shards]
    for name, pictures, expected in [(INDEX, len(store), store.about.index), *files]:
        path = store.folder / name
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            yield f"{path}: {pictures:,} label maps cannot be read ({error.strerror})"
            continue
        if expected is not None and digest != expected:
            yield str(changed(path))
