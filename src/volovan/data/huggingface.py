"""Data sets through the library datasets: hf:NAME or hf:NAME:SPLIT from the hub, a folder of save_to_disk, .parquet.

The columns are found by what they hold: Image for the pictures, ClassLabel for the labels, else one called label.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from volovan.data.decoding import decode
from volovan.data.errors import BadImage, SourceError, printable
from volovan.data.folder import SPLIT_FOLDERS
from volovan.data.samples import UNLABELLED, Labelled
from volovan.data.source import Splits
from volovan.data.targets import class_numbers

PREFIX = "hf:"
_SPLITS = {**SPLIT_FOLDERS, "dev": "val"}


class HuggingFaceSource(Labelled):
    """The rows of one split. Pictures are taken as bytes, so that our decoder sees them and not the library's."""

    def __init__(self, title: str, dataset: Any) -> None:
        self.title = title
        self.column = _image_column(title, dataset.features)
        classes, labels, note = _labels(title, dataset, self.column)
        super().__init__(classes, labels)
        self.note = f"Pictures are in the column {self.column}. {note}".strip()
        image = _library().Image(decode=False)
        self.rows = dataset.select_columns([self.column]).cast_column(self.column, image).with_format(None)

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        return printable(f"{self.title}[{index}]")

    def load(self, index: int) -> Image.Image:
        return decode(self.raw(index), name=self.name(index))

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


def hub_splits(spec: str) -> Splits:
    """hf:NAME or hf:NAME:SPLIT, downloaded once into the library's own cache."""
    name, _, wanted = spec.removeprefix(PREFIX).partition(":")
    library = _library()
    try:
        names = [wanted] if wanted else library.get_dataset_split_names(name)
    except Exception as error:  # network, name, permission: the library raises many kinds
        raise _unavailable(spec, error) from None

    def load(split: str) -> HuggingFaceSource:
        try:
            return HuggingFaceSource(f"{name}:{split}", library.load_dataset(name, split=split))
        except SourceError:
            raise
        except Exception as error:
            raise _unavailable(spec, error) from None

    plain = {split: split.partition("[")[0] for split in names}  # train[:10%] is train
    return {_SPLITS.get(name.lower(), name): partial(load, split) for split, name in plain.items()}


def saved_splits(folder: Path) -> Splits:
    try:
        found = _library().load_from_disk(str(folder))
    except Exception as error:
        raise SourceError(f"{folder} cannot be read as a saved data set: {' '.join(str(error).split())}") from None
    splits: dict[str, Any] = found if isinstance(found, dict) else {"": found}
    return {
        _SPLITS.get(split.lower(), split): partial(HuggingFaceSource, f"{folder.name}:{split}".removesuffix(":"), rows)
        for split, rows in splits.items()
    }


def parquet_splits(paths: list[Path]) -> Splits:
    """Splits by the beginnings of the names, as the hub writes them: train-00000-of-00002.parquet."""
    found: dict[str, list[str]] = {}
    for path in paths:
        begins = path.name.split("-")[0].removesuffix(".parquet").lower()
        found.setdefault(_SPLITS.get(begins, "") if len(paths) > 1 else "", []).append(str(path))

    def load(files: list[str]) -> HuggingFaceSource:
        try:
            table = _library().Dataset.from_parquet(files)
        except Exception as error:
            raise SourceError(f"{files[0]} cannot be read: {' '.join(str(error).split())[:300]}") from None
        return HuggingFaceSource(Path(files[0]).name, table)

    return {split: partial(load, files) for split, files in found.items()}


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


def _labels(title: str, dataset: Any, image_column: str) -> tuple[tuple[str, ...], np.ndarray, str]:
    features, class_label = dataset.features, _library().ClassLabel
    typed = [name for name, feature in features.items() if isinstance(feature, class_label)]
    usual = ("label", "labels", "class", "target", "category", "fine_label", "cls")
    column = next((name for name in usual if name in typed), typed[0] if typed else None)
    column = column or next((name for name in usual if name in features and name != image_column), None)
    if column is None:
        return (), np.full(len(dataset), UNLABELLED), ""
    values = dataset.with_format(None)[column][:]
    if column in typed:
        numbers = [UNLABELLED if value is None else value for value in values]
        return tuple(features[column].names), np.array(numbers, dtype=np.int64), ""
    texts = ["" if value is None else str(value) for value in values]
    return class_numbers(texts, None, where=title, name=lambda row: printable(f"{title}[{row}]"))


def _unavailable(spec: str, error: Exception) -> SourceError:
    reason = " ".join(str(error).split())[:200]
    return SourceError(f"{spec} cannot be loaded ({reason}); check name and network, or give a folder of save_to_disk")


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise SourceError("Hugging Face data sets need the library datasets; pip install 'volovan[hf]'") from None
    return datasets
