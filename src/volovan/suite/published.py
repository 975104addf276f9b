"""What others measured: figures to set beside ours. Each is of the released weights of a variant at a size.

Sources: result tables of timm (the same weights of VOLO on five sets), README of sail-sg/volo, VAN paper tables 7 and
8, README of zihangJiang/TokenLabeling, model zoos of OpenMMLab, leaderboard listings of the VOLO paper's results. Those
of val stand in the table of weights (volovan.models.weights).
"""

from dataclasses import dataclass, fields
from typing import Any

from volovan.models.variants import find_config
from volovan.models.weights.table import TABLE, Entry


@dataclass(frozen=True)
class Published:
    """A figure in per cent, the crop ratio it was measured with if that is known, and who says so."""

    value: float
    source: str
    crop_pct: float | None = None

    def __str__(self) -> str:
        crop = "" if self.crop_pct is None else f", crop {self.crop_pct:g}"
        return f"{self.value:g} ({self.source}{crop})"


# timm's top-1 on ReaL, V2 (matched frequency), A, R, Sketch, at timm's crop (column of val in the table of weights).
_TIMM_SETS = ("real", "v2-matched-frequency", "a", "r", "sketch")
_TIMM = {
    "volo_d1_224": (88.898, 74.100, 38.680, 48.983, 36.906),
    "volo_d1_384": (89.711, 75.690, 53.840, 50.437, 37.110),
    "volo_d2_224": (89.329, 75.470, 45.907, 49.773, 36.619),
    "volo_d2_384": (89.784, 76.240, 58.427, 50.807, 36.426),
    "volo_d3_224": (89.589, 75.690, 50.000, 52.677, 39.486),
    "volo_d3_448": (90.179, 77.190, 65.520, 53.933, 39.704),
    "volo_d4_224": (89.799, 76.130, 52.867, 54.710, 42.310),
    "volo_d4_448": (90.510, 77.750, 66.293, 57.277, 43.129),
    "volo_d5_224": (89.876, 76.600, 56.827, 56.383, 43.282),
    "volo_d5_448": (90.587, 77.910, 67.960, 58.693, 44.100),
    "volo_d5_512": (90.633, 78.120, 69.467, 58.773, 44.570),
}

# Listed for the paper's best resolution, which the listings do not name; VizWiz was not traced to the paper.
_LISTED = {
    ("volo_d4", "real"): 90.5,
    ("volo_d5", "real"): 90.6,
    ("volo_d4", "v2-matched-frequency"): 77.8,
    ("volo_d5", "v2-matched-frequency"): 78.0,
    ("volo_d5", "vizwiz"): 57.2,
    ("volo_d5", "vizwiz-clean"): 59.7,
    ("volo_d5", "vizwiz-corrupted"): 51.8,
}

# VAN paper, table 8: pre-trained on ImageNet-22K, fine-tuned; these weights were never released.
_VAN_22K = {
    ("van_b4", 224): 85.7,
    ("van_b4", 384): 86.6,
    ("van_b5", 224): 86.3,
    ("van_b5", 384): 87.0,
    ("van_b6", 224): 86.9,
    ("van_b6", 384): 87.8,
}


def published(model: str, size: tuple[int, int], figure: str, metric: str = "top1") -> tuple[Published, ...]:
    """Figures for a variant at (height, width): of val, real, v2-matched-frequency, ...; () where nobody gave one."""
    found = []
    for entry in _entries(model, size):
        for result in (entry.published, entry.measured):
            value = getattr(result, metric, None) if figure == "val" else None
            if result is not None and value is not None:
                found.append(Published(value, result.source, result.crop_pct))
        if figure in _TIMM_SETS and metric == "top1" and entry.name in _TIMM and entry.measured is not None:
            value = _TIMM[entry.name][_TIMM_SETS.index(figure)]
            found.append(Published(value, "timm", entry.measured.crop_pct))
    if metric == "top1" and figure == "val" and size[0] == size[1] and (model, size[0]) in _VAN_22K:
        found.append(Published(_VAN_22K[model, size[0]], "VAN paper table 8, pre-trained on ImageNet-22K"))
    if metric == "top1" and (model, figure) in _LISTED:
        found.append(Published(_LISTED[model, figure], "leaderboard listing, size not stated"))
    return tuple(found)


def measured_crop(model: str, size: tuple[int, int]) -> float | None:
    """The crop of timm's or OpenMMLab's measurement of a variant at a size."""
    return next((entry.measured.crop_pct for entry in _entries(model, size) if entry.measured is not None), None)


def _entries(model: str, size: tuple[int, int]) -> list[Entry]:
    """Weights of a variant that were trained for a size."""
    return [entry for entry in TABLE.values() if entry.model == model and (entry.size, entry.size) == size]


def published_variant(config: Any) -> str | None:
    """Name of the published variant that a config describes, None for a net of one's own.

    Picture size, input channels, classes and dropout rates may differ: they make no other network.
    """
    name: str = config.name
    if "_" not in name:
        return None
    base = find_config(name)
    free = {"name", "img_size", "num_classes", "in_chans"}
    same = all(
        getattr(config, field.name) == getattr(base, field.name)
        for field in fields(base)
        if field.name not in free and not field.name.endswith("_rate")
    )
    return name if same else None
