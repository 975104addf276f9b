"""Options of `volovan validate` and `volovan predict` that only this room knows. Without torch, for `--help`."""

import argparse


def add_validate_arguments(group: argparse._ActionsContainer) -> None:
    """Of `volovan validate`."""
    _add_test_arguments(group)


def add_predict_arguments(group: argparse._ActionsContainer) -> None:
    """Of `volovan predict`."""
    _add_test_arguments(group)
    group.add_argument("--score", type=float, help="score from which on an object is written and drawn")
    group.add_argument(
        "--overlays", choices=("jpg", "png", "none"), default="jpg", help="format of the pictures with their objects"
    )
    group.add_argument("--yolo", action="store_true", help="also labels/*.txt as YOLO writes them, with scores")


def _add_test_arguments(group: argparse._ActionsContainer) -> None:
    """How objects are chosen; all of them default to what the run was validated with."""
    group.add_argument("--nms", type=float, metavar="IOU", help="of two boxes of a class that overlap more one is kept")
    group.add_argument(
        "--tile", type=int, nargs="+", metavar="SIDE", help="look at large pictures in tiles: side, or height and width"
    )
    group.add_argument("--overlap", type=float, metavar="PART", help="of a tile that its neighbour sees too, e.g. 0.2")
    group.add_argument("--most", type=int, metavar="COUNT", help="objects of a picture")
