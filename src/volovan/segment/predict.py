"""volovan predict: masks, overlays and a table of class shares for any pictures, written one by one as they come."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from PIL import Image

from volovan.data import BadImage, Source, open_images
from volovan.data.file_names import file_names
from volovan.data.loader import evaluation_loader
from volovan.data.masks import MaskSource
from volovan.data.segmentation import open_masks
from volovan.data.standard_input import expand_standard_input
from volovan.data.tensors import to_tensor
from volovan.engine.distributed import choose_device
from volovan.engine.evaluate import autocast
from volovan.engine.progress import bar
from volovan.engine.settings import SettingsError, expand_variables
from volovan.files.pictures import save_picture
from volovan.files.whole import whole_file
from volovan.segment.arguments import test_settings
from volovan.segment.draw import draw_prediction, draw_sheet, palette_picture, shares_of, thumbnail
from volovan.segment.inference import segment
from volovan.segment.load import ReadySegmenter
from volovan.segment.recipe import TestSettings
from volovan.segment.validate import load, recipe_of


class Pictures:
    """Pictures as {"index", "pixels": (H, W, 3) uint8}, or {"index", "error"} for one that cannot be read.

    piped: the file that standard input was kept in, which is called `-`.
    """

    def __init__(self, source: Source | MaskSource, piped: str | None = None) -> None:
        self.source, self.piped = source, piped

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        name = self.source.name(index)
        return "-" if name == self.piped else name

    def read(self, index: int) -> dict[str, Any]:
        try:
            return {"index": index, "pixels": np.asarray(self.source.load(index))}
        except BadImage as error:
            return {"index": index, "error": error.reason}

    def collate(self, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As they are: sizes differ."""
        return samples


@dataclass(frozen=True)
class Found:
    """What there is to say of one picture: its classes (H, W) uint8 and pixels, or why it could not be read."""

    index: int
    mask: np.ndarray | None = None
    pixels: np.ndarray | None = None
    error: str = ""


def predict(args: argparse.Namespace) -> int:
    """Write predictions; exit status 1 if some picture could not be read. Arguments: volovan.verbs.predict."""
    if not args.out:
        raise SettingsError("--out is empty; name a folder, or - for the table on standard output")
    device = choose_device(args.device)
    ready = load(args, recipe_of(args.model), None, device)
    test = test_settings(ready.test, args)
    with contextlib.ExitStack() as stack:
        pictures = _open(args, stack)
        found = results(ready, pictures, test, device, workers=args.workers, precision=args.precision)
        failed = _write(ready, pictures, found, args)
    return 1 if failed else 0


def _open(args: argparse.Namespace, stack: contextlib.ExitStack) -> Pictures:
    """Pictures by themselves; with --split, and of drawn scenes, those of a source that has masks too."""
    if args.split and len(args.sources) > 1:
        raise SettingsError("--split is of one source; name one, or leave --split out")
    drawn = args.sources[0].partition(":")[0] == "shapes" and not Path(args.sources[0]).exists()
    if args.split or drawn:
        return Pictures(open_masks(expand_variables(args.sources[0]), args.split))
    names, piped = expand_standard_input(args.sources, stack)
    return Pictures(open_images(names), piped)


def results(
    ready: ReadySegmenter,
    pictures: Pictures,
    test: TestSettings,
    device: torch.device,
    *,
    workers: int = 0,
    precision: str = "fp32",
) -> Iterator[Found]:
    """One result for each picture, in their order; one picture is in memory at a time, and one for each worker."""
    seen = ready.preprocessing
    loader = evaluation_loader(pictures, batch_size=1, workers=workers)
    for batch in bar(loader, len(loader), "predict", "picture", leads=True):
        if batch.failed:
            raise batch.failed
        for sample in batch.data or ():
            if "error" in sample:
                yield Found(sample["index"], error=sample["error"])
                continue
            pixels = sample["pixels"]
            image = to_tensor(pixels, seen.mean, seen.std).to(device)
            with torch.no_grad(), autocast(precision, device):
                mask = segment(ready.model, image, pixels.shape[:2], test)
            yield Found(sample["index"], mask.cpu().numpy(), pixels)


