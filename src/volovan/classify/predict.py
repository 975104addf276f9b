"""volovan predict: classes of pictures, written row by row as they come; no list of pictures grows in memory."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from volovan.classify.load import Classifier, load_classifier
from volovan.classify.transforms import to_tensor
from volovan.classify.validate import parse_size
from volovan.data import BadImage, Source, contact_sheet, open_images
from volovan.data.loader import evaluation_loader
from volovan.engine.distributed import choose_device
from volovan.engine.evaluate import autocast
from volovan.engine.files import whole_file
from volovan.engine.progress import bar
from volovan.engine.settings import SettingsError

SMALLEST = 32
"""pixels of a side; smaller pictures are not predicted at their own size"""


class PredictSamples:
    """Pictures as {"index", "image"}, or {"index", "error"} for one that cannot be read."""

    def __init__(self, source: Source, classifier: Classifier, native: bool, piped: str | None) -> None:
        self.source, self.transform, self.native, self.piped = source, classifier.transform, native, piped

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        name = self.source.name(index)
        return "-" if name == self.piped else name

    def read(self, index: int) -> dict[str, Any]:
        try:
            image = self.source.load(index)
        except BadImage as error:
            return {"index": index, "error": error.reason}
        if not self.native:
            return {"index": index, "image": self.transform(image)}
        if min(image.size) < SMALLEST:
            reason = f"is {image.width}x{image.height}; at its own size a picture needs {SMALLEST} pixels a side"
            return {"index": index, "error": reason}
        return {"index": index, "image": to_tensor(image, self.transform.mean, self.transform.std)}


def predict(args: argparse.Namespace) -> int:
    """Write predictions; exit status 1 if some picture could not be read. Arguments: volovan.verbs.predict."""
    _check(args)
    device = choose_device(args.device)
    classifier = load_classifier(args.model, args.weights, device)
    native = args.size == ["native"]
    if not native:
        classifier = classifier.resized(parse_size(args.size))
    path = None if args.out == "-" else Path(args.out) / f"predictions.{args.format}"
    with contextlib.ExitStack() as stack:
        names, piped = _expand(args.sources, stack)
        source = open_images(names)
        samples = PredictSamples(source, classifier, native, piped)
        top = min(args.top, len(classifier.classes))
        with whole_file(path) if path else contextlib.nullcontext(sys.stdout) as file:
            write = _writer(file, args.format, top)
            failed = 0
            first: list[dict[str, Any]] = []
            for row in _in_order(_rows(classifier, samples, args, device, top)):
                failed += "error" in row
                if "error" in row:
                    print(f"{row['file']}: {row['error']}", file=sys.stderr)
                write(row)
                if len(first) < args.sheet:
                    first.append(row)
        if path is not None:
            print(f"{len(source) - failed} pictures predicted, {failed} could not be read; wrote {path}")
            sheet = _draw_sheet(path.with_name("sheet.png"), source, first)
            if sheet:
                print(f"wrote {sheet}")
    return 1 if failed else 0


def _check(args: argparse.Namespace) -> None:
    for key, value in (("--top", args.top), ("--batch-size", args.batch_size)):
        if value < 1:
            raise SettingsError(f"{key} is {value}; at least 1 is needed")
    if not args.out:
        raise SettingsError("--out is empty; name a folder, or - for standard output")


def _rows(
    classifier: Classifier, samples: PredictSamples, args: argparse.Namespace, device: torch.device, top: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, row) as they are ready. Pictures of one size make a batch; what waits is bounded."""
    loader = evaluation_loader(samples, list, batch_size=args.batch_size, workers=args.workers)
    waiting: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for batch in bar(loader, len(loader), "predict", "batch", leads=True):
        for sample in batch.data or ():
            if "error" in sample:
                yield sample["index"], {"file": samples.name(sample["index"]), "error": sample["error"]}
                continue
            group = waiting.setdefault(tuple(sample["image"].shape), [])
            group.append(sample)
            if len(group) == args.batch_size:
                yield from _classify(classifier, waiting.pop(tuple(sample["image"].shape)), samples, args, device, top)
        while sum(map(len, waiting.values())) > 4 * args.batch_size:
            largest = max(waiting, key=lambda shape: len(waiting[shape]))
            yield from _classify(classifier, waiting.pop(largest), samples, args, device, top)
    for group in waiting.values():
        yield from _classify(classifier, group, samples, args, device, top)


