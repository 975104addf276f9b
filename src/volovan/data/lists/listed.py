"""Where the pictures of a list are: paths as they stand, with the backslashes of Windows, without suffix, by name."""

import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from volovan.data.errors import SourceError, printable
from volovan.data.folder import pictures_below
from volovan.data.pictures.decoding import SUFFIXES


def find_listed(root: Path, listed: Sequence[str], where: str) -> tuple[list[str], str]:
    """Paths relative to root of the pictures that a list names, and a note on those that are not there as listed.

    Each folder is read once, not each file asked for. A path that nothing is found for stays as it is: whoever reads
    it says so.

    where   the list, for errors
    raises  SourceError: a name that several pictures have
    """
    look = _Look(root, where)
    found = [look.beside(cell) for cell in listed]
    for place, file in enumerate(found):
        if file is None and not os.path.isabs(listed[place]):
            found[place] = look.below(listed[place])
    files = [file or cell for file, cell in zip(found, listed, strict=True)]
    other = [place for place, file in enumerate(found) if file is not None and file != listed[place]]
    if not other:
        return files, ""
    first = other[0]
    return files, (
        f"{len(other):,} of {len(listed):,} listed pictures are found under another path, such as "
        f"{printable(listed[first])}: {printable(files[first])}."
    )


def is_listed(root: Path, cell: str) -> bool:
    """Whether a cell names a picture, from root."""
    return _Look(root, "").beside(cell) is not None


class _Look:
    """Looks for files of a list, in folders that are read once."""

    def __init__(self, root: Path, where: str) -> None:
        self.root, self.where = root, where
        self.names = cache(self._names)
        self.every: dict[str, list[str]] | None = None

    def beside(self, cell: str) -> str | None:
        """The file that has the path of the cell, or that path with the suffix of a picture."""
        for path in dict.fromkeys((cell, cell.replace("\\", "/"))):
            folder, _, name = path.rpartition("/")
            exact, stems = self.names(folder if folder or not path.startswith("/") else "/")
            if name in exact:
                return path
            if name in stems and not _is_picture(name):
                return f"{path.removesuffix(name)}{self._only(cell, stems[name])}"
        return None

    def below(self, cell: str) -> str | None:
        """The only picture anywhere below the root that is called so."""
        if self.every is None:
            self.every = {}
            for file in pictures_below(self.root):
                inside = file.relative_to(self.root).as_posix()
                for name in (file.name, file.stem):
                    self.every.setdefault(name.lower(), []).append(inside)
        wanted = cell.replace("\\", "/").lstrip("./").lower()
        name = wanted.rpartition("/")[2]
        files = [
            file
            for file in self.every.get(name, ())
            if f"/{file.lower()}".endswith(f"/{wanted}")
            or f"/{os.path.splitext(file)[0].lower()}".endswith(f"/{wanted}")
        ]
        return self._only(cell, files) if files else None

    def _names(self, folder: str) -> tuple[set[str], dict[str, list[str]]]:
        """(names in a folder, pictures in it by their stems)."""
        try:
            with os.scandir(self.root / folder) as entries:
                names = sorted(entry.name for entry in entries if entry.is_file())
        except OSError:
            return set(), {}
        stems: dict[str, list[str]] = {}
        for name in names:
            if _is_picture(name):
                stems.setdefault(os.path.splitext(name)[0], []).append(name)
        return {*names}, stems

    def _only(self, cell: str, files: Iterable[str]) -> str:
        first, *others = files
        if others:
            raise SourceError(
                f"{self.where} lists {printable(cell)}, which is {printable(first)} or {printable(others[0])}; write "
                "the whole path, from the folder of the list"
            )
        return first


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES
