"""Options of `volovan validate` and `volovan predict` that only this room knows. Without torch."""

from __future__ import annotations

import argparse


def add_validate_arguments(group: argparse.ArgumentParser) -> None:
    """None."""


def add_predict_arguments(group: argparse.ArgumentParser) -> None:
    """Of `volovan predict`."""
    group.add_argument("--digits", type=int, default=4, help="behind the point")
