"""volovan ablate FILE"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an ablation file (.yaml), or the name of a packaged one")
    parser.add_argument("--out", help="folder of runs, table and plot; default runs/ablations/FILE")
    parser.add_argument("--seeds", type=int, nargs="+", help="repetitions; default: those of the file")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="these rows only")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        metavar="KEY VALUE",
        help="recipe keys for every row, e.g. --set data.source FOLDER; what a row sets itself has its way",
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--processes", type=int, default=1, help="processes of each run, one per GPU (torchrun)")
    parser.add_argument("--table-only", action="store_true", help="train nothing; table and plot of what is finished")
    parser.add_argument(
        "--speed",
        type=int,
        nargs="?",
        const=32,
        metavar="BATCH",
        help="measure images/s of all rows side by side, forward and backward; default batch 32",
    )
    parser.add_argument("--page", help="put table and plot into this Markdown page too, between its marks")


def run(args: argparse.Namespace) -> int:
    from volovan.bench.ablate import ablate
    from volovan.room.settings import at_least

    for name in ("jobs", "processes", "speed"):
        at_least(f"--{name}", getattr(args, name), 1)
    return ablate(args)
