"""RetinaNet and Mask R-CNN beside torchvision's, with ResNet-50 and with ConvNeXt-T: a training step, and inference.

    python benchmarks/bench_detect.py [--trunk van_b2] [--head mask_rcnn] [--size 512 640] [--device cuda]

All networks see pictures of the same size with the same objects; torchvision's do not resize. Their settings are made
equal where they differ: 1000 proposals, 100 detections, all layers trained, BatchNorm trained. The table states the
GMACs of each network, counted in the run on one picture, and `of_..._per_gmac` takes them out of the ratio.

step    forward, losses and backward on a batch that is already there, no optimiser
detect  one picture after the other to boxes, labels and scores, with suppression, and masks in the picture. Weights are
        random: so that all networks have the same work to the end, their last layer says one class everywhere, whatever
        it sees, and suppression does the rest; the column `found` says how many detections a picture has

A picture of torchvision gives each mask as numbers at the size of the picture; ours gives a mask within its box.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, Row, print_table, rate_columns, write_table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import convnext_tiny, resnet50
from torchvision.models.detection import MaskRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

import volovan
from volovan.bench.timing import interleave, median_ratio, settle
from volovan.detect.network import Detector
from volovan.detect.objects import Objects, Outline
from volovan.detect.paste import paste
from volovan.engine.allocator import keep_memory
from volovan.engine.distributed import choose_device

CLASSES = 80
PEERS = ("resnet50", "convnext_tiny")
ONLY, SURE = 5, 6.0
"""class that is found everywhere, and its logit"""
Scene = list[tuple[Tensor, Tensor, list[Outline]]]


def their_network(trunk: str, head: str, size: tuple[int, int]) -> nn.Module:
    """Of torchvision, on a pyramid of the maps that the published networks read."""
    first = 0 if head == "mask_rcnn" else 1
    if trunk == "resnet50":
        body: nn.Module = resnet50(weights=None)
        names, widths = [f"layer{number}" for number in (1, 2, 3, 4)], [256, 512, 1024, 2048]
    else:
        body = convnext_tiny(weights=None).features
        names, widths = ["1", "3", "5", "7"], [96, 192, 384, 768]
    layers = {name: str(number) for number, name in enumerate(names[first:])}
    extra = LastLevelMaxPool() if head == "mask_rcnn" else LastLevelP6P7(widths[-1], 256)
    backbone = BackboneWithFPN(body, layers, widths[first:], 256, extra)
    same = {"min_size": min(size), "max_size": max(size), "_skip_resize": True}
    if head == "mask_rcnn":
        return MaskRCNN(backbone, CLASSES + 1, rpn_post_nms_top_n_train=1000, **same)
    return RetinaNet(backbone, CLASSES, detections_per_img=100, **same)


def make_networks(args: argparse.Namespace) -> dict[str, nn.Module]:
    """Random weights, but for the last layer of classes."""
    ours = volovan.create_detector(args.trunk, args.head, CLASSES)
    networks: dict[str, nn.Module] = {args.trunk: ours}
    networks |= {name: their_network(name, args.head, tuple(args.size)) for name in PEERS}
    for network in networks.values():
        for name, part in network.named_modules():
            if name.endswith(("class_out", "cls_logits", "cls_score")) and "rpn" not in name:
                nn.init.zeros_(part.weight)  # type: ignore[arg-type]
                with torch.no_grad():
                    outputs = CLASSES if args.head == "retinanet" else CLASSES + 1
                    part.bias.view(-1, outputs)[:, ONLY] = SURE  # type: ignore[operator]
    return networks


def make_scenes(batch: int, size: tuple[int, int], number: int = 8) -> Scene:
    """Boxes, labels and round masks of `number` objects for each picture."""
    scenes = []
    for _ in range(batch):
        sides = torch.randint(24, min(size) // 2, (number, 2))
        corners = (torch.rand(number, 2) * (torch.tensor(size[::-1]) - sides)).long()
        boxes = torch.cat((corners, corners + sides), dim=1)
        places = torch.cat((corners, sides), dim=1).tolist()
        masks = [Outline(ellipse(height, width), x, y) for x, y, width, height in places]
        scenes.append((boxes.float(), torch.randint(0, CLASSES, (number,)), masks))
    return scenes


def ellipse(height: int, width: int) -> Tensor:
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    return rows**2 + columns**2 <= 1


def ours_of(scenes: Scene, device: torch.device) -> list[Objects]:
    return [Objects(boxes, labels, masks).to(device) for boxes, labels, masks in scenes]


def theirs_of(scenes: Scene, head: str, size: tuple[int, int], device: torch.device) -> list[dict[str, Tensor]]:
    """The same objects as torchvision wants them: class 0 of Mask R-CNN is background, masks as large as pictures."""
    targets = []
    for boxes, labels, outlines in scenes:
        masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
        for mask, outline in zip(masks, outlines, strict=True):
            height, width = outline.mask.shape
            mask[outline.y : outline.y + height, outline.x : outline.x + width] = outline.mask
        target = {"boxes": boxes, "labels": labels + (head == "mask_rcnn"), "masks": masks}
        targets.append({name: value.to(device) for name, value in target.items()})
    return targets


def measure(args: argparse.Namespace, networks: dict[str, nn.Module], device: torch.device) -> list[Row]:
    size = tuple(args.size)
    images = torch.randn(args.batch, 3, *size, device=device).contiguous(memory_format=torch.channels_last)
    scenes = make_scenes(args.batch, size)
    for_ours, for_theirs = ours_of(scenes, device), theirs_of(scenes, args.head, size, device)

    def losses(network: nn.Module) -> dict[str, Tensor]:
        return network(images, for_ours) if isinstance(network, Detector) else network(list(images), for_theirs)

    def step(network: nn.Module) -> Callable[[], int]:
        def run() -> int:
            with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
                loss = torch.stack(list(losses(network.train()).values())).sum()
            loss.backward()
            network.zero_grad(set_to_none=True)
            settle(device)
            return args.batch

        return run

    def detect(network: nn.Module) -> Callable[[], int]:
        def run() -> int:
            with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
                for image in images:
                    find(network.eval(), image)
            settle(device)
            return args.batch

        return run

    for network in networks.values():
        learn_statistics(lambda network=network: losses(network.train()), network)
    notes = {name: {"gmacs": round(gmacs(network, images[0]), 1)} for name, network in networks.items()}
    for name, network in networks.items():
        notes[name]["found"] = find(network.eval(), images[0])
    rows: list[Row] = []
    for part, case in (("step", step), ("detect", detect)):
        rates = interleave({name: case(network) for name, network in networks.items()}, args.rounds)
        for name in rates:
            row: Row = {"part": part, "trunk": name, "batch": args.batch if part == "step" else 1}
            row |= rate_columns(rates[name]) | notes[name]
            for peer in PEERS:
                ratio = median_ratio(rates[name], rates[peer])
                row[f"of_{peer}"] = round(ratio, 3)
                row[f"of_{peer}_per_gmac"] = round(ratio * notes[name]["gmacs"] / notes[peer]["gmacs"], 3)
            rows.append(row)
    return rows


@torch.no_grad()
def learn_statistics(run: Callable[[], object], network: nn.Module) -> None:
    """Give BatchNorm the statistics of a batch; without any, a deep network of random weights explodes in inference."""
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    run()
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum


@torch.no_grad()
def find(network: nn.Module, image: Tensor) -> int:
    """How many detections a picture has, their masks pasted into it."""
    if not isinstance(network, Detector):
        return len(network([image])[0]["scores"])
    found: Any = network(image[None])[0]
    if found.masks is not None:
        for _ in paste(found.boxes.float().cpu().numpy(), found.masks.float().cpu().numpy(), *image.shape[1:]):
            pass
    return len(found)


def gmacs(network: nn.Module, image: Tensor) -> float:
    """1e9 multiply-accumulates of convolutions and matrix products in `find`."""
    with FlopCounterMode(display=False) as counter:
        find(network.eval(), image)
    return counter.get_total_flops() / 2e9


def main(argv: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trunk", default="van_b2", help="van_b2 costs about what both others cost")
    parser.add_argument("--head", choices=("retinanet", "mask_rcnn", "both"), default="both")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    args = parser.parse_args(argv)
    keep_memory()  # as the command line does; both sides gain by it
    device = choose_device(args.device)
    rows: list[Row] = []
    for head in ("retinanet", "mask_rcnn") if args.head == "both" else (args.head,):
        args.head = head
        torch.manual_seed(0)
        networks = {
            name: network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for name, network in make_networks(args).items()
        }
        for row in measure(args, networks, device):
            rows.append({"head": head} | row | {"size": "x".join(map(str, args.size)), "precision": args.precision})
    print_table(rows)
    path = write_table("detect", rows, device, args.out)
    print(f"wrote {path}")
    return path


if __name__ == "__main__":
    main()
