"""Sections of recipes that all rooms have, and the checks of their values. Without torch: `--help` must be instant."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from volovan.engine.settings import EngineSettings, SettingsError, expand_variables
from volovan.files.runs import missing_weights

LEAST = 32
"""pixels of a side, unless a room says otherwise"""
LARGEST = 16_384
"""pixels of a side that a picture is scaled to; more would only run out of memory, slowly"""
Size = tuple[int, int]


class Frame(tuple[int, int]):
    """(height, width) that pictures fit into as they lie, such as of an exported file that takes no other; a plain size
    is that of a long and a short side, whichever way a picture lies."""


def factor_into(size: tuple[float, float], sides: Size) -> float:
    """By which a picture of (height, width) is scaled to fit."""
    if isinstance(sides, Frame):
        return min(sides[0] / size[0], sides[1] / size[1])
    return min(max(sides) / max(size), min(sides) / min(size))


@dataclass
class TrunkSettings:
    """The network."""

    name: str = "van_b0"
    """a variant (`volovan models` lists them) or a family: van, volo, lvvit"""
    weights: str | None = None
    """start from these: a file, a run folder, a name that `volovan models NAME` shows, or `pretrained` for the
    published weights of the variant; of a head, classes that the weights know by name keep their rows, the others are
    new"""
    drop_path_rate: float = 0.0
    """stochastic depth of the last block; rises linearly from the first"""
    options: dict[str, Any] = field(default_factory=dict)
    """any field of the model's config, e.g. --model.options.depths [2,2,4,2]"""


@dataclass
class DenseSettings(TrunkSettings):
    """The network: a trunk, and a head on its maps of strides 4, 8, 16 and 32."""

    head: str = ""
    """the head"""
    head_options: dict[str, Any] = field(default_factory=dict)
    """any setting of the head; and `pyramid`: how VOLO and LV-ViT make strides 4 and 32 (docs/segmentation.md)"""


@dataclass
class SourceSettings:
    """Where pictures, and what is said of them, come from."""

    source: str = ""
    """the data; docs/data.md lists what can be named"""
    val: str | None = None
    """source of the validation pictures; null: the split `val_split` of `source`"""
    train_split: str = "train"
    """split of `source` to train on"""
    val_split: str = "val"
    """split to validate on"""
    limit: int | None = None
    """train on so many pictures of the split only, drawn once, the same for every seed; null: all of them"""
    mean: tuple[float, float, float] | None = None
    """of the channels, for values 0 to 1; null: what the weights were made for, or the variant's"""
    std: tuple[float, float, float] | None = None
    """of the channels, likewise"""


@dataclass
class SizedSettings(SourceSettings):
    """The same where every picture is brought to one size."""

    LEAST: ClassVar[int] = LEAST
    """pixels of a side"""
    size: int | tuple[int, int] = 224
    """training and validation size, or [height, width]"""
    mixed_sizes: tuple[int, ...] = ()
    """train at several sizes, e.g. [192, 224, 256]: each optimiser step draws one, the same in all processes"""
    eval_size: int | tuple[int, int] | None = None
    """another size for validation"""


@dataclass
class RoomRecipe(EngineSettings):
    """What the recipe of every room has besides the engine's sections; a room narrows the types."""

    PATHS: ClassVar[tuple[str, ...]] = ("data.source", "data.val", "model.weights")
    """keys that may name a file or folder; the recipe of a run keeps their full paths"""
    RESERVED: ClassVar[Mapping[str, str]] = {}
    """fields of a trunk's config that are not taken as options -> what they follow from, where it is not the usual"""
    ELSEWHERE: ClassVar[Mapping[str, str]] = {}
    """keys of other rooms -> what has their place in this one"""
    task: str = ""
    """what is learned"""
    model: TrunkSettings = field(default_factory=TrunkSettings)
    data: SourceSettings = field(default_factory=SourceSettings)

    def check(self) -> None:
        """SettingsError for values, and pairs of values, that cannot work, each with the key to change."""
        data = self.data
        at_least("data.limit", data.limit, 1)
        if (data.mean is None) != (data.std is None):
            raise SettingsError("data.mean and data.std come together: set both or neither")
        if data.std is not None and min(data.std) <= 0:
            raise SettingsError(f"data.std is {list(data.std)}; numbers above 0 are expected")
        if isinstance(data, SizedSettings):
            for key in ("size", "eval_size"):
                sides_at_least(f"data.{key}", getattr(data, key), data.LEAST)
            for side in data.mixed_sizes:
                at_least("data.mixed_sizes", side, data.LEAST)
            _refuse_strange_size(data)
        own = {"name": "model.name", "drop_path_rate": "model.drop_path_rate"}
        own |= {"num_classes": "the classes of the data", "img_size": "data.size"}
        own |= {"in_chans": "the pictures, which are all read as RGB"}
        for key, whence in (own | dict(self.RESERVED)).items():
            if key in self.model.options:
                raise SettingsError(f"model.options.{key} is not taken; it follows from {whence}")

    def network_size(self) -> Size | None:
        """(height, width) that the network is built for; None: nothing says so."""
        return pair(self.data.size) if isinstance(self.data, SizedSettings) else None

    def check_paths(self, kind: str) -> None:
        """SettingsError for data and weights that are not there, kind: of the targets."""
        from volovan.data.sources import refuse_missing

        for key in ("source", "val"):
            if (spec := getattr(self.data, key)) is not None:
                with of_key(f"data.{key}"):
                    refuse_missing(expand_variables(spec), kind)
        weights = self.model.weights
        if weights is not None and not weights.strip():  # as of a variable of the shell that is not set
            raise SettingsError("--model.weights is empty; name a file, a run folder or published weights, or null")
        if weights and (missing := missing_weights(weights)):
            raise SettingsError(f"--model.weights {missing}")


