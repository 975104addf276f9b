"""What this room raises. Both are ValueErrors whose text is one sentence for the user."""

from reprlib import Repr


class SourceError(ValueError):
    """A source of data that cannot be opened: what was found, what was expected, what to do."""


class BadImage(ValueError):  # noqa: N818
    """One picture that cannot be used. Survives pickling, so workers can raise it.

    name    of the picture, as Source.name gives it
    reason  without the name
    """

    finder = "volovan check-data"
    """the command that finds all of them"""

    def __init__(self, name: str, reason: str = "cannot be decoded") -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{printable(self.name)}: {self.reason}"


def printable(text: str) -> str:
    """text with what a terminal or a UTF-8 file cannot take (undecodable names, line breaks) written as escapes."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


SHOWN = 2
"""parts of a list that are shown"""


def shortened(value: object) -> str:
    """How a value out of a file is shown in a sentence, however large it is."""
    short = Repr()
    short.maxlevel = short.maxlist = short.maxdict = SHOWN
    short.maxstring = short.maxother = 60
    return printable(short.repr(value))
