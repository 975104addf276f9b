"""Pictures and their objects -> tensors -> batch. For training: window, resize, jitter, crop, flip, colours, paste.

The settings are those of van.md 4.3 and of simple copy-paste (Ghiasi et al., arXiv 2012.07177). Choices are drawn
from Python's generator, which the loader keys by (seed, epoch, sample).
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from volovan.data.errors import BadImage
from volovan.data.objects.annotated import Annotated
from volovan.data.objects.shapes import Affine, Raster
from volovan.data.pictures.tensors import Stats, to_tensor
from volovan.data.samples import Part, classes_in, picture_size_of
from volovan.data.source import Source
from volovan.detect.recipe import AugmentSettings
from volovan.room.colours import distort
from volovan.room.data import SamplesOfSizes, matched, said_of
from volovan.room.views import padded, padded_to, random_window, scaled_size

LONGEST_WINDOWED = 4200
"""pixels of the long side that a picture is scaled to at most before a window of it is drawn"""
Region = tuple[float, float, float, float]
"""x1, y1, x2, y2 in the picture"""


@dataclass(frozen=True)
class TrainTransform:
    """An augmented training sample. mean, std: of values from 0 to 1."""

    augment: AugmentSettings
    mean: Stats
    std: Stats

    def view(self, image: Image.Image, there: Annotated) -> tuple[Image.Image, Annotated]:
        """The augmented picture, and of the objects to learn those that it still shows; outlines as pixels."""
        region = self.draw_window(image.width, image.height)
        across, down = region[2] - region[0], region[3] - region[1]
        width, height = self.draw_size(across, down)
        left, top, columns, rows = random_window(width, height, self.augment.crop)
        x, y = across / width, down / height
        first = region[0] + left * x, region[1] + top * y
        box = (*first, min(first[0] + columns * x, image.width), min(first[1] + rows * y, image.height))
        # Window, size and crop in one step: only what is seen is ever computed.
        image = image.resize((columns, rows), Image.Resampling.BILINEAR, box=box)
        to = Affine(1 / x, 1 / y, -first[0] / x, -first[1] / y)
        if random.random() < self.augment.hflip:
            image = ImageOps.mirror(image)
            to = Affine(-to.scale_x, to.scale_y, columns - to.shift_x, to.shift_y)
        if self.augment.photometric:
            image = distort(image)
        return image, seen(there.only(~there.crowd).drawn(to, rows, columns), rows, columns)

    def draw_window(self, width: int, height: int) -> Region:
        """A part of the picture, or all of it."""
        augment = self.augment
        if random.random() >= augment.window:
            return 0.0, 0.0, float(width), float(height)
        short, (low, high) = random.choice(augment.window_shorts), augment.window_sides
        factor = min(short / min(width, height), LONGEST_WINDOWED / max(width, height))
        sides = []
        for whole in (width * factor, height * factor):
            side = random.uniform(min(low, whole), min(high, whole))
            begin = random.uniform(0, whole - side)
            sides.append((begin / factor, (begin + side) / factor))
        (left, right), (top, bottom) = sides
        return left, top, min(right, width), min(bottom, height)

    def draw_size(self, width: float, height: float) -> tuple[int, int]:
        """(width, height) that so much of a picture is scaled to."""
        augment, sides, factor = self.augment, self.augment.resize, 1.0
        if sides is not None and augment.shorts:
            sides = max(sides), min(max(sides), random.choice(augment.shorts))
        if augment.jitter is not None:
            factor = random.uniform(*augment.jitter)
        return scaled_size(width, height, sides, factor, augment.crop is not None)

    def tensor(self, image: Image.Image) -> Tensor:
        """(3, h, w) float32, padded to the crop where it is smaller, with the mean colour."""
        return padded_to(to_tensor(image, self.mean, self.std), self.augment.crop)


def seen(there: Annotated, height: int, width: int) -> Annotated:
    """Boxes cut at the edges of a picture of this size; without objects that are outside, or have no pixel in it."""
    boxes = there.boxes.clip(0, (width, height, width, height))
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    empty = [isinstance(shape, Raster) and not shape.mask.any() for shape in there.shapes]
    return replace(there, boxes=boxes).only(inside & ~np.array(empty, bool))


def paste(
    image: Image.Image, there: Annotated, other: Image.Image, objects: Annotated
) -> tuple[Image.Image, Annotated]:
    """Some objects of another picture laid over this one; what they hide is no longer there."""
    chosen = np.array([random.random() < 0.5 for _ in range(len(objects))], bool)
    laid = seen(objects.only(chosen).drawn(Affine(), image.height, image.width), image.height, image.width)
    if not len(laid):
        return image, there
    cover = np.zeros((image.height, image.width), bool)
    for raster in rasters(laid):
        cover[place_of(raster)] |= raster.mask
    pixels = np.array(image)
    rows, columns = min(image.height, other.height), min(image.width, other.width)
    part = cover[:rows, :columns]
    pixels[:rows, :columns][part] = np.asarray(other)[:rows, :columns][part]
    shapes, boxes = list[Raster](), there.boxes.copy()
    for number, raster in enumerate(rasters(there)):
        left = Raster(raster.mask & ~cover[place_of(raster)], raster.x, raster.y)
        if left.area() < raster.area():
            boxes[number] = left.box()
        shapes.append(left)
    kept = seen(replace(there, boxes=boxes, shapes=tuple(shapes)), image.height, image.width)
    return Image.fromarray(pixels), together(kept, laid)


def rasters(there: Annotated) -> list[Raster]:
    """The outlines of objects that were drawn."""
    return [shape for shape in there.shapes if isinstance(shape, Raster)]


def place_of(raster: Raster) -> tuple[slice, slice]:
    """Its rows and columns in the picture."""
    height, width = raster.mask.shape
    return slice(raster.y, raster.y + height), slice(raster.x, raster.x + width)


def together(first: Annotated, second: Annotated) -> Annotated:
    """The objects of both, of one picture."""
    return Annotated(
        np.concatenate((first.boxes, second.boxes)),
        np.concatenate((first.labels, second.labels)),
        np.concatenate((first.crowd, second.crowd)),
        np.concatenate((first.areas, second.areas)),
        (*first.shapes, *second.shapes),
    )


def without_outline(there: Annotated, classes: Sequence[str]) -> str:
    """Which object has no outline, though all need one, and what to do; "" if none is without."""
    for number, (shape, crowd) in enumerate(zip(there.shapes, there.crowd.tolist(), strict=True)):
        if shape is None and not crowd:
            place = there.places[number] if there.places else f"object {number + 1}"
            return (
                f"{place} ({classes[there.labels[number]]}) has a box, but no outline; draw one for every object, or "
                "train boxes alone: a head without masks, such as --model.head cascade_rcnn, and augment.copy_paste 0"
            )
    return ""


class BoxSamples(SamplesOfSizes):
    """Pictures of a source and their objects.

    classes   names in the order of the network's outputs; the numbers of the source's objects are translated by name
    outlined  whether the outlines of all objects are needed
    absent    numbers of those that the source has not
    """

    def __init__(self, source: Source[Annotated], transform: Any, classes: Sequence[str], outlined: bool) -> None:
        super().__init__(source, transform)
        match = matched(source.classes, classes)
        self.absent, self.note, self.outlined, self.classes = match.unwanted, said_of(match), outlined, tuple(classes)
        self.table = np.array(match.places, np.int64)

    def there(self, index: int) -> Annotated:
        """The objects of a picture, with numbers of the network's classes, and outlines where they are needed."""
        found = self.source.target(index)
        found = replace(found, labels=self.table[found.labels] if len(found) else found.labels)
        if not self.outlined:
            return replace(found, shapes=(None,) * len(found))
        if why := without_outline(found, self.classes):
            raise BadImage(self.name(index), why)
        return found


