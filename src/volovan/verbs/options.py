"""Verbs whose options depend on the room: which room a model belongs to, and a parser with that room's options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from volovan.engine.settings import SettingsError
from volovan.rooms import ROOMS

Adder = Callable[[Any], None]


def parse(verb: str, summary: str, words: list[str], add_common: Adder) -> tuple[argparse.Namespace, str]:
    """Arguments of `volovan VERB MODEL ...`, and the room of the model. Exits after --help, as argparse does.

    add_common  adds the options that every room has, `model` first
    """
    named = [word for word in words if not word.startswith("-")]
    if not named:
        _print_help(verb, summary, words, add_common)
    # The model is the first word that says what it is; a backbone's name says nothing and is that of a classifier.
    room = next(filter(None, map(room_of, named)), "classify")
    parser = argparse.ArgumentParser(f"volovan {verb}", description=summary, allow_abbrev=False)
    add_common(parser)
    _add_room(parser, room, verb)
    return parser.parse_args(words), room


def room_of(model: str) -> str | None:
    """The room of a run folder, a checkpoint file or a recipe; None for anything else."""
    from volovan.recipes import packaged, task_of

    path = Path(model)
    if (path / "recipe.yaml").is_file():
        return task_of(path / "recipe.yaml")
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        return task_of(path)
    if path.is_file() and path.suffix == ".safetensors":
        from volovan.files.checkpoint import describe_checkpoint

        said = (describe_checkpoint(path) or {}).get("task")
        if said and said not in ROOMS:
            raise SettingsError(f"{model} is a checkpoint of the task {said!r}; this version knows {', '.join(ROOMS)}")
        return said
    rooms = {name.split("/")[0] for name in packaged() if model in (name, name.split("/")[1])}
    return rooms.pop() if len(rooms) == 1 else None


def _add_room(parser: argparse.ArgumentParser, room: str, verb: str) -> None:
    group = parser.add_argument_group(room, f"what a model of the room {room} takes besides")
    getattr(_options_of(room), f"add_{verb}_arguments")(group)


def _options_of(room: str) -> Any:
    """The module of a room's options, which imports no torch."""
    return import_module(f"volovan.{room}.arguments")


def _print_help(verb: str, summary: str, words: list[str], add_common: Adder) -> None:
    """Without a model: all options, room by room, since the same name may mean another thing in another room."""
    parser = argparse.ArgumentParser(f"volovan {verb}", description=summary, allow_abbrev=False, add_help=False)
    add_common(parser)
    if not set(words) & {"-h", "--help"}:
        parser.parse_args(words)  # says what is missing
    print(parser.format_help())
    for room in ROOMS:
        own = argparse.ArgumentParser(add_help=False, usage=argparse.SUPPRESS, allow_abbrev=False)
        _add_room(own, room, verb)
        print(own.format_help())
    sys.exit(0)
