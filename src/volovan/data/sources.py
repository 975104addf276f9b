"""open_source: from what a user writes to samples. Each kind has a file of its own; here they are told apart."""

import difflib
import glob
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from volovan.data import embedded, generated, huggingface
from volovan.data.cifar import cifar_splits
from volovan.data.cub import cub_splits
from volovan.data.decoding import SUFFIXES
from volovan.data.errors import SourceError as SourceError
from volovan.data.flowers import flowers_splits
from volovan.data.folder import folder_splits, pictures_below
from volovan.data.imagenet import imagenet_splits
from volovan.data.imagenet22k import imagenet22k_splits
from volovan.data.manifest import SUFFIXES as MANIFEST_SUFFIXES
from volovan.data.manifest import manifest_splits
from volovan.data.samples import Chain, FileSource, hold_out, label_problem
from volovan.data.shards import expand_braces, is_shard, shard_splits, shards_in
from volovan.data.source import Source as Source
from volovan.data.vizwiz import vizwiz_splits

Splits = Mapping[str, Callable[[], Source]]  # split -> opener; {"": opener} where nothing says which split it is

_SPLITS = ("train", "val", "test")
_DATA_SETS: tuple[Callable[[Path], Splits | None], ...] = (  # each knows its own layout, and says None to any other
    cifar_splits,
    imagenet_splits,
    imagenet22k_splits,
    cub_splits,
    flowers_splits,
    vizwiz_splits,
)
_REMEDY = (
    "give a folder of class folders, a .csv or .tsv, .tar shards, the folder of a known data set (ImageNet, CIFAR, "
    "CUB, Flowers, VizWiz), hf:NAME, generated:CLASSESxCOUNT, or digits"
)


def open_source(spec: str | Path, split: str | None = None) -> Source:
    """Open a source of pictures; docs/data.md lists the kinds.

    split   "train", "val", "test", or None for all of it. A source without splits holds out a tenth as val, one with
            train and test only gives test as val; source.note says so.
    raises  SourceError: there is no such thing, or no such split, or a label without a class, or one that is unreadable
    """
    if split is not None and split not in _SPLITS:
        raise SourceError(f"split {split!r} is unknown; expected train, val or test")
    source = open_unchecked(spec, split)
    for index in range(len(source)):
        if problem := label_problem(source, index):
            raise SourceError(f"{problem}; mend or remove it, volovan check-data lists all such labels")
        label = source.label(index)
        if source.classes and label is not None and not 0 <= label < len(source.classes):
            raise SourceError(
                f"{source.name(index)} has label {label}, but {spec} has {len(source.classes)} classes (0 to "
                f"{len(source.classes) - 1}); volovan check-data lists all such labels"
            )
    return source


def list_splits(spec: str | Path) -> tuple[str, ...]:
    """The splits that a source has, () if it is not split."""
    return tuple(split for split in _SPLITS if split in _find_splits(str(spec)))


def open_unchecked(spec: str | Path, split: str | None) -> Source:
    """open_source without the check of the label numbers: check-data wants to see them all."""
    splits = _find_splits(str(spec))
    if split is None:
        ordered = sorted(splits, key=lambda name: _SPLITS.index(name) if name in _SPLITS else len(_SPLITS))
        sources = [splits[name]() for name in ordered]
        return sources[0] if len(sources) == 1 else Chain(sources)
    if split in splits:
        return splits[split]()
    if split == "val" and "test" in splits:
        source = splits["test"]()
        source.note = " ".join(filter(None, (source.note, "There is no val split: test is used in its place.")))
        return source
    if "" in splits and split != "test":
        return hold_out(splits[""](), split)
    has = ", ".join(splits) if "" not in splits else "no splits, of which train and val can be made"
    raise SourceError(f"{spec} has no {split} split, it has {has}; ask for one of these or add it")


