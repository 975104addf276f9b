"""Options of `volovan validate` and `volovan predict` that only this room knows. Without torch, for `--help`."""

import argparse


def add_validate_arguments(group: argparse._ActionsContainer) -> None:
    """Of `volovan validate`."""
    group.add_argument(
        "--maps",
        choices=("8bit", "float"),
        default="8bit",
        help="score maps as they are written to PNG files, or as the network gives them",
    )
    group.add_argument(
        "--stretch",
        action="store_true",
        help="stretch each map to the range 0 to 1 first, as pysodmetrics and the MATLAB tools do",
    )
    group.add_argument(
        "--baselines",
        action="store_true",
        help="also score what looks at no picture: nothing salient, the mean of the training masks, the centre prior",
    )


def add_predict_arguments(group: argparse._ActionsContainer) -> None:
    """Of `volovan predict`."""
    group.add_argument(
        "--threshold", type=float, help="cut-outs with hard edges: all of a pixel from this value on, nothing below"
    )
    group.add_argument("--crop", action="store_true", help="cut-outs no larger than the object")
    group.add_argument(
        "--background",
        default="transparent",
        metavar="COLOUR",
        help="what lies behind a cut-out: transparent, a name such as white, or #rrggbb",
    )
