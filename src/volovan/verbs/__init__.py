"""One module per verb of the command line, light to import."""

from types import ModuleType

from volovan.verbs.words import Words, refuse_numbers


def call(module: ModuleType, verb: str, summary: str, words: list[str]) -> int:
    """Run a verb with its words; returns the exit status. A module with `main` reads its words itself, as fit does."""
    if hasattr(module, "main"):
        return int(module.main(words) or 0)
    parser = Words(f"volovan {verb}", description=summary)
    module.add_arguments(parser)
    args = parser.parse_args(words)
    refuse_numbers(args)
    return int(module.run(args) or 0)
