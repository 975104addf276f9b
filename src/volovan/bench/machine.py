"""What a figure was measured on: machine, instruction set, versions; its copy speed and its peak arithmetic; energy."""

from __future__ import annotations

import os
import platform
import time
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from volovan.bench.timing import settle

COPIED = 1 << 26
"""numbers of float32 that are copied: 256 MiB, more than caches hold"""
SIDE = {"cpu": 1024, "cuda": 8192}
"""of the matrices whose product shows the peak of arithmetic"""
POWERCAP = Path("/sys/class/powercap")


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Where and with what: a row of facts for every table."""
    on_gpu = device.type == "cuda"
    facts = {
        "date": date.today().isoformat(),
        "machine": torch.cuda.get_device_name(device) if on_gpu else processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "spin_count": os.environ.get("GOMP_SPINCOUNT", "default"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": version("timm"),
    }
    if on_gpu:
        return facts | {"triton": _version("triton"), "tf32": torch.backends.cuda.matmul.allow_tf32}
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    return facts | {"instructions": torch.backends.cpu.get_cpu_capability() + (f", oneDNN {limit}" if limit else "")}


def processor() -> str:
    """The name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def copy_speed(device: torch.device, repeats: int = 7) -> float:
    """Bytes a second, read plus written, of the fastest of some copies that no cache holds."""
    source = torch.ones(COPIED, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _fastest(lambda: target.copy_(source), device, repeats)


def peak_arithmetic(device: torch.device, dtype: torch.dtype, repeats: int = 7) -> float:
    """Operations a second (a multiplication and an addition are two) of the fastest of some matrix products."""
    side = SIDE.get(device.type, 1024)
    a = torch.rand(side, side, device=device).to(dtype)
    return 2 * side**3 / _fastest(lambda: a @ a, device, repeats)


def _fastest(run: Any, device: torch.device, repeats: int) -> float:
    times = []
    for number in range(repeats + 2):
        settle(device)
        begin = time.perf_counter()
        run()
        settle(device)
        if number >= 2:
            times.append(time.perf_counter() - begin)
    return min(times)


class Energy:
    """Joules that a device says it has used; None where it does not say."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def joules(self) -> float | None:
        """Since some moment in the past: only differences mean something."""
        return self._gpu() if self.device.type == "cuda" else self._cpu()

    def _cpu(self) -> float | None:
        found = []
        for zone in sorted(POWERCAP.glob("intel-rapl:[0-9]")):  # packages; AMD's are called so too
            try:
                found.append(int((zone / "energy_uj").read_text(encoding="ascii")) / 1e6)
            except (OSError, ValueError):  # root alone may read it on many systems
                return None
        return sum(found) if found else None

    def _gpu(self) -> float | None:
        try:
            import pynvml

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(self.device.index or 0)
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except Exception:  # not installed, no driver, a card that does not tell
            return None
