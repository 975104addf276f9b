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
    parser.add_argument("--crop-pct", type=float, help="crop ratio; default: that of the weights (data.crop_pct)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--limit", type=int, help="use so many pictures only: the first; of each set of the suite, spread"
    )
    parser.add_argument("--on-bad", choices=("stop", "skip"), default="stop", help="what an unreadable file does")
    parser.add_argument("--out", help="folder of metrics.json, per_class.csv, confusion.png; suite.json and suite.csv")
    suite = parser.add_argument_group(
        "suite", "ImageNet val, ReaL, V2, A, R, Sketch, C and VizWiz, those that are found"
    )
    suite.add_argument("--suite", choices=("imagenet",), help="score an ImageNet classifier on all of them")
    suite.add_argument(
        "--root", action="append", help="folder that holds them, may be repeated; default: VOLOVAN_SUITE"
    )
    suite.add_argument(
        "--sets", metavar="NAME,...", help="only these: val, real, v2, a, r, sketch, vizwiz, c; default: all"
    )


def run(args: argparse.Namespace) -> int:
    return int(resolve(ROOMS["classify"].validate)(args))
