"""volovan validate RUN|RECIPE|MODEL"""

from __future__ import annotations

import argparse

from volovan.rooms import ROOMS, resolve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a run folder, a checkpoint file, a recipe, or a model of `volovan models`")
    parser.add_argument("--data", help="labelled pictures; default: the validation data of the run or recipe")
    parser.add_argument("--split", help="split of the data; default: that of the run, or val")
    parser.add_argument("--weights", help="weights for a model named by its variant; default: its published ones")
    parser.add_argument("--size", type=int, nargs="+", help="size, or height and width; default: the model's")
    parser.add_argument("--crop-pct", type=float, help="see data.crop_pct of the recipes")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--limit", type=int, help="use the first so many pictures only")
    parser.add_argument("--on-bad", choices=("stop", "skip"), default="stop", help="what an unreadable file does")
    parser.add_argument("--out", help="folder of metrics.json, per_class.csv and confusion.png")


def run(args: argparse.Namespace) -> int:
    return int(resolve(ROOMS["classify"].validate)(args))
