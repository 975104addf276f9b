"""`volovan validate` beside timm's validation script: the same VOLO, the same weights, the same files, in one run.

Ours is what the command runs between opening the data and printing the table: engine.evaluate over ClassSamples with
ClassificationMetric. timm's script, validate.py, is not part of its installed package. Its path is built here from the
parts that are (create_dataset, create_loader, accuracy, AverageMeter) as the script combines them with its defaults:
prefetcher on (so normalisation in the main process), contiguous layout, no mixed precision, inference_mode, loss and
two accuracies read back after each batch. Number of workers and batch size are given to both. TF32, which the script
allows on CUDA, is allowed for both.

Not timed on either side: imports, building the model, listing the folder. Timed on both: the start of the loader's
processes. Before any rate is printed the two must agree on accuracy and loss.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from common import RESULTS, Row, make_photographs, print_table, rate_columns, write_table
from safetensors.torch import save_file
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.utils import AverageMeter, accuracy
from torch import nn

from volovan.bench.timing import interleave, median_ratio
from volovan.classify.data import ClassSamples
from volovan.classify.metrics import ClassificationMetric
from volovan.data import list_splits, open_source
from volovan.engine.distributed import Place, choose_device
from volovan.engine.evaluate import BadSamples, evaluate
from volovan.engine.settings import TrainSettings
from volovan.use.load import load


@dataclass
class Outcome:
    """What a validation finds: percentages, mean loss, number of pictures."""

    top1: float = float("nan")
    top5: float = float("nan")
    loss: float = float("nan")
    count: int = 0


def ours(args: argparse.Namespace, weights: Path, device: torch.device, out: Outcome) -> Callable[[], int]:
    """One validation by our command's path."""
    place = Place(device)
    classifier = load(args.model, weights, str(device))
    source = open_source(args.data, "val" if "val" in list_splits(args.data) else None)
    # A folder of two classes is scored by a head of 1000 here, as in timm's script; the command would refuse.
    samples = ClassSamples(source, classifier.eval_transform(), source.classes)
    settings = TrainSettings(workers=args.workers)

    def run() -> int:
        metric = ClassificationMetric(len(classifier.classes), device)
        bad = BadSamples(skip=False, say=print)
        evaluate(classifier.model, samples, metric, settings, place, bad, batch_size=args.batch_size)
        values = metric.finish()
        out.top1, out.top5, out.loss = values["top1"], values["top5"], values["val_loss"]
        out.count = int(metric.totals["count"])
        return out.count

    return run


def theirs(args: argparse.Namespace, weights: Path, device: torch.device, out: Outcome) -> Callable[[], int]:
    """One validation by the path of timm's script."""
    model = timm.create_model(args.timm_model, checkpoint_path=str(weights)).to(device).eval()
    criterion = nn.CrossEntropyLoss().to(device)
    config = resolve_data_config({}, model=model)
    dataset = create_dataset("", root=args.data, split="validation")

    @torch.inference_mode()
    def run() -> int:
        loader = create_loader(
            dataset,
            batch_size=args.batch_size,
            num_workers=args.workers,
            device=device,
            **{key: config[key] for key in ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")},
        )
        losses, top1, top5 = AverageMeter(), AverageMeter(), AverageMeter()
        for images, labels in loader:
            logits = model(images)
            loss = criterion(logits, labels)
            hits = accuracy(logits, labels, topk=(1, 5))
            for meter, value in ((losses, loss), (top1, hits[0]), (top5, hits[1])):
                meter.update(value.item(), len(images))
        out.top1, out.top5, out.loss, out.count = top1.avg, top5.avg, losses.avg, losses.count
        return out.count

    return run


def require_agreement(mine: Outcome, other: Outcome) -> None:
    """A comparison of speed means nothing between two that compute different things."""
    near = all(abs(getattr(mine, key) - getattr(other, key)) < 1e-3 for key in ("top1", "top5", "loss"))
    if mine.count != other.count or not near:
        raise SystemExit(f"the two validations differ, so no rates are given: ours {mine}, timm's {other}")


def main(argv: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="class folders of your own; default: pictures made for the purpose")
    parser.add_argument("--weights", type=Path, help="a file that both read; default: random ones")
    parser.add_argument("--model", default="volo_d1")
    parser.add_argument("--timm-model", default="volo_d1_224")
    parser.add_argument("--count", type=int, default=96, help="pictures to make")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    args = parser.parse_args(argv)
    device = choose_device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = True
    mine, other = Outcome(), Outcome()
    with tempfile.TemporaryDirectory() as made:
        if args.data is None:
            args.data = f"{made}/pictures"
            make_photographs(Path(args.data), args.count)
        weights = args.weights or Path(made) / f"{args.timm_model}.safetensors"
        if args.weights is None:
            save_file(timm.create_model(args.timm_model).state_dict(), weights)
        cases = {"ours": ours(args, weights, device, mine), "timm": theirs(args, weights, device, other)}
        rates = interleave(cases, args.rounds)
    require_agreement(mine, other)
    about: Row = {"model": args.model, "pictures": mine.count, "batch": args.batch_size, "workers": args.workers}
    about |= {"dtype": "fp32", "rounds": args.rounds}
    rows = [{"side": side, **about, **rate_columns(rates[side])} for side in cases]
    rows[0]["of_timm"] = round(median_ratio(rates["ours"], rates["timm"]), 3)
    print_table(rows)
    path = write_table("validation", rows, device, args.out)
    print(f"wrote {path}")
    return path


if __name__ == "__main__":
    main()
