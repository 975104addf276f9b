"""Small teachers, maps that are made up, and processes that may be killed."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from labelling import ALONE, quiet
from volovan import create_model
from volovan.data import open_source
from volovan.data.samples import Part
from volovan.labels import compact, published
from volovan.labels.about import About, write_about, write_whole
from volovan.labels.generate import Plan, generate
from volovan.labels.store import LabelStore, open_labels
from volovan.labels.teacher import Teacher, make_teacher


@pytest.fixture
def make_maps() -> Callable[..., dict[str, Tensor]]:
    """Keys and maps (2, top, h, w) of made-up pictures; grids differ if `grids` has several."""

    def make(count=40, classes=1000, dtype=torch.float16, grids=((6, 6),), top=5) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(7)
        maps = {}
        for number in range(count):
            height, width = grids[number % len(grids)]
            logits = 8 * torch.randn(top, height, width, generator=random).sort(0, descending=True)[0]
            numbers = torch.randint(classes, (top, height, width), generator=random)
            maps[f"n{number % 3:08d}/n{number % 3:08d}_{number}"] = torch.stack([logits, numbers]).to(dtype)
        return maps

    return make


@pytest.fixture
def write_maps() -> Callable[..., LabelStore]:
    """write_maps(folder, maps, layout): the maps in that layout, `shards` files of the compact one."""

    def write(folder: Path, maps: dict[str, Tensor], layout: str, classes=1000, coverage="centre", shards=2, **more):
        dtype = more.pop("dtype", str(next(iter(maps.values())).dtype).removeprefix("torch."))
        about = About(
            layout=layout,
            teacher="teacher",
            digest="0" * 64,
            num_classes=classes,
            classes=None,
            size=96,
            coverage=coverage,
            top=next(iter(maps.values())).shape[1],
            dtype=dtype,
            precision="fp32",
            preprocessing={},
            made_with="test",
            **more,
        )
        keys = list(maps)
        if layout == "published":
            write_about(folder, about)
            for key in keys:
                write_whole(folder, f"{key}.pt", published.serialise(maps[key]))
        else:
            size = -(-len(keys) // shards)
            for number in range(shards):
                chosen = keys[number * size : (number + 1) * size]
                content = compact.pack(chosen, [maps[key] for key in chosen], about, "test")
                write_whole(folder, compact.shard_name(number), content)
            compact.write_index(folder, about, [compact.shard_name(number) for number in range(shards)])
        return open_labels(folder)

    return write


@pytest.fixture(scope="session")
def tiny_teacher() -> Teacher:
    """A VAN for 32 x 32 digits with a grid of 4 x 4, random weights and loud logits."""
    torch.manual_seed(1)
    model = create_model("van", num_classes=10, embed_dims=(8, 16, 16), depths=(1, 1, 1), mlp_ratios=(2, 2, 2),
                         patch_kernels=(3, 3, 3), strides=(2, 2, 2), img_size=32)  # fmt: skip
    torch.nn.init.normal_(model.head.weight, std=2.0)
    return make_teacher("tiny", model, tuple("0123456789"), model.preprocessing)


@pytest.fixture(scope="session")
def digits() -> Callable[[int], Part]:
    """digits(count): the first training digits."""
    every = open_source("digits", "train")
    return lambda count: Part(every, range(count))


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 pictures a unit, so that few pictures make many of them."""
    for module in ("writers", "generate"):
        monkeypatch.setattr(f"volovan.labels.{module}.UNIT", 16)


@pytest.fixture
def whole(
    tmp_path: Path, tiny_teacher: Teacher, digits: Callable[[int], Part], small_units: None
) -> Callable[..., Path]:
    """whole(plan, count): the folder that an uninterrupted labelling gives."""

    def make(plan: Plan, count: int = 200) -> Path:
        folder = tmp_path / "whole"
        made = generate(tiny_teacher, digits(count), folder, plan, ALONE, quiet)
        assert (made.made, made.kept, made.skipped) == (count, 0, ())
        return folder

    return make


@pytest.fixture
def fork() -> Callable[..., Any]:
    """fork(function, *args): a process that calls it, and has all that is here already."""
    started = []

    def grouped(function: Callable[..., Any], *args: Any) -> None:
        os.setpgrp()
        function(*args)

    def start(function: Callable[..., Any], *args: Any) -> Any:
        process = multiprocessing.get_context("fork").Process(target=grouped, args=(function, *args))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a killed one may have left loader processes
        process.join()


@pytest.fixture
def child(fork: Any) -> Any:
    """What `run_ranks` starts."""
    return fork


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """All files below a folder: name -> content."""
    return lambda folder: {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
