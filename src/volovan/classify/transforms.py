"""Picture -> tensor, for training and for validation.

Random choices are drawn from the default generators, which the loader keys by (seed, epoch, sample).
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from volovan.classify.on_device import can_be_done_there, on_device
from volovan.classify.recipe import AugmentSettings
from volovan.classify.regions import Step, can_be_seen_alone, draw_steps, flip, seen
from volovan.classify.windows import Window, cut, draw_window
from volovan.data.pictures.decoding import Least
from volovan.data.pictures.resizing import Filter
from volovan.data.pictures.tensors import Pixels, Stats, to_tensor
from volovan.data.pictures.thin import LONGEST
from volovan.engine.settings import SettingsError
from volovan.labels.follow import Box, Coverage, box_in_map, motion, move_map
from volovan.models.preprocessing import Preprocessing
from volovan.room.settings import Size

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
Loading = Callable[[Least], Image.Image]


def all_of_it(width: int, height: int) -> tuple[float, float]:
    return width, height


@dataclass
class EvalTransform:
    """What validation, prediction and export use.

    center: resize so that the picture covers floor(size / crop_pct), cut out the centre; with crop_pct > 1 the picture
    is smaller than the crop and gets a black border (volo.md 5.4, needed by VOLO-D4 and D5).
    squash: resize both sides to the size.
    """

    size: Size
    mean: Stats
    std: Stats
    crop_pct: float = 1.0
    interpolation: str = "bicubic"
    mode: str = "center"

    def crop(self, image: Image.Image) -> tuple[Image.Image, Box]:
        """The picture as the network will see it, before normalisation, and what part of the whole it is."""
        size, filter = self.size, Filter(self.interpolation)
        if self.mode == "squash":
            return filter.resize(image, size), WHOLE
        # Of a thinner picture only the centre is resized: all of it would take memory without bound.
        longest = LONGEST * min(image.size) * max(size) // min(size)
        if max(image.size) > longest:
            height, width = (min(side, longest) for side in (image.height, image.width))
            above, before = _centred(height, image.height), _centred(width, image.width)
            view, (top, left, tall, wide) = self.crop(cut(image, above, before, height, width))
            y, x = height / image.height, width / image.width
            return view, (above / image.height + top * y, before / image.width + left * x, tall * y, wide * x)
        height, width = (math.floor(side / self.crop_pct) for side in size)
        if height * image.width <= width * image.height:  # the width decides
            height = int(width * image.height / image.width)
        else:
            width = int(height * image.width / image.height)
        height, width = max(1, height), max(1, width)
        top, left = _centred(size[0], height), _centred(size[1], width)
        view = cut(filter.resize(image, (height, width)), top, left, *size)
        return view, (top / height, left / width, size[0] / height, size[1] / width)

    def view(self, image: Image.Image) -> Image.Image:
        """The picture as the network will see it, before normalisation."""
        return self.crop(image)[0]

    def read(self, load: Loading) -> Pixels:
        """Of a picture, of which all is decoded: what is published was measured so."""
        return Pixels.of(self.view(load(all_of_it)), self.mean, self.std)

    def __call__(self, image: Image.Image) -> Tensor:
        return to_tensor(self.view(image), self.mean, self.std)


def eval_transform(seen: Preprocessing, mode: str = "center") -> EvalTransform:
    """The validation transform that a model's `preprocessing` describes."""
    return EvalTransform(seen.input_size, seen.mean, seen.std, seen.crop_pct, seen.interpolation, mode)


def with_crop(model: Any, crop_pct: float | None) -> Any:
    """A network whose pictures are validated with the crop of a recipe, if the recipe says one."""
    if crop_pct:
        model.preprocessing = replace(model.preprocessing, crop_pct=crop_pct)
    return model


