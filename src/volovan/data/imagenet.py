"""ImageNet (ILSVRC 2012) as it is handed out. A class is a synset such as n01440764; its number is its place among the
sorted synsets, as everywhere in the field, and not the ILSVRC2012_ID (1 to 1000) of the development kit.

train  train/<synset>/*.JPEG, or ILSVRC2012_img_train.tar (a tar of one tar per class, read in place)
val    val/<synset>/*.JPEG; or val/ILSVRC2012_val_*.JPEG or ILSVRC2012_img_val.tar, with the labels in one of
         LOC_val_solution.csv (Kaggle)
         ILSVRC2012_validation_ground_truth.txt with meta.mat or map_clsloc.txt (development kit, its .tar.gz will do)
test   test/*.JPEG, unlabelled
Pictures may lie in ILSVRC/Data/CLS-LOC below the folder, as Kaggle packs them.
"""

import tarfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from volovan.data.cache import cached_file, unpacked
from volovan.data.errors import SourceError
from volovan.data.folder import class_folders, pictures_below, split_folders, subfolders
from volovan.data.mat5 import read_synsets
from volovan.data.samples import FileSource, Names
from volovan.data.shards import Shard, ShardSource, load_index, read_shard, save_index

if TYPE_CHECKING:
    from volovan.data.source import Source

_KAGGLE = Path("ILSVRC", "Data", "CLS-LOC")
_TRAIN_TAR, _VAL_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
_KIT = "ILSVRC2012_devkit_t12"
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


def imagenet_splits(root: Path) -> "Mapping[str, Callable[[], Source]] | None":
    """{split: opener} if root is ImageNet as handed out; None if not, or if it is plain class folders already."""
    pictures = root / _KAGGLE if (root / _KAGGLE).is_dir() else root
    folders = split_folders(pictures)
    train_tar, val_tar = root / _TRAIN_TAR, root / _VAL_TAR
    flat_val = "val" in folders and any(folders["val"].glob("ILSVRC2012_val_*"))
    if not (pictures != root or flat_val or train_tar.is_file() or val_tar.is_file()):
        return None
    synsets = partial(_synsets, root, folders.get("train"), train_tar)
    splits: dict[str, Callable[[], Source]] = {}
    if "train" in folders:
        splits["train"] = lambda: class_folders(pictures, folders["train"], synsets())
    elif train_tar.is_file():
        splits["train"] = lambda: _train_tar(train_tar, synsets())
    if flat_val:
        splits["val"] = lambda: _flat_val(root, pictures, folders["val"], synsets())
    elif "val" in folders:
        splits["val"] = lambda: class_folders(pictures, folders["val"], synsets())
    elif val_tar.is_file():
        splits["val"] = lambda: _val_tar(root, val_tar, synsets())
    if "test" in folders:
        splits["test"] = lambda: class_folders(pictures, folders["test"], ())
    return splits


def _synsets(root: Path, train: Path | None, train_tar: Path) -> tuple[str, ...]:
    """The classes in order: those of train, else those that the labels of val name."""
    if train is not None:
        return tuple(folder.name for folder in subfolders(train))
    if train_tar.is_file():
        return tuple(sorted({Path(name).parent.name for name in _train_index(train_tar).names}))
    return tuple(sorted(set(_val_labels(root).values())))


# ---------------------------------------------------------------------------------------------------------------------
# train


def open_tar_of_tars(path: Path) -> ShardSource:
    """An archive of one tar per synset, as ImageNet-22K is handed out too; the classes are its synsets, sorted."""
    return _train_tar(path, tuple(sorted(set(_train_index(path).labels))))


def _train_tar(path: Path, synsets: tuple[str, ...]) -> ShardSource:
    shard = _train_index(path)
    numbers = {synset: number for number, synset in enumerate(synsets)}
    return ShardSource([shard], synsets, np.array([numbers[label] for label in shard.labels], dtype=np.int64))


def _train_index(path: Path) -> Shard:
    """Where each picture lies; kept, since finding out reads 1.3 million headers."""
    kept = cached_file(path, ".npz", partial(_write_train_index, path))
    return Shard(path, path, *load_index(kept))


