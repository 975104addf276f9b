"""Names for files that are made of pictures: one for each, safe on every file system."""

import re
from collections.abc import Sequence
from pathlib import Path


def file_names(names: Sequence[str]) -> list[str]:
    """A name without suffix for the results of each picture: its own, so that results and pictures pair up again.

    Only what a file system refuses becomes `_`. Of names that would be the same, the first keeps its own and the others
    get a number that is the name of no other picture.
    """
    stems = []
    for name in names:
        last = "stdin" if name == "-" else re.split(r"[/\\!]", name)[-1]
        stems.append(re.sub(r'[\x00-\x1f<>:"|?*]+', "_", Path(last).stem)[:100].strip(" .") or "picture")
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
