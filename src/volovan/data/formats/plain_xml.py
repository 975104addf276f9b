"""XML that others have written, read safely and piece by piece: elements, attributes and text, and nothing else.

A document type, and with it every entity of its own, is refused: entities can swell to any size or name other files.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from volovan.data.errors import shortened

_DEEPEST = 32  # elements within each other
_PIECE = 1 << 16
_HEAD = 4096
_REMEDY = "mend it, or export it again"


def begins_with(path: Path, root: str) -> bool:
    """Whether a file looks like XML whose outermost element is called so, by its beginning."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
    return any(f"<{root}{after}" in text for after in (">", " ", "\n", "\r", "\t", "/"))


def elements(path: Path, root: str, largest: int) -> Iterator[Element]:
    """Those within the outermost one, each whole, in order.

    root     what the outermost one is called
    largest  bytes of the file
    raises   ValueError: it cannot be read, with a reason that goes on after the name of the file
    """
    size = path.stat().st_size
    if size > largest:
        raise ValueError(f"has {size:,} bytes, expected {largest:,} at most; {_REMEDY}")
    if not size:
        raise ValueError(f"is empty, expected XML; {_REMEDY}")
    tree = _Tree(root)
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                tree.parser.Parse(piece, False)
                yield from tree.taken()
            tree.parser.Parse(b"", True)
            yield from tree.taken()
    except LookupError as error:
        raise ValueError(f"line 1 cannot be read as XML ({error}); save it as UTF-8") from None
    except expat.ExpatError as error:
        why = expat.errors.messages.get(error.code, str(error.code))
        raise ValueError(f"line {error.lineno} cannot be read as XML ({why}); {_REMEDY}, as UTF-8") from None


class _Tree:
    def __init__(self, root: str) -> None:
        self.root, self.depth = root, 0
        self.whole: list[Element] = []
        self.builder = TreeBuilder()
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler, self.parser.EndElementHandler = self._start, self._end
        self.parser.CharacterDataHandler, self.parser.StartDoctypeDeclHandler = self._text, self._refuse

    def taken(self) -> list[Element]:
        found, self.whole = self.whole, []
        return found

    def _refuse(self, *said: object) -> None:
        raise ValueError(
            f"line {self.parser.CurrentLineNumber} has a DOCTYPE, which can name other files or swell to any size, and "
            "is not read; take it out"
        )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        line = f"line {self.parser.CurrentLineNumber}"
        if not self.depth and tag != self.root:
            raise ValueError(f"{line} begins with {shortened(tag)}, expected {self.root}; {_REMEDY}")
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError(f"{line} has {self.depth} elements within each other, expected few; {_REMEDY}")
        if self.depth == 2:
            self.builder = TreeBuilder()
        if self.depth > 1:
            self.builder.start(tag, attributes)

    def _text(self, text: str) -> None:
        if self.depth > 1:
            self.builder.data(text)

    def _end(self, tag: str) -> None:
        if self.depth > 1:
            self.builder.end(tag)
        if self.depth == 2:
            self.whole.append(self.builder.close())
        self.depth -= 1
