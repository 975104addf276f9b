"""create_model and list_models: from a name and settings to a network."""

from dataclasses import fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from volovan.models import lvvit, van, volo
from volovan.models.lvvit import LVViT, LVViTConfig
from volovan.models.van import VAN, VANConfig
from volovan.models.volo import VOLO, VOLOConfig

Model = VOLO | VAN | LVViT
Config = VOLOConfig | VANConfig | LVViTConfig

# A family's own name is a net that the settings describe in full, as small nets of one's own are.
CONFIGS: dict[str, Config] = {
    "volo": VOLOConfig(),
    "van": VANConfig(),
    "lvvit": LVViTConfig(),
    **volo.VARIANTS,
    **van.VARIANTS,
    **lvvit.VARIANTS,
}


def list_models(pattern: str = "*") -> list[str]:
    """Names of the published variants that match a shell pattern, sorted: list_models("van_*")."""
    return sorted(name for name in CONFIGS if "_" in name and fnmatchcase(name, pattern))


def create_model(
    name: str,
    pretrained: bool = False,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    drop_path_rate: float = 0.0,
    **overrides: Any,
) -> Model:
    """Build a network, with published or own weights if asked.

    name            a variant of `list_models()`, or a family ("volo", "van", "lvvit") with settings of one's own
    pretrained      load the published default weights of the variant
    weights         load these: a path, or a name in the table of published weights
    num_classes     width of the head, 1000 by default; 0 for features
    in_chans        channels of the input, 3 by default
    img_size        pixels, one number or (height, width); by default that of the weights, or 224
    drop_path_rate  stochastic depth of the last block
    overrides       any other field of VOLOConfig, VANConfig or LVViTConfig
    returns         the network, in training mode as torch modules are; `create_model(**asdict(model.config))`
                    builds it again
    raises          ValueError: unknown name or field, a config that cannot work, weights that do not fit
    """
    base = find_config(name)
    given = {"num_classes": num_classes, "in_chans": in_chans, "img_size": img_size}
    settings: dict[str, Any] = {}
    if pretrained or weights is not None:
        from volovan.models import weights as w

        settings.update(w.config_overrides(name, weights))
    settings.update({key: value for key, value in given.items() if value is not None})
    settings.update(overrides, drop_path_rate=drop_path_rate)
    known = [field.name for field in fields(base)]
    for field in settings:
        if field not in known:
            raise ValueError(f"{name}: no setting {field!r}{nearest(field, known)}")
    model = build(replace(base, **settings))
    if pretrained or weights is not None:
        w.apply(model, name, weights)
    return model


def build(config: Config) -> Model:
    """The network of a config, with random weights."""
    if isinstance(config, VOLOConfig):
        return VOLO(config)
    if isinstance(config, VANConfig):
        return VAN(config)
    return LVViT(config)


def find_config(name: str) -> Config:
    """The config of a variant or family; ValueError names the nearest."""
    if not isinstance(name, str):
        raise ValueError(f"the name of a model is {name!r}, expected a string such as 'volo_d1'")
    if name not in CONFIGS:
        raise ValueError(f"no model {name!r}{nearest(name, list(CONFIGS))}")
    return CONFIGS[name]


def nearest(word: str, known: list[str]) -> str:
    """The end of an error sentence: the nearest known word, else all of them."""
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"
