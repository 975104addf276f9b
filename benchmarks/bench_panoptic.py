"""Mask2Former on VAN beside that of transformers on Swin-T: a training step, and inference.

    python benchmarks/bench_panoptic.py [--trunk van_b2] [--size 512] [--batch 2] [--device cuda]

Both have the head of the paper (100 queries, six and nine layers), 133 classes, random weights, and see the same
pictures with the same segments. The table states the GMACs of each, counted in the run (deformable attention's reading
of values is in neither), and `of_swin_t_per_gmac` takes them out of the ratio.

step     forward, loss at 12,544 points with its matching, and backward; no optimiser
forward  the network alone
answer   the network, and panoptic segments at the size of the picture from all of its queries, each by its own rules
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, Row, compare, print_table, write_table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor, SwinConfig

import volovan
from volovan.bench.timing import settle
from volovan.data.sources import open_source
from volovan.engine.allocator import keep_memory
from volovan.engine.distributed import choose_device
from volovan.panoptic.inference import Rule, find_segments
from volovan.panoptic.mask2former import Predictions
from volovan.panoptic.targets import Segments, segments_of

PEER = "swin_t"
CLASSES, THINGS = 133, 80


def make_peer() -> nn.Module:
    """That of transformers, with Swin-T as the paper of Mask2Former has it."""
    swin = SwinConfig(depths=[2, 2, 6, 2], drop_path_rate=0.3, out_features=["stage1", "stage2", "stage3", "stage4"])
    made: nn.Module = Mask2FormerForUniversalSegmentation(Mask2FormerConfig(backbone_config=swin, num_labels=CLASSES))
    return made


def gmacs(forward: Callable[[Tensor], Any], image: Tensor) -> float:
    """1e9 multiply-accumulates of convolutions and matrix products, one picture."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward(image)
    return counter.get_total_flops() / 2e9


def segments_drawn(batch: int, side: int) -> list[Segments]:
    """Those of drawn scenes, with classes up to the last."""
    source = open_source(f"shapes:{max(batch, 2)}@{side}x{side}", "train", "panoptic")
    drawn = [segments_of(source.target(index)) for index in range(batch)]
    return [Segments(one.rows, one.labels * 13) for one in drawn]


def measure(args: argparse.Namespace, ours: Any, peer: Any, device: torch.device) -> list[Row]:
    images = torch.randn(args.batch, 3, args.size, args.size, device=device)
    half = partial(torch.autocast, device.type, torch.bfloat16, enabled=args.precision == "bf16")
    segments = [one.to(device) for one in segments_drawn(args.batch, args.size)]

    def step(losses: Callable[[], Tensor], network: nn.Module) -> int:
        network.train()
        with half():
            loss = losses()
        loss.backward()
        network.zero_grad(set_to_none=True)
        settle(device)
        return int(args.batch)

    @torch.no_grad()
    def see(network: nn.Module, answer: Callable[[Any], object] | None = None) -> int:
        network.eval()
        with half():
            said = network(images)
        if answer is not None:
            answer(said)
        settle(device)
        return int(args.batch)

    wanted = their_targets(segments)
    losses = {
        args.trunk: lambda: torch.stack([*ours(images, segments).values()]).sum(),
        PEER: lambda: peer(pixel_values=images, **wanted).loss,
    }
    networks = {args.trunk: ours, PEER: peer}
    answers = {args.trunk: partial(our_segments, size=args.size), PEER: partial(their_segments, size=args.size)}
    parts: dict[str, dict[str, Callable[[], int]]] = {
        "step": {name: partial(step, losses[name], network) for name, network in networks.items()},
        "forward": {name: partial(see, network) for name, network in networks.items()},
        "answer": {name: partial(see, network, answers[name]) for name, network in networks.items()},
    }
    return compare(parts, PEER, args.batch, args.rounds)


def their_targets(segments: Sequence[Segments]) -> dict[str, list[Tensor]]:
    """A mask for each segment, as transformers takes them."""
    numbers = [torch.arange(len(one.labels), device=one.rows.device)[:, None, None] for one in segments]
    masks = [(one.rows == number).float() for one, number in zip(segments, numbers, strict=True)]
    return {"mask_labels": masks, "class_labels": [one.labels for one in segments]}


def our_segments(said: Predictions, size: int) -> None:
    things = [number < THINGS for number in range(CLASSES)]
    for classes, masks in zip(said.classes, said.masks, strict=True):
        find_segments(classes, masks, (size, size), (size, size), things, Rule(score=0.0, visible=0.0))


def their_segments(said: Any, size: int) -> None:
    sizes, stuff = [(size, size)] * len(said.class_queries_logits), set(range(THINGS, CLASSES))
    Mask2FormerImageProcessor().post_process_panoptic_segmentation(
        said, 0.0, 0.5, 0.0, label_ids_to_fuse=stuff, target_sizes=sizes
    )


def main(argv: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trunk", default="van_b2")
    parser.add_argument("--size", type=int, default=512, metavar="SIDE")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    args = parser.parse_args(argv)
    keep_memory()  # as the command line does; both sides gain by it
    device = choose_device(args.device)
    torch.manual_seed(0)
    ours: Any = volovan.create_panoptic(args.trunk, num_classes=CLASSES).to(device)
    peer: Any = make_peer().to(device)
    image = torch.zeros(1, 3, args.size, args.size, device=device)
    cost = {args.trunk: gmacs(ours.eval(), image), PEER: gmacs(lambda x: peer.eval()(pixel_values=x), image)}
    rows = measure(args, ours, peer, device)
    for row in rows:
        own = cost[str(row["network"])]
        row |= {f"of_{PEER}_per_gmac": round(float(row[f"of_{PEER}"]) * own / cost[PEER], 3), "gmacs": round(own, 2)}
        row |= {"size": f"{args.size}x{args.size}", "precision": args.precision}
    print_table(rows)
    path = write_table("panoptic", rows, device, args.out)
    print(f"wrote {path}")
    return path


if __name__ == "__main__":
    main()
