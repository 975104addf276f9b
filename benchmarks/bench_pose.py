"""SimpleBaseline on VAN beside the same head on torchvision's ResNet-50: a training step, and inference.

    python benchmarks/bench_pose.py [--trunk van_b2] [--size 256 192] [--batch 8] [--device cuda]

Both networks have the same head and see the same people. The table states the GMACs of each, counted in the run, and
`of_resnet50_per_gmac` takes them out of the ratio.

step    forward, loss and backward on a batch that is already there, no optimiser
place   people one batch after the other to points in their pixels, with the flip test, maps read as DARK does
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, Row, compare, print_table, write_table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet50

import volovan
from volovan.bench.timing import settle
from volovan.data.objects.skeleton import COCO_NAMES, Skeleton
from volovan.engine.allocator import keep_memory
from volovan.engine.distributed import choose_device
from volovan.pose.heatmaps import Grid, heat_loss, peaks
from volovan.pose.inference import Reading, heat_maps
from volovan.pose.network import heat_size
from volovan.pose.simple import SimpleHead

PEER = "resnet50"


class Peer(nn.Module):
    """torchvision's ResNet-50 under the head of the paper."""

    def __init__(self, points: int) -> None:
        super().__init__()
        body = resnet50(weights=None)
        self.trunk = nn.Sequential(*list(body.children())[:-2])
        self.head = SimpleHead((2048,), points, (32,))

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.head([self.trunk(images)])
        return maps


def gmacs(network: nn.Module, image: Tensor) -> float:
    """1e9 multiply-accumulates of convolutions and matrix products, one picture."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(image)
    return counter.get_total_flops() / 2e9


def measure(args: argparse.Namespace, networks: dict[str, Any], device: torch.device) -> list[Row]:
    skeleton = Skeleton(COCO_NAMES)
    size = (args.size[0], args.size[1])
    images = torch.randn(args.batch, 3, *size, device=device).contiguous(memory_format=torch.channels_last)
    targets = torch.rand(args.batch, len(skeleton), *heat_size(*size), device=device)
    learned = torch.ones(args.batch, len(skeleton), dtype=torch.bool, device=device)
    reading = Reading(size, 1.25, "dark", True, skeleton)

    def step(name: str) -> Callable[[], int]:
        def run() -> int:
            with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
                maps = networks[name].train()(images)
            heat_loss(maps.float(), targets, learned).backward()
            networks[name].zero_grad(set_to_none=True)
            settle(device)
            return args.batch

        return run

    def place(name: str) -> Callable[[], int]:
        @torch.no_grad()
        def run() -> int:
            with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
                maps = heat_maps(networks[name].eval(), images, reading, flip=True)
            places, _ = peaks(maps, reading.coding)
            Grid(reading.aligned).to_picture(places).cpu()
            return args.batch

        return run

    parts = {"step": step, "place": place}
    cases = {part: {name: case(name) for name in networks} for part, case in parts.items()}
    return compare(cases, PEER, args.batch, args.rounds)


def main(argv: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trunk", default="van_b2")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 192), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    args = parser.parse_args(argv)
    keep_memory()  # as the command line does; both sides gain by it
    device = choose_device(args.device)
    torch.manual_seed(0)
    points = len(COCO_NAMES)
    networks: dict[str, Any] = {
        args.trunk: volovan.create_pose_model(args.trunk, num_classes=points),
        PEER: Peer(points),
    }
    networks = {name: net.to(device, memory_format=torch.channels_last) for name, net in networks.items()}
    image = torch.zeros(1, 3, *args.size, device=device)
    cost = {name: gmacs(network, image) for name, network in networks.items()}
    rows = measure(args, networks, device)
    for row in rows:
        own = cost[str(row["network"])]
        row |= {f"of_{PEER}_per_gmac": round(float(row[f"of_{PEER}"]) * own / cost[PEER], 3), "gmacs": round(own, 2)}
        row |= {"size": "x".join(map(str, args.size)), "precision": args.precision}
    print_table(rows)
    path = write_table("pose", rows, device, args.out)
    print(f"wrote {path}")
    return path


if __name__ == "__main__":
    main()
