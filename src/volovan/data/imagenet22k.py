"""ImageNet-22K (the release of fall 2011: 14,197,122 pictures, 21,841 synsets) as it is handed out: fall11_whole.tar (a
tar of one tar per synset), a folder of those tars, or one folder per synset. A class is called by its synset.

It has no splits. About 0.5 % of each class are held out as val, by the hash of their names, where val is asked for.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from volovan.data.errors import SourceError
from volovan.data.folder import class_folders, subfolders
from volovan.data.imagenet import open_tar_of_tars
from volovan.data.samples import hold_out
from volovan.data.shards import ShardSource, read_shard

if TYPE_CHECKING:
    from volovan.data.source import Source

SHARE = 0.005
_WHOLE = "fall11_whole.tar"
_SYNSET = re.compile(r"n\d{8}")
_MORE_THAN_1K = 1000  # folders of synsets up to here are ImageNet-1K, or a part of it, and hold out a tenth


def imagenet22k_splits(root: Path) -> "Mapping[str, Callable[[], Source]] | None":
    """{"train": opener, "val": opener} if root is ImageNet-22K, or an archive or folder of it, else None."""
    opener = _opener(root)
    if opener is None:
        return None
    return {split: lambda split=split: hold_out(opener(), split, SHARE) for split in ("train", "val")}  # type: ignore[misc]


def _opener(root: Path) -> "Callable[[], Source] | None":
    if root.is_file():
        return partial(open_tar_of_tars, root) if root.name == _WHOLE else None
    if (root / _WHOLE).is_file():
        return partial(open_tar_of_tars, root / _WHOLE)
    tars = sorted(root.glob("n*.tar"))
    if tars and all(_SYNSET.fullmatch(tar.stem) for tar in tars):
        return partial(_tar_per_synset, tars)
    synsets = tuple(folder.name for folder in subfolders(root))
    if len(synsets) > _MORE_THAN_1K and all(_SYNSET.fullmatch(synset) for synset in synsets):
        return partial(class_folders, root, root, synsets)
    return None


def _tar_per_synset(tars: list[Path]) -> ShardSource:
    shards = [read_shard(tar) for tar in tars]
    if empty := next((shard.path for shard in shards if not len(shard.names)), None):
        raise SourceError(f"{empty} holds no pictures; fetch it again")
    labels = np.repeat(np.arange(len(shards)), [len(shard.names) for shard in shards])
    return ShardSource(shards, [tar.stem for tar in tars], labels)