def _write(ready: ReadySegmenter, pictures: Pictures, found: Iterator[Found], args: argparse.Namespace) -> int:
    """Masks, overlays, table and sheet; only the table with `--out -`. Returns how many could not be read."""
    folder = None if args.out == "-" else Path(args.out)
    files = file_names([pictures.name(index) for index in range(len(pictures))])
    failed = 0
    shown: list[tuple[Image.Image, str, np.ndarray]] = []
    table = whole_file(folder / f"shares.{args.format}") if folder else contextlib.nullcontext(sys.stdout)
    with table as file:
        write = _writer(file, args.format, ready.classes)
        for one in found:
            row: dict[str, Any] = {"file": pictures.name(one.index)}
            if one.mask is None or one.pixels is None:
                failed += 1
                print(f"{row['file']}: {one.error}", file=sys.stderr)
                write({**row, "error": one.error})
                continue
            shares = shares_of(one.mask, len(ready.classes))
            if folder:
                row["mask"] = f"masks/{files[one.index]}.png"
                _save_pictures(folder, files[one.index], ready, one.pixels, one.mask, args.overlays)
                if len(shown) < args.sheet:
                    shown.append((thumbnail(one.pixels, one.mask, ready.palette), Path(row["file"]).name, shares))
            write({**row, "height": one.mask.shape[0], "width": one.mask.shape[1], "shares": shares.tolist()})
    if folder:
        _write_classes(folder / "classes.csv", ready)
        _say(folder, len(pictures) - failed, failed, args)
        if shown:
            save_picture(folder / "sheet.png", draw_sheet(shown, ready.classes, ready.palette))
            print(f"wrote {folder}/sheet.png")
    return failed


def _write_classes(path: Path, ready: ReadySegmenter) -> None:
    """What the numbers in the masks mean, as data.class_files reads it: the masks can be opened as labels again."""
    with whole_file(path) as file:
        table = csv.writer(file)
        table.writerow(["id", "name", "r", "g", "b"])
        for number, (name, colour) in enumerate(zip(ready.classes, ready.palette, strict=True)):
            table.writerow([number, name, *colour])


def _say(folder: Path, count: int, failed: int, args: argparse.Namespace) -> None:
    parts = ["masks", *(["overlays"] if args.overlays != "none" else []), "classes.csv", f"shares.{args.format}"]
    print(f"{count} pictures predicted, {failed} could not be read; wrote {folder}/{', '.join(parts)}")


def _save_pictures(
    folder: Path, name: str, ready: ReadySegmenter, pixels: np.ndarray, mask: np.ndarray, overlays: str
) -> None:
    """masks/NAME.png at the original size, overlays/NAME.jpg to look at."""
    save_picture(folder / "masks" / f"{name}.png", palette_picture(mask, ready.palette))
    if overlays != "none":
        page = draw_prediction(Image.fromarray(pixels), mask, ready.classes, ready.palette)
        save_picture(folder / "overlays" / f"{name}.{overlays}", page)


def _writer(file: TextIO, form: str, classes: Sequence[str]) -> Callable[[dict[str, Any]], None]:
    """A function that writes one row: file, mask, size, share of each class (0 to 1), error."""
    if form == "jsonl":

        def write_json(row: dict[str, Any]) -> None:
            if "shares" in row:
                shares = zip(classes, row["shares"], strict=True)
                row = {**row, "shares": {name: round(share, 6) for name, share in shares if share > 0}}
            print(json.dumps(row, ensure_ascii=False), file=file, flush=True)

        return write_json
    table = csv.writer(file)
    table.writerow(["file", "mask", "height", "width", *classes, "error"])

    def write(row: dict[str, Any]) -> None:
        shares = [f"{share:.6f}" for share in row["shares"]] if "shares" in row else [""] * len(classes)
        first = [row.get(key, "") for key in ("file", "mask", "height", "width")]
        table.writerow([*first, *shares, row.get("error", "")])

    return write
