"""Options of `volovan validate` and `volovan predict` that only this room knows. Without torch, for `--help`."""

import argparse


def add_validate_arguments(group: argparse._ActionsContainer) -> None:
    """Of `volovan validate`."""
    group.add_argument("--crop-pct", type=float, help="crop ratio; default: that of the weights (data.crop_pct)")
    group.add_argument(
        "--suite",
        choices=("imagenet",),
        help="score an ImageNet classifier on ImageNet val, ReaL, V2, A, R, Sketch, C and VizWiz, those that are found",
    )
    group.add_argument("--root", action="append", help="folder of the suite, may be repeated; default: VOLOVAN_SUITE")
    group.add_argument(
        "--sets", metavar="NAME,...", help="of the suite only these: val, real, v2, a, r, sketch, vizwiz, c"
    )


def add_predict_arguments(group: argparse._ActionsContainer) -> None:
    """Of `volovan predict`."""
    group.add_argument(
        "--features",
        action="store_true",
        help="instead of classes, the pooled features of the network: features.safetensors and features.csv",
    )
    group.add_argument("--top", type=int, default=5, help="classes per picture")
    group.add_argument("--threshold", type=float, default=0.5, help="of a class, where a picture may have several")