@torch.no_grad()
def _classify(
    classifier: Classifier,
    group: Sequence[dict[str, Any]],
    samples: PredictSamples,
    args: argparse.Namespace,
    device: torch.device,
    top: int,
) -> Iterator[tuple[int, dict[str, Any]]]:
    images: Tensor = torch.stack([sample["image"] for sample in group]).to(device)
    with autocast(args.precision, device):
        probabilities = classifier.model(images).float().softmax(1)
    values, numbers = probabilities.topk(top, dim=1)
    for sample, row_values, row_numbers in zip(group, values.tolist(), numbers.tolist(), strict=True):
        best = [
            {"class": classifier.classes[number], "number": number, "probability": value}
            for number, value in zip(row_numbers, row_values, strict=True)
        ]
        yield sample["index"], {"file": samples.name(sample["index"]), "top": best}


def _in_order(rows: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Rows in the order of the input, each as soon as all before it are there."""
    early: dict[int, dict[str, Any]] = {}
    wanted = 0
    for number, row in rows:
        early[number] = row
        while wanted in early:
            yield early.pop(wanted)
            wanted += 1


def _writer(file: TextIO, form: str, top: int) -> Callable[[dict[str, Any]], None]:
    """A function that writes one row."""
    if form == "jsonl":
        return lambda row: print(json.dumps(row, ensure_ascii=False), file=file, flush=True)
    columns = [f"{name}{rank}" for rank in range(1, top + 1) for name in ("class", "probability")]
    table = csv.writer(file)
    table.writerow(["file", *columns, "error"])

    def write(row: dict[str, Any]) -> None:
        cells = [cell for best in row.get("top", ()) for cell in (best["class"], f"{best['probability']:.6f}")]
        table.writerow([row["file"], *cells, *[""] * (len(columns) - len(cells)), row.get("error", "")])

    return write


def _expand(sources: Sequence[str], stack: contextlib.ExitStack) -> tuple[list[str], str | None]:
    """Put in place of `-` what standard input holds: names of files, one per line, or one picture.

    The second value is the file that a picture was kept in.
    """
    if "-" not in sources:
        return list(sources), None
    content = sys.stdin.buffer.read()
    if not content.strip():
        raise SettingsError("standard input is empty; send a picture, or file names one per line")
    names, piped = _names_in(content), None
    if names is None:
        kept = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "stdin"
        kept.write_bytes(content)
        piped = str(kept)
        names = [piped]
    return [name for source in sources for name in (names if source == "-" else [source])], piped


def _names_in(content: bytes) -> list[str] | None:
    """The lines of a text, or None if it is a picture."""
    from PIL import Image, UnidentifiedImageError

    try:
        Image.open(io.BytesIO(content)).close()
        return None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        pass
    try:
        return [line for line in content.decode("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise SettingsError("standard input is neither a picture nor a list of file names") from error


def _draw_sheet(path: Path, source: Source, rows: Sequence[dict[str, Any]]) -> Path | None:
    """The first pictures, each with the best class and its probability; without those that cannot be read."""
    images, captions = [], []
    for index, row in enumerate(rows):
        if "top" in row:
            images.append(source.load(index))
            best = row["top"][0]
            member = row["file"].rpartition("!")[2]  # of an archive
            captions.append([f"{100 * best['probability']:.0f} %  {best['class']}", Path(member).name])
    if not images:
        return None
    contact_sheet(images, captions, cell=112).save(path)
    return path
