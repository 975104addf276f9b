"""What the parser of recipes complains of, in a sentence for whoever wrote the recipe or the command."""

import re
import types
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
_SEVERAL = {int: "whole numbers", float: "numbers", str: "texts"}
_COUNTS = {1: "one", 2: "two", 3: "three"}


def misread(message: str, recipe: Path, words: Sequence[str], settings: Any, keys: Sequence[str]) -> str:
    """One sentence from the parser's message.

    recipe    the file that was read, and words what was laid over it
    settings  the dataclass of all sections
    keys      all dotted keys that there are
    """
    flat = " ".join(message.split())
    if match := re.search(r"unrecognized arguments: ([^-\s]\S*)", flat):
        return f"recipe {recipe.stem}: {match[1]} is a word too many; keys are written --section.key VALUE"
    if (unknown := _unknown_key(flat)) is not None:
        return f"{_where(unknown, recipe, words)}: {_no_such_key(unknown, recipe, settings, keys)}"
    if match := re.match(r"argument --([\w.]+): expected one argument", flat):
        wanted = in_words(_hint(settings, match[1]))
        return f"--{match[1]} needs a value, {wanted}" if wanted else _section(match[1], settings)
    if match := re.match(r"Parser key [\"']([\w.]+)[\"']: (.*)", flat):
        key, reason = match[1], match[2]
        wanted = in_words(_hint(settings, key))
        said = re.search(r"(?:Got|Given) value: (.*)", reason)
        if wanted and said:
            return f"{_where(key, recipe, words)}: {key} is {said[1]}; expected {wanted}"
        return f"{_where(key, recipe, words)}: {_section(key, settings) or f'{key}: {reason}'}"
    return f"recipe {recipe.stem}: {flat}"


def _section(key: str, settings: Any) -> str:
    """What a section is, of which a key was meant; "" for a key."""
    parts = getattr(_hint(settings, key), "__dataclass_fields__", {})
    return f"{key} is a section; name a key of it, such as --{key}.{next(iter(parts))} VALUE" if parts else ""


def in_words(hint: Any) -> str:
    """The type of a key as a user would say it; "" for a section."""
    kinds = get_args(hint)
    origin = get_origin(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, kinds))}" if len(kinds) > 1 else str(kinds[0])
    if origin in (Union, types.UnionType):
        return " or ".join(map(in_words, kinds))
    if origin is tuple:
        several = _SEVERAL.get(kinds[0], "values")
        if kinds[-1] is Ellipsis:
            return f"a list of {several} such as [{_example(kinds[0], 2)}]"
        return f"{_COUNTS.get(len(kinds), len(kinds))} {several} such as [{_example(kinds[0], len(kinds))}]"
    if origin is dict or hint is dict:
        return "a mapping such as {key: value}"
    return _KINDS.get(hint, "")


def _example(kind: Any, count: int) -> str:
    numbers = {int: ("192", "224", "256"), float: ("0.5", "0.6", "0.7")}
    return ",".join(numbers.get(kind, ("a", "b", "c"))[:count])  # without spaces, at which a shell would cut it


def _hint(settings: Any, key: str) -> Any:
    """The type of a dotted key; None where it is none."""
    hint = settings
    for part in key.split("."):
        if not hasattr(hint, "__dataclass_fields__"):
            return None
        hint = get_type_hints(hint).get(part)
    return hint


def _where(key: str, recipe: Path, words: Sequence[str]) -> str:
    """Who says a key: the command line, or a line of the recipe's file."""
    if any(word == f"--{key}" or word.startswith((f"--{key}=", f"--{key}.")) for word in words):
        return f"recipe {recipe.stem}"
    line = _line(yaml.compose(recipe.read_text(encoding="utf-8"), Loader=yaml.SafeLoader), key.split("."))
    return f"{recipe}, line {line}" if line else f"recipe {recipe.stem}"


def _line(node: Any, parts: Sequence[str]) -> int | None:
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if name.value == parts[0]:
            return name.start_mark.line + 1 if len(parts) == 1 else _line(value, parts[1:])
    return None


def _no_such_key(unknown: str, recipe: Path, settings: Any, keys: Sequence[str]) -> str:
    """What there is instead: what the room says, or the nearest key."""
    elsewhere: Mapping[str, str] = getattr(settings, "ELSEWHERE", {})
    if unknown in elsewhere:
        return f"there is no key {unknown!r} here; set {elsewhere[unknown]}"
    same_end = [key for key in keys if key.split(".")[-1] == unknown.split(".")[-1]]
    near = get_close_matches(unknown, keys, n=1) or same_end or get_close_matches(unknown, keys, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"there is no key {unknown!r}; {hint}`volovan fit {recipe.stem} --help` lists them all"


def _unknown_key(message: str) -> str | None:
    """The key that the parser does not know, from any of its three ways to say so."""
    if match := re.search(r"unrecognized arguments: (?:--)?([\w.]+)", message):
        return match[1]
    if match := re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message):
        return f"{match[1]}.{match[2]}"
    match = re.search(r"Option '([\w.]+)' is not accepted", message)
    return match[1] if match else None
