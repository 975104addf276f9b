"""The 1000 classes of ImageNet in the order of a network's outputs, and the subsets that test sets use.

A class is a WordNet id (wnid) such as n01440764; its number is its place among the sorted wnids. The lists are read
from timm, which is installed with volovan.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from volovan.engine.settings import SettingsError

COUNT = 1000


def _timm_list(name: str) -> str:
    return (files("timm.data") / "_info" / name).read_text(encoding="utf-8")


@cache
def wnids() -> tuple[str, ...]:
    """All 1000, in order."""
    return tuple(_timm_list("imagenet_synsets.txt").split())


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


def check_outputs(name: str, outputs: Sequence[str]) -> str:
    """Raise SettingsError unless the outputs of a network are the 1000 classes in order; returns a note, or "".

    outputs: their names as the checkpoint has them: wnids, ImageNet's descriptions, or plain numbers.
    """
    if len(outputs) != COUNT:
        hint = "; fine-tune it on ImageNet-1K first" if len(outputs) > COUNT else ""
        raise SettingsError(
            f"{name} has {len(outputs)} classes; --suite imagenet needs the {COUNT} of ImageNet-1K{hint}"
        )
    from timm.data import ImageNetInfo

    # Published weights have descriptions (volovan.classify.ready).
    if tuple(outputs) in (wnids(), tuple(ImageNetInfo().label_descriptions())):
        return ""
    if list(outputs) == [str(number) for number in range(COUNT)]:
        return f"the classes of {name} are numbers; they are taken as ImageNet's {COUNT} in the order of their wnids"
    at = next(number for number, (have, wnid) in enumerate(zip(outputs, wnids(), strict=True)) if have != wnid)
    raise SettingsError(
        f"the {COUNT} classes of {name} are not those of ImageNet-1K in their order: class {at} is {outputs[at]!r}, "
        f"expected {wnids()[at]!r}; --suite imagenet cannot score it"
    )
