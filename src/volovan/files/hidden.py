"""What systems keep for themselves among the files of a user."""

_OF_SYSTEMS = {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
"""folders of macOS, Synology (which keeps small copies of pictures there), Windows, Linux"""


def is_hidden(name: str) -> bool:
    """Whether a name, or a folder in it, is hidden: .NAME, ._NAME (macOS keeps one for each file), __MACOSX ..."""
    parts = (part for part in name.split("/") if part not in (".", ".."))
    return any(part.startswith(".") or part in _OF_SYSTEMS for part in parts)
