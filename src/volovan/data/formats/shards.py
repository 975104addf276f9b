"""WebDataset shards: tar archives in which members of the same key are a sample: KEY.jpg with KEY.cls, .txt or .json.

Samples are read at random by their offsets in the archive, one seek each. A compressed archive cannot be entered in the
middle, so it is unpacked once into the cache. classes.txt beside the shards names the classes.
"""

import json
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, product
from pathlib import Path
from typing import BinaryIO

import numpy as np

from volovan.data.cache import cached_file, unpacked
from volovan.data.errors import SourceError, printable
from volovan.data.folder import by_split, split_in
from volovan.data.lists.targets import class_numbers, read_classes
from volovan.data.pictures.decoding import SUFFIXES
from volovan.data.samples import EncodedPictures, Labelled, Names, join_notes, place_of, read_member
from volovan.files.hidden import is_hidden

SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_UNREADABLE = "\0"  # marks, in place of a label, the sentence that says why it cannot be read
_KEEP_INDEX_FROM = 4 << 20  # bytes; reading the members of a smaller archive takes less time than it is worth to keep


@dataclass(frozen=True)
class Shard:
    """One archive and where its pictures lie. labels are texts as found, "" for none, or _UNREADABLE and a sentence."""

    path: Path  # as the user gave it
    tar: Path  # the file to read: path, or its unpacked copy
    names: Names
    offsets: np.ndarray
    sizes: np.ndarray
    labels: Names


class ShardSource(EncodedPictures, Labelled):
    """The samples of several shards in order."""

    def __init__(
        self,
        shards: Sequence[Shard],
        classes: Sequence[str],
        labels: np.ndarray,
        note: str = "",
        problems: Mapping[int, str] | None = None,  # sample -> why its label cannot be read
    ) -> None:
        super().__init__(classes, labels)
        self.shards, self.note = tuple(shards), note
        self.problems = dict(problems or {})
        self.starts = [0, *accumulate(len(shard.names) for shard in shards)]

    def __len__(self) -> int:
        return self.starts[-1]

    def _find(self, index: int) -> tuple[Shard, int]:
        which, inner = place_of(index, self.starts)
        return self.shards[which], inner

    def name(self, index: int) -> str:
        shard, inner = self._find(index)
        return printable(f"{shard.path.name}!{shard.names[inner]}")

    def label_problem(self, index: int) -> str:
        """Names the member of the shard that should hold the label and does not; "" where nothing is wrong."""
        return self.problems.get(index, "")

    def raw(self, index: int) -> bytes:
        shard, inner = self._find(index)
        place = int(shard.offsets[inner]), int(shard.sizes[inner])
        return read_member(shard.tar, *place, self.name(index), since="opened")


# finding shards


def is_shard(path: Path) -> bool:
    return path.name.lower().endswith(SHARD_SUFFIXES)


def shards_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_shard(path) and not is_hidden(path.name))


def expand_braces(pattern: str) -> list[str]:
    """ "train-{000..002}.tar" -> the three names; {a,b} too; any number of braces."""
    choices: list[Sequence[str]] = []
    for place, part in enumerate(re.split(r"\{([^{}]*)\}", pattern)):
        span = re.fullmatch(r"(\d+)\.\.(\d+)", part)
        if place % 2 == 0:
            choices.append([part])
        elif span:
            first, last = span.groups()
            choices.append([str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)])
        else:
            choices.append(part.split(","))
    return ["".join(choice) for choice in product(*choices)]


def shard_splits(paths: Sequence[Path]) -> dict[str, Callable[[], ShardSource]]:
    """{split: opener} by the beginnings of the names (train-000000.tar); {"": opener} where no name has one."""
    found, note = by_split([path.name for path in paths], split_in, "archives")
    chosen = {split: [paths[place] for place in places] for split, places in found.items()}
    all_paths = [path for ones in chosen.values() for path in ones]
    return {split: partial(_open_shards, ones, all_paths, note) for split, ones in chosen.items()}


def _open_shards(paths: Sequence[Path], all_paths: Sequence[Path], beside: str) -> ShardSource:
    """The samples of paths. Class numbers are those of all_paths, so that they are the same in every split."""
    shards = {path: read_shard(path) for path in paths}
    classes = read_classes(paths[0].parent)
    if classes is None:
        shards.update({path: read_shard(path) for path in all_paths if path not in shards})
    texts = [label for shard in shards.values() for label in shard.labels]
    every = ShardSource(tuple(shards.values()), (), np.empty(0))  # knows the name of each text
    problems: dict[int, str] = {}
    for index, text in enumerate(texts):
        if text.startswith(_UNREADABLE):
            problems[index] = f"{every.name(index).partition('!')[0]}!{text.removeprefix(_UNREADABLE)}"
            texts[index] = ""
    classes, numbers, note = class_numbers(texts, classes, where=str(paths[0].parent), name=every.name)
    chosen = [shards[path] for path in paths]
    count = sum(len(shard.names) for shard in chosen)
    if not count:
        raise SourceError(f"{paths[0]} holds no pictures; expected members KEY.jpg with KEY.cls")
    problems = {index: why for index, why in problems.items() if index < count}
    return ShardSource(chosen, classes, numbers[:count], join_notes(beside, note), problems)


