"""Pictures of a source as the loader reads them, and their classes in the order of a network's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import default_collate

from volovan.data.source import Source
from volovan.engine.settings import SettingsError


class Samples:
    """Numbered pictures of a source. A room adds `read`, which gives a dict, with "index" and "image" in it.

    transform  of a picture
    sized      transforms for the sizes that `read` may be asked for, where a recipe mixes them
    """

    def __init__(self, source: Source, transform: Any, sized: Mapping[int, Any] | None = None) -> None:
        self.source, self.transform, self.sized = source, transform, sized or {}

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def at(self, size: int | None) -> Any:
        """The transform for a size; None: that of the recipe."""
        return self.transform if size is None else self.sized[size]

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Each key with a tensor (B, ...), or with a list where shapes differ from sample to sample."""
        batch = {}
        for key in samples[0]:
            values = [sample[key] for sample in samples]
            alike = len({getattr(value, "shape", ()) for value in values}) == 1
            # In a worker default_collate writes straight into shared memory; torch.stack would be copied once more.
            batch[key] = default_collate(values) if alike else values
        return batch


def renumbered(found: Sequence[str], wanted: Sequence[str], have: str, unlike: str, known: str) -> list[int] | None:
    """The number in `wanted` of each name of `found`; None where they are the same.

    have, unlike, known  words of the SettingsError for names that are not wanted
    """
    if tuple(found) == tuple(wanted):
        return None
    numbers = {name: number for number, name in enumerate(wanted)}
    unknown = [name for name in found if name not in numbers]
    if unknown:
        raise SettingsError(
            f"{have} {len(unknown)} class(es) {unlike}, the first is {unknown[0]!r}; {known} "
            f"{', '.join(map(repr, wanted[:5]))}{' ...' if len(wanted) > 5 else ''}"
        )
    return [numbers[name] for name in found]
