"""Fixtures of the tests of models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from torch import Tensor

from volovan.models import van


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a state dict, gives its path."""

    def write(state: dict[str, Tensor], name: str = "weights.safetensors", **metadata: str) -> Path:
        save_file({key: t.contiguous() for key, t in state.items()}, tmp_path / name, metadata or None)
        return tmp_path / name

    return write


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the fused operations of VAN, as they are taken."""
    taken: list[str] = []

    def spy(run: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            taken.append(run.__name__)
            return run(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(van, "large_kernel_attention", spy(van.large_kernel_attention))
    monkeypatch.setattr(van, "depthwise_conv2d", spy(van.depthwise_conv2d))
    return taken
