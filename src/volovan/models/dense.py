"""What the networks of all dense tasks share: a trunk without its classifier, a pyramid, and a head out of a table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from volovan.files.nearest import nearest_or_all
from volovan.models.config import ConfigError
from volovan.models.lvvit import LVViT
from volovan.models.preprocessing import Preprocessing
from volovan.models.pyramid import STRIDES, TokenPyramid, choose_taps, pad_to_stride
from volovan.models.variants import Model, build, find_config
from volovan.models.volo import VOLO

AUX_LEVEL = 2
"""an auxiliary head reads the map of stride 16 (van.md 4.4)"""


@dataclass(frozen=True)
class Rows:
    """How classes lie on the first axis of a parameter: `times` over, `each` rows a class, `rest` rows behind all."""

    times: int = 1
    each: int = 1
    rest: int = 0

    def classes(self, length: int) -> int:
        """How many there are on an axis of this length."""
        return (length - self.rest) // (self.times * self.each)

    def of(self, tensor: Tensor) -> Tensor:
        """A view (times, classes, each, ...) of a parameter, without the rest."""
        body = tensor[: len(tensor) - self.rest]
        return body.view(self.times, self.classes(len(tensor)), self.each, *tensor.shape[1:])


@dataclass(frozen=True)
class Head:
    """How a head is built, and how a file with it is known: one line of the table of a kind of network.

    build        (channels of the maps of strides 4, 8, 16, 32; num_classes; **head_options) -> module that reads them
    sign         beginning of names of parameters that only this head has
    finest       the finest stride that it reads, 4 or 8
    own          whether it reads the trunk's own maps, of whatever strides: `build` takes these as `strides`, and
                 channels are of those maps; no pyramid is made
    aux          (channels of the map of stride 16, num_classes) -> a second head for the loss; the head option
                 `auxiliary: false` leaves it out
    classifiers  beginnings of names of layers whose first axis holds the classes, and how
    theirs       pairs (ours, those of mmsegmentation or mmdetection) of names; the placeholders are those of
                 models/weights/keymaps.py
    """

    build: Callable[..., nn.Module]
    sign: str
    finest: int = STRIDES[0]
    own: bool = False
    aux: Callable[[int, int], nn.Module] | None = None
    classifiers: Mapping[str, Rows] = field(default_factory=dict)
    theirs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class DenseConfig:
    """Everything that makes a dense network; `build_dense(kind, DenseConfig(**asdict(config)))` builds it again.

    trunk         fields of the trunk's config, its name among them
    head          a name in the table of the kind
    num_classes   of the head
    pyramid       "detail" or "resample": how VOLO and LV-ViT make the strides that they lack
    head_options  keywords of the head
    """

    trunk: dict[str, Any]
    head: str
    num_classes: int
    pyramid: str = "detail"
    head_options: dict[str, Any] = field(default_factory=dict)


class DenseModel(nn.Module):
    """Trunk, pyramid and head; a kind of network adds its table of heads and `forward`.

    trunk     VOLO, VAN or LV-ViT, see `without_classifier`
    head      reads the list of maps of strides 4, 8, 16 and 32, or of the trunk's own (`Head.own`)
    aux_head  a second head for the loss, or None
    """

    heads = ("pyramid", "head", "aux_head")  # all else is the trunk
    HEADS: ClassVar[Mapping[str, Head]] = {}
    task: ClassVar[str] = "dense"
    """what the network is for, in sentences"""
    create: ClassVar[str] = "create_dense"
    """the function that makes such networks"""
    statistics_of_trunk: ClassVar[bool] = True
    """whether mean and std of a trunk alone are taken over; False: those of a whole network only"""

    def __init__(self, trunk: Model, config: DenseConfig) -> None:
        super().__init__()
        self.config = config
        head = self.find_head(config.head)
        self.trunk = trunk
        self.preprocessing: Preprocessing = trunk.preprocessing
        chosen = None if head.own else choose_taps(trunk)
        self.taps: tuple[int, ...] | None = None
        self.pyramid: TokenPyramid | None = None
        self.channels: tuple[int, ...] = trunk.channels
        self.strides: tuple[int, ...] = trunk.strides if head.own else STRIDES
        if chosen is not None:
            self.taps, self.channels, strides = chosen
            self.pyramid = TokenPyramid(self.channels, strides, trunk.config.in_chans, config.pyramid, head.finest)
        self.head, self.aux_head = make_heads(head, config, self.channels, self.strides)

    @classmethod
    def find_head(cls, name: str) -> Head:
        """The line of the table; ConfigError names the nearest."""
        if name not in cls.HEADS:
            raise ConfigError(f"no head {name!r}; {nearest_or_all(name, cls.HEADS)}")
        return cls.HEADS[name]

    @classmethod
    def head_of(cls, state: Mapping[str, Tensor]) -> str | None:
        """The head of this kind that a state dict in our names has; None for a trunk alone."""
        return next((name for name, head in cls.HEADS.items() if any(key.startswith(head.sign) for key in state)), None)

    def foreign(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str] | None:
        """A state dict of another library in our names, and the name of it, where names alone do not do it."""
        return None

    def maps(self, images: Tensor) -> list[Tensor]:
        """Images (B, C, H, W) of any size -> maps of strides 4, 8, 16, 32, or the trunk's own, of the picture padded to
        multiples of 32."""
        images = pad_to_stride(images)
        if self.pyramid is None or self.taps is None:
            return self.trunk.forward_features(images)
        wanted = sorted(set(self.taps))
        found = dict(zip(wanted, self.trunk.forward_features(images, wanted), strict=True))
        return self.pyramid(images, [found[tap] for tap in self.taps])

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that are never decayed although they have more than one axis."""
        own = dict(self.named_parameters())
        return {f"trunk.{name}" for name in self.trunk.no_weight_decay()} & own.keys()

    def layer_groups(self) -> list[list[str]]:
        """Parameter-name prefixes from stem to head, for layer-wise learning rates."""
        groups = [[f"trunk.{prefix}" for prefix in group] for group in self.trunk.layer_groups()]
        names = [name for name, _ in self.named_parameters()]
        there = [group for group in groups if any(name.startswith(tuple(group)) for name in names)]
        return [*there, ["pyramid.", "head.", "aux_head."]]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the activations of each block of the trunk again in the backward pass instead of keeping them."""
        self.trunk.set_grad_checkpointing(enable)


def make_heads(
    head: Head, config: DenseConfig, channels: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[nn.Module, nn.Module | None]:
    """The head of a config, and its auxiliary one if it has one; ConfigError names what it does not take."""
    options, classes = dict(config.head_options), config.num_classes
    if not isinstance(classes, int) or classes < 1:
        raise ConfigError(f"num_classes is {classes!r}, expected an integer of at least 1")
    auxiliary = head.aux is not None and options.pop("auxiliary", True)
    follows = {"strides": strides} if head.own else {}
    known = [name for name in list(signature(head.build).parameters)[2:] if name not in follows]
    for option in options:
        if option not in known:
            raise ConfigError(f"the head {config.head!r} has no option {option!r}; {nearest_or_all(option, known)}")
    try:
        made = head.build(channels, classes, **follows, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"head_options {options} do not fit the head {config.head!r}: {error}") from error
    return made, head.aux(channels[AUX_LEVEL], classes) if head.aux and auxiliary else None


def without_classifier(model: Model) -> Model:
    """The same backbone without the parts that no map passes through; `forward_features` is what is left.

    They would be parameters without gradient, which weigh on checkpoints and stop DistributedDataParallel.
    """
    if isinstance(model, VOLO | LVViT):
        model.norm = nn.Identity()  # type: ignore[assignment]
    model.drop_class_token()
    return model


DenseT = TypeVar("DenseT", bound=DenseModel)


def build_dense(kind: type[DenseT], config: DenseConfig) -> DenseT:
    """The network of a config, as `asdict` or JSON gives it, with random weights."""
    base = find_config(config.trunk["name"])
    trunk = base.renamed(config.trunk)
    return kind(without_classifier(build(replace(base, **trunk))), replace(config, trunk=trunk))
