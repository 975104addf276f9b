"""volovan predict RUN|MODEL SOURCE..."""

from __future__ import annotations

import argparse

from volovan.rooms import ROOMS, resolve
from volovan.verbs.options import parse

SUMMARY = "predictions for pictures, as files: classes, masks, cut-outs"


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options of every room."""
    parser.add_argument("model", help="a run folder, a checkpoint file, or a model of `volovan models`")
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="files, folders, globs, shards, digits, or - (a picture, or names one per line, on standard input)",
    )
    parser.add_argument("--weights", help="weights for a model named by its variant; default: its published ones")
    parser.add_argument("--out", default="predictions", help="folder for the results; - prints rows instead")
    parser.add_argument("--split", help="of a single source: train, val or test; default: all of it")
    parser.add_argument(
        "--size", nargs="+", help="size, or height and width (segment: long and short side), or `native`: as they are"
    )
    parser.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="of the table")
    parser.add_argument(
        "--batch-size", type=int, default=32, help="pictures at once (segment: one; its windows by test.window_batch)"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sheet", type=int, default=48, help="pictures on the contact sheet; 0: none")


def main(words: list[str]) -> int:
    args, room = parse("predict", SUMMARY, words, add_common)
    return int(resolve(ROOMS[room].predict)(args))
