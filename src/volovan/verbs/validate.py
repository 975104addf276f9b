"""volovan validate RUN|RECIPE|MODEL"""

from __future__ import annotations

import argparse

from volovan.rooms import ROOMS, resolve
from volovan.verbs.options import parse

SUMMARY = "metrics of a run or a model on labelled pictures"


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options of every room."""
    parser.add_argument("model", help="a run folder, a checkpoint file, a recipe, or a model of `volovan models`")
    parser.add_argument("--data", help="labelled pictures; default: the validation data of the run or recipe")
    parser.add_argument("--split", help="split of the data; default: that of the run, or val")
    parser.add_argument("--weights", help="weights for a model named by its variant; default: its published ones")
    parser.add_argument("--size", nargs="+", help="size, or height and width (segment: long and short side)")
    parser.add_argument(
        "--batch-size", type=int, default=64, help="pictures at once (segment: one; its windows by test.window_batch)"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--limit", type=int, help="use so many pictures only: the first; of each set of the suite, spread"
    )
    parser.add_argument("--on-bad", choices=("stop", "skip"), default="stop", help="what an unreadable file does")
    parser.add_argument("--out", help="folder of metrics.json, tables and pictures")


def main(words: list[str]) -> int:
    args, room = parse("validate", SUMMARY, words, add_common)
    return int(resolve(ROOMS[room].validate)(args))
