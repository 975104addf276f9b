"""The known word that a mistyped one is nearest to, for the end of an error's sentence."""

from collections.abc import Collection
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path


def nearest(word: str, known: Collection[str], hint: str = "; did you mean {}?", otherwise: str = "") -> str:
    """The hint with the nearest known word in it; where none is near, what is said otherwise."""
    near = get_close_matches(word, known, n=1)
    return hint.format(near[0]) if near else otherwise


def nearest_or_all(word: str, known: Collection[str]) -> str:
    """The nearest known word, else all of them."""
    return nearest(word, known, "did you mean {!r}?", f"there are {', '.join(known)}")


def nearest_beside(path: Path, otherwise: str) -> str:
    """What lies in the folder of a mistyped path and is nearest to it, for the end of an error's sentence."""
    beside: list[str] = []
    with suppress(OSError):
        beside = [one.name for one in path.parent.iterdir()]
    near = get_close_matches(path.name, beside, n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else f"; {otherwise}"
