"""Data sets through the library datasets: hf:NAME or hf:NAME:SPLIT from the hub, a folder of save_to_disk, .parquet.

The columns are found by what they hold: Image for the pictures, ClassLabel for the labels, else one called label.
Lists in it are several labels of a picture, fractions are numbers to learn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from volovan.data.errors import BadImage, SourceError, printable
from volovan.data.folder import by_split, split_in, split_named
from volovan.data.lists.targets import Targets, class_numbers, several_labels, several_numbers
from volovan.data.samples import UNLABELLED, EncodedPictures, Labelled, join_notes
from volovan.data.source import Splits

PREFIX = "hf:"
_LABELS = ("label", "labels", "class", "target", "category", "fine_label", "cls", "value")


class HuggingFaceSource(EncodedPictures, Labelled):
    """The rows of one split. Pictures are taken as bytes, so that our decoder sees them and not the library's."""

    def __init__(self, title: str, dataset: Any, kind: str = "class") -> None:
        self.title = title
        self.column = _image_column(title, dataset.features)
        found = _found(title, dataset, self.column, kind)
        super().__init__(found.targets.names if found.targets else found.classes, found.numbers)
        self.targets = found.targets
        self.note = join_notes(f"Pictures are in the column {self.column}.", found.note)
        image = _library().Image(decode=False)
        self.rows = dataset.select_columns([self.column]).cast_column(self.column, image).with_format(None)

    @property
    def kind(self) -> str:
        return self.targets.kind if self.targets else super().kind

    def target(self, index: int) -> Any:
        return self.targets.values[index] if self.targets else super().target(index)

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        return printable(f"{self.title}[{index}]")

    def raw(self, index: int) -> bytes:
        cell = self.rows[index][self.column]
        if cell and cell["bytes"] is not None:
            return cell["bytes"]
        if not cell or not cell["path"]:
            raise BadImage(self.name(index), "the cell is empty")
        try:
            return Path(cell["path"]).read_bytes()
        except OSError as error:
            raise BadImage(self.name(index), f"{cell['path']} cannot be read ({error.strerror})") from None


def is_saved(folder: Path) -> bool:
    """Whether folder was written by save_to_disk."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def hub_splits(spec: str, kind: str = "class") -> Splits:
    """hf:NAME or hf:NAME:SPLIT, downloaded once into the library's own cache."""
    name, _, wanted = spec.removeprefix(PREFIX).partition(":")
    library = _library()
    try:
        names = [wanted] if wanted else library.get_dataset_split_names(name)
    except Exception as error:  # network, name, permission: the library raises many kinds
        raise _unavailable(spec, error) from None

    def load(split: str) -> HuggingFaceSource:
        try:
            return HuggingFaceSource(f"{name}:{split}", library.load_dataset(name, split=split), kind)
        except SourceError:
            raise
        except Exception as error:
            raise _unavailable(spec, error) from None

    plain = {split: split.partition("[")[0] for split in names}  # train[:10%] is train
    return {_called(name): partial(load, split) for split, name in plain.items()}


def _called(split: str) -> str:
    """Our name of a split, where it is one of ours."""
    return split_named(split) or ("val" if split.lower() == "dev" else split)


def saved_splits(folder: Path, kind: str = "class") -> Splits:
    try:
        found = _library().load_from_disk(str(folder))
    except Exception as error:
        raise SourceError(f"{folder} cannot be read as a saved data set: {' '.join(str(error).split())}") from None
    splits: dict[str, Any] = found if isinstance(found, dict) else {"": found}
    titles = {split: f"{folder.name}:{split}".removesuffix(":") for split in splits}
    return {_called(split): partial(HuggingFaceSource, titles[split], splits[split], kind) for split in splits}


