"""What every kind of source offers, whatever it reads."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image


class Source(Protocol):
    """Numbered samples. Picklable and without open files, so that every worker process can have its own."""

    classes: tuple[str, ...]  # names in the order of their numbers; () if unlabelled
    note: str  # what the user should know of how it was opened; "" if nothing

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """ "cat/a.jpg", "train-000000.tar!train_cat_0001.jpg", "digits[17]"."""
        ...

    def label(self, index: int) -> int | None:
        """Class number; None if unlabelled."""
        ...

    def load(self, index: int) -> "Image.Image":
        """RGB; BadImage if it cannot be decoded."""
        ...

    def raw(self, index: int) -> bytes | None:
        """The encoded bytes; None where the source holds pixels. BadImage if they cannot be read."""
        ...
