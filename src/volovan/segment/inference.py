"""A picture through a network: whole or by windows, at one or several scales, and the class of each of its pixels.

Nothing of the size classes x height x width is ever held. Logits stay as the head makes them, at stride 4 or 8, and
all that follows is done for a band of rows of the picture at a time: enlarge to the window, average the windows,
resize to the picture, softmax and average over scales and mirrored copies, argmax. Every step is the bilinear resize
without aligned corners, so the order of the published protocol (logits to the input, from there to the picture) holds.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volovan.data.pictures.thin import widened
from volovan.models.pyramid import STRIDES, whole_strides
from volovan.room.bands import Held, Resized, Rows
from volovan.room.settings import Frame, factor_into, pair
from volovan.segment.recipe import TestSettings

BAND_BYTES = 32 * 2**20
"""size of one array (classes, rows, width) of a band; about six of them are alive at once"""


class Windows:
    """Logits of a picture from windows that overlap, averaged by how many of them see a pixel.

    The last window of a row or column is moved inside. Where the picture is smaller than the window, the window
    shrinks to it. Windows are computed row by row as their pixels are asked for, and let go behind them; of each, only
    the logits at the stride of the head are kept, which show it padded to whole strides as the network has padded it.
    """

    def __init__(
        self, model: nn.Module, image: Rows, window: tuple[int, int], stride: tuple[int, int], batch: int = 1
    ) -> None:
        """image: (3, h, w) on the device of the model; batch: windows that the network sees at once."""
        self.model, self.image, self.batch, self.size = model, image, batch, image.size
        self.window = (min(window[0], self.size[0]), min(window[1], self.size[1]))
        self.tops, self.lefts = (_starts(*sides) for sides in zip(self.size, self.window, stride, strict=True))
        self.ready: dict[int, list[Rows]] = {}
        """top -> the windows that begin there, left to right"""
        self.seen_across = torch.zeros(self.size[1])
        for left in self.lefts:
            self.seen_across[left : left + self.window[1]] += 1

    def rows(self, begin: int, end: int) -> Tensor:
        height, width = self.window
        for top in [top for top in self.ready if top + height <= begin]:
            del self.ready[top]
        total: Tensor | None = None
        seen_down = torch.zeros(end - begin)
        for top in self.tops:
            low, high = max(begin, top), min(end, top + height)
            if low >= high:
                continue
            inside = slice(low - begin, high - begin)
            seen_down[inside] += 1
            for left, window in zip(self.lefts, self._row(top), strict=True):
                part = window.rows(low - top, high - top)[..., :width]
                if total is None:
                    total = part.new_zeros(part.shape[0], end - begin, self.size[1])
                total[:, inside, left : left + width] += part
        assert total is not None
        return total.div_((seen_down[:, None] * self.seen_across).to(total.device))

    def _row(self, top: int) -> list[Rows]:
        """Logits of the windows that begin at `top`, at the stride of the head."""
        if top not in self.ready:
            height, width = self.window
            padded = whole_strides(height), whole_strides(width)
            band = self.image.rows(top, top + height)
            images = [band[..., left : left + width] for left in self.lefts]
            self.ready[top] = []
            for first in range(0, len(images), self.batch):
                maps = self.model(torch.stack(images[first : first + self.batch]), deep=True)[0]
                self.ready[top] += [Resized(Held(logits), padded) for logits in maps]
        return self.ready[top]


def _starts(size: int, window: int, stride: int) -> list[int]:
    steps = -(-(size - window) // stride) + 1
    return [min(step * stride, size - window) for step in range(steps)]


class Mirrored:
    """Another map, left and right exchanged."""

    def __init__(self, source: Rows) -> None:
        self.source, self.size = source, source.size

    def rows(self, begin: int, end: int) -> Tensor:
        return self.source.rows(begin, end).flip(-1)


def input_size(size: tuple[int, int], test: TestSettings, scale: float = 1.0) -> tuple[int, int]:
    """(height, width) that the network sees of a picture of (height, width) at one of the scales."""
    factor = scale
    if test.size:
        sides = int(test.size[0] * scale), int(test.size[1] * scale)
        factor = factor_into(size, Frame(sides) if isinstance(test.size, Frame) else sides)
    rounded = (max(1, int(side * factor + 0.5)) for side in size)
    down, across = (-(-side // test.multiple) * test.multiple for side in rounded)
    if isinstance(test.size, Frame):  # which may be no multiple itself
        return min(down, test.size[0]), min(across, test.size[1])
    return down, across


def views(model: nn.Module, image: Tensor, test: TestSettings) -> Iterator[Rows]:
    """The logits of a picture at each scale, mirrored or not, each at the size that the network saw."""
    for scale in test.scales:
        scaled = scaled_picture(image, input_size((image.shape[1], image.shape[2]), test, scale))
        sides = (pair(test.window), pair(test.stride)) if test.mode == "slide" else (scaled.size, scaled.size)
        yield Windows(model, scaled, *sides, test.window_batch)
        if test.flip:
            yield Mirrored(Windows(model, Mirrored(scaled), *sides, test.window_batch))


def scaled_picture(image: Tensor, size: tuple[int, int]) -> Rows:
    """A picture (3, h, w) at another size: smoothed where it shrinks, as Pillow does in training."""
    held = Held(image)
    if size == held.size:
        return held
    if size[0] >= held.size[0] and size[1] >= held.size[1]:
        return Resized(held, size)  # nothing to smooth; the large picture is never held
    return Held(smoothed(image, size))


def smoothed(image: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture (3, h, w) resized with smoothing where it shrinks."""
    if size[1] == 1 and size != image.shape[1:]:  # of one column torch 2.15 on a CPU repeats the first row: of two not
        column = smoothed(image, (image.shape[1], 2)).mean(2, keepdim=True) if image.shape[2] > 1 else image
        return smoothed(column.repeat(1, 1, 2), (size[0], 2))[..., :1]
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]


@torch.no_grad()
def segment(model: nn.Module, image: Tensor, size: tuple[int, int], test: TestSettings) -> Tensor:
    """The class of each pixel of one picture.

    model   a `Segmenter` in eval mode: model(images, deep=True)[0] are logits (B, K, h, w) at any stride of the images
            padded to multiples of 32; K <= 255
    image   (3, h, w), normalised, at the size of the file
    size    (H, W) of the answer, usually that of the picture
    returns (H, W) uint8 on the device of the image

    A picture that is thinner than 1 to 32 is seen with its longer side squashed to that.
    """
    wide = widened(size, STRIDES[-1])
    if wide != size:
        answer = segment(model, smoothed(image, wide), wide, test)
        return F.interpolate(answer[None, None], size, mode="nearest")[0, 0]
    seen = [Resized(view, size) for view in views(model, image, test)]
    # Columns of the widest map that a band passes through, per row of the answer.
    widest = max(max(view.size[1], view.source.size[1] * -(-view.source.size[0] // view.size[0])) for view in seen)
    answer = torch.empty(size, dtype=torch.uint8, device=image.device)
    begin, height = 0, 1
    while begin < size[0]:
        end = min(begin + height, size[0])
        scores = seen[0].rows(begin, end)
        if len(seen) > 1:  # of a single view the largest logit is that of the largest probability
            scores = scores.softmax(0)
            for view in seen[1:]:
                scores += view.rows(begin, end).softmax(0)
            scores.div_(len(seen))
        answer[begin:end] = scores.argmax(0)
        # The first row tells how many classes there are.
        height = max(1, BAND_BYTES // (scores.shape[0] * widest * 4))
        begin = end
    return answer