def parquet_splits(paths: list[Path], kind: str = "class") -> Splits:
    """Splits by the beginnings of the names, as the hub writes them: train-00000-of-00002.parquet."""
    found, note = by_split([path.name for path in paths], split_in if len(paths) > 1 else lambda name: "", "tables")

    def load(files: list[str]) -> HuggingFaceSource:
        try:
            table = _library().Dataset.from_parquet(files)
        except Exception as error:
            raise SourceError(f"{files[0]} cannot be read: {' '.join(str(error).split())[:300]}") from None
        source = HuggingFaceSource(Path(files[0]).name, table, kind)
        source.note = join_notes(note, source.note)
        return source

    return {split: partial(load, [str(paths[place]) for place in places]) for split, places in found.items()}


def _image_column(title: str, features: Any) -> str:
    image = _library().Image
    typed = [name for name, feature in features.items() if isinstance(feature, image)]
    # Written by another library, a picture is a struct of bytes and path, or plain bytes.
    structs = [name for name, feature in features.items() if isinstance(feature, dict) and "bytes" in feature]
    plain = [name for name, feature in features.items() if getattr(feature, "dtype", "") in ("binary", "large_binary")]
    found = typed or structs + plain
    if not found:
        raise SourceError(f"{title} has no column of pictures, only {', '.join(features)}")
    return next((name for name in ("image", "img") if name in found), found[0])


@dataclass(frozen=True)
class _Found:
    """What the columns say of the pictures: a class of each, or targets of another kind."""

    numbers: np.ndarray
    classes: tuple[str, ...] = ()
    note: str = ""
    targets: Targets | None = None


def _found(title: str, dataset: Any, image_column: str, kind: str) -> _Found:
    """A class for each picture, several where a cell is a list, numbers where some are fractions or kind says so."""
    features, class_label = dataset.features, _library().ClassLabel
    typed = [name for name, feature in features.items() if isinstance(feature, class_label)]
    column = next((name for name in _LABELS if name in typed), typed[0] if typed else None)
    column = column or next((name for name in _LABELS if name in features and name != image_column), None)
    nothing = np.full(len(dataset), UNLABELLED)
    if column is None:
        return _Found(nothing)
    feature, values = features[column], dataset.with_format(None)[column][:]

    def called(row: int) -> str:
        return printable(f"{title}[{row}]")

    if column in typed:
        known = [UNLABELLED if value is None else value for value in values]
        return _Found(np.array(known, dtype=np.int64), tuple(feature.names))
    if any(isinstance(value, list) for value in values):
        inner = getattr(feature, "feature", None) or feature[0]
        names = tuple(inner.names) if isinstance(inner, class_label) else None
        rows = [[] if value is None else value for value in values]
        if names is None and _are_flags(rows):
            names, rows = tuple(map(str, range(len(rows[0])))), [np.flatnonzero(row).tolist() for row in rows]
        targets, note = several_labels([[str(label) for label in row] for row in rows], names, title, called)
        return _Found(
            nothing, note=join_notes(f"Each picture has the labels of the list in {column}.", note), targets=targets
        )
    fractions = any(isinstance(value, float) and not value.is_integer() for value in values)
    if fractions or (kind == "numbers" and all(isinstance(value, int | float) for value in values)):
        targets = several_numbers((column,), [["" if value is None else str(value)] for value in values], called)
        return _Found(nothing, targets=targets)
    classes, numbers, note = class_numbers(
        ["" if value is None else str(value) for value in values], None, title, called
    )
    return _Found(numbers, classes, note)


def _are_flags(rows: Sequence[Sequence[Any]]) -> bool:
    """Whether lists hold 0 or 1 for every class, and not the numbers of classes, of which none comes twice."""
    alike = len({len(row) for row in rows}) == 1 and all(value in (0, 1) for row in rows for value in row)
    return alike and any(len(set(row)) < len(row) for row in rows)


def _unavailable(spec: str, error: Exception) -> SourceError:
    reason = " ".join(str(error).split())[:200]
    return SourceError(f"{spec} cannot be loaded ({reason}); check name and network, or give a folder of save_to_disk")


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise SourceError("Hugging Face data sets need the library datasets; pip install 'volovan[hf]'") from None
    return datasets
