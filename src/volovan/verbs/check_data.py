"""volovan check-data SOURCE"""

from __future__ import annotations

import argparse

TASKS = ("classify", "segment", "saliency")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="whatever fit takes: class folders, images and masks, lists, shards, shapes ...")
    parser.add_argument("--task", choices=TASKS, help="what it is for; default: what its layout tells")
    parser.add_argument("--split", help="look at one split only (train, val, test)")
    parser.add_argument("--out", default="check-data", help="folder of the report and the picture of samples")
    parser.add_argument("--size", type=int, default=224, help="size at which samples are shown")
    parser.add_argument("--workers", type=int, default=2, help="threads that read pictures")
    parser.add_argument("--limit", type=int, help="look at so many pictures of each split at most")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    from volovan.data.check import run_check
    from volovan.data.check_masks import run_check_masks
    from volovan.data.recognise import recognise

    task, why = (args.task, "") if args.task else recognise(args.source)
    if task == "classify":
        return run_check(args.source, args.split, args.out, args.size, args.workers, args.limit, args.json)
    return run_check_masks(args.source, task, args.split, args.out, args.workers, args.limit, args.json, why)
