"""The teacher: a classifier that gives dense maps, checked before it is used."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from volovan.engine.evaluate import autocast
from volovan.labels.errors import LabelError
from volovan.labels.heads import Features, OwnHead, PooledHead, dense_head
from volovan.models.preprocessing import Preprocessing
from volovan.models.weights.fit import refuse_not_finite
from volovan.models.weights.networks import unnested_state
from volovan.models.weights.reading import WeightsError, safe_read

TOLERANCE = 1e-4
"""largest difference between a logit and the mean of its map, as a part of the largest logit (or of 1)"""
_VALUES = 1 << 26  # logits held at once, whatever the batch: 256 MiB


@dataclass
class Teacher:
    """A model in eval mode, its way to dense maps, and what the labels say of it.

    classes        names of its outputs, None if unknown; ImageNet's are synsets, as its folders are called
    preprocessing  size, mean and std of its input
    stride         pixels per cell of its map
    digest         SHA-256 of its weights
    """

    name: str
    model: nn.Module
    head: OwnHead | PooledHead
    num_classes: int
    classes: tuple[str, ...] | None
    preprocessing: Preprocessing
    stride: int
    digest: str

    @torch.no_grad()
    def top(self, images: Tensor, top: int, precision: str = "fp32") -> Tensor:
        """The largest logits of every position and their class indices, (B, 2, top, h, w) float32, descending.

        Half precision is for the trunk: the head computes in float32.
        """
        with autocast(precision, images.device):
            features = self.head.features(images)
        positions = features.grid[0] * features.grid[1] * self.num_classes
        maps = []
        for values in features.values.split(max(1, _VALUES // positions)):
            logits, classes = self.head.dense(Features(values, features.grid)).topk(top, dim=1)
            maps.append(torch.stack([logits, classes.float()], 1))
        return torch.cat(maps)


def make_teacher(
    name: str,
    model: nn.Module,
    classes: tuple[str, ...] | None,
    preprocessing: Preprocessing,
    size: int | None = None,
    device: torch.device | str = "cpu",
) -> Teacher:
    """A teacher of a classifier of timm or volovan that is built and loaded.

    size    of the pictures that it will see, in pixels; None for that of the preprocessing
    raises  LabelError: the head cannot be made dense, or the mean of the map is not the logit
    """
    model = model.eval().requires_grad_(False).to(device)
    head = dense_head(name, model)
    size = size or max(preprocessing.input_size)
    random = torch.Generator().manual_seed(0)
    stride = _check(name, model, head, torch.randn(2, len(preprocessing.mean), size, size, generator=random).to(device))
    count = _num_classes(model)
    if classes is not None and len(classes) != count:
        classes = None
    return Teacher(name, model, head, count, classes, preprocessing, stride, weights_digest(model))


def _num_classes(model: Any) -> int:
    return int(model.num_classes if hasattr(model, "num_classes") else model.config.num_classes)


@torch.no_grad()
def _check(name: str, model: nn.Module, head: OwnHead | PooledHead, images: Tensor) -> int:
    """Compare the mean of the map with the teacher's own logits on random pictures; returns pixels per cell."""
    try:
        features = head.features(images)
        dense = head.dense(features)
    except LabelError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        size = " x ".join(map(str, images.shape[2:]))
        raise LabelError(f"{name}: pictures of {size} pixels do not go through it ({reason})") from error
    if head.mean_is_logits:
        logits = model(images).float()
        if logits.shape != dense.shape[:2]:
            raise LabelError(
                f"{name}: it gives logits {tuple(logits.shape)} and maps {tuple(dense.shape)}; take another"
            )
        difference = (dense.mean((2, 3)) - logits).abs().max().item()
        bound = TOLERANCE * max(1.0, logits.abs().max().item())
        if not difference <= bound:
            raise LabelError(
                f"{name}: the mean of its map differs from its logits by {difference:.3g} (largest logit "
                f"{logits.abs().max().item():.3g}, {bound:.1g} is allowed), so its head is not linear; take another"
            )
    return _stride(head, images, features.grid[0])