# reading one


def read_shard(path: Path) -> Shard:
    """The index of one archive, from the cache where it is worth it."""
    try:
        tar = unpacked(path)
        if tar.stat().st_size < _KEEP_INDEX_FROM:
            return _index(path, tar)
        return kept_shard(path, tar, ".index3.npz", partial(_index, path, tar))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None


def kept_shard(path: Path, tar: Path, suffix: str, read: Callable[[], Shard]) -> Shard:
    """The index that read() makes of path, from the cache if it is there."""

    def write(file: BinaryIO) -> None:
        shard = read()
        np.savez(
            file, offsets=shard.offsets, sizes=shard.sizes,
            names=shard.names.text, name_ends=shard.names.ends, labels=shard.labels.text, label_ends=shard.labels.ends,
        )  # fmt: skip

    with np.load(cached_file(path, suffix, write), allow_pickle=False) as kept:
        names, labels = Names(()), Names(())
        names.text, names.ends = kept["names"], kept["name_ends"]
        labels.text, labels.ends = kept["labels"], kept["label_ends"]
        return Shard(path, tar, names, kept["offsets"], kept["sizes"], labels)


def _index(path: Path, tar: Path) -> Shard:
    pictures: dict[str, tuple[str, int, int]] = {}
    labels: dict[str, str] = {}
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                if not member.isfile() or is_hidden(member.name):
                    continue
                folder, slash, base = member.name.rpartition("/")
                stem, _, suffix = base.partition(".")  # "a/b.seg.png" -> "a/b", "seg.png", as WebDataset cuts names
                key, suffix = folder + slash + stem, suffix.lower()
                if f".{suffix.rpartition('.')[2]}" in SUFFIXES:
                    if key in pictures:
                        raise SourceError(
                            f"{path} has two pictures of the sample {key}: {pictures[key][0]}, {member.name}"
                        )
                    pictures[key] = member.name, member.offset_data, member.size
                elif suffix in ("cls", "txt", "json"):
                    content = archive.extractfile(member)
                    assert content is not None  # a regular file
                    text = _label_text(member.name, content.read(), suffix)
                    labels[key] = text if suffix == "cls" else labels.get(key, text)
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
            end = archive.offset
    except tarfile.ReadError as error:
        raise SourceError(f"{path} is not a tar archive, or is damaged or cut off ({error}); fetch it again") from None
    # An archive ends with blocks of zeros. One that was cut between two members lacks them and looks healthy.
    with tar.open("rb") as file:
        file.seek(max(end - 1024, 0))
        if b"\0" * 512 not in file.read(2048):
            raise SourceError(f"{path} is cut off: the mark at the end of the archive is missing; fetch it again")
    names, offsets, sizes = zip(*pictures.values(), strict=True) if pictures else ((), (), ())
    labels_of = Names(labels.get(key, "") for key in pictures)
    return Shard(path, tar, Names(names), np.array(offsets, np.int64), np.array(sizes, np.int64), labels_of)


def _label_text(member: str, content: bytes, suffix: str) -> str:
    """The label as text, "" for none; where it cannot be read, _UNREADABLE and a sentence."""
    try:
        text = content.decode("utf-8-sig").strip()
        label = _json_label(text) if suffix == "json" else text
        label.encode("utf-8")  # JSON can escape halves of characters
    except UnicodeError:
        reason = "is not UTF-8 text"
    except (ValueError, RecursionError):
        reason = "is not valid JSON"
    except TypeError as error:
        reason = f"holds {error} as label, expected a class name or a number"
    else:
        if "\0" not in label and (label or suffix != "cls"):
            return label
        reason = "is not UTF-8 text" if label else "is empty, expected a class name or a number"
    return f"{_UNREADABLE}{printable(member)}: the label file {reason}"


def _json_label(text: str) -> str:
    """ "" if no field is a label; TypeError that says what stands in place of a name or number."""
    value = json.loads(text)
    if isinstance(value, dict):
        value = next((value[key] for key in ("label", "cls", "class", "class_id", "class_name") if key in value), None)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | str):
        kinds = {list: "a list", dict: "an object", bool: "true or false", float: "a fraction"}
        raise TypeError(kinds[type(value)])
    return str(value).strip()
