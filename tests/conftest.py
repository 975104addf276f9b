"""Fixtures that every folder of tests shares."""

import multiprocessing
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

if not torch.cuda.is_available():  # kernels in Triton are interpreted; it is read when Triton is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")

import killed
from file_watch import Watch, WatchedProcess

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small tensors gain nothing from threads, and results of sums stay the same on every machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _verbs_are_watched() -> Iterator[None]:
    """Every verb that a test calls, in this process, in a fork of it or in one of its own, leaves all files as they
    are, but for those in the folder that it writes to."""
    import volovan.cli

    def call(module: Any, verb: str, summary: str, words: list[str]) -> int:
        watch = Watch(verb, words, folder=_folder_of_the_test())
        try:
            return in_process(module, verb, summary, words)
        finally:
            watch.check()

    in_process = volovan.cli.call
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volovan.cli, "call", call)
        patch.setattr(subprocess, "Popen", WatchedProcess)
        patch.setattr(WatchedProcess, "folder", staticmethod(_folder_of_the_test))
        yield


_test: list[pytest.FixtureRequest] = []


@pytest.fixture(autouse=True)
def _test_is_known(request: pytest.FixtureRequest) -> Iterator[None]:
    _test.append(request)
    yield
    _test.pop()


def _folder_of_the_test() -> Path | None:
    return _test[-1].node.funcargs.get("tmp_path") if _test else None


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


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in _flat(value, f"{path}.{key}").items()}
    if isinstance(tree, list | tuple):
        return {k: v for i, value in enumerate(tree) for k, v in _flat(value, f"{path}.{i}").items()}
    return {path: tree}


@pytest.fixture
def assert_same_run() -> Callable[[Path, Path], None]:
    """Two run folders hold the same bits: newest checkpoint, best checkpoint, tables; only times may differ."""

    def compare(a: Path, b: Path) -> None:
        from volovan.engine.checkpoint import CheckpointFolder
        from volovan.engine.run import read_table

        for choose in (lambda folder: folder.load_newest(), lambda folder: _read(folder.best)):
            one, two = (_flat(choose(CheckpointFolder(x / "checkpoints", 1))) for x in (a, b))
            assert one.keys() == two.keys()
            for name, value in one.items():
                if name in (".state.seconds", ".settings.train.max_steps", ".settings.train.workers"):
                    continue
                if isinstance(value, torch.Tensor):
                    assert torch.equal(value, two[name]), name
                else:
                    assert value == two[name], name
        for table in ("metrics", "steps"):
            rows = [read_table(x / f"{table}.csv") for x in (a, b)]
            for row in (row for part in rows for row in part):
                row.pop("seconds", None)
                row.pop("images_per_s", None)
            assert rows[0] == rows[1], table
        assert not list(b.rglob("*.part")), "half-written files are left"
        assert not list(b.rglob(".tmp*")), "temporary files are left"

    def _read(path: Path) -> Any:
        from volovan.files.checkpoint import read_checkpoint

        return read_checkpoint(path)

    return compare


@pytest.fixture
def assert_kills_change_no_bit(assert_same_run: Callable[[Path, Path], None]) -> Iterator[Callable[..., None]]:
    """assert_kills_change_no_bit(["recipe.yaml", ...], folder, at=(2, 5)): a run of `volovan fit`, killed when it has
    done so many steps and gone on with each time, ends with the bits of one that was left alone."""

    processes = []

    def child(words: list[str], output: Path) -> Any:
        processes.append(killed.started(words, output))
        return processes[-1]

    def steps_done(folder: Path) -> int:
        table = folder / "steps.csv"
        return table.read_text().count("\n") - 1 if table.is_file() else 0

    def check(words: list[str], folder: Path, at: tuple[int, ...]) -> None:
        draw, own, output = random.Random(str(words)), folder / "killed", folder / "output.txt"
        whole = child([*words, "--out", str(folder / "whole")], output)
        whole.join()
        assert whole.exitcode == 0, output.read_text()
        for number, steps in enumerate(at):
            process = child(["--resume", str(own)] if number else [*words, "--out", str(own)], output)
            end = time.monotonic() + 120
            while steps_done(own) < steps and process.is_alive() and time.monotonic() < end:
                time.sleep(0.002)
            time.sleep(draw.random() * 0.05)
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL, output.read_text()
        last = child(["--resume", str(own)], output)
        last.join()
        assert last.exitcode == 0, output.read_text()
        assert_same_run(folder / "whole", own)

    yield check
    for process in processes:
        process.kill()
        process.join()


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has made one step on the digits: enough for what needs a run folder."""
    from volovan.cli import main

    folder = tmp_path_factory.mktemp("tiny") / "run"
    words = ["--train.max_steps", "1", "--train.tensorboard", "false", "--data.limit", "64"]
    assert main(["fit", "digits_van", "--out", str(folder), *words]) == 0
    return folder
