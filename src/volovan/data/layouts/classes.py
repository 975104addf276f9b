"""Pictures with classes, several labels or numbers, or alone: each layout has a page, here they are told apart."""

import glob
from collections.abc import Callable
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError
from volovan.data.folder import folder_splits
from volovan.data.formats import huggingface
from volovan.data.formats.shards import expand_braces, is_shard, shard_splits, shards_in
from volovan.data.lists.manifest import SUFFIXES as MANIFEST_SUFFIXES
from volovan.data.lists.manifest import manifest_splits
from volovan.data.pictures.decoding import SUFFIXES
from volovan.data.published import digits
from volovan.data.published.cifar import cifar_splits
from volovan.data.published.cub import cub_splits
from volovan.data.published.flowers import flowers_splits
from volovan.data.published.imagenet import imagenet22k_splits, imagenet_splits
from volovan.data.published.vizwiz import vizwiz_splits
from volovan.data.samples import FileSource
from volovan.data.source import Splits
from volovan.data.synthetic import generated
from volovan.files.hidden import is_hidden
from volovan.files.nearest import nearest_beside

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


def class_splits(spec: str, kind: str = "class") -> Splits:
    """The splits of pictures with classes, several labels or numbers, or alone; kind: which, of a list with two."""
    if spec == "digits":
        return {split: partial(digits.read, split) for split in digits.SPLITS}
    if spec.startswith(huggingface.PREFIX):
        return huggingface.hub_splits(spec, kind)
    if spec.startswith(generated.PREFIX):
        return generated.generated_splits(spec)
    path = Path(spec).expanduser()
    if not path.exists():
        return _pattern_splits(spec, path)
    if path.is_dir():
        return known_pictures(path) or _folder_splits(path, kind)
    if archive := cifar_splits(path) or imagenet22k_splits(path):
        return archive
    if is_shard(path):
        return shard_splits([path])
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        return manifest_splits(path, kind)
    if path.suffix.lower() == ".parquet":
        return huggingface.parquet_splits([path], kind)
    if path.suffix.lower() in SUFFIXES:
        return {"": partial(FileSource, path.parent, [path.name])}
    raise SourceError(f"{spec} is no source of pictures that is known; {_REMEDY}")


def known_pictures(folder: Path) -> Splits | None:
    """The splits of a known data set of pictures with classes."""
    return next((splits for data_set in _DATA_SETS if (splits := data_set(folder))), None)


def _folder_splits(folder: Path, kind: str) -> Splits:
    if huggingface.is_saved(folder):
        return huggingface.saved_splits(folder, kind)
    tables = sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")])
    if tables := [table for table in tables if not is_hidden(table.name)]:
        return huggingface.parquet_splits(tables, kind)
    if shards := shards_in(folder):
        return shard_splits(shards)
    return folder_splits(folder)


def _pattern_splits(spec: str, path: Path) -> Splits:
    files = expand_pattern(spec)
    if files is None:
        raise SourceError(f"{spec}: there is no such file or folder{nearest_beside(path, _REMEDY)}")
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
