"""open_labels: label maps on the disk, in either layout, by the keys of their pictures."""

from collections.abc import Iterable
from pathlib import Path

from volovan.labels.about import read_about
from volovan.labels.compact import CompactStore
from volovan.labels.errors import existing
from volovan.labels.keys import label_key
from volovan.labels.published import PublishedStore

LabelStore = CompactStore | PublishedStore
"""Label maps by key. Picklable; holds no open files, so every loader process can have its own.

about     what they were made with; None for a published folder, which does not say
classes   names of the teacher's classes, None if unknown
coverage  what of a picture its map covers: its centre square or all of it; None if the folder does not say
top       classes at every position
keys      all keys, sorted
file      (key) the file that holds, or should hold, the map
read      (key) (2, top, h, w): logits in descending order, and their class indices; float16 or float32.
          LabelError, with file and key: there is no such map, or it is damaged
"""


def open_labels(path: str | Path) -> LabelStore:
    """Open a folder of label maps: one that volovan label has made, or a published one.

    raises  LabelError: there is no such folder, it holds no label maps, or it is not finished
    """
    folder = existing(path)
    about = read_about(folder)
    return CompactStore(folder) if about is not None and about.layout == "compact" else PublishedStore(folder)


def missing(store: LabelStore, names: Iterable[str]) -> list[str]:
    """Those samples, by the names their source gives them, that have no map."""
    have = set(store.keys)
    return [name for name in names if label_key(name) not in have]
