"""Which output of a network a class is: its name decides, and its number only where one side has no names.

Data and weights are read by this one rule.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from unicodedata import normalize

from volovan.files.nearest import nearest

SHOWN = 5
"""names in a sentence"""
IMAGENET = 1000
"""its classes"""
_SYNSET = re.compile(r"n\d{8}")
_NUMBER = re.compile(r"(?:class )?(\d+)")  # masks whose classes nobody has named are of "class 0", "class 1", ...


@dataclass(frozen=True)
class ClassMatch:
    """Of each of the `wanted` classes its number among the `known` ones.

    numbers    None: it is none of them
    by_number  one side has numbers in place of names, and as many
    """

    wanted: tuple[str, ...]
    known: tuple[str, ...]
    numbers: tuple[int | None, ...]
    by_number: bool = False

    @property
    def places(self) -> tuple[int, ...]:
        """The numbers that there are."""
        return tuple(number for number in self.numbers if number is not None)

    @property
    def same(self) -> bool:
        """Whether both sides have the same classes in the same order."""
        return self.numbers == tuple(range(len(self.known)))

    @property
    def unknown(self) -> tuple[str, ...]:
        """Wanted classes that are not known."""
        return tuple(name for name, number in zip(self.wanted, self.numbers, strict=True) if number is None)

    @property
    def unwanted(self) -> tuple[int, ...]:
        """Numbers of the known classes that are not wanted."""
        return tuple(sorted(set(range(len(self.known))) - set(self.numbers)))


def match_classes(wanted: Sequence[str], known: Sequence[str]) -> ClassMatch:
    """Compare by name; by number where one side has no names but as many classes. Synsets of ImageNet are found among
    its 1000 classes, whatever these are called."""
    asked, there = _as_synsets(wanted, known), _as_synsets(known, wanted)
    places = {_plain(name): number for number, name in reversed(list(enumerate(there)))}  # of equal names the first
    numbers: tuple[int | None, ...] = tuple(places.get(_plain(name)) for name in asked)
    if None not in numbers or len(asked) != len(there) or not (_unnamed(asked) or _unnamed(there)):
        return ClassMatch(tuple(wanted), tuple(known), numbers)
    order = _numbers(there) or tuple(range(len(there)))
    by_number = tuple(order.index(number) for number in _numbers(asked) or range(len(asked)))
    return ClassMatch(tuple(wanted), tuple(known), by_number, by_number=True)


def not_learned(match: ClassMatch, data: str, noun: str = "class", plural: str = "classes") -> str | None:
    """A sentence on names in data that no output of a network stands for; None where all are learned.

    data          what names them, with its verb: "the val split of FOLDER has"
    noun, plural  what they are
    """
    unknown = match.unknown
    if not unknown:
        return None
    near = nearest(unknown[0], match.known, " (the nearest is {!r})")
    one = len(unknown) == 1
    it, name = ("it", "name") if one else ("them", "names")
    return (
        f"{data} {len(unknown):,} {f'{noun} that is' if one else f'{plural} that are'} not learned: {quoted(unknown)}"
        f"{near}; learned are {quoted(match.known)}. Give {it} the learned {name} where the data name {it} (folder, "
        f"list or class file), leave {it} out, or train on {it} too"
    )


def output_names(count: int) -> tuple[str, ...]:
    """Of a network that says nothing of its classes: ImageNet's descriptions of 1000 outputs, numbers otherwise."""
    return _imagenet()[1] if count == IMAGENET else tuple(map(str, range(count)))


def wnids() -> tuple[str, ...]:
    """ImageNet's 1000 synsets, in the order of the outputs of published networks."""
    return _imagenet()[0]


def quoted(names: Sequence[str]) -> str:
    """Some names for a sentence: 'cat', 'dog' ..."""
    return ", ".join(map(repr, names[:SHOWN])) + (" ..." if len(names) > SHOWN else "")


def are_synsets(names: Sequence[str]) -> bool:
    """Whether all of the names are such as n01440764."""
    return bool(names) and all(_SYNSET.fullmatch(name) for name in names)


def _as_synsets(names: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """The classes of ImageNet as synsets where the others are called so, all other names as they are."""
    imagenet = len(names) == IMAGENET and are_synsets(others) and not are_synsets(names) and _unnamed(names)
    return wnids() if imagenet else tuple(names)


def _unnamed(names: Sequence[str]) -> bool:
    """Whether these are no names that somebody gave: numbers, or what `output_names` says."""
    return _numbers(names) is not None or (len(names) == IMAGENET and tuple(names) == output_names(IMAGENET))


def _numbers(names: Sequence[str]) -> tuple[int, ...] | None:
    """0 to the last in any order, as written in the names; None where they are no such numbers."""
    found = [_NUMBER.fullmatch(name) for name in names]
    numbers = tuple(int(match[1]) for match in found if match)
    return numbers if sorted(numbers) == list(range(len(names))) else None


def _plain(name: str) -> str:
    """Systems write accents in two ways."""
    return normalize("NFC", name)


@cache
def _imagenet() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(synsets, descriptions) of ImageNet-1K, by timm."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return tuple(info.label_names()), tuple(info.label_descriptions())
