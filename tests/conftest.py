"""Fixtures that every folder of tests shares."""

from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small tensors gain nothing from threads, and results of sums stay the same on every machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden_path() -> Path:
    """Folder of the golden tensors."""
    return GOLDEN


@pytest.fixture(scope="session")
def golden():
    """golden("volo_tiny") -> its tensors by key."""
    from safetensors.torch import load_file

    return lambda name: load_file(GOLDEN / f"{name}.safetensors")
