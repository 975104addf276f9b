"""Segmentation beside segmentation-models-pytorch: a training step, and a large picture by windows.

    python benchmarks/bench_segment.py [--trunk van_b1 --encoder tu-convnext_nano] [--head fpn] [--device cuda]

Both networks have a head of the same kind, and trunks of nearly equal cost (VAN-B1 13.03 GMACs at 512, ConvNeXt-nano
12.77; for van_b0 tu-convnext_femto, 4.51 and 4.07; for van_b2 tu-convnext_tiny, 26.08 and 23.27). Their heads differ:
the FPN of that package has fewer and narrower convolutions; with --head upernet both cost the same. The table states
the GMACs of the whole networks, counted in the run, and `of_smp_per_gmac` takes them out of the ratio.

step     forward, loss and backward on a batch that is already there, no optimiser; both losses are cross entropy at
         the size of the picture, volovan's as its runs compute it
windows  one picture by windows that overlap to the class of each pixel:
         volovan      as `volovan validate` and `predict` do it: bands of rows, memory that does not grow with classes
         plain        volovan's network by the plain loop below
         smp          their network by the plain loop, since that package has none: logits of all windows are added up
                      in one map of classes x height x width
Before timing, volovan's way and the plain loop must agree on the classes of volovan's network.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from common import RESULTS, Row, print_table, rate_columns, write_table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import volovan
from volovan.bench.timing import interleave, median_ratio, settle
from volovan.engine.allocator import keep_memory
from volovan.engine.distributed import choose_device
from volovan.engine.task import parts_of
from volovan.segment.inference import segment
from volovan.segment.losses import segmentation_loss
from volovan.segment.recipe import LossSettings, TestSettings

Case = Callable[[], int]


def make_networks(args: argparse.Namespace) -> dict[str, nn.Module]:
    """Random weights; the heads with the widths of VAN's published networks."""
    ours = volovan.create_segmenter(args.trunk, args.head, args.classes)
    if args.head == "fpn":
        theirs = smp.FPN(args.encoder, encoder_weights=None, classes=args.classes, decoder_segmentation_channels=128)
    else:
        theirs = smp.UPerNet(args.encoder, encoder_weights=None, classes=args.classes, decoder_channels=512)
    return {"volovan": ours, "smp": theirs}


def gmacs(network: nn.Module, size: int, device: torch.device) -> float:
    """1e9 multiply-accumulates of convolutions and matrix products, one picture, in prediction."""
    image = torch.zeros(1, 3, size, size, device=device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(image)
    return counter.get_total_flops() / 2e9


def loss_of(name: str, network: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
    if name == "volovan":
        return parts_of(segmentation_loss(network(images, deep=True), masks, LossSettings()))[0]
    return F.cross_entropy(network(images).float(), masks.long())


def measure_steps(args: argparse.Namespace, networks: dict[str, nn.Module], device: torch.device) -> list[Row]:
    images = torch.randn(args.batch, 3, args.size, args.size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    masks = torch.randint(0, args.classes, (args.batch, args.size, args.size), device=device, dtype=torch.uint8)

    def step(name: str) -> Case:
        def run() -> int:
            for _ in range(args.steps):
                with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
                    loss = loss_of(name, networks[name].train(), images, masks)
                loss.backward()
                networks[name].zero_grad(set_to_none=True)
            settle(device)
            return args.steps * args.batch

        return run

    rates = interleave({name: step(name) for name in networks}, args.rounds)
    return rows_of("step", rates, args.batch, {name: name for name in networks})


@torch.no_grad()
def plain_windows(network: nn.Module, image: Tensor, test: TestSettings, classes: int) -> Tensor:
    """(H, W) classes of (3, H, W): logits of the windows added up in one map, divided by how many saw a pixel."""
    window, stride = int(test.window), int(test.stride)  # type: ignore[arg-type]
    height, width = image.shape[1:]
    total = image.new_zeros(classes, height, width)
    seen = image.new_zeros(height, width)
    corners = [(top, left) for top in starts(height, window, stride) for left in starts(width, window, stride)]
    for first in range(0, len(corners), test.window_batch):
        part = corners[first : first + test.window_batch]
        batch = torch.stack([image[:, top : top + window, left : left + window] for top, left in part])
        for (top, left), logits in zip(part, network(batch).float(), strict=True):
            total[:, top : top + window, left : left + window] += logits
            seen[top : top + window, left : left + window] += 1
    return (total / seen).argmax(0).to(torch.uint8)


def starts(size: int, window: int, stride: int) -> list[int]:
    return [*range(0, size - window, stride), size - window]


def measure_windows(args: argparse.Namespace, networks: dict[str, nn.Module], device: torch.device) -> list[Row]:
    height, width = args.picture
    test = TestSettings(mode="slide", window=args.size, stride=args.stride, window_batch=args.batch, multiple=1)
    image = torch.randn(3, height, width, device=device)
    for network in networks.values():
        network.eval()
    ours, theirs = networks["volovan"], networks["smp"]
    agree = segment(ours, image, (height, width), test) == plain_windows(ours, image, test, args.classes)
    assert agree.float().mean() > 0.999, "the two ways through the windows disagree"

    def once(way: Callable[[], Tensor]) -> Case:
        def run() -> int:
            with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
                way()
            settle(device)
            return 1

        return run

    cases = {
        "volovan": once(lambda: segment(ours, image, (height, width), test)),
        "plain": once(lambda: plain_windows(ours, image, test, args.classes)),
        "smp": once(lambda: plain_windows(theirs, image, test, args.classes)),
    }
    rates = interleave(cases, args.rounds)
    return rows_of("windows", rates, args.batch, {"volovan": "volovan", "plain": "volovan", "smp": "smp"})


def rows_of(part: str, rates: dict[str, list[float]], batch: int, network_of: dict[str, str]) -> list[Row]:
    return [
        {"part": part, "what": name, "network": network_of[name], "batch": batch}
        | rate_columns(rates[name])
        | {"of_smp": round(median_ratio(rates[name], rates["smp"]), 3)}
        for name in rates
    ]


def main(argv: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trunk", default="van_b1")
    parser.add_argument("--encoder", default="tu-convnext_nano", help="of segmentation-models-pytorch; tu-: timm's")
    parser.add_argument("--head", choices=("fpn", "upernet"), default="fpn")
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--batch", type=int, default=2, help="pictures of a step, and windows at once")
    parser.add_argument("--size", type=int, default=512, help="side of crops and windows")
    parser.add_argument("--picture", type=int, nargs=2, default=(1024, 2048), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--stride", type=int, default=341, help="of the windows")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--steps", type=int, default=1, help="repeats within a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    args = parser.parse_args(argv)
    keep_memory()  # as the command line does; both sides gain by it
    device = choose_device(args.device)
    torch.manual_seed(0)
    networks = {
        name: network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, network in make_networks(args).items()
    }
    cost = {name: gmacs(network, args.size, device) for name, network in networks.items()}
    rows = measure_steps(args, networks, device) + measure_windows(args, networks, device)
    for row in rows:
        row["of_smp_per_gmac"] = round(float(row["of_smp"]) * cost[str(row["network"])] / cost["smp"], 3)
        row["gmacs"] = round(cost[str(row["network"])], 2)
        row |= {"trunk": args.trunk, "encoder": args.encoder, "head": args.head, "size": args.size}
        row |= {"picture": "x".join(map(str, args.picture)), "precision": args.precision}
    print_table(rows)
    path = write_table("segment", rows, device, args.out)
    print(f"wrote {path}")
    return path


if __name__ == "__main__":
    main()
