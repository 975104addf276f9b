"""open_labels: label maps on the disk, in either layout, by the keys of their pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from volovan.labels.about import About, Coverage, read_about
from volovan.labels.compact import CompactStore
from volovan.labels.errors import LabelError
from volovan.labels.keys import label_key
from volovan.labels.published import PublishedStore

if TYPE_CHECKING:
    from torch import Tensor

    from volovan.data.samples import Names


class LabelStore(Protocol):
    """Label maps by key. Picklable; holds no open files, so every loader process can have its own."""

    folder: Path

    @property
    def layout(self) -> str: ...

    @property
    def about(self) -> About | None:
        """What they were made with; None for a published folder, which does not say."""
        ...

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the teacher's classes, None if unknown."""
        ...

    @property
    def coverage(self) -> Coverage | None:
        """What of a picture its map covers: its centre square or all of it; None if the folder does not say."""
        ...

    @property
    def top(self) -> int:
        """Classes at every position."""
        ...

    @property
    def keys(self) -> Names:
        """All keys, sorted."""
        ...

    def __len__(self) -> int: ...

    def __contains__(self, key: object) -> bool: ...

    def file(self, key: str) -> str:
        """The file that holds, or should hold, the map."""
        ...

    def read(self, key: str) -> Tensor:
        """(2, top, h, w): logits in descending order, and their class indices; float16 or float32.

        raises  LabelError, with file and key: there is no such map, or it is damaged
        """
        ...


def open_labels(path: str | Path) -> LabelStore:
    """Open a folder of label maps: one that volovan label has made, or a published one.

    raises  LabelError: there is no such folder, it holds no label maps, or it is not finished
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise LabelError(f"{folder}: there is no such folder; make label maps with volovan label")
    about = read_about(folder)
    return CompactStore(folder) if about is not None and about.layout == "compact" else PublishedStore(folder)


def missing(store: LabelStore, names: Iterable[str]) -> list[str]:
    """Those samples, by the names their source gives them, that have no map."""
    have = set(store.keys)
    return [name for name in names if label_key(name) not in have]
