"""volovan's VOLO beside timm's, eager, interleaved in one run.

    python benchmarks/bench_models.py [--model volo_d1] [--batch 8] [--threads 2] [--repeats 5] [--backward] [--bf16]

timm's net gets the same weights and must give the same logits before anything is timed.
"""

import argparse
import time
from statistics import median

import timm
import torch

from volovan import create_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="volo_d1")
    for name, default in {"batch": 8, "size": 224, "threads": 2, "repeats": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--backward", action="store_true", help="time forward + backward in place of forward")
    parser.add_argument("--bf16", action="store_true", help="under autocast to bfloat16")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    ours = create_model(args.model, img_size=args.size).eval()
    theirs = timm.create_model(f"{args.model}_{args.size}", pretrained=False).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(args.batch, 3, args.size, args.size)
    with torch.no_grad():
        torch.testing.assert_close(ours(x[:1]), theirs(x[:1]), atol=1e-5, rtol=1e-4)

    def step(model: torch.nn.Module) -> None:
        with torch.set_grad_enabled(args.backward), torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            out = model(x)
        if args.backward:
            out.float().sum().backward()
            model.zero_grad(set_to_none=True)

    times: dict[str, list[float]] = {"volovan": [], "timm": []}
    for turn in range(args.repeats + 1):
        for name, model in (("volovan", ours), ("timm", theirs)):
            start = time.perf_counter()
            step(model)
            if turn:
                times[name].append(time.perf_counter() - start)
    what = ("forward + backward" if args.backward else "forward") + (", bf16" if args.bf16 else ", fp32")
    medians = {name: median(values) for name, values in times.items()}
    print(
        f"{args.model} at {args.size}, batch {args.batch}, {what}, torch {torch.__version__}, timm {timm.__version__}, "
        f"{args.threads} threads, median of {args.repeats}"
    )
    for name, value in medians.items():
        print(
            f"  {name:8} {1e3 * value:8.0f} ms  {args.batch / value:5.1f} img/s  best {1e3 * min(times[name]):6.0f} ms"
        )
    print(f"  volovan is {medians['timm'] / medians['volovan']:.2f} times as fast as timm")


if __name__ == "__main__":
    main()