class TrainTransform:
    """Crop, flip, RandAugment or colour jitter, normalise, erase (volo.md 5.1, van.md 4.1).

    size may be set to another one at any time; the next picture gets it.
    """

    def __init__(
        self, size: tuple[int, int], mean: Stats, std: Stats, augment: AugmentSettings, evaluate: EvalTransform
    ):
        self.size, self.mean, self.std, self.augment, self.evaluate = size, mean, std, augment, evaluate
        self.color = _color(augment, size, mean)
        self.erase: Callable[[Any], Any] | None = None
        if augment.erase > 0:
            from timm.data.random_erasing import RandomErasing

            self.erase = RandomErasing(
                augment.erase, mode=augment.erase_mode, max_count=augment.erase_count, device="cpu"
            )

    def __call__(self, image: Image.Image) -> Tensor:
        return self.finish(self.view(image)).normalised()[0]

    def read(self, load: Loading) -> Pixels:
        image, window = self.load(load)
        view = self.crop(image, window)[0]
        steps, color = self.drawn()
        if self.augment.on_device and color is None and can_be_done_there(steps):
            return replace(self.finish(view), before=(on_device(steps) if steps else None,))
        return self.finish(done(view, steps, color))

    def load(self, load: Loading) -> tuple[Image.Image, Window | None]:
        """A picture, and the random part of it that is wanted, if it was drawn already, so that no more pixels are
        decoded than that needs (see `decode`)."""
        drawn: list[Window] = []

        def least(width: int, height: int) -> tuple[float, float]:
            if self.augment.crop != "random_resized" or not self.augment.reduced:
                return width, height
            drawn.append(self.draw(width, height))
            return drawn[0].least(self.size)

        image = load(least)
        return image, drawn[0] if drawn else None

    def draw(self, width: int, height: int) -> Window:
        """A random part of a picture of this size."""
        return draw_window(width, height, self.augment.crop_scale, self.augment.crop_ratio)

    def view(self, image: Image.Image, window: Window | None = None) -> Image.Image:
        """The augmented picture before normalisation and erasing."""
        return done(self.crop(image, window)[0], *self.drawn())

    def with_map(
        self, image: Image.Image, label_map: Tensor, coverage: Coverage, window: Window | None = None
    ) -> tuple[Pixels, Tensor, Tensor]:
        """A picture that is followed by its label map: flip, RandAugment, crop, normalise, erase, in this order.

        label_map  (2, k, h, w) logits and class numbers of the picture; it is not modified
        coverage   what of the picture the map covers, see volovan.labels.follow
        window     the part that is wanted, if it was drawn already: flips and RandAugment are done on no more than it
                   needs (volovan.classify.regions)
        returns    the pixels, the map after flips and RandAugment, and the crop as (4,) top, left, height,
                   width in fractions of that map
        """
        width, height = window.picture if window else image.size
        steps, color = self.drawn()
        matrix = motion([step.move for step in steps if step.moves], width, height)
        label_map = move_map(label_map, matrix, width, height, coverage)
        if window and color is None and can_be_seen_alone(steps):
            view, box = seen(image, steps, window, self.size, self.filter()), window.share
        else:
            view, box = self.crop(done(image, steps, color), window)
        return self.finish(view), label_map, box_in_map(box, width, height, coverage)

    def crop(self, image: Image.Image, window: Window | None = None) -> tuple[Image.Image, Box]:
        """What is left of the picture, in the size of the network, and what part of the whole it is."""
        augment, (height, width), filter = self.augment, self.size, self.filter()
        if augment.crop == "random_resized":
            window = window or self.draw(*image.size)
            return window.of(image, self.size, filter), window.share
        if augment.crop == "none":
            return replace(self.evaluate, size=self.size).crop(image)
        top, left = (random.randint(0, 2 * augment.pad) - augment.pad for _ in range(2))
        return cut(filter.resize(image, self.size), top, left, height, width), (top / height, left / width, 1.0, 1.0)

    def filter(self) -> Filter:
        """How the next crop is resized."""
        name: str = self.augment.interpolation
        drawn = random.choice(("bilinear", "bicubic")) if name == "random" else name
        return Filter(drawn, quick=self.augment.filter == "quick")

    def drawn(self) -> tuple[list[Step], Callable[[Any], Any] | None]:
        """Flips and RandAugment of the next picture, by chance; and colour jitter, which draws when it is done."""
        chances = {"FlipX": self.augment.hflip, "FlipY": self.augment.vflip}
        steps = [flip(name) for name, chance in chances.items() if random.random() < chance]
        if hasattr(self.color, "ops"):
            return steps + draw_steps(self.color), None
        return steps, self.color

    def finish(self, view: Image.Image) -> Pixels:
        """To be normalised, with what is erased then."""
        pixels = Pixels.of(view, self.mean, self.std)
        if self.erase is None:
            return pixels
        erased = _Erased(*self.size)
        self.erase(erased)
        return erased.over(pixels)


