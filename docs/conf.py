"""The site of these pages: `make docs` writes it to build/docs, offline, and a broken link stops it."""

import inspect
import re
from importlib.metadata import version as version_of

project, author = "volovan", "The volovan authors"
copyright = "the volovan authors, Apache-2.0"
version = release = version_of("volovan")
extensions = ["sphinx.ext.autodoc", "myst_parser"]
exclude_patterns: list[str] = []
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]  # a ```text of a terminal is no program
html_theme, html_title = "furo", f"volovan {release}"
templates_path: list[str] = []
html_show_sphinx = False

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
# Types in signatures would lead to pages of torch, numpy and Python, which are elsewhere, and nothing is fetched. Links
# between pages, and to their headings, must lead somewhere.
nitpick_ignore_regex = [("py:.*", ".*")]

COLUMNS = re.compile(r"^(\S(?:.*?\S)?)  +(\S.*)$")
"""a line such as `name  what it is`"""


def setup(app) -> None:
    app.connect("autodoc-process-docstring", as_fields)


def as_fields(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings here are plain text: aligned columns become lists, indented blocks are shown as they are."""
    text = inspect.cleandoc("\n".join(lines))
    blocks = [block.splitlines() for block in re.split(r"\n\s*\n", text)]
    found: list[str] = []
    for block in blocks:
        found += [*_block(block), ""]
    lines[:] = found


def _block(block: list[str]) -> list[str]:
    """One paragraph as reStructuredText: a definition list where it has two columns."""
    if block and all(line.startswith("    ") for line in block):
        return ["::", "", *block]
    columns = [COLUMNS.match(line) for line in block]
    if not columns or columns[0] is None:
        return [_plain(line.strip()) for line in block]
    rows: list[list[str]] = []
    for line, row in zip(block, columns, strict=True):
        if row and not line.startswith(" "):
            rows.append([f"``{row[1]}``", _plain(row[2])])
        elif line.startswith(" "):
            rows[-1][1] += " " + _plain(line.strip())
        else:
            rows.append([_plain(line), ""])
    return [line for name, text in rows for line in (name, f"    {text or name}")]


def _plain(text: str) -> str:
    """The same without what reStructuredText would take for markup; what stands in backticks is code."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(f"`{part}`" if part.startswith("`") else re.sub(r"([*_|\\])", r"\\\1", part) for part in parts)
