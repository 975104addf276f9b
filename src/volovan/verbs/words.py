"""The words of a command line: a parser that says in one sentence what is wrong with them, and bounds of numbers."""

import argparse
import re
from typing import Any, NoReturn

from volovan.engine.settings import SettingsError, refuse_workers
from volovan.files.nearest import nearest
from volovan.room.settings import at_least

LEAST = {"batch_size": 1, "workers": 0, "limit": 1, "pictures": 0, "sheet": 0}
"""options that are numbers, in whatever verb has them -> the least of each"""
_KINDS = {"int": "a whole number", "float": "a number"}


class Words(argparse.ArgumentParser):
    """argparse's parser without abbreviations, whose complaints are SettingsErrors."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        raise SettingsError(self._plain(message))

    def _plain(self, message: str) -> str:
        if match := re.match(r"unrecognized arguments: (.+)", message):
            return self._unknown(match[1].split()[0])
        if match := re.match(r"the following arguments are required: (.+)", message):
            return f"{match[1].upper()} is missing; `{self.prog} --help` shows what is expected"
        match = re.match(r"argument ([^:]+): (.*)", message)
        if not match:
            return f"{message}; `{self.prog} --help` tells more"
        option, reason = match[1].split("/")[-1], match[2]
        if match := re.match(r"invalid (\w+) value: (.*)", reason):
            return f"{option} is {match[2]}; {_KINDS.get(match[1], match[1])} is expected"
        if match := re.match(r"invalid choice: (.*) \(choose from (.*)\)", reason):
            return f"{option} is {match[1]}; one of {match[2].replace(chr(39), '')} is expected"
        if match := re.match(r"expected (.*) arguments?$", reason):
            return f"{option} needs {match[1].replace('argument', '').strip()} value{'' if 'one' in match[1] else 's'}"
        if match := re.match(r"not allowed with argument (\S+)", reason):
            return f"{option} and {match[1]} do not go together; leave one of them out"
        return f"{option}: {reason}; `{self.prog} --help` tells more"

    def _unknown(self, word: str) -> str:
        if not word.startswith("-"):
            return f"{word} is a word too many; names with spaces need quotes, `{self.prog} --help` tells more"
        word = word.split("=")[0]
        hint = nearest(word, self._option_string_actions, "did you mean {}? ")
        return f"there is no option {word}; {hint}`{self.prog} --help` lists them all"


def refuse_numbers(args: argparse.Namespace) -> None:
    """SettingsError for a number that no verb can work with."""
    for name, least in LEAST.items():
        at_least(f"--{name.replace('_', '-')}", getattr(args, name, None), least)
    if hasattr(args, "workers"):
        refuse_workers("--workers", args.workers)
