"""Which classes a folder of pictures and masks has: what the user says, else what is published, else what masks hold.

A class file always wins. A layout that is known from a published data set, as many tools write it, has the classes of
that one only where masks fit them. Without either, all masks are read once: 255 is ignored, the classes are 0 to the
largest value, called "class 0", "class 1" ... Masks that hold 0 and 255 only are black and white: two classes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from volovan.data.errors import SourceError
from volovan.data.masks.class_files import ClassFile, class_files_in, find_classes
from volovan.data.masks.coding import IGNORE, MAX_CLASSES, Coding, plain_ids, ranges, unnamed
from volovan.data.masks.files import MaskFiles, class_masks
from volovan.data.masks.scan import Seen, look_at, refuse_clash, white_is_second
from volovan.data.pairing.pair_lists import Openers
from volovan.data.pairing.partners import Pairs
from volovan.data.pictures.palettes import spread
from volovan.data.samples import join_notes, spread_indices
from volovan.data.source import Splits

_LOOKED_AT = 1000  # masks, where a file names the classes
_FEW = 64  # masks, to see whether they are those of a published data set


@dataclass(frozen=True)
class Published:
    """The classes of a data set with a layout of its own. note: what the user should know of it."""

    coding: Coding
    note: str


PublishedPairs = tuple[Callable[[], Pairs], Published]
"""a split of it"""


def mask_folder_splits(root: Path, openers: Openers, above: Path | None = None) -> Splits:
    """{split: opener} of pairs in a folder of one's own; above: where the class file may lie as well."""
    return {split: partial(_open, root, split, openers, above=above) for split in openers}


def published_splits(root: Path, found: Mapping[str, PublishedPairs], above: Path | None = None) -> Splits:
    """{split: opener} of pairs in the layout of a published data set.

    found  {split: (its pairs, its classes)}
    above  a folder above root where the user's class file may lie as well
    """
    openers = {split: opener for split, (opener, _) in found.items()}
    return {split: partial(_open, root, split, openers, published, above) for split, (_, published) in found.items()}


def _open(
    root: Path, split: str, openers: Openers, published: Published | None = None, above: Path | None = None
) -> MaskFiles:
    """One numbering for all splits, so the masks of all of them are looked at."""
    pairs, masks = openers[split](), list[str]()
    for name, opener in openers.items():
        masks += (pairs if name == split else _tried(opener)).masks
    folders = mask_folders(root, masks)
    told = find_classes(root, [*([above] if above else []), *folders])
    own = told is not None and not (published and _is_of(told, published))
    if published and not own and (told or _fit(published.coding, root, masks)):
        note = f"{told.path.name} names the classes of it." if told else ""
        return class_masks(root, pairs, published.coding, join_notes(published.note, note))
    coding, note = _of_file(told, root, masks) if told else _of_values(look_at(root, masks), root)
    if published:
        why = f"the classes are those of {coding.origin}" if told else "the masks hold ids of your own"
        note = join_notes(f"The folders are laid out as those of {published.coding.origin}, but {why}.", note)
    return class_masks(root, pairs, coding, note)


def _tried(opener: Callable[[], Pairs]) -> Pairs:
    """Pairs of a split that is not asked for: what is wrong with it is said when it is."""
    try:
        return opener()
    except SourceError:
        return Pairs((), ())


def mask_folders(root: Path, masks: Iterable[str]) -> list[Path]:
    """The folders inside of root that masks lie in, and those above them."""
    inside = {folder for mask in masks for folder in Path(mask).parents if ".." not in folder.parts}
    return [root / folder for folder in sorted(inside - {Path()})]


def _some(masks: Sequence[str], count: int) -> list[str]:
    return [masks[place] for place in spread_indices(len(masks), count)]


# classes of a file


