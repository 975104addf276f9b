"""What there is: every variant of the three families by name, and from a config to a network with random weights."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from volovan.files.nearest import nearest_or_all
from volovan.models import lvvit, van, volo
from volovan.models.config import ConfigError
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
    """Names of the variants that match a shell pattern, sorted: list_models("van_*")."""
    return sorted(name for name in CONFIGS if "_" in name and fnmatchcase(name, pattern))


def find_config(name: str) -> Config:
    """The config of a variant or family; ValueError names the nearest."""
    if not isinstance(name, str):
        raise ConfigError(f"the name of a model is {name!r}, expected a string such as 'volo_d1'")
    if name not in CONFIGS:
        raise ConfigError(f"no model {name!r}; {nearest_or_all(name, CONFIGS)}")
    return CONFIGS[name]


def build(config: Config) -> Model:
    """The network of a config, with random weights."""
    networks: dict[type, Callable[[Any], Model]] = {VOLOConfig: VOLO, VANConfig: VAN, LVViTConfig: LVViT}
    return networks[type(config)](config)


def shapes(config: Config) -> dict[str, Tensor]:
    """The state dict of a config without numbers: names and shapes."""
    with torch.device("meta"):
        return build(config).state_dict()
