"""What is held while something is done, in numbers that do not depend on the machine: no clock, no process."""

import tracemalloc
from types import TracebackType
from typing import Any, Self

import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode


class Cost(TorchDispatchMode):
    """While it is open: values of the largest tensor, pixels of the largest PIL image, and bytes of arrays and all else
    that Python has held at most."""

    def __init__(self) -> None:
        super().__init__()
        self.values = self.pixels = self.held = 0
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Self:
        make = Image.Image._new

        def made(image: Image.Image, core: Any) -> Image.Image:
            self.pixels = max(self.pixels, core.size[0] * core.size[1])
            return make(image, core)

        self._patch.setattr(Image.Image, "_new", made)  # every result of Pillow passes there
        tracemalloc.start()
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        self._patch.undo()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple | list) else (found,):
            if isinstance(one, torch.Tensor):
                self.values = max(self.values, one.untyped_storage().nbytes() // one.element_size())
        return found
