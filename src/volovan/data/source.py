"""What every source offers, whatever it reads and whatever its targets are."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from PIL import Image

T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """Numbered samples, each a picture and its target.

    Picklable and without open files, so that every worker process can have its own. What targets are, by their kind:

    class    class number; None where a sample has no label
    labels   (K,) uint8: 1 where a class applies, to any number of them
    numbers  (K,) float64
    mask     (H, W) uint8 of the size of the picture: class numbers, masks.IGNORE elsewhere; also `palette`, a colour
             for each class
    map      (H, W) uint8 of the size of the picture: from 0 to 255, which is salient
    boxes    an `Annotated`: objects with their boxes, classes, and outlines where there are some
    points   an `Annotated` whose objects have named points; also `skeleton`, a `Skeleton`, which is that of all
    panoptic a `Panoptic`: a segment for every pixel; also `palette`, and `things`, whether a class is of things
    none     None
    """

    classes: tuple[str, ...]  # names in the order of their numbers, or names of the numbers; () if there are none
    note: str  # what the user should know of how it was opened; "" if nothing

    @property
    def kind(self) -> str: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """ "cat/a.jpg", "train-000000.tar!train_cat_0001.jpg", "digits[17]"; never begins with ../ where masks are."""
        ...

    def load(self, index: int) -> "Image.Image":
        """The picture, RGB; BadImage if it cannot be decoded."""
        ...

    def raw(self, index: int) -> bytes | None:
        """The encoded picture; None where the source holds pixels. BadImage if it cannot be read."""
        ...

    def target(self, index: int) -> T_co:
        """What is to be learned of the picture; BadImage names the file if that cannot be used."""
        ...


OBJECTS = ("boxes", "points")
"""kinds whose targets are objects"""
SPLITS = ("train", "val", "test")
Splits = Mapping[str, Callable[[], Source]]
"""split -> opener; {"": opener} where nothing says which split it is"""
