"""volovan check-data SOURCE"""

import argparse

from volovan.use.rooms import ROOMS

_REMARKS = {
    "labels": "fit learns several labels for a picture with --loss.target multi_label.",
    "numbers": "fit learns numbers with --loss.target regression.",
}
_SAID = ("split", "out", "size", "workers", "limit", "json", "drawn_on")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="whatever fit takes: class folders, images and masks, lists, shards, shapes ...")
    parser.add_argument("--task", choices=tuple(ROOMS), help="what it is for; default: what its layout tells")
    parser.add_argument("--split", help="look at one split only (train, val, test)")
    parser.add_argument(
        "--drawn-on", choices=("shown", "stored"), help="where EXIF turns pictures: what their masks were drawn on"
    )
    parser.add_argument("--out", default="check-data", help="folder of the report and the picture of samples")
    parser.add_argument("--size", type=int, help="pixels that the network sees a side (224; with objects 800)")
    parser.add_argument("--workers", type=int, default=2, help="threads that read pictures")
    parser.add_argument("--limit", type=int, help="look at so many pictures of each split at most")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    from volovan.data.checks.check import run_check
    from volovan.data.checks.recognise import GUESSES, recognise

    kind, why = (ROOMS[args.task].kind, "") if args.task else recognise(args.source)
    said = {name: value for name, value in vars(args).items() if name in _SAID}
    remarks = _REMARKS | ({kind: why} if why else {})
    return run_check(args.source, kind, remarks=remarks, guessed=why in GUESSES.values(), **said)
