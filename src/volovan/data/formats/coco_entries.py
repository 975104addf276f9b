"""Entries of the JSONs that COCO's tools write: lists of objects with ids, read once and named in messages."""

import json
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

from volovan.data.errors import SourceError, printable, shortened
from volovan.data.text import is_text

Entry = Mapping[str, Any]


def read_entries(path: Path, keys: Mapping[str, tuple[str, ...]], more: str) -> list[list[Entry]]:
    """Of each key its list, of objects that have what is needed.

    keys  {"images": keys of one, ...}: images, categories, annotations in any order
    more  what else annotations have, for messages
    """
    try:
        said = json.loads(path.read_bytes(), object_pairs_hook=_plain_object)
    except (ValueError, RecursionError, OSError) as error:
        where = f" line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise SourceError(
            f"{path}{where} cannot be read as JSON ({' '.join(str(error).split())[:200]}); mend it, or export it again"
        ) from None
    found = []
    for key, needed in keys.items():
        entries = said.get(key) if isinstance(said, dict) else None
        expected = f"expected images ({', '.join(keys['images'])}), annotations ({', '.join(keys['annotations'])}"
        expected += f"{more}) and categories ({', '.join(keys['categories'])})"
        if not isinstance(entries, list):
            what = f"has {shortened(entries)} as {key}" if isinstance(said, dict) and key in said else f"has no {key}"
            raise SourceError(f"{path} cannot be read as COCO's, it {what}; {expected}")
        for place, entry in enumerate(entries, 1):
            if not isinstance(entry, dict) or not all(key in entry for key in needed):
                raise SourceError(
                    f"{path} cannot be read as COCO's, entry {place} of {key} is {shortened(entry)}; {expected}"
                )
        found.append(entries)
    return found


def _plain_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        again = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key {shortened(again)} twice, expected once: {shortened(found)}")
    return found


def read_images(
    path: Path, images: list[Entry], notes: list[str]
) -> tuple[dict[Hashable, str], dict[Hashable, list[int | None]]]:
    """({id: file_name}, {id: [width, height]})."""
    pictures: dict[Hashable, str] = {}
    sizes: dict[Hashable, list[int | None]] = {}
    for id, image in once(path, "image", images, notes):
        name, place = image["file_name"], called("image", id)
        if not is_text(name):
            raise SourceError(f"{path}: {place} has the file_name {shortened(name)}, expected that of a picture")
        pictures[id] = name
        sizes[id] = [
            side_of(f"{path}: {place} ({printable(name)})", key, image.get(key)) for key in ("width", "height")
        ]
    return pictures, sizes


def read_categories(path: Path, categories: list[Entry], notes: list[str]) -> dict[Hashable, tuple[str, Entry]]:
    """{id: (name, entry)} in the order of ids."""
    found: dict[Hashable, tuple[str, Entry]] = {}
    for id, category in once(path, "category", categories, notes):
        name = category["name"]
        if isinstance(name, bool) or not (isinstance(name, int | float) or is_text(name)):
            raise SourceError(f"{path}: {called('category', id)} has the name {shortened(name)}, expected text")
        found[id] = str(name).strip(), category
    return dict(sorted(found.items(), key=lambda item: (isinstance(item[0], str), item[0])))


def once(path: Path, what: str, entries: list[Entry], notes: list[str]) -> Iterator[tuple[Hashable, Entry]]:
    """(id, entry); those that repeat another one but once. SourceError: two of one id differ."""
    seen: dict[Hashable, int] = {}
    repeated = 0
    for number, entry in enumerate(entries):
        if entry.get("id") is None and what == "annotation":  # they need none
            yield f"without id ({number + 1:,} in the list)", entry
            continue
        id = id_of(entry["id"])
        if id is None:
            raise SourceError(
                f"{path}: {what} {number + 1:,} of the list has the id {shortened(entry['id'])}, expected a number or "
                "text; mend it"
            )
        first = seen.setdefault(id, number)
        if first == number:
            yield id, entry
        elif entries[first] != entry:
            both = f"({first + 1:,} and {number + 1:,} of the list)"
            raise SourceError(
                f"{path}: {called(what, id)} stands twice {both} with different content; give each an id of its own"
            )
        else:
            repeated += 1
    if repeated:
        notes.append(f"{path.name} repeats {repeated:,} {what} entries, which are read once.")


def called(what: str, id: Hashable) -> str:
    """How messages call an entry."""
    return f"{what} {printable(str(id)[:60])}"


def id_of(said: Any) -> Any:
    """Ids as numbers and as text are the same; None for what is no id."""
    if isinstance(said, str):
        text = said.strip()
        return int(text) if text.isdecimal() and len(text) < 19 and str(int(text)) == text else text
    if isinstance(said, float) and said.is_integer():
        return int(said)
    return said if isinstance(said, int) and not isinstance(said, bool) else None


def side_of(where: str, key: str, said: Any) -> int | None:
    """Width or height in pixels; None where nothing is said."""
    side = 0 if said in (None, "") else id_of(said)
    if not isinstance(side, int) or side < 0:
        raise SourceError(f"{where} has the {key} {shortened(said)}, expected pixels")
    return side or None
