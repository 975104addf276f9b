"""Lines of text that name classes, with numbers before or after the name: which form they have, and what they say."""

import re
from collections.abc import Sequence

Cells = dict[str, str]
"""column (name, id, r, g, b) -> what a line says"""

HEADINGS = {  # what a column may be called, the clearest first
    "name": ("name", "class", "label", "category", "class_name", "classname", "names", "classes", "labels"),
    "id": ("id", "index", "value", "pixel value", "class_id", "label_id"),
    "r": ("r", "red"), "g": ("g", "green"), "b": ("b", "blue"),
}  # fmt: skip
_ALONE = ("name", "names", "class", "classes", "class_name")  # what else stands alone may be a class
_COLUMN = {title: column for column, titles in HEADINGS.items() for title in titles}
NUMBERED = (("id", "name"), ("name",))
FORMS = (  # of lines, where no heading says it
    ("id", "r", "g", "b", "name"), ("id", "name", "r", "g", "b"), ("r", "g", "b", "name"), ("name", "r", "g", "b"),
    *NUMBERED,
)  # fmt: skip
_GAP = r"[\s,;:]+"
_LINE = re.compile(rf"((?:\d+{_GAP})*)(\S.*?)((?:{_GAP}\d+)*)")


class OddLine(ValueError):  # noqa: N818
    """line: its number; sentence: what it is and what it should be, as a heading says if `headed`."""

    def __init__(self, line: int, sentence: str, headed: bool) -> None:
        super().__init__(line, sentence, headed)
        self.line, self.sentence, self.headed = line, sentence, headed


def class_lines(
    lines: Sequence[tuple[int, str]], forms: Sequence[tuple[str, ...]] = FORMS
) -> tuple[list[tuple[int, Cells]], bool]:
    """([(number, cells) of each line that names a class], whether the first one is a heading).

    lines   (number, text), without blank ones. Those that begin with # say nothing, but may be a heading
    forms   that lines may have, the last one of a name alone
    raises  OddLine: it is unlike the others
    """
    heading = _heading(lines[0][1]) if lines else None
    headed = bool(heading and len(heading) > 1)
    lines = [(number, text) for number, text in lines[bool(heading) :] if not text.startswith("#")]
    if heading and headed:
        form = heading
    else:  # the first one that half of the lines have: every line is a name, so the others are to be mended
        form = next(one for one in forms if 2 * sum(_cells(text, one) is not None for _, text in lines) >= len(lines))
    found = []
    for number, text in lines:
        cells = _cells(text, form)
        if cells is None:
            shape = " ".join(form).upper()
            told = "the heading says" if headed else "other lines are"
            raise OddLine(number, f"is {text[:60]!r}, where {told} {shape}; write it so too, or remove it", headed)
        found.append((number, cells))
    return found, heading is not None


def _heading(text: str) -> tuple[str, ...] | None:
    """("id", "name") of "ID Name"; None if it is none."""
    words = re.split(_GAP, text.lstrip("# ").rstrip().lower())
    columns = tuple(_COLUMN[word] for word in words if word in _COLUMN)
    whole = len(columns) == len(words) == len({*columns}) and len({*"rgb"} & {*columns}) in (0, 3)
    if not whole or "name" not in columns or (len(words) == 1 and words[0] not in _ALONE):
        return None
    return columns


def _cells(text: str, form: tuple[str, ...]) -> Cells | None:
    """None if the line has not this form. Numbers too many belong to the name."""
    match = _LINE.fullmatch(text)
    assert match  # as any text does that is not blank
    before = form.index("name")
    after = len(form) - before - 1
    starts = [0, *(found.end() for found in re.finditer(rf"\d+{_GAP}", match[1]))]
    ends = [*(match.start(3) + found.start() for found in re.finditer(rf"{_GAP}\d+", match[3])), len(text)]
    if len(starts) <= before or len(ends) <= after:
        return None
    first, last = starts[before], ends[-after - 1]
    numbers = re.findall(r"\d+", text[:first]) + re.findall(r"\d+", text[last:])
    return {"name": text[first:last], **dict(zip([c for c in form if c != "name"], numbers, strict=True))}
