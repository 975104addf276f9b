"""Options of `volovan validate` and `volovan predict` that only this room knows. Without torch, for `--help`."""

import argparse


def add_validate_arguments(group: argparse._ActionsContainer) -> None:
    """Of `volovan validate`."""
    _add_test_arguments(group)
    group.add_argument(
        "--boundary", action="store_true", help="also boundary IoU: IoU of the pixels that lie near the edge of a class"
    )


def add_predict_arguments(group: argparse._ActionsContainer) -> None:
    """Of `volovan predict`."""
    _add_test_arguments(group)
    group.add_argument(
        "--overlays",
        choices=("jpg", "png", "none"),
        default="jpg",
        help="format of the pictures with their classes laid over them",
    )


def _add_test_arguments(group: argparse._ActionsContainer) -> None:
    """How a picture is put through the network; all of them default to what the run was validated with."""
    group.add_argument("--mode", choices=("whole", "slide"), help="the whole picture at once, or windows that overlap")
    group.add_argument(
        "--window", type=int, nargs="+", metavar="SIDE", help="of --mode slide: side, or height and width"
    )
    group.add_argument("--stride", type=int, nargs="+", metavar="STEP", help="of --mode slide: step of the windows")
    group.add_argument(
        "--scales", type=float, nargs="+", metavar="FACTOR", help="average over scales, e.g. 0.5 0.75 1 1.25 1.5 1.75"
    )
    group.add_argument("--flip", action=argparse.BooleanOptionalAction, help="average with the mirrored picture")
