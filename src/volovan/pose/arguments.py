"""Options of `volovan validate` and `volovan predict` that only this room knows. Without torch, for `--help`."""

import argparse


def add_validate_arguments(group: argparse._ActionsContainer) -> None:
    """Of `volovan validate`."""
    _add_common(group, "default: the annotated boxes")


def add_predict_arguments(group: argparse._ActionsContainer) -> None:
    """Of `volovan predict`."""
    _add_common(group, "default: each picture is one object")
    group.add_argument("--score", type=float, help="from which on a point is drawn")
    group.add_argument(
        "--overlays", choices=("jpg", "png", "none"), default="jpg", help="format of the pictures with their points"
    )


def _add_common(group: argparse._ActionsContainer, default: str) -> None:
    """Where objects are, and how maps are read."""
    group.add_argument("--detector", metavar="RUN", help=f"a run of detection that finds the objects first; {default}")
    group.add_argument("--detector-class", metavar="NAME", help="the class of the detector that the points are of")
    group.add_argument("--detector-score", type=float, help="from which on its objects are taken")
    group.add_argument("--boxes", metavar="FILE", help="a JSON of COCO with boxes, such as coco.json of `predict`")
    group.add_argument(
        "--flip", action=argparse.BooleanOptionalAction, default=None, help="look at the mirrored object too"
    )
    group.add_argument("--coding", choices=("plain", "dark"), help="how heat maps are read")
