"""ImageNet as it is handed out: ILSVRC 2012, and the 22K of fall 2011. A class is a synset such as n01440764; its
number is its place among the sorted synsets, as everywhere in the field, and not the ILSVRC2012_ID (1 to 1000) of the
development kit.

train  train/<synset>/*.JPEG, or ILSVRC2012_img_train.tar (a tar of one tar per class, read in place)
val    val/<synset>/*.JPEG; or val/ILSVRC2012_val_*.JPEG or ILSVRC2012_img_val.tar, with the labels in one of
         LOC_val_solution.csv (Kaggle)
         ILSVRC2012_validation_ground_truth.txt with meta.mat or map_clsloc.txt (development kit, its .tar.gz will do)
test   test/*.JPEG, unlabelled
Pictures may lie in ILSVRC/Data/CLS-LOC below the folder, as Kaggle packs them.

ImageNet-22K (14,197,122 pictures, 21,841 synsets) is fall11_whole.tar (a tar of one tar per synset), a folder of those
tars, or one folder per synset. A class is called by its synset. It has no splits: about 0.5 % of each class are held
out as val, by the hash of their names, where val is asked for.
"""

import re
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from volovan.data.cache import unpacked
from volovan.data.errors import SourceError
from volovan.data.folder import class_folders, pictures_below, split_folders, subfolders
from volovan.data.formats.shards import Shard, ShardSource, kept_shard, read_shard
from volovan.data.held_out import hold_out
from volovan.data.published.mat5 import read_synsets
from volovan.data.samples import FileSource, Names
from volovan.data.source import Source, Splits
from volovan.files.hidden import is_hidden

_KAGGLE = Path("ILSVRC", "Data", "CLS-LOC")
_TRAIN_TAR, _VAL_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
_KIT = "ILSVRC2012_devkit_t12"
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


def imagenet_splits(root: Path) -> Splits | None:
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
        splits["train"] = partial(_tar_of_tars, train_tar)
    if flat_val:
        splits["val"] = partial(_flat_val, root, pictures, folders["val"], synsets)
    elif "val" in folders:
        splits["val"] = lambda: class_folders(pictures, folders["val"], synsets())
    elif val_tar.is_file():
        splits["val"] = partial(_val_tar, root, val_tar, synsets)
    if "test" in folders:
        splits["test"] = partial(class_folders, pictures, folders["test"], ())
    return splits


def _synsets(root: Path, train: Path | None, train_tar: Path) -> tuple[str, ...]:
    """The classes in order: those of train, else those that the labels of val name."""
    if train is not None:
        return tuple(folder.name for folder in subfolders(train))
    if train_tar.is_file():
        return tuple(sorted(set(_train_index(train_tar).labels)))
    return tuple(sorted(set(_val_labels(root).values())))


# train


def _tar_of_tars(path: Path) -> ShardSource:
    """An archive of one tar per synset, as ImageNet-22K is handed out too; the classes are its synsets, sorted."""
    shard = _train_index(path)
    synsets = tuple(sorted(set(shard.labels)))
    numbers = {synset: number for number, synset in enumerate(synsets)}
    return ShardSource([shard], synsets, np.array([numbers[label] for label in shard.labels], dtype=np.int64))


def _train_index(path: Path) -> Shard:
    """Where each picture lies; kept, since finding out reads 1.3 million headers."""
    return kept_shard(path, path, ".index2.npz", partial(_read_headers, path))


def _read_headers(path: Path) -> Shard:
    names, offsets, sizes, labels = [], [], [], []
    try:
        with tarfile.open(path, "r:") as outer:
            for part in outer:
                if not part.name.endswith(".tar") or is_hidden(part.name):
                    continue
                synset = Path(part.name).stem
                with tarfile.open(fileobj=outer.extractfile(part), mode="r:") as inner:
                    for member in filter(lambda member: member.isfile() and not is_hidden(member.name), inner):
                        names.append(f"{synset}/{member.name}")
                        offsets.append(part.offset_data + member.offset_data)
                        sizes.append(member.size)
                        labels.append(synset)
    except tarfile.ReadError as error:
        raise SourceError(f"{path} is damaged or cut off ({error}); fetch it again") from None
    if not names:
        raise SourceError(f"{path} holds no n*.tar with pictures; fetch it again")
    return Shard(path, path, Names(names), np.array(offsets, np.int64), np.array(sizes, np.int64), Names(labels))


# val


def _flat_val(root: Path, pictures: Path, folder: Path, find_synsets: Callable[[], tuple[str, ...]]) -> FileSource:
    synsets = find_synsets()
    files = [file.relative_to(pictures).as_posix() for file in pictures_below(folder)]
    return FileSource(pictures, files, _numbers(root, files, synsets), synsets)


def _val_tar(root: Path, path: Path, find_synsets: Callable[[], tuple[str, ...]]) -> ShardSource:
    synsets, shard = find_synsets(), read_shard(path)
    return ShardSource([shard], synsets, _numbers(root, shard.names, synsets))


def _numbers(root: Path, files: Sequence[str], synsets: tuple[str, ...]) -> np.ndarray:
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


# 22K

_SHARE = 0.005
_WHOLE = "fall11_whole.tar"
_SYNSET = re.compile(r"n\d{8}")
_MORE_THAN_1K = 1000  # folders of synsets up to here are ImageNet-1K, or a part of it, and hold out a tenth


def imagenet22k_splits(root: Path) -> Splits | None:
    """{"train": opener, "val": opener} if root is ImageNet-22K, or an archive or folder of it, else None."""
    opener = _opener(root)
    if opener is None:
        return None
    return {split: lambda split=split: hold_out(opener(), split, _SHARE) for split in ("train", "val")}  # type: ignore[misc]


def _opener(root: Path) -> Callable[[], Source] | None:
    if root.is_file():
        return partial(_tar_of_tars, root) if root.name == _WHOLE else None
    if (root / _WHOLE).is_file():
        return partial(_tar_of_tars, root / _WHOLE)
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
