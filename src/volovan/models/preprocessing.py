"""How a picture becomes the input of a network: size, mean, standard deviation, interpolation, crop."""

from dataclasses import dataclass
from typing import Any

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """What validation and prediction do with a picture before the network sees it.

    input_size     (height, width) in pixels
    mean, std      per channel, of values between 0 and 1
    interpolation  of the resize
    crop_pct       the shorter side is resized to floor(size / crop_pct), then the centre is cropped;
                   above 1 the picture is smaller than the crop and gets a black border
    """

    input_size: tuple[int, int]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bicubic"
    crop_pct: float = 0.96

    @classmethod
    def described(cls, said: dict[str, Any]) -> "Preprocessing":
        """From what a checkpoint says, in JSON, which knows no tuples."""
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in said.items()}
        return cls(**values)


# VOLO: section 5.4 of its official commands. VAN: B0 to B4 were trained on ImageNet-1K with mean and std 0.5; B5 and
# B6 are published from ImageNet-22K only, whose scripts use the ImageNet statistics and resize to 256.
_CROP = {"volo_d4": 1.15, "volo_d5": 1.15, "van_b5": 0.875, "van_b6": 0.875, "lvvit_m": 1.0, "lvvit_l": 1.0}
_FAMILY_CROP = {"volo": 0.96, "van": 0.9, "lvvit": 0.9}


def default_preprocessing(name: str, input_size: tuple[int, int], in_chans: int = 3) -> Preprocessing:
    """The published preprocessing of a variant, or of its family; in_chans other than 3 gets mean and std 0.5."""
    family = name.split("_")[0]
    half = in_chans != 3 or (family == "van" and name not in ("van_b5", "van_b6"))
    return Preprocessing(
        input_size,
        mean=(0.5,) * in_chans if half else IMAGENET_MEAN,
        std=(0.5,) * in_chans if half else IMAGENET_STD,
        crop_pct=_CROP.get(name, _FAMILY_CROP[family]),
    )
