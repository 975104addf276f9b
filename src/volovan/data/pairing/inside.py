"""Files that a file names, which are looked for in some folders and nowhere else, whatever their names say."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from volovan.data.errors import printable

_DRIVE_OR_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_SHOWN = 300  # letters of a name


def find_inside(folders: list[Path], name: str) -> Path | None:
    """The file of a name in the first of these folders that has it; that folder comes first the next time.

    A path of another machine (absolute, of Windows, with .., an address) leads out of all of them: the longest end of
    it that is in one of them is meant.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    leads_out = ".." in parts or name[:1] in ("/", "\\") or bool(_DRIVE_OR_SCHEME.match(name))
    inside = parts[len(parts) - parts[::-1].index("..") :] if ".." in parts else parts
    for begin in range(len(inside) if leads_out else min(len(inside), 1)):
        tail = os.path.join(*inside[begin:])
        for place, folder in enumerate(folders):
            if os.path.isfile(folder / tail):
                folders.insert(0, folders.pop(place))
                return folder / tail
    return None


def not_there(names: Sequence[str], listed_in: str, folders: Sequence[Path]) -> list[str]:
    """A sentence on each picture that a file lists and that is not there.

    folders  that were looked through, to be named as well: none of its pictures was there
    """
    places = ", ".join(sorted({*map(str, folders)}))
    looked = f" (no picture of it is in {places})" if folders else ""
    return [f"{printable(name[:_SHOWN])}, which {listed_in} lists, is not there{looked}" for name in names]
