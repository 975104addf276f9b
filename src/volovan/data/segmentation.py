"""open_masks: from what a user writes to pictures with class masks. Each layout has a page of its own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from volovan.data.ade20k import ade20k_splits
from volovan.data.camvid import camvid_splits
from volovan.data.cityscapes import cityscapes_splits
from volovan.data.coco_stuff import coco_stuff_splits
from volovan.data.errors import SourceError
from volovan.data.graz02 import graz02_splits
from volovan.data.mask_folder import mask_folder_splits
from volovan.data.mask_samples import MaskChain, Masked, MaskFiles, MaskPart, hold_out_masks
from volovan.data.mask_samples import take_masks as take_masks
from volovan.data.masks import MaskSource
from volovan.data.pairs import refuse_unpaired
from volovan.data.voc import voc_splits

Splits = Mapping[str, Callable[[], MaskSource]]  # split -> opener; {"": opener} where nothing says which split it is

T = TypeVar("T", bound=Masked)

SPLITS = ("train", "val", "test")
_DATA_SETS: tuple[Callable[[Path], Splits | None], ...] = (  # each knows its own layout, and says None to any other
    cityscapes_splits,
    ade20k_splits,
    voc_splits,
    coco_stuff_splits,
    graz02_splits,
    camvid_splits,
)
_REMEDY = (
    "give a folder with images and masks (docs/data.md shows how it may look), the folder of a known data set, a .csv "
    "with the columns image,mask,split, or shapes"
)


def open_masks(spec: str | Path, split: str | None = None) -> MaskSource:
    """Open a source of pictures with class masks; docs/data.md lists the layouts.

    split   "train", "val", "test", or None for all of it. A source without splits holds out a tenth as val, one with
            train and test only gives test as val; source.note says so.
    raises  SourceError: there is no such thing or split, or a picture without its mask, or a mask without its picture
    """
    source = open_masks_unchecked(spec, split)
    refuse_unpaired(unpaired(source))
    return source


def list_mask_splits(spec: str | Path) -> tuple[str, ...]:
    """The splits that a source has, () if it is not split."""
    found = _find_splits(str(spec))
    return tuple(split for split in SPLITS if split in found)


def open_masks_unchecked(spec: str | Path, split: str | None) -> MaskSource:
    """open_masks without a complaint about partners that are missing: check-data wants to list them all."""
    return choose_split(spec, _find_splits(str(spec)), split)


def choose_split(
    spec: str | Path, splits: Mapping[str, Callable[[], T]], split: str | None
) -> "T | MaskPart | MaskChain":
    """The source of a split: the one there is, test for val, or a part held out."""
    if split is not None and split not in SPLITS:
        raise SourceError(f"split {split!r} is unknown; expected train, val or test")
    if split is None:
        ordered = sorted(splits, key=lambda name: SPLITS.index(name) if name in SPLITS else len(SPLITS))
        sources = [splits[name]() for name in ordered]
        return sources[0] if len(sources) == 1 else MaskChain(sources)
    if split in splits:
        return splits[split]()
    if split == "val" and "test" in splits:
        source = splits["test"]()
        source.note = " ".join(filter(None, (source.note, "There is no val split: test is used in its place.")))
        return source
    if "" in splits and split != "test":
        return hold_out_masks(splits[""](), split)
    has = ", ".join(splits) if "" not in splits else "no splits, of which train and val can be made"
    raise SourceError(f"{spec} has no {split} split, it has {has}; ask for one of these or add it")


def is_mask_set(folder: Path) -> bool:
    """Whether folder is a known data set with class masks."""
    return any(data_set(folder) for data_set in _DATA_SETS)


def unpaired(source: object) -> list[str]:
    """The sentences on missing partners of a source, its parts included. Sources need not know of it."""
    if isinstance(source, MaskFiles):
        return list(source.unpaired)
    parts = getattr(source, "sources", None) or filter(None, [getattr(source, "whole", None)])
    return [sentence for part in parts for sentence in unpaired(part)]


def _find_splits(spec: str) -> Splits:
    if is_shapes(spec):
        from volovan.data.shapes import shapes_splits

        return shapes_splits(spec)
    path = existing_path(spec)
    if path.is_dir():
        for data_set in _DATA_SETS:
            if known := data_set(path):
                return known
    if (path.is_dir() or path.suffix.lower() in (".csv", ".tsv")) and (splits := mask_folder_splits(path)):
        return splits
    raise SourceError(f"{spec} is no source of pictures with masks that is known; {_REMEDY}")


def is_shapes(spec: str) -> bool:
    """Whether spec asks for scenes that are drawn; a folder may be called shapes_of_mine."""
    return spec == "shapes" or spec.startswith("shapes:")


def existing_path(spec: str) -> Path:
    if not spec.strip():  # Path("") is the current folder, which nobody asked for
        raise SourceError(f"the source is empty; {_REMEDY}")
    path = Path(spec).expanduser()
    if not path.exists():
        raise SourceError(f"{spec}: there is no such file or folder; {_REMEDY}")
    return path
