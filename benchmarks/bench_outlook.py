"""outlook_attention beside the unfold/fold formulation of the paper, interleaved in one run.

    python benchmarks/bench_outlook.py [--threads 2] [--repeats 30] [--batch 8 --size 28 --channels 192 --heads 6]

First both are checked against each other in float64, then timed: medians in ms, forward and forward + backward, in
fp32 and bf16, and how many times faster than unfold/fold each backend is; then the same of the best runs, which a
busy machine disturbs less.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from volovan.bench.operations import unfold_fold
from volovan.ops import backends, outlook_attention


def interleaved(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median and best ms of each; taking turns, so that what else the machine does falls on all alike."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for step in range(repeats + 3):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if step >= 3:
                times[name].append(time.perf_counter() - start)
    return {name: (1e3 * median(values), 1e3 * min(values)) for name, values in times.items()}


def formulations(args: argparse.Namespace, value: Tensor, logits: Tensor) -> dict[str, Callable[..., Tensor]]:
    """unfold/fold, and every backend of volovan.ops that can run the inputs."""
    settings = (args.heads, args.kernel, args.stride, args.kernel // 2)
    runs: dict[str, Callable[..., Tensor]] = {"unfold/fold": lambda v, a: unfold_fold(v, a, *settings)}
    for name, state in backends("outlook_attention", value, logits, *settings).items():
        if state == "ok":
            runs[name] = lambda v, a, name=name: outlook_attention(v, a, *settings, backend=name)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"threads": 2, "repeats": 30, "batch": 8, "size": 28, "channels": 192, "heads": 6, "kernel": 3, "stride": 2}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    windows = -(-args.size // args.stride)
    value = torch.randn(args.batch, args.size, args.size, args.channels)
    logits = torch.randn(args.batch, windows, windows, args.heads * args.kernel**4)
    runs = formulations(args, value, logits)
    want = runs["unfold/fold"](value.double(), logits.double())
    for run in runs.values():
        torch.testing.assert_close(run(value.double(), logits.double()), want)

    print(
        f"torch {torch.__version__}, {args.threads} threads, value {tuple(value.shape)}, {args.heads} heads, "
        f"kernel {args.kernel}, stride {args.stride}; median of {args.repeats}"
    )
    for dtype in (torch.float32, torch.bfloat16):
        v, a = (t.to(dtype).requires_grad_() for t in (value, logits))
        grad = torch.randn_like(v)

        def forward(run: Callable[..., Tensor], v: Tensor = v, a: Tensor = a) -> None:
            with torch.no_grad():
                run(v, a)

        def both(run: Callable[..., Tensor], v: Tensor = v, a: Tensor = a, grad: Tensor = grad) -> None:
            torch.autograd.grad(run(v, a), (v, a), grad)

        for label, step in (("forward", forward), ("forward + backward", both)):
            times = interleaved({n: (lambda step=step, run=run: step(run)) for n, run in runs.items()}, args.repeats)
            plain = times["unfold/fold"]
            cells = [
                f"{n} {t:6.2f} ms {plain[0] / t:5.2f}x (best {best:6.2f} ms {plain[1] / best:5.2f}x)"
                for n, (t, best) in times.items()
            ]
            print(f"{str(dtype).removeprefix('torch.'):9} {label:19}", "   ".join(cells))


if __name__ == "__main__":
    main()
