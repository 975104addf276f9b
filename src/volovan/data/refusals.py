"""What a run refuses in its data before it begins, and what it should know of them: said by fit and by check-data."""

from collections.abc import Iterator, Sequence

import numpy as np

from volovan.data.errors import printable
from volovan.data.folder import listed_names
from volovan.data.lists.targets import targets_of
from volovan.data.samples import class_of, classes_in, label_problem, unpaired_of
from volovan.data.source import OBJECTS, Source
from volovan.files.classes import match_classes, not_learned

LEAST = {"class": 2, "mask": 2, "labels": 1, "boxes": 1, "points": 1, "panoptic": 1}
"""kind of target -> classes that are needed"""
_COUNTED = ("class", "labels", *OBJECTS)  # whose classes show without a look at the pictures
Half = tuple[str, object, Source]
"""(split, what the user calls its source, its samples)"""


def refused_samples(spec: object, source: Source) -> Iterator[str]:
    """Sentences on samples that no run takes: without a partner, with a label that is unreadable or of no class."""
    if unpaired := unpaired_of(source):
        others = f" ({len(unpaired) - 1:,} others as well)" if len(unpaired) > 1 else ""
        yield f"{unpaired[0]}{others}; add what is missing or remove its partner, volovan check-data lists all of them"
    for index in range(len(source)):
        if problem := label_problem(source, index):
            yield f"{problem}; mend or remove it, volovan check-data lists all such labels"
        label = class_of(source, index)
        if label is not None and not 0 <= label < len(source.classes):
            yield (
                f"{source.name(index)} has label {label}, but {spec} has {len(source.classes)} classes (0 to "
                f"{len(source.classes) - 1}); volovan check-data lists all such labels"
            )


def refused_data(halves: Sequence[Half]) -> Iterator[str]:
    """Sentences on data that nothing can be learned from, of what trains and, if it is there, of what validates."""
    without = dict.fromkeys(spec for _, spec, source in halves if len(source) and source.kind == "none")
    for split, spec, source in halves:
        if not len(source) and not unpaired_of(source) and spec not in without:
            yield (
                f"{spec} has no pictures in the {split} split; add some, at least two of each class, or name data for "
                "val with --data.val"
            )
    for spec in without:
        yield (
            f"{spec} has no labels: good for predict, not for fit; put the pictures of each class into a folder of its "
            "name, or give a list with the columns path and label"
        )
    for split, spec, source in halves:
        bare = (index for index in range(len(source)) if source.kind == "class" and class_of(source, index) is None)
        if missing := [index for index in bare if not label_problem(source, index)]:
            yield (
                f"{len(missing):,} of {len(source):,} pictures in the {split} split of {spec} have no label, the first "
                f"is {source.name(missing[0])}; fit needs a label for every picture"
            )
    (_, spec, train), *others = halves
    if train.kind in LEAST and len(train) and len(train.classes) < LEAST[train.kind]:
        names = f" ({printable(train.classes[0])!r})" if train.classes else ""
        least = "1 is" if LEAST[train.kind] == 1 else f"{LEAST[train.kind]} are"
        yield f"{spec} has {len(train.classes) or 'no'} class{names}; at least {least} needed"
    for split, other_spec, other in others:
        if other.kind == train.kind and train.kind in LEAST:
            match = match_classes(other.classes, train.classes)
            if sentence := not_learned(match, f"the {split} split of {other_spec} has"):
                yield sentence


def cautions(train: Source, val: Source) -> list[str]:
    """Sentences on classes that a run learns or scores badly; none for masks, whose classes only reading them shows."""
    if train.kind not in _COUNTED or val.kind != train.kind:
        return []
    match = match_classes(val.classes, train.classes)
    called = {
        name: name if number is None else train.classes[number]
        for name, number in zip(match.wanted, match.numbers, strict=True)
    }
    learned, scored = _counts(train), {called[name]: count for name, count in _counts(val).items()}
    names = [*learned, *(name for name in scored if name not in learned)]
    untrained = [name for name in names if not learned.get(name) and scored.get(name)]
    unscored = [name for name in names if learned.get(name) and not scored.get(name)]
    nowhere = [name for name in names if not learned.get(name) and not scored.get(name)]
    found = []
    if untrained:
        count = sum(scored[name] for name in untrained)
        found.append(
            f"No picture to train on has the {_classes(untrained)}, but {count:,} in val: they cannot be learned and "
            "count as wrong. Put some of them into train."
        )
    if unscored:
        found.append(f"No picture in val has the {_classes(unscored)}: no figure says how well that is learned.")
    if nowhere and (len(train) or len(val)):  # without pictures it is not the classes that are wrong
        it = "it" if len(nowhere) == 1 else "them"
        kept = (
            " In a data.yaml keep the numbers of the others, names: {0: cat, 2: dog}, and count nc anew."
            if train.kind in OBJECTS
            else ""
        )
        found.append(
            f"No picture has the {_classes(nowhere)}: fit would learn {it} from nothing. Remove what names {it}.{kept}"
        )
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(name.casefold().strip(), []).append(name)
    if pairs := [same for same in alike.values() if len(same) > 1]:
        alone = f"The classes {listed_names(pairs[0])} differ in upper and lower case only"
        found.append(f"{alone}; if they are one, write them alike.")
    return found


def _classes(names: Sequence[str]) -> str:
    return f"{'class' if len(names) == 1 else f'{len(names):,} classes'} {listed_names(names)}"


def _counts(source: Source) -> dict[str, int]:
    """class -> pictures to which it applies."""
    if targets := targets_of(source):
        counts = targets.values.sum(0, dtype=int)
    elif source.kind in OBJECTS:
        found = [number for index in range(len(source)) for number in classes_in(source, index)]
        counts = np.bincount(np.array(found, int), minlength=len(source.classes))
    else:
        labels = np.fromiter((-1 if (label := class_of(source, i)) is None else label for i in range(len(source))), int)
        counts = np.bincount(labels[(labels >= 0) & (labels < len(source.classes))], minlength=len(source.classes))
    return dict(zip(source.classes, counts.tolist(), strict=True))
