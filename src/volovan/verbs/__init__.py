"""One module per verb of the command line, light to import."""

from __future__ import annotations

import argparse
from types import ModuleType


def call(module: ModuleType, verb: str, summary: str, words: list[str]) -> int:
    """Run a verb with its words; returns the exit status. A module with `main` reads its words itself, as fit does."""
    if hasattr(module, "main"):
        return int(module.main(words) or 0)
    parser = argparse.ArgumentParser(f"volovan {verb}", description=summary, allow_abbrev=False)
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(words)) or 0)
