"""The fastest sizes of programs, by a clock of the test's own."""

import math

import pytest
import torch

from volovan.bench.operations import usual_operations
from volovan.bench.tune import choose, kernels, tune
from volovan.cli import main
from volovan.engine.settings import SettingsError
from volovan.ops.tiles import Tiles

KERNEL = Tiles("kernel", {"PLACES": 16, "num_warps": 4}, {"PLACES": (8, 16, 32, 64), "num_warps": (2, 4, 8)})


def test_each_constant_in_turn_and_not_for_a_hair():
    seen = []

    def seconds(operation):
        now = KERNEL.of(torch.device("cpu"), torch.float32)
        seen.append(dict(now))
        if now["PLACES"] == 64:
            raise RuntimeError("out of resource: shared memory")
        return {8: 3.0, 16: 2.0, 32: 1.0}[now["PLACES"]] * (0.99 if now["num_warps"] == 2 else 1.0)

    assert choose(KERNEL, ["an operation"], seconds) == {"PLACES": 32, "num_warps": 4}
    assert len(seen) == 1 + 3 + 2
    assert seen[-1] == {"PLACES": 32, "num_warps": 8}


def test_operations_count_by_their_ratios():
    def seconds(operation):
        now = KERNEL.of(torch.device("cpu"), torch.float32)["PLACES"]
        return {"long": 1 + 0.001 * now, "short": 1e-3 * abs(math.log2(now) - 5) + 1e-4}[operation]

    assert choose(KERNEL, ["long", "short"], seconds)["PLACES"] == 32


def test_every_kernel_has_operations():
    pytest.importorskip("triton")
    found = kernels(usual_operations(1))
    assert all(operations for _, operations in found)
    names = [tiles.kernel for tiles, _ in found]
    assert len(set(names)) == len(names)
    for tiles, _ in found:
        assert set(tiles.others) == set(tiles.usual)
        assert all(value in tiles.others[name] for name, value in tiles.usual.items())


def test_without_a_gpu_or_operations_it_is_said(capsys, tmp_path):
    with pytest.raises(SettingsError, match="--tune is for kernels on a GPU, this is cpu; leave it out"):
        tune(torch.device("cpu"), ["fp32"], 1, 1, print)
    assert main(["benchmark", "van_b0", "--tune", "--device", "cpu", "--out", str(tmp_path / "out")]) == 2
    assert "name ops among what is measured" in capsys.readouterr().err


@pytest.mark.gpu
def test_a_table_is_written_and_taken(tmp_path, monkeypatch):
    from volovan.ops.tiles import card, measured, read_table

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    device = torch.device("cuda")
    tune(device, ["bf16"], 2, 3, print)
    lines = read_table()[card(device)]
    assert len(lines) == len(kernels(usual_operations(1)))
    assert measured(device) == lines
    measured.cache_clear()
