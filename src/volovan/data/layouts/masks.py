"""Pictures with masks of classes, or maps of what is salient: each layout has a page, here they are told apart."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from volovan.data.errors import SourceError
from volovan.data.folder import subfolders
from volovan.data.formats.layers import layered_splits
from volovan.data.formats.outlines import OutlineFiles, outline_files
from volovan.data.layouts.maps import open_maps, salient_splits
from volovan.data.layouts.told import told_besides, told_file, told_without_masks
from volovan.data.masks.files import DrawnOn, MaskedPictures
from volovan.data.masks.folder import mask_folder_splits
from volovan.data.objects.files import Tellings, Told
from volovan.data.pairing.pair_lists import Openers, listed_pairs
from volovan.data.pairing.pairs import find_pairs
from volovan.data.panoptic.derived import Derived
from volovan.data.pictures.decoding import SUFFIXES
from volovan.data.published.ade20k import ade20k_splits
from volovan.data.published.camvid import camvid_splits
from volovan.data.published.cityscapes import cityscapes_splits
from volovan.data.published.coco_stuff import coco_stuff_splits
from volovan.data.published.graz02 import graz02_splits
from volovan.data.published.voc import voc_splits
from volovan.data.samples import join_notes
from volovan.data.source import Source, Splits
from volovan.data.synthetic.shapes_sources import is_shapes, shapes_splits
from volovan.files.nearest import nearest_beside

_DATA_SETS: tuple[Callable[[Path], Splits | None], ...] = (  # each knows its own layout, and says None to any other
    cityscapes_splits,
    ade20k_splits,
    voc_splits,
    coco_stuff_splits,
    graz02_splits,
    camvid_splits,
)
_DEEPEST = 4  # folders around a data set
_MASKS = "masks", "the folder of a known data set"
_MAPS = "masks of what is salient", "DUTS, DUT-OMRON, PASCAL-S, ECSSD or HKU-IS"


def mask_splits(spec: str, kind: Literal["mask", "map"] = "mask") -> Splits:
    """The splits of pictures with a class for every pixel, or with a map of what is salient."""
    if is_shapes(spec):
        return shapes_splits(spec, kind)
    what, sets = _MASKS if kind == "mask" else _MAPS
    remedy = (
        f"give a folder with images and masks (docs/data.md shows how it may look), {sets}, a .csv with the columns "
        "image,mask,split, or shapes"
    )
    path = Path(spec).expanduser()
    if not path.exists():
        raise SourceError(f"{spec}: there is no such file or folder{nearest_beside(path, remedy)}")
    found = path_splits(path, kind)
    if not found:
        raise SourceError(f"{spec} is no source of pictures with {what} that is known; {remedy}")
    return found


def path_splits(path: Path, kind: Literal["mask", "map"]) -> Splits | None:
    """The splits of a folder or a file that is there, None if it is of no layout."""
    if path.is_dir():
        return folder_splits(path, kind)
    if path.suffix.lower() in (".csv", ".tsv"):
        return _opened(path.parent, listed_pairs(path), kind)
    return _outlines(told_file(path) or {}) if kind == "mask" else None


def masks_drawn_on(splits: Splits, what: DrawnOn) -> Splits:
    """Splits whose masks are those of pictures as they are shown, or as they are stored."""
    return {split: partial(_drawn_on, opener, what) for split, opener in splits.items()}


def _drawn_on(opener: Callable[[], Source], what: DrawnOn) -> Source:
    source = opener()
    if isinstance(source, MaskedPictures | Derived):
        source.drawn_on = what
    return source


def folder_splits(folder: Path, kind: Literal["mask", "map"]) -> Splits | None:
    """The splits of a folder, or of the only folder in it, as archives have it; None if it is of no layout."""
    for path in with_wrapped(folder):
        if found := (known_masks(path) if kind == "mask" else salient_splits(path)):
            return found
        if kind == "mask" and (drawn := drawn_masks(path)):
            return drawn
        if openers := find_pairs(path):
            splits = _opened(path, openers, kind, above=folder)
            unread = " and ".join(told_besides(path))
            note = f"Masks lie in files of their own, so annotations of {unread} are not read." if unread else ""
            return {split: partial(noted, opener, note) for split, opener in splits.items()}
    return None


def noted(opener: Callable[[], Source], note: str) -> Source:
    """What is opened, with one more note."""
    source = opener()
    source.note = join_notes(source.note, note)
    return source


def with_wrapped(folder: Path) -> Iterator[Path]:
    """The folder; where it holds nothing but one folder, that one too, and so on."""
    for _ in range(_DEEPEST):
        yield folder
        inside = subfolders(folder)
        if len(inside) != 1 or any(path.suffix.lower() in SUFFIXES for path in folder.iterdir()):
            return
        folder = inside[0]


def _opened(root: Path, openers: Openers, kind: Literal["mask", "map"], above: Path | None = None) -> Splits:
    if kind == "map":
        return {split: partial(open_maps, root, opener) for split, opener in openers.items()}
    layered = next(iter(openers.values()))().layers
    return layered_splits(root, openers, above) if layered else mask_folder_splits(root, openers, above)


def known_masks(folder: Path) -> Splits | None:
    """The splits of a known data set with class masks."""
    return next((splits for data_set in _DATA_SETS if (splits := data_set(folder))), None)


def drawn_masks(folder: Path) -> Splits | None:
    """The splits of pictures with outlines, from which masks are drawn; None where masks lie in files of their own."""
    return _outlines(told_without_masks(folder) or {}) or None


def _outlines(told: Tellings) -> Splits:
    return {split: partial(_outline_files, opener) for split, opener in told.items()}


def _outline_files(opener: Callable[[], Told]) -> OutlineFiles:
    return outline_files(opener())
