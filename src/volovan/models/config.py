"""Fields and checks that the configs of the three families share. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import ceil, isfinite
from types import UnionType
from typing import Any, ClassVar, get_args, get_origin

WORDS = {int: "integer", float: "number", bool: "True or False", str: "string", type(None): "None"}


class ConfigError(ValueError):
    """A network that cannot be built, or cannot run on an input; says what was found and what is needed."""


@dataclass(frozen=True)
class BackboneConfig:
    """The fields that every config begins with. Lists (as JSON gives them) become tuples, and types are checked."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {}
    """fields as they were called once, which recipes, checkpoints and programs may still say -> their names"""
    name: str
    num_classes: int = 1000
    in_chans: int = 3
    img_size: int | tuple[int, int] = 224
    drop_path_rate: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                value = tuple(value)
                object.__setattr__(self, field.name, value)
            if field.name != "img_size" and not is_a(value, field.type):  # image_size checks that
                raise self.error(f"{field.name} is {value!r}, expected {in_words(field.type)}")
            if field.name.endswith("_rate") and not 0 <= value < 1:
                raise self.error(f"{field.name} is {value}, expected 0 <= rate < 1")
            if field.name == "norm_eps" and not (isfinite(value) and value > 0):
                raise self.error(f"norm_eps is {value}, expected a positive number")
        self.at_least(0, "num_classes")
        self.at_least(1, "in_chans")
        image_size(self)

    @classmethod
    def renamed(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings under the names of the fields; ConfigError where one is said under two names."""
        for old, name in cls.OLD_NAMES.items():
            if {old, name} <= settings.keys():
                raise ConfigError(f"{old} and {name} are the same setting; say {name} alone")
        return {cls.OLD_NAMES.get(key, key): value for key, value in settings.items()}

    @property
    def least_size(self) -> int:
        """The smallest height and width of a picture."""
        return 1

    def error(self, text: str) -> ConfigError:
        return ConfigError(f"{self.name}: {text}")

    def at_least(self, least: int, *names: str) -> None:
        """No number of the named fields is below `least`."""
        for name in names:
            value = getattr(self, name)
            if min(value if isinstance(value, tuple) else (value,), default=least) < least:
                raise self.error(f"{name} is {value}, expected integers of at least {least}")

    def same_length(self, first: str, *others: str) -> None:
        """The named tuples describe the same stages."""
        stages = len(getattr(self, first))
        for name in others:
            if (length := len(getattr(self, name))) != stages:
                raise self.error(
                    f"{name} has {length} entries and {first} {stages}, expected one entry per stage in each"
                )
        if not stages:
            raise self.error(f"{first} is empty, expected at least one stage")

    def divides(self, dims: Sequence[int], heads: Sequence[int]) -> None:
        """Every width is a multiple of its number of heads."""
        for dim, head in zip(dims, heads, strict=True):
            if head < 1 or dim % head:
                raise self.error(f"width {dim} is not a multiple of its {head} heads")

    def one_of(self, field: str, *allowed: str) -> None:
        """The field, or each entry of it, is an allowed name."""
        value = getattr(self, field)
        for entry in value if isinstance(value, tuple) else (value,):
            if entry not in allowed:
                raise self.error(f"{field} has {entry!r}, expected one of {', '.join(allowed)}")

    def hidden_width(self, dim: int, ratio: float) -> int:
        """int(dim * ratio), the hidden width of an MLP."""
        hidden = int(dim * ratio) if isfinite(ratio) else 0
        if hidden < 1:
            raise self.error(f"mlp ratio {ratio} of width {dim} leaves no hidden channel")
        return hidden


@dataclass(frozen=True)
class TokenConfig(BackboneConfig):
    """What the configs of VOLO and LV-ViT have in common.

    img_size        size that the position embedding is built for; other sizes run too
    stem_width      channels of the three convolutions of the stem
    dense_head      second head on every patch token, added to the logits as 0.5 * max
    pos_drop_rate   dropout after the position embedding; attn_drop_rate, proj_drop_rate: in every block; drop_rate:
                    before the heads
    """

    patch_size: int = 16
    stem_width: int = 64
    qkv_bias: bool = False
    dense_head: bool = True
    drop_rate: float = 0.0
    pos_drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    proj_drop_rate: float = 0.0
    norm_eps: float = 1e-5

    @property
    def stem_stride(self) -> int:
        """Pixels per position of the stem."""
        raise NotImplementedError

    def check_tokens(self) -> None:
        """The picture leaves a token."""
        if min(image_size(self)) < self.least_size:
            raise self.error(
                f"img_size = {self.img_size} leaves no token at one per {self.token_stride} pixels; expected at least "
                f"{self.least_size}"
            )

    @property
    def token_stride(self) -> int:
        """Pixels per token of the last stage, hence of the position embedding and of the MixToken grid."""
        return self.patch_size

    @property
    def least_size(self) -> int:
        """The smallest height and width: the stem rounds up, everything after it down."""
        return self.token_stride - self.stem_stride + 1

    def token_grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the last stage, where the position embedding and the MixToken box live."""
        height, width = (ceil(n / self.stem_stride) // (self.token_stride // self.stem_stride) for n in size)
        return height, width


def is_a(value: Any, kind: Any) -> bool:
    """Whether a value is of the type of a config's field. An integer is a number, a bool is neither."""
    kinds = get_args(kind)
    if get_origin(kind) is UnionType:
        return any(is_a(value, one) for one in kinds)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(is_a(entry, kinds[0]) for entry in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def in_words(kind: Any) -> str:
    """The type of a field for an error sentence."""
    kinds = get_args(kind)
    if get_origin(kind) is UnionType:
        return " or ".join(map(in_words, kinds))
    if get_origin(kind) is tuple:
        return f"one {WORDS[kinds[0]]} per stage"
    return WORDS[kind]


def image_size(config: Any) -> tuple[int, int]:
    """img_size as (height, width)."""
    size = config.img_size
    pair = size if isinstance(size, tuple) else (size, size)
    if len(pair) != 2 or not all(is_a(n, int) and n > 0 for n in pair):
        raise config.error(f"img_size is {size}, expected a positive integer or (height, width)")
    return pair


def drop_path_rates(rate: float, blocks: int) -> list[float]:
    """Linear from 0 at the first block to `rate` at the last."""
    return [rate * i / max(blocks - 1, 1) for i in range(blocks)]
