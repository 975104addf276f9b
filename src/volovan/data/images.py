"""open_images: pictures to look at, from what a user names, without masks and without results of volovan."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from volovan.data.errors import BadImage, SourceError, printable
from volovan.data.folder import LeftOut, pictures_below
from volovan.data.formats.coco_panoptic import panoptic_folder_splits
from volovan.data.formats.coco_places import is_panoptic
from volovan.data.formats.shards import is_shard
from volovan.data.layouts.classes import expand_pattern, known_pictures
from volovan.data.layouts.maps import salient_splits
from volovan.data.layouts.masks import drawn_masks, known_masks, with_wrapped
from volovan.data.layouts.told import told_file
from volovan.data.lists.manifest import is_list
from volovan.data.pairing.pairs import find_pairs
from volovan.data.pairing.partners import Pairs
from volovan.data.samples import Chain, FileSource, Names, join_notes
from volovan.data.source import Source
from volovan.data.sources import open_unchecked, refuse_empty
from volovan.data.synthetic.shapes_sources import is_shapes
from volovan.files.results import holds_results_alone, is_result

_COPY = "a result is never taken for a picture; to look at some, copy them to a folder of their own"

_SCENES = ("map", "points")
"""kinds for which shapes draw scenes of their own"""


class NamedFiles(FileSource):
    """Files that were named one by one, by patterns or by their folders. inner: of each its path below what was named,
    which its results are called by."""

    def __init__(self, files: Iterable[str], inner: Iterable[str], note: str) -> None:
        super().__init__(Path(), files, note=note)
        self.inner = Names(inner)

    def inner_path(self, index: int) -> str:
        return self.inner[index]


def open_images(paths: Sequence[str], kind: str = "class") -> Source:
    """Pictures to look at, in the order given: files, folders (at any depth), globs, shards, or any other source.

    Of pictures with masks the pictures alone are taken, and the note says so. Labels are not checked: whoever looks at
    pictures or predicts needs none. kind: of the targets that the one who looks was trained on; `shapes` draws other
    scenes where they are maps or points.
    """
    sources: list[Source] = []
    files: list[tuple[str, str]] = []
    notes: list[str] = []
    left = LeftOut()

    def flush() -> None:
        if files:
            named, inner = zip(*files, strict=True)
            sources.append(NamedFiles(named, inner, join_notes(*dict.fromkeys(notes))))
            files.clear()
            notes.clear()

    for spec in paths:
        refuse_empty(spec)
        path = Path(spec).expanduser()
        found = expand_pattern(spec) if not path.exists() else None
        for file in found or [path]:
            if is_result(file):
                left.results.append(file)
            elif file.is_dir() and (pictures := _pictures_in(file, left, notes)):
                prefix = Path(file.resolve().name) if len(paths) > 1 else Path()
                files += ((str(one), (prefix / os.path.relpath(one, file)).as_posix()) for one in pictures)
            elif file.is_file() and told_file(file):  # a JSON of COCO, a data.yaml
                flush()
                sources.append(open_unchecked(file, None, "panoptic" if is_panoptic(file) else "boxes"))
            elif file.is_file() and not is_shard(file) and file.suffix.lower() != ".parquet" and not is_list(file):
                # whatever its suffix: it was named, so decode shall say what is wrong with it
                files.append((str(file), file.name if found is None else os.path.relpath(file, _fixed(spec))))
            elif not file.is_dir() or not holds_results_alone(file):
                flush()
                drawn = is_shapes(spec) and not path.exists()
                scenes = kind if kind in _SCENES else "mask"
                sources.append(open_unchecked(spec if found is None else file, None, scenes if drawn else "class"))
    if left.results:
        notes += LeftOut(results=left.results).notes(Path())
    flush()
    if sources and notes:
        sources[-1].note = join_notes(sources[-1].note, *notes)
    if not sources:
        if left.results:
            raise SourceError(f"{printable(str(left.results[0]))} holds results of volovan only; {_COPY}")
        raise SourceError("no pictures were named; give files, folders, globs or shards")
    return sources[0] if len(sources) == 1 else Chain(sources)


def _fixed(pattern: str) -> Path:
    """The folder that a pattern begins with."""
    parts = Path(pattern).expanduser().parts[:-1]
    wild = next((place for place, part in enumerate(parts) if set(part) & set("*?[{")), len(parts))
    return Path(*parts[:wild])


def _pictures_in(folder: Path, left: LeftOut, notes: list[str]) -> list[Path]:
    """The pictures below a folder; of pictures with masks those in the folders of the pictures."""
    every = list(pictures_below(folder, left))
    pairs = pairs_in(folder) if every else None
    if pairs is None:
        return every
    pictures, masks = pairs
    among_masks = {above for mask in masks for above in mask.parents}
    homes = {
        next((path for path in reversed(picture.parents) if path not in among_masks), picture) for picture in pictures
    }
    mixed = {picture.parent for picture in homes & pictures}  # pictures and masks in one folder

    def wanted(path: Path) -> bool:
        return path not in masks and (path.parent in mixed or not homes.isdisjoint((path, *path.parents)))

    here = {path: Path(os.path.abspath(path)) for path in every}
    kept = [path for path in every if wanted(here[path])]
    kept += sorted(pictures - set(here.values()))  # of lists that name pictures elsewhere
    notes.append(
        f"{printable(str(folder))} holds pictures with masks: {len(kept):,} pictures are taken, its "
        f"{len(every) - len(kept):,} other files are not."
    )
    return kept


def pairs_in(folder: Path) -> tuple[set[Path], set[Path]] | None:
    """(pictures, masks) of a folder that holds both, as absolute paths; None if it does not."""
    pictures: set[Path] = set()
    masks: set[Path] = set()

    def add(root: Path, ours: Iterable[str], theirs: Iterable[str]) -> None:
        pictures.update(Path(os.path.abspath(root / name)) for name in ours)
        masks.update(Path(os.path.abspath(root / name)) for name in theirs)

    for path in with_wrapped(folder) if folder.is_dir() else ():
        segments = panoptic_folder_splits(path)
        if not segments and (known_pictures(path) or drawn_masks(path)):  # outlines are no pictures
            return None
        if known := segments or salient_splits(path) or known_masks(path):
            for opener in known.values():
                with suppress(SourceError, BadImage):  # a split that was not fetched
                    source: Any = opener()
                    add(source.root, source.files, source.masks)
        else:
            for pairs in _opened(path):
                add(path, pairs.pictures, [*pairs.masks, *filter(None, chain(*pairs.layers.values()))])
        if pictures:
            return pictures, masks
    return None


def _opened(folder: Path) -> list[Pairs]:
    try:
        return [opener() for opener in (find_pairs(folder) or {}).values()]
    except SourceError as error:
        raise SourceError(f"{error}; to look at pictures alone, name the folder that holds them") from None
