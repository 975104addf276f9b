"""Memory that is freed is kept, unless the user has chosen otherwise."""

import os
import platform
import subprocess
import sys

import pytest

from volovan.engine import allocator

FAULTS = """
import resource, sys
import torch
from volovan.engine.allocator import keep_memory

if sys.argv[1] == "keep":
    assert keep_memory()
x = torch.empty(12_000_000)  # 48 MB, more than glibc keeps by itself
for _ in range(20):  # until the heap has room for a map between what is left of others
    x + 1
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    x + 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_maps_take_the_pages_that_earlier_ones_left():
    plain = {name: value for name, value in os.environ.items() if name not in allocator.SETTINGS}
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True, env=plain
            ).stdout
        )
        for how in ("leave", "keep")
    }
    assert faults["leave"] > 5 * 48_000_000 / (1 << 21)  # a fault a page, be they as large as 2 MiB
    assert faults["keep"] < faults["leave"] / 10


@pytest.mark.parametrize("name", ["MALLOC_MMAP_MAX_", "GLIBC_TUNABLES", "LD_PRELOAD", "VOLOVAN_MALLOC"])
def test_what_the_user_has_chosen_stays(name, monkeypatch):
    monkeypatch.setenv(name, "default")
    assert not allocator.keep_memory()


def test_other_systems_are_left_alone(monkeypatch):
    for name in (*allocator.SETTINGS, "VOLOVAN_MALLOC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("musl", "1.2"))
    assert not allocator.keep_memory()
