"""Options of `volovan validate` and `volovan predict` that only this room knows. Without torch, for `--help`."""

from __future__ import annotations

import argparse
from dataclasses import replace

from volovan.engine.settings import SettingsError
from volovan.segment.recipe import TestSettings, check_test

Group = argparse._ArgumentGroup | argparse.ArgumentParser


def add_validate_arguments(group: Group) -> None:
    """Of `volovan validate`."""
    _add_test_arguments(group)
    group.add_argument(
        "--boundary", action="store_true", help="also boundary IoU: IoU of the pixels that lie near the edge of a class"
    )
    group.add_argument(
        "--pictures",
        type=int,
        default=6,
        metavar="N",
        help="with --out, draw the N pictures with the lowest and the N with the highest mIoU beside their masks",
    )


def add_predict_arguments(group: Group) -> None:
    """Of `volovan predict`."""
    _add_test_arguments(group)
    group.add_argument(
        "--overlays",
        choices=("jpg", "png", "none"),
        default="jpg",
        help="format of the pictures with their classes laid over them",
    )


def _add_test_arguments(group: Group) -> None:
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


def test_settings(test: TestSettings, args: argparse.Namespace) -> TestSettings:
    """Those of a run, with what the command line says instead; SettingsError for what cannot work.

    --size: the picture is scaled to fit into LONG SHORT (one number: a square), keeping its shape; `native`: as it is.
    """
    changed = {
        "mode": args.mode or ("slide" if args.window or args.stride else None),
        "window": _pair(args.window, "--window"),
        "stride": _pair(args.stride, "--stride"),
        "scales": tuple(args.scales) if args.scales else None,
        "flip": args.flip,
    }
    test = replace(test, **{key: value for key, value in changed.items() if value is not None})
    if args.window and not args.stride:
        height, width = changed["window"]
        test = replace(test, stride=(max(1, height * 2 // 3), max(1, width * 2 // 3)))
    if args.size:
        native = list(args.size) == ["native"]
        test = replace(test, size=None if native else _pair(args.size, "--size"))
    check_test(test)
    return test


def _pair(words: list[int] | list[str] | None, option: str) -> tuple[int, int] | None:
    if not words:
        return None
    if len(words) > 2 or not all(str(word).isdigit() and int(word) > 0 for word in words):
        raise SettingsError(f"{option} {' '.join(map(str, words))}: one number above 0, or two, are expected")
    numbers = [int(word) for word in words]
    return numbers[0], numbers[-1]