def _of_file(told: ClassFile, root: Path, masks: list[str]) -> tuple[Coding, str]:
    coding, note = told.coding, told.note
    if others := class_files_in(told.path.parent)[1:]:
        unread = ", ".join(path.name for path in others)
        note = join_notes(note, f"The classes are those of {told.path.name}; {unread} beside it is not read.")
    if not coding.colours and not coding.shared:
        seen = look_at(root, _some(masks, _FEW))
        refuse_clash(seen)
        if {*seen.ids} <= {0, 1, IGNORE}:  # black and white, as it seems
            coding, second = _with_white(coding, look_at(root, _some(masks, _LOOKED_AT)))
            note = join_notes(note, second)
        ignored = [value for value, number in coding.ids.items() if number == IGNORE and value != IGNORE]
        if ignored:
            note = join_notes(note, f"Pixels with id {ranges(ignored)} are ignored, as {coding.origin} says.")
    return replace(coding, ids={IGNORE: IGNORE, **coding.ids}), note


def _with_white(coding: Coding, seen: Seen) -> tuple[Coding, str]:
    """The coding, with 255 as the second of two classes if masks write it so, and a sentence if they do.

    raises  SourceError: it is one of more, or nobody knows
    """
    of_classes = {value: number for value, number in coding.ids.items() if number != IGNORE}
    if IGNORE in coding.ids or len(of_classes) < 2:
        return coding, ""
    if of_classes != {0: 0, 1: 1}:
        if seen.ids == [0, IGNORE]:
            raise SourceError(
                f"the masks hold 0 and 255 only, where {coding.origin} names {len(coding.classes)} classes and says "
                "nothing of 255; put a classes.txt in its place with a line ID NAME for each id, "
                f"'255 {coding.classes[1]}' or '255 ignore' among them"
            )
        return coding, ""
    if not white_is_second(seen, coding.classes, coding.origin):
        return coding, ""
    ids = {value: number for value, number in coding.ids.items() if value != 1}
    said = f"The masks hold 0 and 255: 255 is {coding.classes[1]}, the second class of {coding.origin}."
    return replace(coding, ids={**ids, IGNORE: 1}), said


def _is_of(told: ClassFile, published: Published) -> bool:
    """Whether a class file is a part of a data set: it names its classes in their order, perhaps others in between."""
    names = iter(told.coding.classes)
    return not told.coding.colours and all(name in names for name in published.coding.classes)


# classes without a file


def _fit(coding: Coding, root: Path, masks: list[str]) -> bool:
    """Whether masks hold what those of a published data set would. The ids of one's own are 0, 1 and so on, but fewer
    or more; a few pictures of a published one hold ids with gaps between them."""
    ids = look_at(root, _some(masks, _FEW)).ids
    known = [value for value in ids if value != IGNORE]
    last = max(value for value, number in coding.ids.items() if number != IGNORE)
    largest = max(value for value in coding.ids if value != IGNORE)
    in_a_row = len(known) > 1 and known == [*range(len(known))] and not last <= known[-1] <= largest
    return not in_a_row and ids != [0, IGNORE]


def _of_values(seen: Seen, root: Path) -> tuple[Coding, str]:
    refuse_clash(seen)
    values = seen.ids
    if white_is_second(seen, unnamed(2), ""):
        white = Coding(unnamed(2), spread(2), {0: 0, IGNORE: 1})
        return white, "No class file: the masks hold 0 and 255, two classes."
    known = [value for value in values if value != IGNORE]
    if not known and seen.broken:
        others = f" ({len(seen.broken) - 1:,} others cannot be used as well)" if len(seen.broken) > 1 else ""
        raise SourceError(f"no mask of {root} tells classes: {seen.broken[0]}{others}")
    if not known:
        raise SourceError(
            f"the masks of {root} hold 255 only, which is ignored; expected class numbers from 0, or a classes.csv "
            "with name,r,g,b"
        )
    count = max(known) + 1
    missing = sorted({*range(count)} - {*known})
    if count > MAX_CLASSES or 2 * len(missing) > count:
        raise SourceError(
            f"the masks of {root} hold the values {ranges(values)}, which are no class numbers from 0; put a "
            "classes.txt with a line ID NAME for each there"
        )
    note = f"No class file: the masks hold {ranges(values)}, so there are {count} classes."
    if missing:
        note += f" No mask holds {ranges(missing)}."
    return Coding(unnamed(count), spread(count), plain_ids(count)), note
