"""Which mask belongs to which picture, by their names.

The same name but for the suffix comes first, file by file. Else a word that says mask or picture may stand in either:
bed_mask.png, mask_bed.png, bed.jpg.png, um_road_label_1.png; bed_sat.jpg, image_1.jpg. See name_words.py.

Masks that are called as a picture with something behind it (bed_color.png) are further files where the picture has
its mask. Where no picture has, they are one black-and-white file for each class: bed_cat.png, bed_dog.png, or
cat/bed.png, dog/bed.png; see layers.py.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from volovan.data.errors import SourceError, printable
from volovan.data.folder import LeftOut, pictures_below
from volovan.data.pairing.name_words import plain, without_mask_word, without_picture_word
from volovan.data.pictures import arrays
from volovan.data.pictures.decoding import SUFFIXES
from volovan.files.results import results_in

_MASKS_BESIDE = (".png", arrays.SUFFIX)  # what a mask ends with beside a picture of its name
MASK_SUFFIXES = SUFFIXES | {arrays.SUFFIX}


@dataclass(frozen=True)
class Pairs:
    """Paths relative to a root, in the order of pictures.

    unpaired  a sentence for each that has no partner
    note      what the user should know of how they were paired
    layers    {class: a file or "" for each picture}, where each class has files of its own; masks are the first of them
    """

    pictures: tuple[str, ...]
    masks: tuple[str, ...]
    unpaired: tuple[str, ...] = ()
    note: str = ""
    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass
class _Match:
    """What belongs together of pictures and masks, which are paths by stems.

    mask_of    stem of a picture -> that of its mask; layers_of: -> {class: that of its mask}, where each has its own
    further    endings of files that are no masks of their own, and how many
    left       stems of masks without a picture
    """

    pictures: dict[str, str]
    masks: dict[str, str]
    mask_of: dict[str, str] = field(default_factory=dict)
    layers_of: dict[str, dict[str, str]] = field(default_factory=dict)
    further: Counter[str] = field(default_factory=Counter)
    left: list[str] = field(default_factory=list)


def pair(
    root: Path,
    pictures: Path,
    masks: Path,
    picture_end: str = "",
    mask_end: str | None = None,
    names: Iterable[str] | None = None,
) -> Pairs:
    """Pictures and masks of two folders, at any depth.

    picture_end, mask_end  what their stems end with, such as _leftImg8bit; mask_end None: what fits
    names                  only these pictures, without suffixes; default: all
    raises                 SourceError: two files of the same stem, two masks of one picture, or no pair at all
    """
    found = _Match(by_stem(root, pictures, SUFFIXES, picture_end), by_stem(root, masks, MASK_SUFFIXES, mask_end or ""))
    _match(found, alike=mask_end is None)
    return _pairs(root, pictures, masks, found, names)


def pair_in_one(root: Path, folder: Path) -> Pairs | None:
    """The pairs of one folder with bed.jpg and bed_mask.png, or bed.jpg and bed.png; None if few files are such."""
    found, inside = _Match({}, {}), relative(root, folder)
    files = sorted(name for name in os.listdir(folder) if os.path.splitext(name)[1].lower() in MASK_SUFFIXES)
    others = results_in(folder) or ()
    named = _roles_in_one(name for name in files if not name.startswith(".") and name not in others)
    for name, is_mask in named.items():
        (found.masks if is_mask else found.pictures)[os.path.splitext(name)[0]] = f"{inside}/{name}".removeprefix("./")
    _match(found)
    if 4 * len(found.mask_of) < len(named) or not found.mask_of:
        return None
    return _pairs(root, folder, folder, found, None)


def _roles_in_one(files: Iterable[str]) -> dict[str, bool]:
    """{name: whether it is a mask} of files in one folder."""
    suffixes: dict[str, list[str]] = {}
    for name in files:
        stem, suffix = os.path.splitext(name)
        suffixes.setdefault(stem, []).append(suffix)
    bare = {plain(stem): stem for stem in suffixes}
    bare |= {short: stem for stem in suffixes for short in without_picture_word(stem)}
    is_mask: dict[str, bool] = {}
    for stem, ends in suffixes.items():
        said = any(bare.get(short, stem) != stem for short in without_mask_word(stem))
        both = len(ends) == 2 and sum(end.lower() in _MASKS_BESIDE for end in ends) == 1
        for end in ends:
            is_mask[stem + end] = (said and len(ends) == 1) or (both and end.lower() in _MASKS_BESIDE)
    return is_mask


def by_stem(root: Path, folder: Path, suffixes: Collection[str], ending: str = "") -> dict[str, str]:
    """{path inside of folder without suffix and ending: path relative to root}, of files whose stem ends so."""
    beginning = relative(root, folder)
    found: dict[str, str] = {}
    for file in pictures_below(folder, suffixes=suffixes):
        inside = file.relative_to(folder).as_posix()
        stem = os.path.splitext(inside)[0]
        if not stem.endswith(ending):
            continue
        stem = stem.removesuffix(ending)
        if stem in found:
            raise SourceError(
                f"{printable(found[stem])} and {printable(file.name)} differ only in their suffix, so which of them is "
                "meant is unknown; rename or remove one"
            )
        found[stem] = f"{beginning}/{inside}".removeprefix("./")
    return found


def relative(root: Path, path: Path) -> str:
    """path from root, with / and perhaps ../"""
    return Path(os.path.relpath(path, root)).as_posix()


# names


def _match(found: _Match, alike: bool = True) -> None:
    """Find what belongs together; alike: also where names are not the same."""
    found.mask_of = {stem: stem for stem in found.pictures if stem in found.masks}
    found.left = [stem for stem in found.masks if stem not in found.mask_of]
    if not alike or not found.left:
        return
    whole: dict[str, set[str]] = {}
    short: dict[str, set[str]] = {}
    for picture in found.pictures:
        whole.setdefault(plain(picture), set()).add(picture)
        for name in without_picture_word(picture):
            short.setdefault(name, set()).add(picture)
    others, found.left = found.left, []
    for mask in others:
        called = _called_alike(mask, whole, short)
        if called is None:
            found.left.append(mask)
        elif called in found.mask_of:
            both = f"{printable(found.masks[found.mask_of[called]])} and {printable(found.masks[mask])} are both called"
            raise SourceError(
                f"{both} as {printable(found.pictures[called])}, so which of them is its mask is unknown; move one of "
                "them elsewhere"
            )
        else:
            found.mask_of[called] = mask
    _sort_left(found)


def _called_alike(mask: str, whole: Mapping[str, set[str]], short: Mapping[str, set[str]]) -> str | None:
    """The picture that a mask is called as; None if there is none, or several."""
    names, less = [plain(mask)], [*without_mask_word(mask)]
    for tried, known in ((names, whole), (less, whole), (names, short), (less, short)):
        if hits := {picture for name in tried for picture in known.get(name, ())}:
            return hits.pop() if len(hits) == 1 else None
    return None


def _sort_left(found: _Match) -> None:
    """What masks are that no picture is called as: further files, or one for each class."""
    more = {mask: end for mask in found.left if (end := _ending(mask, found.pictures))}
    if found.mask_of:
        counts = Counter(ending for picture, ending in more.values() if picture in found.mask_of)
        usual = {ending for ending, count in counts.items() if not ending.isdigit() and 2 * count >= len(found.mask_of)}
        found.further = Counter(ending for _, ending in more.values() if ending in usual)
        found.left = [mask for mask in found.left if mask not in more or more[mask][1] not in usual]
    elif len(more) == len(found.left) and not any(ending.isdigit() for _, ending in more.values()):
        for mask, (picture, ending) in more.items():
            found.layers_of.setdefault(picture, {})[ending] = mask
        found.left = []


def _ending(mask: str, pictures: Collection[str]) -> tuple[str, str] | None:
    """(picture, what its name lacks): ("bed", "cat") of bed_cat, bed/cat, cat/bed and cat/bed_c."""
    for place in range(len(mask) - 1, 0, -1):
        if mask[place] in "_-. /" and mask[:place] in pictures:
            return mask[:place], mask[place + 1 :]
    folder, _, inside = mask.partition("/")
    if inside in pictures:
        return inside, folder
    below = _ending(inside, pictures) if inside else None
    return (below[0], folder) if below else None


# what is said of it


def _pairs(root: Path, pictures: Path, masks: Path, found: _Match, names: Iterable[str] | None) -> Pairs:
    """The pairs in these folders; names: of these pictures alone, in their order."""
    picture_folder, mask_folder = relative(root, pictures), relative(root, masks)
    own = {picture: next(iter(layers.values())) for picture, layers in found.layers_of.items()} or found.mask_of
    chosen = sorted(found.pictures) if names is None else list(names)
    both = [stem for stem in chosen if stem in own]
    if not both:
        raise SourceError(_no_pair(pictures, masks, found))
    unpaired = {stem: f"{printable(found.masks[stem])} has no picture in {picture_folder}" for stem in found.left}
    for stem in chosen:
        if stem in found.pictures and stem not in own:
            unpaired[stem] = f"{printable(found.pictures[stem])} has no mask in {mask_folder}"
        elif stem not in found.pictures and stem not in found.masks:
            unpaired[stem] = f"{printable(stem)} is listed, but has no picture in {picture_folder}"
    if names is not None:  # the list leaves out the others
        unpaired = {stem: sentence for stem, sentence in unpaired.items() if stem in {*chosen}}
    classes = sorted({name for layers in found.layers_of.values() for name in layers})
    layers = {
        name: tuple(found.masks.get(found.layers_of[stem].get(name, ""), "") for stem in both) for name in classes
    }
    return Pairs(
        tuple(found.pictures[stem] for stem in both),
        tuple(found.masks[own[stem]] for stem in both),
        tuple(unpaired[stem] for stem in sorted(unpaired)),
        _further_note(mask_folder, found, classes),
        layers if len(classes) > 1 else {},
    )


def _further_note(folder: str, found: _Match, classes: list[str]) -> str:
    if len(classes) == 1:
        return f"Masks in {folder} are those called as their picture and {classes[0]}."
    if not (further := found.further):
        return ""
    listed = ", ".join(f"{count:,} *{ending}" for ending, count in sorted(further.items()))
    return f"{further.total():,} files in {folder} are left out, since their pictures have masks besides ({listed})."


def _no_pair(pictures: Path, masks: Path, found: _Match) -> str:
    """Why no mask fits a picture, with names that are there."""
    count = len(found.masks)
    here = f"no file in {masks} ({count} of them) is called as a picture in {pictures} ({len(found.pictures)})"
    if not count:
        others = LeftOut()
        any(pictures_below(masks, others))
        kinds = ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in others.suffixes.most_common(3))
        holds = f"files of other kinds ({kinds})" if kinds else "nothing"
        return f"{here}; {masks} holds {holds}, expected masks as {masks.name}/NAME.png or .npy"
    if found.pictures:
        picture, mask = (printable(files[min(files)]) for files in (found.pictures, found.masks))
        here += (
            f", neither by the same name nor without words such as mask, label, gt or image: {picture} and {mask} are "
            "the first ones"
        )
    return (
        f"{here}; expected pairs such as {pictures.name}/NAME.jpg and {masks.name}/NAME.png, or list them in a "
        "masks.csv with the columns image,mask"
    )
