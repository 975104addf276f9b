"""Checks that the three config dataclasses share. No torch."""

from collections.abc import Sequence
from dataclasses import fields
from math import isfinite
from types import UnionType
from typing import Any, get_args, get_origin

WORDS = {int: "integer", float: "number", bool: "True or False", str: "string", type(None): "None"}
RATES = ("drop_path_rate", "drop_rate", "pos_drop_rate", "attn_drop_rate", "proj_drop_rate")


class ConfigError(ValueError):
    """A network that cannot be built, or cannot run on an input; says what was found and what is needed."""


def tidy(config: Any) -> None:
    """Turn lists (as JSON gives them) into tuples and check the fields that every config has."""
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, list):
            value = tuple(value)
            object.__setattr__(config, field.name, value)
        if field.name != "img_size" and not is_a(value, field.type):  # image_size checks that
            raise ConfigError(f"{config.name}: {field.name} is {value!r}, expected {in_words(field.type)}")
        if field.name in RATES and not 0 <= value < 1:
            raise ConfigError(f"{config.name}: {field.name} is {value}, expected 0 <= rate < 1")
    at_least(config, "num_classes", 0)
    at_least(config, "in_chans", 1)
    if not (isfinite(config.norm_eps) and config.norm_eps > 0):
        raise ConfigError(f"{config.name}: norm_eps is {config.norm_eps}, expected a positive number")
    image_size(config)


def is_a(value: Any, kind: Any) -> bool:
    """Whether a value is of the type of a config's field. An integer is a number, a bool is neither."""
    kinds = get_args(kind)
    if get_origin(kind) is UnionType:
        return any(is_a(value, one) for one in kinds)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(is_a(entry, kinds[0]) for entry in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def in_words(kind: Any) -> str:
    """The type of a field for an error sentence."""
    kinds = get_args(kind)
    if get_origin(kind) is UnionType:
        return " or ".join(map(in_words, kinds))
    if get_origin(kind) is tuple:
        return f"one {WORDS[kinds[0]]} per stage"
    return WORDS[kind]


def image_size(config: Any) -> tuple[int, int]:
    """img_size as (height, width)."""
    size = config.img_size
    pair = size if isinstance(size, tuple) else (size, size)
    if len(pair) != 2 or not all(is_a(n, int) and n > 0 for n in pair):
        raise ConfigError(f"{config.name}: img_size is {size}, expected a positive integer or (height, width)")
    return pair


def at_least(config: Any, field: str, least: int) -> None:
    """Each integer of the field is one, and not below `least`."""
    value = getattr(config, field)
    for number in value if isinstance(value, tuple) else (value,):
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise ConfigError(f"{config.name}: {field} is {value}, expected integers of at least {least}")


def same_length(config: Any, names: Sequence[str]) -> None:
    """The named tuples describe the same stages."""
    lengths = {name: len(getattr(config, name)) for name in names}
    first = names[0]
    for name, length in lengths.items():
        if length != lengths[first]:
            raise ConfigError(
                f"{config.name}: {name} has {length} entries and {first} {lengths[first]}, "
                "expected one entry per stage in each"
            )
    if not lengths[first]:
        raise ConfigError(f"{config.name}: {first} is empty, expected at least one stage")


def divides(config: Any, dims: Sequence[int], heads: Sequence[int]) -> None:
    """Every width is a multiple of its number of heads."""
    for dim, head in zip(dims, heads, strict=True):
        if head < 1 or dim % head:
            raise ConfigError(f"{config.name}: width {dim} is not a multiple of its {head} heads")


def one_of(config: Any, field: str, allowed: Sequence[str]) -> None:
    """The field, or each entry of it, is an allowed name."""
    value = getattr(config, field)
    for entry in value if isinstance(value, tuple) else (value,):
        if entry not in allowed:
            raise ConfigError(f"{config.name}: {field} has {entry!r}, expected one of {', '.join(allowed)}")


def hidden_width(config: Any, dim: int, ratio: float) -> int:
    """int(dim * ratio), the hidden width of an MLP."""
    hidden = int(dim * ratio) if isfinite(ratio) else 0
    if hidden < 1:
        raise ConfigError(f"{config.name}: mlp ratio {ratio} of width {dim} leaves no hidden channel")
    return hidden


def drop_path_rates(rate: float, blocks: int) -> list[float]:
    """Linear from 0 at the first block to `rate` at the last."""
    return [rate * i / max(blocks - 1, 1) for i in range(blocks)]
