"""Names for files that are made of pictures: one for each, in the same folders, safe on every file system."""

import re
from collections.abc import Sequence


def file_names(paths: Sequence[str]) -> list[str]:
    """A path without suffix for the results of each picture: its own, so that results and pictures pair up again.

    Only what a file system refuses becomes `_`. Of paths that would be the same, the first keeps its own and the others
    get a number that is in the name of no other picture.
    """
    stems = ["/".join(_safe(path)) or "picture" for path in paths]
    taken = {stem.lower() for stem in stems}  # some file systems know no capitals
    seen: set[str] = set()
    chosen = []
    for stem in stems:
        unique, number = stem, 2
        while unique.lower() in (seen if unique == stem else taken):
            unique, number = f"{stem}_{number}", number + 1
        taken.add(unique.lower())
        seen.add(unique.lower())
        chosen.append(unique)
    return chosen


def _safe(path: str) -> list[str]:
    """The parts of a path, none of which leads out of the folder that results are written to."""
    *folders, name = re.split(r"[/\\!]", path)
    stem = name.rpartition(".")[0] or name
    parts = (re.sub(r'[\x00-\x1f<>:"|?*]+', "_", part)[:100].strip(" .") for part in (*folders, stem))
    return [part for part in parts if part]