class TrainSamples(BoxSamples):
    """{"index", "image": (3, h, w) float32, "size": (h, w) of what it shows, "annotated": in its pixels}."""

    transform: TrainTransform

    def read(self, index: int) -> dict[str, Any]:
        image, there = self.transform.view(self.source.load(index), self.there(index))
        if random.random() < self.transform.augment.copy_paste:
            other = random.randrange(len(self))
            image, there = paste(image, there, *self.transform.view(self.source.load(other), self.there(other)))
        size = (image.height, image.width)
        return {"index": index, "image": self.transform.tensor(image), "size": size, "annotated": there}

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Pictures as one tensor (B, 3, H, W), those that are smaller padded below and to the right."""
        return super().collate(samples) | {"image": padded([sample["image"] for sample in samples])}


class EvalSamples(BoxSamples):
    """{"index", "image": (3, h, w) float32, "picture_size": (H, W), "annotated": in the pixels of the picture}."""

    def read(self, index: int) -> dict[str, Any]:
        picture, there = self.source.load(index), self.there(index)
        size = (picture.height, picture.width)
        return {"index": index, "image": self.transform(picture), "picture_size": size, "annotated": there}


def taught_on(source: Source[Annotated], empty: bool, repeat: float | None) -> Source[Annotated]:
    """The pictures of an epoch: those without objects perhaps left out, those with rare classes perhaps repeated.

    repeat  threshold t of LVIS's repeat factors (Gupta et al., arXiv 1908.03195): a class that a share f of the
            pictures has is repeated max(1, sqrt(t / f)) times, a picture as often as its rarest class, rounded up
    """
    if empty and repeat is None:
        return source
    held = [classes_in(source, index) for index in range(len(source))]
    counts = Counter(label for labels in held for label in labels)
    wanted: list[int] = []
    for index, labels in enumerate(held):
        if not labels and not empty:
            continue
        rarest = min((counts[label] for label in labels), default=len(source)) / len(source)
        times = 1 if repeat is None else max(1, math.ceil(math.sqrt(repeat / rarest)))
        wanted += [index] * times
    bare = sum(not labels for labels in held)
    notes = [f"{bare:,} pictures without objects are left out (data.empty)."] if bare and not empty else []
    if repeat is not None:
        notes.append(f"{len(set(wanted)):,} pictures are seen {len(wanted):,} times an epoch (data.repeat).")
    return Part(source, wanted, " ".join(notes)) if notes else source


def shapes_of(source: Source) -> list[int]:
    """Of each picture 0 where it is wide, 1 where it is tall."""
    found = []
    for index in range(len(source)):
        try:
            width, height = picture_size_of(source, index)
        except BadImage:
            width = height = 0
        found.append(int(height > width))
    return found
