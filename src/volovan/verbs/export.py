"""volovan export RUN|MODEL --to FORMAT"""

import argparse
import signal
from pathlib import Path

from volovan.exports import PRECISIONS, TO


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a run folder, a checkpoint file, a recipe, or a model of `volovan models`")
    parser.add_argument("--to", choices=TO, default="onnx", help="default: onnx")
    parser.add_argument("--out", help="the file, or a new folder; default: by the name of the model, here")
    parser.add_argument("--weights", help="weights for a model named by its variant; default: its published ones")
    parser.add_argument(
        "--size", type=int, nargs="+", metavar="SIDE", help="the only height and width that it takes; default: any"
    )
    parser.add_argument("--batch", type=int, help="the only number of pictures at once; default: any")
    parser.add_argument(
        "--raw", action="store_true", help="it takes bytes, (pictures, height, width, 3), and normalises them itself"
    )
    parser.add_argument(
        "--answers",
        action="store_true",
        help="it gives probabilities, masks or chosen boxes, for programs that shall make nothing of it",
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of weights and sums; default: fp32")
    parser.add_argument(
        "--calibrate",
        nargs="+",
        metavar="SOURCE",
        help="pictures by which the ranges of int8 are found; default: of the data that the run was trained on",
    )
    parser.add_argument("--data", help="labelled pictures to validate int8, fp16, bf16 on; default: those of the run")
    parser.add_argument("--split", help="split of the data; default: that of the run, or val")
    parser.add_argument("--limit", type=int, help="validate on so many pictures only, the first")
    parser.add_argument(
        "--most-lost",
        type=float,
        metavar="X",
        help="of the figure that the run was judged by (top1, miou, ap ...): a file that loses more is not kept",
    )
    parser.add_argument(
        "--compare",
        nargs="+",
        metavar="SOURCE",
        help="by which the file is compared with the network; default: validation data, else drawn scenes",
    )


def run(args: argparse.Namespace) -> int:
    from volovan.engine.progress import speak
    from volovan.engine.signals import as_interrupted
    from volovan.use.export import export

    speak(f"exporting {args.model}: this takes from ten seconds to some minutes")
    with as_interrupted(signal.SIGTERM):  # which leaves nothing behind
        made = export(**vars(args))
    if isinstance(made, Path):
        print(f"wrote {made}")
        return 0
    print(f"wrote {made.said()}")
    if not args.answers:
        print(f"Next: volovan predict {made.path} PICTURES")
    return 0
