"""Fixtures that every folder of tests shares."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


@pytest.fixture
def child() -> Any:
    """child(function, *args): a forked process (torch is imported already), ended with the test at the latest."""
    import torch._dynamo  # noqa: F401 - optimisers and DDP import it, which takes a second in each process otherwise

    started = []

    def start(function: Callable[..., Any], *args: Any) -> Any:
        process = multiprocessing.get_context("fork").Process(target=function, args=args)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture
def run_ranks(child: Any) -> Callable[..., list[int]]:
    """run_ranks(world, function): function() in each of `world` processes that find each other; their exit statuses."""

    def run(world: int, function: Callable[[], Any], timeout: float = 120) -> list[int]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def one(rank: int) -> None:
            os.environ |= {"WORLD_SIZE": str(world), "RANK": str(rank), "LOCAL_RANK": str(rank)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            function()

        processes = [child(one, rank) for rank in range(world)]
        for process in processes:
            process.join(timeout)
        return [process.exitcode for process in processes]

    return run
