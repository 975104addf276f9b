"""volovan predict RUN|MODEL SOURCE..."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from volovan.engine.settings import SettingsError
from volovan.verbs.options import add_machine, add_size, chosen, machine, parse

if TYPE_CHECKING:
    from volovan.use.predict import Results

SUMMARY = "predictions for pictures, as files: classes, masks, cut-outs"


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options of every room."""
    parser.add_argument("model", help="a run folder, a checkpoint file, or a model of `volovan models`")
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="files, folders, globs, shards, digits, or - (a picture, or names one per line, on standard input)",
    )
    parser.add_argument("--weights", help="weights for a model named by its variant; default: its published ones")
    parser.add_argument("--out", help="folder for the results alone; - prints rows instead; default: predictions")
    parser.add_argument("--split", help="of a single source: train, val or test; default: all of it")
    add_size(parser)
    parser.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="of the table")
    add_machine(parser, batch_size=32)
    parser.add_argument(
        "--sheet",
        type=int,
        default=48,
        help="pictures on the contact sheet, evenly spread over all (default: 48); 0: none",
    )


def main(words: list[str]) -> int:
    """Write predictions; exit status 1 if some picture could not be read."""
    args, named, own = parse("predict", SUMMARY, words, add_common)
    from volovan.data.sources import refuse_missing
    from volovan.data.synthetic.shapes_sources import is_shapes

    for spec in args.sources:  # before torch is imported, which takes seconds
        if spec != "-" and not args.split:
            refuse_missing(spec, "mask" if is_shapes(spec) else "class")
    from volovan.engine.distributed import choose_device
    from volovan.use.load import open_model
    from volovan.use.predict import Results, pictures_of, predict
    from volovan.use.rooms import ROOMS

    results = Results(args.out, args.format, args.sheet)
    options = chosen(args, own, ROOMS[named.room].ready())
    ready = open_model(named).to(choose_device(args.device)).using(**options)
    if getattr(args, "features", False):
        return _features(args, ready, results)
    with pictures_of(args.sources, args.split, ready.kind) as source:
        if source.note:
            print(f"note: {source.note}", file=sys.stderr)
        failed = predict(ready.fused(len(source)), source, results, **machine(args))
    return 1 if failed else 0


def _features(args: argparse.Namespace, ready: Any, where: Results) -> int:
    """--features of classification: the pooled features of the network in place of its answers."""
    from volovan.files.results import results
    from volovan.transfer.features import open_with_labels, write_features

    if where.folder is None:
        raise SettingsError("--features are written to a file; name a folder with --out")
    path = where.folder / "features.safetensors"
    source = open_with_labels(args.sources, args.split)
    with results(where.folder, "predict --features"):
        written = write_features(ready, source, path, **machine(args))
    for name, reason in written.failed:
        print(f"{name}: {reason}", file=sys.stderr)
    print(
        f"{written.rows} x {written.width} features, {len(written.failed)} pictures could not be read; wrote {path} "
        f"and {path.with_suffix('.csv').name}"
    )
    return 1 if written.failed else 0
