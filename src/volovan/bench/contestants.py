"""Who takes part in a benchmark: networks of ours, of runs and of recipes, and their peers, by a word each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from volovan.engine.settings import SettingsError
from volovan.exports import FILES
from volovan.files.nearest import nearest_or_all
from volovan.models.factory import create_model
from volovan.models.fuse import fuse
from volovan.models.van import VAN
from volovan.models.variants import list_models
from volovan.models.volo import VOLO
from volovan.use.load import find_settings, load
from volovan.use.rehearse import data_size
from volovan.use.rooms import ROOMS

LAYOUTS = {"nchw": torch.contiguous_format, "channels-last": torch.channels_last}
FORMS = ("eager", "fused", "compiled", "fused-compiled")
TIMM, PLAIN = "timm:", "plain:"

ACCURACY = {  # top-1 on ImageNet at 224, %, as published: ours in van.md and volo.md, peers in the papers of each
    "van_b0": 75.4,
    "van_b1": 81.1,
    "van_b2": 82.8,
    "van_b3": 83.9,
    "van_b4": 84.2,
    "volo_d1": 84.2,
    "volo_d2": 85.2,
    "volo_d3": 85.4,
    "volo_d4": 85.7,
    "volo_d5": 86.1,
    "lvvit_t": 79.1,
    "lvvit_s": 83.3,
    "lvvit_m": 84.0,
    "timm:swin_tiny_patch4_window7_224": 81.3,
    "timm:swin_small_patch4_window7_224": 83.0,
    "timm:swin_base_patch4_window7_224": 83.5,
    "timm:convnext_tiny": 82.1,
    "timm:convnext_small": 83.1,
    "timm:convnext_base": 83.8,
    "timm:convnext_large": 84.3,
    "timm:fastvit_t8": 75.6,
    "timm:fastvit_sa12": 80.6,
    "timm:fastvit_sa24": 82.6,
    "timm:fastvit_sa36": 83.6,
    "timm:deit_tiny_patch16_224": 72.2,
    "timm:deit_small_patch16_224": 79.8,
    "timm:deit_base_patch16_224": 81.8,
}
_SWIN, _CONVNEXT, _FASTVIT, _DEIT = ("timm:swin_{}_patch4_window7_224", "timm:convnext_{}", "timm:fastvit_{}",
                                     "timm:deit_{}_patch16_224")  # fmt: skip
_LARGE = (_SWIN.format("base"), _CONVNEXT.format("base"), _CONVNEXT.format("large"))
PEERS = {  # of each variant: the plain formulation, then the nearest in accuracy
    "van_b0": ("plain:van_b0", _FASTVIT.format("t8"), _DEIT.format("tiny")),
    "van_b1": ("plain:van_b1", _SWIN.format("tiny"), _FASTVIT.format("sa12"), _DEIT.format("small")),
    "van_b2": ("plain:van_b2", _SWIN.format("tiny"), _CONVNEXT.format("tiny"), _FASTVIT.format("sa24"),
               _DEIT.format("base")),
    "van_b3": ("plain:van_b3", _SWIN.format("small"), _CONVNEXT.format("small"), _FASTVIT.format("sa36")),
    "van_b4": ("plain:van_b4", *_LARGE),
    "van_b5": ("plain:van_b5", *_LARGE),
    "van_b6": ("plain:van_b6", *_LARGE),
    "lvvit_t": (_DEIT.format("small"), _FASTVIT.format("sa12")),
    "lvvit_s": (_DEIT.format("base"), _SWIN.format("small"), _CONVNEXT.format("small")),
    "lvvit_m": _LARGE,
    "lvvit_l": _LARGE,
    **{f"volo_d{n}": (f"plain:volo_d{n}", *_LARGE) for n in range(1, 6)},
}  # fmt: skip


@dataclass
class Contestant:
    """A network that takes part.

    word     as it was named: a variant, a recipe, a run, a file of `volovan export`, timm:NAME, or plain:VARIANT
    form     one of FORMS
    layout   of pictures and weights, one of LAYOUTS; None: nchw on a CPU, else channels-last
    make     the network with random weights, in eval mode, on the CPU
    size     (height, width) of its pictures
    least    pictures that a training step needs at least
    forward  keywords of a call
    """

    word: str
    make: Callable[[], nn.Module]
    size: tuple[int, int]
    form: str = "eager"
    layout: str | None = None
    least: int = 1
    forward: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return " ".join([self.word, *([] if self.form == "eager" else [self.form]), *filter(None, [self.layout])])

    def memory_format(self, device: torch.device) -> torch.memory_format:
        return LAYOUTS[self.layout or ("nchw" if device.type == "cpu" else "channels-last")]

    @property
    def accuracy(self) -> float | None:
        """Published top-1 at 224."""
        return ACCURACY.get(self.word.removeprefix(PLAIN))

    def build(self, device: torch.device, train: bool = False) -> nn.Module:
        """The network on its device, in its form."""
        model = self.make().train(train)
        if self.form.startswith("fused"):
            model = fuse(model)
        layout = self.memory_format(device)
        model = model.to(device)
        if layout is not torch.contiguous_format:
            model = model.to(memory_format=layout)
        return torch.compile(model) if self.form.endswith("compiled") else model  # type: ignore[return-value]


def find_contestant(word: str, size: tuple[int, int] | None, classes: int = 1000) -> Contestant:
    """What a word names; SettingsError if it names nothing that can take part."""
    if not word.strip():
        raise SettingsError("a network is empty; name a variant, a recipe, a run, timm:NAME, or ops")
    if word.startswith(TIMM):
        return _of_timm(word, size or (224, 224), classes)
    variant = word.removeprefix(PLAIN)
    if variant in list_models():
        own = size or (224, 224)
        build = _plain if word.startswith(PLAIN) else create_model
        return Contestant(word, lambda: build(variant, num_classes=classes, img_size=own), own)
    if word.startswith(PLAIN):
        known = [name for name in list_models() if not name.startswith("lvvit")]
        raise SettingsError(f"{word}: {variant!r} is no variant; {nearest_or_all(variant, known)}")
    if is_exported(word):
        return _of_file(word, size)
    return _of_recipe(word, size)


def is_exported(word: str) -> bool:
    """Whether it is a file of `volovan export`, or would be one if it were there: `load` says so then."""
    return Path(word).suffix in FILES and not Path(word).is_dir()


def in_forms(contestant: Contestant, forms: Sequence[str], layouts: Sequence[str | None] = (None,)) -> list[Contestant]:
    """The same network in each form and layout; a file has one."""
    if is_exported(contestant.word):
        return [contestant]
    return [replace(contestant, form=form, layout=layout) for form in forms for layout in layouts]


def _of_timm(word: str, size: tuple[int, int], classes: int) -> Contestant:
    import timm

    name = word.removeprefix(TIMM)
    if not timm.is_model(name):
        known = timm.list_models()
        raise SettingsError(f"{word}: timm has no {name!r}; {nearest_or_all(name, known)}")

    def make() -> nn.Module:
        try:
            return timm.create_model(name, num_classes=classes, img_size=size)
        except TypeError:  # networks of convolutions take any size, and no such word
            return timm.create_model(name, num_classes=classes)

    return Contestant(word, make, size)


def _of_file(word: str, size: tuple[int, int] | None) -> Contestant:
    """A file, by whatever runs it."""
    ready = load(word, device="cpu")
    return Contestant(word, lambda: ready.model, size or ready.options.size or ready.preprocessing.input_size)


def _of_recipe(word: str, size: tuple[int, int] | None) -> Contestant:
    """The network of a recipe, or of a run, as a rehearsal builds it: with random weights, and no data."""
    settings = find_settings(word)
    classes = data_size(settings).classes
    example = ROOMS[settings.task].rehearsal().example(settings, classes)
    return Contestant(
        word, lambda: example.model, size or example.size, least=example.pictures, forward=example.forward
    )


class PlainVAN(VAN):
    """VAN as its authors' code computes it: every convolution that of torch, in the layout that pictures come in."""

    def laid_out(self, x: torch.Tensor) -> torch.Tensor:
        return x


def _plain(name: str, **options: Any) -> nn.Module:
    """A variant in plain torch: vendor convolutions for VAN, unfold and fold for VOLO (timm's)."""
    ours = create_model(name, **options)
    if isinstance(ours, VAN):
        plain = PlainVAN(ours.config)
        plain.load_state_dict(ours.state_dict())
        for module in plain.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(_nothing)  # what is watched is called, and not computed from its weights
        return plain
    if not isinstance(ours, VOLO):
        raise SettingsError(f"{PLAIN}{name}: LV-ViT is plain torch already; name {name} itself")
    import timm

    size = options["img_size"]
    theirs = timm.create_model(f"{name}_224", num_classes=options["num_classes"], img_size=size)
    theirs.load_state_dict(ours.state_dict())
    return theirs


def _nothing(*args: Any) -> None:
    pass
