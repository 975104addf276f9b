"""Options that several verbs have, and a parser for the verbs whose options depend on the room of MODEL."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from volovan.engine.settings import SettingsError
from volovan.room.settings import parse_size
from volovan.use.rooms import ROOMS
from volovan.verbs.words import Words, refuse_numbers

if TYPE_CHECKING:
    from volovan.room.ready import Ready
    from volovan.use.load import Named

Adder = Callable[[Any], None]
SettingsT = TypeVar("SettingsT")


def add_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size",
        nargs="+",
        metavar="SIDE",
        help="pixels: one number, or height and width; `native`: pictures as they are. Where they keep their shape "
        "(segment), the sides that they are scaled to fit into. Default: as the network was validated",
    )


def add_machine(
    parser: argparse.ArgumentParser,
    batch_size: int,
    pictures: str | None = "pictures at once (segment: always one; its windows by test.window_batch)",
    workers: str | None = "processes that read pictures",
    precision: str | None = None,
) -> None:
    """How the work is done. pictures, workers, precision: the help of these options."""
    parser.add_argument("--batch-size", type=int, default=batch_size, help=pictures)
    parser.add_argument("--workers", type=int, default=2, help=workers)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help=precision)
    parser.add_argument("--device", default="auto")


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """What was said of how the work is done, but for the device."""
    return {"batch_size": args.batch_size, "workers": args.workers, "precision": args.precision}


def settings_of(kind: type[SettingsT], args: argparse.Namespace, **others: Any) -> SettingsT:
    """A dataclass of settings from the options that are called as its fields, and from others."""
    names = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    said = {name: getattr(args, name) for name in names if hasattr(args, name)}
    return kind(**{**said, **others})


def chosen(args: argparse.Namespace, own: list[str], kind: type[Ready[Any]]) -> dict[str, Any]:
    """What the command line says of the options of a network in use; --size among them.

    SettingsError for values that suit no network, before there is one.
    """
    known = {one.name for one in fields(kind.options)}
    said = {name: getattr(args, name) for name in own if name in known}
    if args.size:
        native = list(args.size) == ["native"]
        said["size"] = "native" if native else parse_size(args.size, least=0)  # the room knows more
    replace(kind.options, **said)
    return said


def parse(verb: str, summary: str, words: list[str], add_common: Adder) -> tuple[argparse.Namespace, Named, list[str]]:
    """Arguments of `volovan VERB MODEL ...`, what MODEL names, and the names of the room's own options.

    add_common  adds the options that every room has, `model` first. Exits after --help, as argparse does.
    """
    from volovan.use.load import find_model

    # First with the options of all rooms, only to find out which word is the model.
    anything = Words(f"volovan {verb}", add_help=False, conflict_handler="resolve")
    add_common(anything)
    for room in ROOMS:
        _add_options(anything, room, verb)
    if set(words) & {"-h", "--help"}:
        if all(word.startswith("-") for word in words):
            _print_help(verb, summary, add_common)
        words = ["--help", *(word for word in words if word not in ("-h", "--help"))]
        model, weights = next(word for word in words if not word.startswith("-")), None
    else:
        found, _ = anything.parse_known_args(words)
        model, weights = found.model, found.weights
    named = find_model(model, weights)
    parser = Words(f"volovan {verb}", description=summary)
    add_common(parser)
    before = {action.dest for action in parser._actions}
    _add_options(parser, named.room, verb)
    own = [action.dest for action in parser._actions if action.dest not in before]
    args, left = parser.parse_known_args(words)
    if left:
        elsewhere = left[0].split("=")[0]
        if elsewhere in anything._option_string_actions and elsewhere not in parser._option_string_actions:
            raise SettingsError(
                f"{elsewhere} is no option for {named.word}, which is of the task {named.room}; leave it out, "
                f"`volovan {verb} {named.word} --help` lists what there is"
            )
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    refuse_numbers(args)
    return args, named, own


def _add_options(parser: argparse.ArgumentParser, room: str, verb: str) -> None:
    group = parser.add_argument_group(room, f"for models of the task {room}")
    getattr(ROOMS[room].options(), f"add_{verb}_arguments")(group)


def _print_help(verb: str, summary: str, add_common: Adder) -> None:
    """Without a model: all options, room by room, since the same name may mean another thing in another room."""
    parser = Words(f"volovan {verb}", description=summary, add_help=False)
    add_common(parser)
    print(parser.format_help())
    for room in ROOMS:
        own = Words(add_help=False, usage=argparse.SUPPRESS)
        _add_options(own, room, verb)
        print(own.format_help())
    sys.exit(0)