def _write_train_index(path: Path, target: BinaryIO) -> None:
    names, offsets, sizes, labels = [], [], [], []
    try:
        with tarfile.open(path, "r:") as outer:
            for part in outer:
                if not part.name.endswith(".tar"):
                    continue
                synset = Path(part.name).stem
                with tarfile.open(fileobj=outer.extractfile(part), mode="r:") as inner:
                    for member in inner:
                        names.append(f"{synset}/{member.name}")
                        offsets.append(part.offset_data + member.offset_data)
                        sizes.append(member.size)
                        labels.append(synset)
    except tarfile.ReadError as error:
        raise SourceError(f"{path} is damaged or cut off ({error}); fetch it again") from None
    if not names:
        raise SourceError(f"{path} holds no n*.tar with pictures; fetch it again")
    save_index(target, Names(names), np.array(offsets, np.int64), np.array(sizes, np.int64), Names(labels))


# ---------------------------------------------------------------------------------------------------------------------
# val


def _flat_val(root: Path, pictures: Path, folder: Path, synsets: tuple[str, ...]) -> FileSource:
    files = [file.relative_to(pictures).as_posix() for file in pictures_below(folder)]
    return FileSource(pictures, files, _numbers(root, files, synsets), synsets)


def _val_tar(root: Path, path: Path, synsets: tuple[str, ...]) -> ShardSource:
    shard = read_shard(path)
    return ShardSource([shard], synsets, _numbers(root, shard.names, synsets))


def _numbers(root: Path, files: "list[str] | Names", synsets: tuple[str, ...]) -> np.ndarray:
    labels = _val_labels(root)
    numbers = {synset: number for number, synset in enumerate(synsets)}
    for file in files:
        synset = labels.get(Path(file).stem)
        if synset not in numbers:
            what = "has no label" if synset is None else f"is of {synset}, which is not in train"
            raise SourceError(f"{root}: {file} {what}; are pictures and labels of the same ImageNet?")
    return np.array([numbers[labels[Path(file).stem]] for file in files], dtype=np.int64)


def _val_labels(root: Path) -> dict[str, str]:
    """{"ILSVRC2012_val_00000001": "n01751748", ...}."""
    if solution := _label_file(root, "LOC_val_solution.csv"):
        lines = [line.split(",") for line in solution.decode().split("\n")[1:] if "," in line]
        return {picture: boxes.split()[0] for picture, boxes in lines}
    truth = _label_file(root, _TRUTH)
    if truth is None:
        raise SourceError(
            f"{root} has no labels for val; put {_KIT}.tar.gz (development kit) or LOC_val_solution.csv (Kaggle) "
            "there, or sort the pictures into val/<synset>"
        )
    synset_of = _synset_of_id(root)
    try:
        synsets = [synset_of[int(line)] for line in truth.split()]
    except (KeyError, ValueError) as error:
        raise SourceError(
            f"{root}: {_TRUTH} and the table of classes do not fit ({error}); fetch the kit again"
        ) from None
    return {f"ILSVRC2012_val_{number:08}": synset for number, synset in enumerate(synsets, 1)}


def _synset_of_id(root: Path) -> dict[int, str]:
    """{ILSVRC2012_ID: synset} from the development kit."""
    if table := _label_file(root, "map_clsloc.txt"):
        rows = [line.split() for line in table.decode().splitlines() if line.strip()]
        return {int(number): synset for synset, number, *_ in rows}
    meta = _label_file(root, "meta.mat")
    if meta is None:
        raise SourceError(
            f"{root} has {_TRUTH}, but neither meta.mat nor map_clsloc.txt of the development kit beside it"
        )
    try:
        return {int(record["ILSVRC2012_ID"][0]): record["WNID"] for record in read_synsets(meta)}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise SourceError(f"{root}: meta.mat cannot be read: {error}; fetch the development kit again") from None


def _label_file(root: Path, name: str) -> bytes | None:
    """The content of a file of labels, wherever it is usually put."""
    for folder in (root, root / "data", root / _KIT, root / _KIT / "data", root / "val"):
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    kit = root / f"{_KIT}.tar.gz"
    if not kit.is_file():
        return None
    try:
        with tarfile.open(unpacked(kit)) as archive:
            file = archive.extractfile(f"{_KIT}/data/{name}")
            return file.read() if file else None
    except KeyError:
        return None
    except tarfile.ReadError as error:
        raise SourceError(f"{kit} is damaged or cut off ({error}); fetch it again") from None
