"""Names for files that are made of pictures: one for each, safe on every file system."""

import re
from collections.abc import Sequence
from pathlib import Path


def file_names(names: Sequence[str]) -> list[str]:
    """A name without suffix for the results of each picture; those that would be the same get a number.

    Letters of other scripts stay; what a file system or a shell may stumble over becomes `_`.
    """
    taken: set[str] = set()
    chosen = []
    for name in names:
        last = "stdin" if name == "-" else re.split(r"[/\\!]", name)[-1]
        stem = re.sub(r"[^\w.+-]+", "_", Path(last).stem).strip("._") or "picture"
        unique, number = stem[:100], 2
        while unique.lower() in taken:  # some file systems know no capitals
            unique, number = f"{stem[:100]}_{number}", number + 1
        taken.add(unique.lower())
        chosen.append(unique)
    return chosen