_WHOLE = 448  # pixels; 7 * 2 ** 6, so every usual stride (32, 16, 14, 8, 7 ...) divides it


def _stride(head: OwnHead | PooledHead, images: Tensor, rows: int) -> int:
    """Pixels per cell. Sides that are no multiple of it are padded or cut, so size / rows may be another number."""
    size = images.shape[2]
    quotient, rest = divmod(size, rows)
    if rows > 1 and rest == 0 and quotient & (quotient - 1) == 0:  # a power of two
        return quotient
    try:
        larger = head.features(images.new_zeros(1, images.shape[1], _WHOLE, _WHOLE)).grid[0]
    except (RuntimeError, AssertionError, ValueError):  # built for one size, which is then a multiple
        return max(1, round(size / rows))
    return max(1, _WHOLE // larger)


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of all weights and buffers."""
    hasher = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():
            hasher.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def build_timm(
    name: str, weights: str | None = None, size: int | None = None, whole: bool = False
) -> tuple[nn.Module, tuple[str, ...] | None, Preprocessing]:
    """(model, classes, preprocessing) of a classifier of timm.

    name     without the prefix "timm:"
    weights  a file with timm's names; "random" for none (to try things out); None for the published ones
    size     of the pictures, for models that are built for one size
    whole    pictures of any proportion will come
    raises   LabelError: no such model, its weights cannot be had, or it takes pictures of one size only
    """
    import timm
    from timm.data import resolve_model_data_config

    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0]}*")[:3]
        hint = f"did you mean {near[0]}?" if near else "timm.list_models() lists them"
        raise LabelError(f"timm:{name}: timm has no such model; {hint}")
    settings: dict[str, Any] = {}
    published = timm.get_pretrained_cfg(name)
    if published is not None and published.fixed_input_size:
        if whole:
            settings["dynamic_img_size"] = True
        elif size is not None:
            settings["img_size"] = size
    state = None
    if weights not in (None, "random"):
        state, settings["num_classes"] = _read_weights(name, Path(weights), getattr(published, "classifier", None))
    torch.manual_seed(0)  # random weights are the same in every process
    try:
        model = timm.create_model(name, pretrained=weights is None, **settings)
    except TypeError as error:
        if not settings.keys() & {"dynamic_img_size", "img_size"}:
            raise
        what = "pictures of one size only; use --crop centre" if whole else "one size only; leave out --size"
        raise LabelError(f"timm:{name}: it takes {what} ({error})") from None
    except Exception as error:
        if weights is not None:
            raise
        reason = " ".join(str(error).split())[:160]
        raise LabelError(f"timm:{name}: its published weights cannot be had ({reason}); give --weights FILE") from error
    if state is not None:
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            reason = " ".join(str(error).split("\n\t")[1].split())[:200] if "\n\t" in str(error) else str(error)
            raise LabelError(f"{weights} does not fit timm:{name}: {reason}") from None
    config = resolve_model_data_config(model, use_test_size=True)
    seen = Preprocessing(tuple(config["input_size"][1:]), tuple(config["mean"]), tuple(config["std"]), "bicubic", 1.0)
    return model, imagenet_classes(_num_classes(model)) if weights is None else None, seen


def imagenet_classes(count: int) -> tuple[str, ...] | None:
    """Synsets of ImageNet's well-known subsets in timm's order, as their folders are called; None for other counts."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": count})
    return None if subset is None else tuple(ImageNetInfo(subset).label_names())


def _read_weights(name: str, path: Path, classifier: object) -> tuple[dict[str, Tensor], int]:
    """The tensors of a weight file, the averaged ones where it has both, and how many classes they have."""
    weight = f"{classifier}.weight"
    try:
        what = f"weights for timm:{name}, whose classes {weight} counts"
        state, _ = unnested_state(safe_read(path), telling=re.compile(re.escape(weight)), what=what)
        refuse_not_finite(path, state)
    except WeightsError as error:
        raise LabelError(str(error)) from error
    return state, len(state[weight])
