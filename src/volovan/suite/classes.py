"""The 1000 classes of ImageNet in the order of a network's outputs, and the subsets that test sets use.

A class is a WordNet id (wnid) such as n01440764; its number is its place among the sorted wnids. The lists are read
from timm, which is installed with volovan.
"""

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from volovan.engine.settings import SettingsError
from volovan.files.classes import match_classes, quoted, wnids

COUNT = 1000


def _timm_list(name: str) -> str:
    return (files("timm.data") / "_info" / name).read_text(encoding="utf-8")


@cache
def number_of() -> dict[str, int]:
    """{"n01440764": 0, ...}"""
    return {wnid: number for number, wnid in enumerate(wnids())}


@cache
def subset(name: str) -> tuple[int, ...]:
    """Numbers of the 200 classes of ImageNet-A ("a") or ImageNet-R ("r"), ascending."""
    return tuple(int(word) for word in _timm_list(f"imagenet_{name}_indices.txt").split())


def real_labels() -> list[list[int]]:
    """timm's copy of ReaL's real.json: the classes of validation picture 1, 2, ... 50,000; [] for none."""
    return json.loads(_timm_list("imagenet_real_labels.json"))


def imagenet_outputs(name: str, outputs: Sequence[str]) -> tuple[tuple[int, ...] | None, str]:
    """Which output of a network each of the 1000 classes is, None where all are in order; and a note, or "".

    outputs  their names as the checkpoint has them: wnids, ImageNet's descriptions, or plain numbers
    raises   SettingsError: the network lacks one of the classes
    """
    match = match_classes(wnids(), outputs)
    if lacking := wnids() if match.by_number else match.unknown:
        found = f"{len(outputs)} classes ({quoted(outputs)})"
        more = "; fine-tune it on ImageNet-1K first" if len(outputs) > COUNT else ""
        raise SettingsError(
            f"{name} has {found}, of which none is {lacking[0]!r}; --suite imagenet needs the {COUNT} of ImageNet-1K, "
            f"called by their wnids{more}"
        )
    if list(outputs) == [str(number) for number in range(COUNT)]:
        return (
            None,
            f"the classes of {name} are numbers; they are taken as ImageNet's {COUNT} in the order of their wnids",
        )
    if match.same:
        return None, ""
    return match.places, f"ImageNet's {COUNT} are found by name among the {len(outputs)} classes of {name}"
