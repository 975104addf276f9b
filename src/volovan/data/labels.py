"""From labels as texts to class numbers: the one rule for shards, manifests and tables."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from volovan.data.errors import SourceError
from volovan.data.samples import UNLABELLED

MAX_LABEL = 1_000_000  # a class has an output of the network, so a larger number is an identifier or a slip
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+(?:[eE][+-]?[0-9]+)?")


def read_classes(folder: Path) -> tuple[str, ...] | None:
    """classes.txt in folder: one name a line, the line number from 0 is the class number."""
    path = folder / "classes.txt"
    if not path.is_file():
        return None
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise SourceError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    names = names[: max((place + 1 for place, name in enumerate(names) if name), default=0)]  # empty lines at the end
    if not names or "" in names or len(set(names)) < len(names):
        raise SourceError(
            f"{path} needs one different class name a line, found {len(names)} lines, {len(set(names))} different"
        )
    return tuple(names)


def class_numbers(
    texts: Sequence[str], classes: tuple[str, ...] | None, where: str, name: Callable[[int], str]
) -> tuple[tuple[str, ...], np.ndarray, str]:
    """(classes, number of each text, note); "" is unlabelled. name(i) is how errors call sample i.

    Names from classes are looked up; else, if all texts are whole numbers, they are class numbers (which may exceed the
    known classes: check-data reports it, and a run refuses to start); else names, which are sorted. Without classes,
    numbers are classes 0 to the largest, and the note tells which of them no text has.
    """
    different = sorted(set(texts) - {""})
    note = ""
    lookup = {name: number for number, name in enumerate(classes or ())}
    if any(text not in lookup for text in different):
        if all(_WHOLE_NUMBER.fullmatch(text) for text in different):
            for text in different:
                if not 0 <= float(text) <= MAX_LABEL:
                    raise SourceError(
                        f"{name(texts.index(text))} has label {text[:40]}, expected a class number from 0 to "
                        f"{MAX_LABEL:,}; mend it, or name all classes by words"
                    )
            lookup = {text: int(float(text)) for text in different}
            if not classes:
                classes = tuple(str(number) for number in range(max(lookup.values()) + 1))
                note = _gaps_note(len(classes), set(lookup.values()))
        elif classes is not None:
            unknown = [text for text in different if text not in lookup]
            raise SourceError(
                f"{where}: label {unknown[0]!r} ({len(unknown)} such) is none of the {len(classes)} in classes.txt"
            )
        else:
            classes = tuple(different)
            lookup = {name: number for number, name in enumerate(classes)}
    lookup[""] = UNLABELLED
    numbers = np.array([lookup[text] for text in texts], dtype=np.int64)
    return (classes or ()) if different else (), numbers, note


def _gaps_note(count: int, present: set[int]) -> str:
    missing = [number for number in range(count) if number not in present]
    if not missing:
        return ""
    shown = ", ".join(map(str, missing[:10])) + (" ..." if len(missing) > 10 else "")
    return (
        f"Labels are numbers up to {count - 1}, {len(missing):,} of them have no pictures ({shown}): these are classes "
        "without pictures."
    )
