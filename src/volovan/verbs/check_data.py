"""volovan check-data SOURCE"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="class folders, manifest, shards, ImageNet, CIFAR, hf:NAME or digits")
    parser.add_argument("--split", help="look at one split only (train, val, test)")
    parser.add_argument("--out", default="check-data", help="folder of the report and the picture of samples")
    parser.add_argument("--size", type=int, default=224, help="size at which samples are shown")
    parser.add_argument("--workers", type=int, default=2, help="threads that read pictures")
    parser.add_argument("--limit", type=int, help="look at so many pictures of each split at most")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    from volovan.data.check import run_check

    return run_check(args.source, args.split, args.out, args.size, args.workers, args.limit, args.json)
