"""`volovan fit` in a process that a test kills."""

from __future__ import annotations

import os
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context, set_start_method
from pathlib import Path
from typing import Any

ROOMS = ("segment", "saliency", "detect")


def fit(words: list[str], output: Path) -> None:
    import torch

    from volovan.cli import main

    set_start_method("fork", force=True)  # of its loaders, whose own server would outlive a kill
    torch.set_num_threads(1)
    with output.open("a") as file, redirect_stdout(file), redirect_stderr(file):
        status = main(["fit", *words])
    os._exit(status)


def started(words: list[str], output: Path) -> Any:
    """A process that trains: a fork of one that has imported what it needs and no more, since torch refuses to learn
    in a fork of a process whose gradients have had threads, as compiled networks leave them."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", *(f"volovan.{room}.task" for room in ROOMS), "volovan.verbs.fit"])
    process = context.Process(target=fit, args=(words, output))
    process.start()
    return process
