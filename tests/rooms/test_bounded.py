"""What a picture costs follows from its pixels, never from its shape: in every room, from decoding to the answer."""

import math
import random
import tracemalloc
from typing import Any

import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

import volovan

PIXELS = 60_000
"""of every picture here"""


class Largest(TorchDispatchMode):
    """The most values that a tensor has that is made meanwhile."""

    values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple | list) else (found,):
            if isinstance(one, torch.Tensor):
                self.values = max(self.values, one.untyped_storage().nbytes() // one.element_size())
        return found


def costs(ready: Any, width: int, height: int) -> tuple[int, int]:
    """(values of the largest tensor, bytes of arrays at most) of an answer."""
    picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    tracemalloc.start()
    try:
        with Largest() as largest:
            answer = ready.predict(picture)
            answer.draw()
            ready.files(answer)
        return largest.values, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_thin_pictures_cost_what_others_of_their_pixels_do(case):
    ready = volovan.load(case.run, device="cpu")
    side = math.isqrt(PIXELS)
    values, held = (max(both) for both in zip(*(costs(ready, side, side) for _ in range(2)), strict=True))
    draw = random.Random(case.room)
    heights = [1, 3, PIXELS, *(int(PIXELS ** draw.random()) for _ in range(9))]
    for height in heights:
        thin_values, thin_held = costs(ready, PIXELS // height, height)
        shape = f"{PIXELS // height} x {height}"
        assert thin_values <= 4 * max(values, 3 * PIXELS), shape
        assert thin_held <= 4 * held + 2**20, shape
