"""volovan benchmark SUBJECT..."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subjects",
        nargs="+",
        metavar="SUBJECT",
        help="variants (van_b2), recipes of any task (ade20k_fpn_van_b2), runs, files of volovan export, networks of "
        "timm (timm:resnet50), or ops: single operations beside plain torch",
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        metavar="NETWORK",
        help="beside each: timm:NAME, plain:VARIANT (plain torch), other subjects, or none; default: the plain "
        "formulation and networks of like accuracy",
    )
    parser.add_argument(
        "--part",
        nargs="+",
        choices=("inference", "train", "latency"),
        default=["inference"],
        help="inference, train (forward and backward, no optimiser), latency of one picture; default: inference",
    )
    parser.add_argument(
        "--form",
        nargs="+",
        choices=("eager", "fused", "compiled", "fused-compiled"),
        default=["eager", "fused"],
        help="of the subjects; peers are compiled too where a subject is; default: eager fused",
    )
    parser.add_argument(
        "--layout",
        nargs="+",
        choices=("nchw", "channels-last"),
        help="of pictures and weights, of all that take part; default: nchw on a CPU, channels-last on a GPU",
    )
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16", "fp16"), default=["fp32"])
    parser.add_argument("--batch", default="8", help="pictures at once, or best: the fastest of each; default 8")
    parser.add_argument("--size", type=int, nargs="+", metavar="SIDE", help="pixels, one number or height and width")
    parser.add_argument("--rounds", type=int, default=9, help="in each of which all take turns; default 9")
    parser.add_argument(
        "--tune",
        action="store_true",
        help="of ops, on a GPU: first find the fastest sizes of programs for the kernels, which are kept for this card",
    )
    parser.add_argument("--threads", type=int, help="of a CPU; default: as torch has them")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", default="benchmark", help="folder of benchmark.json and pictures; default: benchmark")


def run(args: argparse.Namespace) -> int:
    from volovan.engine.settings import SettingsError
    from volovan.room.settings import at_least, parse_size

    at_least("--rounds", args.rounds, 1)
    if args.batch != "best" and not args.batch.isdigit():
        raise SettingsError(f"--batch is {args.batch}; give a number of pictures, or best")
    args.batch = None if args.batch == "best" else int(args.batch)
    at_least("--batch", args.batch, 1)
    at_least("--threads", args.threads, 1)
    args.size = parse_size(args.size) if args.size else None
    from volovan.bench.benchmark import benchmark

    return benchmark(args)
