"""volovan predict: classes of pictures, written row by row as they come; no list of pictures grows in memory."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from volovan.classify.features import open_with_labels, write_features
from volovan.classify.inference import PictureSamples, answers, in_order
from volovan.classify.load import Classifier, load_classifier
from volovan.classify.predict_targets import Columns, says_targets, target_columns, targets_caption
from volovan.classify.validate import parse_size
from volovan.data import Source, contact_sheet, open_images, open_source
from volovan.data.standard_input import expand_standard_input
from volovan.engine.distributed import choose_device
from volovan.engine.settings import SettingsError
from volovan.files.pictures import save_picture
from volovan.files.whole import whole_file


def predict(args: argparse.Namespace) -> int:
    """Write predictions; exit status 1 if some picture could not be read. Arguments: volovan.verbs.predict."""
    _check(args)
    device = choose_device(args.device)
    classifier = load_classifier(args.model, args.weights, device)
    native = args.size == ["native"]
    if not native:
        classifier = classifier.resized(parse_size(args.size))
    with contextlib.ExitStack() as stack:
        names, piped = expand_standard_input(args.sources, stack)
        samples = PictureSamples(_open(names, args), classifier.transform, native, piped)
        failed = (_predict_features if args.features else _predict_classes)(classifier, samples, args, device)
    return 1 if failed else 0


def _open(names: list[str], args: argparse.Namespace) -> Source:
    if args.split and len(names) > 1:
        raise SettingsError("--split is of one source; name one, or leave --split out")
    if args.features:
        return open_with_labels(names, args.split)
    return open_source(names[0], args.split) if args.split else open_images(names)


def _predict_classes(
    classifier: Classifier, samples: PictureSamples, args: argparse.Namespace, device: torch.device
) -> int:
    """Write the best classes of each picture, and a sheet of the first; returns how many could not be read."""
    path = None if args.out == "-" else Path(args.out) / f"predictions.{args.format}"
    top = min(args.top, len(classifier.classes))
    forward = says_targets(classifier, args.threshold) if classifier.outputs else _best_classes(classifier, top)
    columns = target_columns(classifier.outputs) if classifier.outputs else _class_columns(top)
    options = {"batch_size": args.batch_size, "workers": args.workers, "precision": args.precision}
    with whole_file(path) if path else contextlib.nullcontext(sys.stdout) as file:
        write = _writer(file, args.format, columns)
        failed = 0
        first: list[dict[str, Any]] = []
        for answer in in_order(answers(forward, samples, device, **options)):
            row = {"file": samples.name(answer.index), **(answer.value or {"error": answer.error})}
            failed += bool(answer.error)
            if answer.error:
                print(f"{row['file']}: {answer.error}", file=sys.stderr)
            write(row)
            if len(first) < args.sheet:
                first.append(row)
    if path is not None:
        print(f"{len(samples) - failed} pictures predicted, {failed} could not be read; wrote {path}")
        sheet = _draw_sheet(path.with_name("sheet.png"), samples.source, first)
        if sheet:
            print(f"wrote {sheet}")
    return failed


def _predict_features(
    classifier: Classifier, samples: PictureSamples, args: argparse.Namespace, device: torch.device
) -> int:
    """Write the features of each picture; returns how many could not be read."""
    path = Path(args.out) / "features.safetensors"
    written = write_features(
        classifier,
        samples,
        path,
        device,
        batch_size=args.batch_size,
        workers=args.workers,
        precision=args.precision,
    )
    for name, reason in written.failed:
        print(f"{name}: {reason}", file=sys.stderr)
    print(
        f"{written.rows} x {written.width} features, {len(written.failed)} pictures could not be read; wrote {path} "
        f"and {path.with_suffix('.csv').name}"
    )
    return len(written.failed)


def _check(args: argparse.Namespace) -> None:
    for key, value in (("--top", args.top), ("--batch-size", args.batch_size)):
        if value < 1:
            raise SettingsError(f"{key} is {value}; at least 1 is needed")
    if not args.out:
        raise SettingsError("--out is empty; name a folder, or - for standard output")
    if not 0 <= args.threshold <= 1:
        raise SettingsError(f"--threshold is {args.threshold}; a probability lies between 0 and 1")
    if args.features and args.out == "-":
        raise SettingsError("--features are written to a file; name a folder with --out")


def _best_classes(classifier: Classifier, top: int) -> Callable[[Tensor], list[dict[str, Any]]]:
    """Images (B, 3, H, W) -> for each the `top` classes with their probabilities, best first."""

    def forward(images: Tensor) -> list[dict[str, Any]]:
        values, numbers = classifier.model(images).float().softmax(1).topk(top, dim=1)
        return [
            {
                "top": [
                    {"class": classifier.classes[number], "number": number, "probability": value}
                    for number, value in zip(row_numbers, row_values, strict=True)
                ]
            }
            for row_values, row_numbers in zip(values.tolist(), numbers.tolist(), strict=True)
        ]

    return forward


def _class_columns(top: int) -> Columns:
    """Of a table: class1, probability1, class2 ..."""
    names = [f"{name}{rank}" for rank in range(1, top + 1) for name in ("class", "probability")]
    return names, lambda row: [x for best in row["top"] for x in (best["class"], f"{best['probability']:.6f}")]


def _writer(file: TextIO, form: str, columns: Columns) -> Callable[[dict[str, Any]], None]:
    """A function that writes one row."""
    if form == "jsonl":
        return lambda row: print(json.dumps(row, ensure_ascii=False), file=file, flush=True)
    names, cells_of = columns
    table = csv.writer(file)
    table.writerow(["file", *names, "error"])

    def write(row: dict[str, Any]) -> None:
        cells = [""] * len(names) if "error" in row else cells_of(row)
        table.writerow([row["file"], *cells, row.get("error", "")])

    return write


def _draw_sheet(path: Path, source: Source, rows: Sequence[dict[str, Any]]) -> Path | None:
    """The first pictures, each with the best class and its probability; without those that cannot be read."""
    images, captions = [], []
    for index, row in enumerate(rows):
        if "error" not in row:
            images.append(source.load(index))
            member = row["file"].rpartition("!")[2]  # of an archive
            captions.append([_caption(row), Path(member).name])
    if not images:
        return None
    save_picture(path, contact_sheet(images, captions, cell=112))
    return path


def _caption(row: dict[str, Any]) -> str:
    if "top" not in row:
        return targets_caption(row)
    best = row["top"][0]
    return f"{100 * best['probability']:.0f} %  {best['class']}"