def _find_splits(spec: str) -> Splits:
    _refuse_empty(spec)
    if spec == "digits":
        return {split: partial(embedded.digits, split) for split in embedded.SPLITS}
    if spec.startswith(huggingface.PREFIX):
        return huggingface.hub_splits(spec)
    if spec.startswith(generated.PREFIX):
        return generated.generated_splits(spec)
    path = Path(spec).expanduser()
    if not path.exists():
        return _pattern_splits(spec, path)
    if path.is_dir():
        return _folder_splits(path)
    if archive := cifar_splits(path) or imagenet22k_splits(path):
        return archive
    if is_shard(path):
        return shard_splits([path])
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        return manifest_splits(path)
    if path.suffix.lower() == ".parquet":
        return huggingface.parquet_splits([path])
    if path.suffix.lower() in SUFFIXES:
        return {"": partial(FileSource, path.parent, [path.name])}
    raise SourceError(f"{spec} is no source of pictures that is known; {_REMEDY}")


def is_picture_set(folder: Path) -> bool:
    """Whether folder is a known data set for classification."""
    return any(data_set(folder) for data_set in _DATA_SETS)


def _refuse_empty(spec: str) -> None:
    if not spec.strip():  # Path("") is the current folder, which nobody asked for
        raise SourceError(f"the source is empty; {_REMEDY}")


def _folder_splits(folder: Path) -> Splits:
    for data_set in _DATA_SETS:
        if splits := data_set(folder):
            return splits
    if huggingface.is_saved(folder):
        return huggingface.saved_splits(folder)
    if tables := sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]):
        return huggingface.parquet_splits(tables)
    if shards := shards_in(folder):
        return shard_splits(shards)
    return folder_splits(folder)


def _pattern_splits(spec: str, path: Path) -> Splits:
    files = expand_pattern(spec)
    if files is None:
        near = difflib.get_close_matches(path.name, [other.name for other in _siblings(path)], n=1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else f"; {_REMEDY}"
        raise SourceError(f"{spec}: there is no such file or folder{hint}")
    if all(is_shard(file) for file in files):
        return shard_splits(files)
    if any(is_shard(file) for file in files):
        raise SourceError(f"{spec} matches shards and other files; narrow it down")
    return {"": partial(FileSource, Path(), [str(file) for file in files])}


def expand_pattern(spec: str) -> list[Path] | None:
    """The files that a glob with braces names, in order; None if spec is no pattern."""
    if not any(char in spec for char in "*?[{"):
        return None
    files: list[Path] = []
    for pattern in expand_braces(str(Path(spec).expanduser())):
        found = sorted(glob.glob(pattern, recursive=True)) or ([pattern] if Path(pattern).exists() else [])
        if not found:
            raise SourceError(f"{pattern}: no file has such a name; check the pattern {spec}")
        files += [Path(file) for file in found if not Path(file).is_dir()]
    if not files:
        raise SourceError(f"{spec} matches folders only, expected files; give one folder")
    return files


def _siblings(path: Path) -> list[Path]:
    try:
        return list(path.parent.iterdir())
    except OSError:
        return []


def open_images(paths: Sequence[str]) -> Source:
    """Pictures to look at, in the order given: files, folders (at any depth), globs, shards, or any other source.

    Labels are not checked: whoever looks at pictures or predicts needs none.
    """
    sources: list[Source] = []
    files: list[str] = []

    def flush() -> None:
        if files:
            sources.append(FileSource(Path(), list(files)))
            files.clear()

    for spec in paths:
        _refuse_empty(spec)
        path = Path(spec).expanduser()
        found = expand_pattern(spec) if not path.exists() else None
        for file in found or [path]:
            if file.is_dir() and (pictures := list(pictures_below(file))):
                files += map(str, pictures)
            elif file.is_file() and not is_shard(file) and file.suffix.lower() not in (*MANIFEST_SUFFIXES, ".parquet"):
                files.append(str(file))  # whatever its suffix: it was named, so decode shall say what is wrong with it
            else:
                flush()
                sources.append(open_unchecked(spec if found is None else file, None))
    flush()
    if not sources:
        raise SourceError("no pictures were named; give files, folders, globs or shards")
    return sources[0] if len(sources) == 1 else Chain(sources)
