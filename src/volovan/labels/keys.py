"""The key of a picture: what its label map is called, in the published layout `<root>/<key>.pt` (volo.md 6.1)."""

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np

from volovan.data.folder import SPLIT_FOLDERS
from volovan.data.formats.shards import SHARD_SUFFIXES
from volovan.data.samples import Names
from volovan.labels.errors import LabelError

_ROW = re.compile(r"(.+)\[(\d+)\]", re.DOTALL)  # how sources without files call their samples: digits[17]
_UNSAFE = re.compile(r'[\x00-\x1f<>:"|?*\\/]')  # what a file system of today may refuse in a name


def label_key(name: str) -> str:
    """The key of the sample that a source calls `name`: `folder/stem`, "/" between them on every system.

    "train/n01440764/n01440764_10026.JPEG"   n01440764/n01440764_10026   the last folder, the name up to its FIRST dot
    "ILSVRC2012_img_train.tar!n01440764/n01440764_10026.JPEG"            the same
    "train/a.jpg", "a.jpg"                   a                           a folder that only names a split is left out
    "train-000000.tar!cat_1.jpg"             train-000000/cat_1          a member without folder has its shard's
    "digits[17]"                             digits/17
    "org/set:train[17]"                      train/17

    So a source has the same keys whether its root or the folder of one split was opened. Different pictures may share
    a key (a.jpg and a.png, a.b.jpg and a.c.jpg): `unique_keys` refuses them.
    """
    shard, mark, member = name.partition("!")
    if not (mark and shard.lower().endswith(SHARD_SUFFIXES)):
        shard, member = "", name
    row = _ROW.fullmatch(member)
    if row and not shard:
        title = row[1].rpartition("/")[2]
        return f"{_safe(title.partition(':')[2] or title)}/{row[2]}"
    folders, _, base = member.rpartition("/")
    names = [part for part in folders.split("/") if part not in ("", ".", "..")]
    stem = base.lstrip(".").partition(".")[0] or base
    if shard and not names:
        names = [shard.partition(".")[0]]
    elif len(names) == 1 and names[0].lower() in SPLIT_FOLDERS:
        names = []
    return "/".join(_safe(part) for part in (*names[-1:], stem))


def _safe(part: str) -> str:
    """`part` as the name of a file or folder; ordinary names stay as they are."""
    part = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", part)
    return part if part.strip(". ") else part.replace(".", "%2E").replace(" ", "%20") or "%"


def unique_keys(names: Sequence[str]) -> Names:
    """The keys of these samples in their order; LabelError if two samples share one."""
    keys = Names(map(label_key, names))
    marks = np.array([hash(key) for key in keys], dtype=np.int64)  # a set of a million keys would take far more
    marks_found, counts = np.unique(marks, return_counts=True)
    first: dict[str, int] = {}
    for number in np.flatnonzero(np.isin(marks, marks_found[counts > 1])).tolist():
        other = first.setdefault(keys[number], number)
        if other != number:
            raise LabelError(
                f"{names[other]} and {names[number]} would share the label map {keys[number]!r} (the name up to "
                "its first dot counts, below the last folder); rename one of them"
            )
    return keys


def keys_digest(keys: Iterable[str]) -> str:
    """SHA-256 of keys in their order."""
    hasher = hashlib.sha256()
    for key in keys:
        hasher.update(key.encode() + b"\0")
    return hasher.hexdigest()


def find_key(keys: Names, key: str) -> int:
    """Place of a key among sorted ones, -1 if it is not there."""
    place = bisect_left(keys, key)
    return place if place < len(keys) and keys[place] == key else -1