def done(image: Image.Image, steps: Sequence[Step], color: Callable[[Any], Any] | None) -> Image.Image:
    for step in steps:
        image = step(image)
    return color(image) if color else image


class _Erased:
    """Stands where timm's RandomErasing expects a picture (3, height, width), and keeps what it writes."""

    dtype = torch.float32

    def __init__(self, height: int, width: int) -> None:
        self.sides = (3, height, width)
        self.places: list[tuple[int, ...]] = []
        self.noise: list[Tensor] = []

    def size(self) -> tuple[int, int, int]:
        return self.sides

    def __setitem__(self, where: tuple[slice, slice, slice], values: Tensor) -> None:
        _, rows, columns = where
        height, width = rows.stop - rows.start, columns.stop - columns.start
        self.places.append((0, rows.start, columns.start, height, width))
        self.noise.append(values.expand(3, height, width).flatten())

    def over(self, pixels: Pixels) -> Pixels:
        """A picture, with what was written."""
        if not self.places:
            return pixels
        return replace(pixels, places=torch.tensor(self.places), noise=torch.cat(self.noise))


def _centred(crop: int, side: int) -> int:
    """Where a crop of the centre begins on an axis, as torchvision rounds it; below 0 there is a black border."""
    return round((side - crop) / 2) if crop <= side else -((crop - side) // 2)


def _color(augment: AugmentSettings, size: tuple[int, int], mean: Stats) -> Callable[[Any], Any] | None:
    if augment.randaugment:
        from timm.data.auto_augment import rand_augment_transform

        # Shifts are limited to 45 % of the picture; holes are filled with the mean colour.
        hparams = {"translate_const": int(min(size) * 0.45), "img_mean": tuple(min(255, round(255 * m)) for m in mean)}
        try:
            transform = rand_augment_transform(augment.randaugment, hparams)
        except (AssertionError, KeyError, ValueError) as error:
            raise SettingsError(
                f"augment.randaugment is {augment.randaugment!r}; timm's notation is expected, such as "
                "rand-m9-mstd0.5-inc1"
            ) from error
        for op in transform.ops:
            if op.name.startswith("Posterize"):
                op.aug_fn = posterize
        return transform
    if augment.color_jitter > 0:
        from torchvision.transforms import ColorJitter

        return ColorJitter(*[augment.color_jitter] * 3)
    return None


def posterize(image: Image.Image, bits: int, **unused: Any) -> Image.Image:
    """Keep the highest bits of each value; none of them leaves a black picture, as when the papers' nets were trained.

    The strongest level of RandAugment asks for none, about once in 800 pictures; Pillow 13 made this an error.
    """
    return ImageOps.posterize(image, min(bits, 8)) if bits > 0 else Image.new(image.mode, image.size)


class Mixing:
    """Mixup and cutmix of a batch (timm's), with the batch reversed as partner; labels become (B, K) probabilities."""

    def __init__(self, augment: AugmentSettings, smoothing: float, num_classes: int) -> None:
        from timm.data.mixup import Mixup

        self.mix = Mixup(
            mixup_alpha=augment.mixup,
            cutmix_alpha=augment.cutmix,
            prob=augment.mix_prob,
            switch_prob=augment.switch_prob,
            label_smoothing=smoothing,
            num_classes=num_classes,
        )

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        count = len(images)
        if count % 2:  # timm takes pairs only: the first picture stands at the end too, and meets itself
            images, labels = torch.cat([images, images[:1]]), torch.cat([labels, labels[:1]])
        mixed, targets = self.mix(images, labels)
        return mixed[:count], targets[:count]
