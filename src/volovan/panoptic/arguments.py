"""Options of `volovan validate` and `volovan predict` that only this room knows. Without torch, for `--help`."""

import argparse

ALSO = ("instance", "semantic")
"""answers of the same network besides its segments"""


def add_validate_arguments(group: argparse._ActionsContainer) -> None:
    """Of `volovan validate`."""
    _add_test_arguments(group)
    group.add_argument(
        "--also",
        nargs="*",
        choices=ALSO,
        help="what else is judged: instance, AP of objects by their masks; semantic, mIoU of classes; default: both",
    )


def add_predict_arguments(group: argparse._ActionsContainer) -> None:
    """Of `volovan predict`."""
    _add_test_arguments(group)
    group.add_argument(
        "--also",
        nargs="*",
        choices=ALSO,
        help="what else is written: instance, coco.json and objects.csv of objects, which may overlap; semantic, masks "
        "of classes",
    )
    group.add_argument(
        "--overlays", choices=("jpg", "png", "none"), default="jpg", help="format of the pictures with their segments"
    )


def _add_test_arguments(group: argparse._ActionsContainer) -> None:
    """How segments are chosen; all of them default to what the run was validated with."""
    group.add_argument("--score", type=float, help="queries up to this score are no segment")
    group.add_argument(
        "--visible", type=float, metavar="SHARE", help="of its mask that others must leave of a segment, e.g. 0.8"
    )
