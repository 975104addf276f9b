"""The known word that a mistyped one is nearest to, for the end of an error's sentence."""

from collections.abc import Collection
from difflib import get_close_matches


def nearest(word: str, known: Collection[str], hint: str = "; did you mean {}?", otherwise: str = "") -> str:
    """The hint with the nearest known word in it; where none is near, what is said otherwise."""
    near = get_close_matches(word, known, n=1)
    return hint.format(near[0]) if near else otherwise


def nearest_or_all(word: str, known: Collection[str]) -> str:
    """The nearest known word, else all of them."""
    return nearest(word, known, "did you mean {!r}?", f"there are {', '.join(known)}")
