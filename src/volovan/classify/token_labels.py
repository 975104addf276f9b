"""Token labeling and MixToken in a classification run: what the sections `labels` and `augment.mixtoken` ask for.

Facts and formulas: volovan.labels. Without label maps MixToken trains on the labels themselves: the class token on the
mixed label, every patch token on the label of its picture.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from volovan.classify.recipe import Recipe
from volovan.data import BadImage, Source
from volovan.engine.settings import SettingsError, expand_variables
from volovan.files.classes import match_classes, quoted
from volovan.labels.errors import LabelError
from volovan.labels.follow import Coverage
from volovan.labels.keys import label_key
from volovan.labels.losses import token_label_loss
from volovan.labels.mixtoken import Grid, next_box
from volovan.labels.store import LabelStore, missing, open_labels
from volovan.labels.targets import TokenTargets, plain_targets, token_targets


class BadLabelMap(BadImage):
    """A picture whose label map cannot be used."""

    finder = "volovan label --verify"


class LabelMaps:
    """The label maps of pictures, in the class numbers of the network that learns from them."""

    def __init__(self, spec: str, coverage: Coverage | Literal["auto"], classes: Sequence[str]) -> None:
        """spec: folder of the maps; coverage: what they cover of a picture, auto: what they say of themselves."""
        self.store = open_labels(expand_variables(spec))
        self.coverage: Coverage = (self.store.coverage or "centre") if coverage == "auto" else coverage
        self.numbers = _translation(self.store, classes)

    def refuse_gaps(self, source: Source) -> None:
        """SettingsError if a picture has no map: better now than in the middle of an epoch."""
        absent = missing(self.store, (source.name(index) for index in range(len(source))))
        if absent:
            raise SettingsError(
                f"labels.source {self.store.folder} lacks the maps of {len(absent):,} of {len(source):,} pictures, the "
                f"first is {absent[0]}; make them with volovan label, which keeps those that are there"
            )

    def read(self, name: str) -> Tensor:
        """(2, k, h, w) float32 of the picture that its source calls `name`; BadImage if it is missing or damaged."""
        try:
            label_map = self.store.read(label_key(name)).float()
        except LabelError as error:
            raise BadLabelMap(name, f"its label map cannot be used: {error}") from error
        if self.numbers is not None:
            numbers = label_map[1].long()
            if numbers.min() < 0 or numbers.max() >= len(self.numbers):
                found = int(numbers.max())
                raise BadLabelMap(
                    name, f"its label map names class {found}, but its teacher has {len(self.numbers)} classes"
                )
            label_map[1] = self.numbers[numbers]
        return label_map


def _translation(store: LabelStore, classes: Sequence[str]) -> Tensor | None:
    """Class numbers of the student at the place of the teacher's; None where they are the same."""
    if store.classes is None:
        if store.about is not None and store.about.num_classes not in (None, len(classes)):
            raise SettingsError(
                f"the teacher of {store.folder} has {store.about.num_classes} classes, the data have {len(classes)}; "
                "take a teacher that was trained on these classes"
            )
        return None
    match = match_classes(store.classes, classes)
    if unknown := store.classes if match.by_number else match.unknown:
        raise SettingsError(
            f"the teacher of {store.folder} knows {len(unknown)} class(es) that the data lack: {quoted(unknown)}; the "
            f"data have {quoted(classes)}. Take a teacher that was trained on these classes"
        )
    return None if match.same else torch.tensor(match.places, dtype=torch.float32)


class TokenLoss:
    """Loss of a batch with a MixToken box, with targets from label maps, or with both."""

    def __init__(self, recipe: Recipe, model: nn.Module, num_classes: int) -> None:
        self.labels, self.augment, self.smoothing = recipe.labels, recipe.augment, recipe.loss.smoothing
        self.config: Any = model.config  # of VOLO, LV-ViT or VAN
        self.num_classes = num_classes
        self.has_tokens = hasattr(self.config, "token_grid")
        self.dense = bool(getattr(self.config, "dense_head", False))
        self._check_size(model)

    def _check_size(self, model: nn.Module) -> None:
        name, size = self.config.name, self.labels.size
        if self.augment.mixtoken > 0 and not self.has_tokens:
            raise SettingsError(f"augment.mixtoken mixes tokens, which {name} has not; use mixup or cutmix with it")
        if not self.labels.source or size is None:
            return
        if size == 1 and self.dense:
            raise SettingsError(
                f"labels.size 1 would leave the dense head of {name} untrained; add --model.options.dense_head false"
            )
        if size != 1 and not self.dense:
            raise SettingsError(f"labels.size is {size}, but {name} has no dense head to learn from it; take 1 or null")
        grid = self.config.token_grid(model.preprocessing.input_size) if self.has_tokens else (1, 1)  # type: ignore[union-attr]
        if size != 1 and grid != (size, size):
            raise SettingsError(
                f"labels.size is {size}, but {name} has {grid[0]} x {grid[1]} tokens at this data.size; leave it null"
            )

    def targets(self, batch: dict[str, Tensor], grid: Grid) -> TokenTargets:
        if "map" not in batch:
            return plain_targets(batch["label"], self.num_classes, self.smoothing, self.dense)
        return token_targets(
            batch["map"],
            batch["box"],
            batch["label"],
            self.num_classes,
            grid if self.dense else 1,
            self.smoothing,
            self.labels.order,
            batch["map_size"],
        )

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        images = batch["image"]
        grid = self.config.token_grid(tuple(images.shape[2:])) if self.has_tokens else (1, 1)
        targets = self.targets(batch, grid)
        if self.has_tokens:
            shared = self.augment.mixtoken_box == "shared"
            box = next_box(grid, self.augment.mixtoken, shared=shared, device=images.device)
            output = model(images, box=box)
        else:
            output = model(images)
        labels = self.labels
        weights = {"dense_weight": labels.dense_weight, "class_weight": labels.class_weight}
        return token_label_loss(output, targets, grid, **weights, ground_truth=labels.ground_truth)
