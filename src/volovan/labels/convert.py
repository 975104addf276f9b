"""From one layout of label maps to the other, bit for bit."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from volovan.engine.progress import bar
from volovan.labels import compact
from volovan.labels.about import About, begin, claim, sweep, write_about, write_whole
from volovan.labels.errors import LabelError
from volovan.labels.keys import keys_digest
from volovan.labels.published import SUFFIX, serialise
from volovan.labels.store import LabelStore, open_labels
from volovan.labels.writers import open_writer, shard_pictures


def convert(folder: str | Path, out: Path) -> LabelStore:
    """Write published label maps in the compact layout, or compact ones in the published layout.

    Every map is read, so a damaged one is found. A call that was interrupted can be repeated.

    raises   LabelError: a map is missing or damaged, or `out` holds something else
    """
    if Path(folder).expanduser().resolve() == out.expanduser().resolve():
        raise LabelError(f"IN and OUT are the same folder, {out}; name another one with --out")
    store = open_labels(folder)
    about = _about(store)
    begin(out, about)
    write_about(out, replace(about, pictures=None, shards=None))
    claim(out, open_writer(out, about, store.keys).files())
    if about.layout == "compact":
        keys, size = store.keys, about.shard_pictures or 1
        starts = range(0, len(keys), size)
        for number, start in enumerate(bar(starts, len(starts), "convert", "shard", True)):
            chosen = keys[start : start + size]
            maps = [store.read(key) for key in chosen]
            write_whole(out, compact.shard_name(number), compact.pack(chosen, maps, about, str(store.folder)))
        compact.write_index(out, about, [compact.shard_name(number) for number in range(len(starts))])
    else:
        for key in bar(store.keys, len(store), "convert", "map", True):
            if not (out / f"{key}{SUFFIX}").is_file():
                write_whole(out, f"{key}{SUFFIX}", serialise(store.read(key)), durable=False)
    sweep(out)
    return open_labels(out)


def _about(store: LabelStore) -> About:
    """What the maps say of themselves, in the other layout; of published ones that say nothing, what they show."""
    about = store.about
    first = store.read(store.keys[0])
    if about is None:
        about = About(
            layout="published",
            top=store.top,
            dtype="float16" if first.dtype == torch.float16 else "float32",
            made_with=f"volovan {version('volovan')}",
        )
    if about.layout == "published":
        top, height, width = first[0].shape
        each = top * min(height, width) ** 2 * (first.element_size() + 2)  # as volovan label counts
        pictures = shard_pictures(each, compact.SHARD_BYTES)
        return replace(about, layout="compact", keys=keys_digest(store.keys), shard_pictures=pictures)
    # float16 cannot hold the indices of many classes, which the compact layout keeps as integers
    return replace(
        about, layout="published", dtype=about.tensor_dtype, shard_pictures=None, index=None, pictures=None, shards=None
    )
