"""volovan predict RUN|MODEL SOURCE..."""

from __future__ import annotations

import argparse

from volovan.rooms import ROOMS, resolve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a run folder, a checkpoint file, or a model of `volovan models`")
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="files, folders, globs, shards, digits, or - (a picture, or names one per line, on standard input)",
    )
    parser.add_argument("--weights", help="weights for a model named by its variant; default: its published ones")
    parser.add_argument("--out", default="predictions", help="folder for the results; - prints the rows instead")
    parser.add_argument("--format", choices=("csv", "jsonl"), default="csv")
    parser.add_argument(
        "--features",
        action="store_true",
        help="instead of classes, the pooled features of the network: features.safetensors and features.csv",
    )
    parser.add_argument("--split", help="of a single source: train, val or test; default: all of it")
    parser.add_argument("--top", type=int, default=5, help="classes per picture")
    parser.add_argument("--threshold", type=float, default=0.5, help="of a class, where a picture may have several")
    parser.add_argument("--size", nargs="+", help="size, or height and width, or `native`: each picture as it is")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sheet", type=int, default=48, help="pictures on the contact sheet; 0: none")


def run(args: argparse.Namespace) -> int:
    return int(resolve(ROOMS["classify"].predict)(args))