def _refuse_strange_size(data: SizedSettings) -> None:
    """Mixed sizes are what is trained at: another `size` beside them would only be that of validation."""
    mixed = data.mixed_sizes
    if mixed and not min(mixed) <= min(pair(data.size)) <= max(pair(data.size)) <= max(mixed):
        raise SettingsError(
            f"data.size is {data.size}, but data.mixed_sizes {list(mixed)} is what the network is trained at; set "
            "data.mixed_sizes to [] to train at data.size alone, or to sizes around it (data.eval_size is the size of "
            "validation)"
        )


def pair(size: int | tuple[int, int]) -> Size:
    """(height, width) of one number or two."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def trained_size(crop: int | Size | None, resize: Size | None) -> Size:
    """(height, width) of what the network sees in training, as far as one size says it: the window, else the long and
    the short side that pictures are scaled into, as of wide ones."""
    if crop is not None:
        return pair(crop)
    return (512, 512) if resize is None else (min(resize), max(resize))


def parse_size(words: Any, option: str = "--size", least: int = LEAST) -> Size | None:
    """`--size 224` or `--size 224 320` -> the two numbers; None where nothing, or `native`, is said."""
    several = isinstance(words, Iterable) and not isinstance(words, str)
    words = list(map(str, words if several else [] if words is None else [words]))
    if not words or words == ["native"]:
        return None
    said = f"{option} {' '.join(words)}"
    if len(words) > 2 or not all(word.isdigit() for word in words):
        raise SettingsError(f"{said}: one number, or two, are expected")
    numbers = [int(word) for word in words]
    if not least <= min(numbers) <= max(numbers) <= LARGEST:
        said = f"{option} {' '.join(dict.fromkeys(words))}"  # a side that was said once, once
        raise SettingsError(f"{said}: sides from {least} to {LARGEST} pixels are expected")
    return numbers[0], numbers[-1]


# Checks. `key` is how the user writes it: data.limit in a recipe, --limit on the command line.


@contextmanager
def of_key(key: str) -> Iterator[None]:
    """What is refused in here is the value of this key."""
    from volovan.data.errors import SourceError
    from volovan.labels.errors import LabelError

    try:
        yield
    except (SourceError, LabelError) as error:
        raise SettingsError(f"--{key} {error}") from error


def at_least(key: str, value: float | None, least: float) -> None:
    """SettingsError for a number below the least; None is no number."""
    if value is not None and value < least:
        raise SettingsError(f"{key} is {value}; at least {least} is needed")


def between(key: str, value: float | None, low: float, high: float) -> None:
    """SettingsError for a number outside of the range."""
    if value is not None and not low <= value <= high:
        raise SettingsError(f"{key} is {value}; {low} to {high} is taken")


def sides_at_least(key: str, size: int | tuple[int, int] | None, least: int) -> None:
    """SettingsError for a picture whose shorter side is below the least."""
    if size is not None and min(pair(size)) < least:
        raise SettingsError(f"{key} is {size}; at least {least} pixels are needed")


def rising(key: str, pair: tuple[float, float], most: float | None = None) -> None:
    """SettingsError unless the two numbers are above 0, the smaller first, and not above the most."""
    low, high = pair
    if not 0 < low <= high or (most is not None and high > most):
        limit = "" if most is None else f" up to {most}"
        raise SettingsError(f"{key} is {[low, high]}; two numbers above 0{limit}, the smaller first, are expected")
