"""Pictures of a source as the loader reads them, and their classes in the order of a network's."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch.utils.data import default_collate

from volovan.data.loader import SampleReader
from volovan.data.pictures.tensors import Pixels
from volovan.data.source import Source
from volovan.engine.settings import SettingsError
from volovan.files.classes import ClassMatch, match_classes, not_learned, quoted


class NotedReader(SampleReader, Protocol):
    """Samples, and what the user should know of how the classes of the data became those of the network, or ""."""

    note: str


def collated(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Each key with a tensor (B, ...), or with a list where shapes differ from sample to sample; pictures that are not
    normalised yet as `Pixels`, which become a tensor on the device."""
    batch: dict[str, Any] = {}
    for key in samples[0]:
        values = [sample[key] for sample in samples]
        if isinstance(values[0], Pixels):
            batch[key] = Pixels.together(values)
        else:
            alike = len({getattr(value, "shape", ()) for value in values}) == 1
            batch[key] = default_collate(values) if alike else values
    return batch


class Samples:
    """Numbered pictures of a source. A room adds `read`, which gives a dict, with "index" and "image" in it.

    transform  of a picture
    sized      transforms for the sizes that `read` may be asked for, where a recipe mixes them
    note       see `NotedReader`
    """

    note = ""

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
        return collated(samples)


class SamplesOfSizes(Samples):
    """Samples whose pictures have sizes of their own."""

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Each key with a list."""
        return {key: [sample[key] for sample in samples] for key in samples[0]}


def matched(found: Sequence[str], learned: Sequence[str], noun: str = "class", plural: str = "classes") -> ClassMatch:
    """Which of the learned classes each class of data is; SettingsError for one that is not learned.

    noun, plural  what they are
    """
    match = match_classes(found, learned)
    if sentence := not_learned(match, "the data to validate on have", noun, plural):
        raise SettingsError(sentence)
    return match


def said_of(match: ClassMatch) -> str:
    """How the classes of data became those of a network, in a sentence; "" where there is nothing to say."""
    said = []
    if match.by_number:
        said.append(
            f"the classes of the data are taken by number, since one side has numbers in place of names: "
            f"{match.wanted[0]!r} is {match.known[match.places[0]]!r} and so on"
        )
    elif list(match.places) != sorted(match.places):
        said.append("the data have another order of names than the network: they are matched by name")
    if absent := [match.known[number] for number in match.unwanted]:
        said.append(
            f"the data lack {len(absent)} of the {len(match.known)} classes of the network ({quoted(absent)}): means "
            "over classes leave them out, and an answer that names one of them counts as wrong"
        )
    return "; ".join(said)
