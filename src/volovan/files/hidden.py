"""What systems keep for themselves among the files of a user."""


def is_hidden(name: str) -> bool:
    """Whether a name, or a folder in it, is hidden: .NAME, ._NAME (macOS keeps one for each file), __MACOSX."""
    parts = (part for part in name.split("/") if part not in (".", ".."))
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)
