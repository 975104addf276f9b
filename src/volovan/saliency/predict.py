"""volovan predict: saliency maps and cut-outs of pictures, at their original size."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from PIL import Image

from volovan.data import BadImage, Source, contact_sheet, open_images
from volovan.data.file_names import file_names
from volovan.data.loader import evaluation_loader
from volovan.data.saliency import SaliencySource
from volovan.data.segmentation import is_shapes
from volovan.data.standard_input import expand_standard_input
from volovan.engine.distributed import choose_device
from volovan.engine.evaluate import autocast
from volovan.engine.progress import bar
from volovan.engine.settings import SettingsError
from volovan.files.pictures import save_picture
from volovan.files.whole import whole_file
from volovan.saliency.cutouts import OBJECT, cut_out, object_box, parse_background
from volovan.saliency.data import open_pairs
from volovan.saliency.draw import framed, on_checkerboard
from volovan.saliency.load import Ready, load_saliency
from volovan.saliency.scoring import saliency_maps
from volovan.saliency.transforms import EvalTransform
from volovan.saliency.validate import NATIVE_BATCH, find_settings

Pictures = Source | SaliencySource
COLUMNS = ("file", "mask", "cutout", "share", "left", "top", "right", "bottom", "error")
THUMBNAIL = 320
"""pixels of the longer side that a picture keeps until the sheet is drawn"""


def predict(args: argparse.Namespace) -> int:
    """Write masks, cut-outs, a table and a sheet; exit status 1 if some picture could not be read.

    Arguments: volovan.verbs.predict.
    """
    _check(args)
    device = choose_device(args.device)
    ready = load_saliency(args.model, args.weights, device, find_settings(args.model)).resized(args.size)
    with contextlib.ExitStack() as stack:
        samples = _open(args, ready, stack)
        failed = _write(samples, predicted(ready, samples, device, args), args)
    return 1 if failed else 0


def _write(samples: PictureSamples, results: Iterator[Found], args: argparse.Namespace) -> int:
    """All files; returns how many pictures could not be read."""
    background = parse_background(args.background)
    names = file_names([samples.name(index) for index in range(len(samples))])
    folder, failed = Path(args.out), 0
    thumbnails: list[tuple[str, list[Image.Image]]] = []
    table = folder / f"predictions.{args.format}"
    with whole_file(table) as file:
        write = _writer(file, args.format)
        for found in results:
            row: dict[str, Any] = {"file": samples.name(found.index)}
            if found.grey is None:
                failed += 1
                print(f"{row['file']}: {found.error}", file=sys.stderr)
                write({**row, "error": found.error})
                continue
            picture = samples.source.load(found.index)
            cutout = cut_out(picture, found.grey, args.threshold, args.crop, background)
            write(row | _keep(folder, names[found.index], found.grey, cutout, args.threshold))
            if len(thumbnails) < args.sheet:
                thumbnails.append((Path(row["file"]).name, _small([picture, Image.fromarray(found.grey), cutout])))
    print(f"{len(samples) - failed} pictures predicted, {failed} could not be read; wrote {folder}/masks and cutouts")
    if thumbnails:
        save_picture(folder / "sheet.png", _draw_sheet(thumbnails))
        print(f"wrote {table} and {folder / 'sheet.png'}")
    return failed


def _check(args: argparse.Namespace) -> None:
    if args.batch_size < 1:
        raise SettingsError(f"--batch-size is {args.batch_size}; at least 1 is needed")
    if not args.out or args.out == "-":
        raise SettingsError("--out: saliency writes pictures; name a folder")
    if args.threshold is not None and not 0 < args.threshold <= 1:
        raise SettingsError(f"--threshold is {args.threshold}; above 0, up to 1, is expected, such as 0.5")


def _open(args: argparse.Namespace, ready: Ready, stack: contextlib.ExitStack) -> PictureSamples:
    """Pictures by themselves; with --split, and of drawn scenes, those of a source that has masks too."""
    if args.split and len(args.sources) > 1:
        raise SettingsError("--split is of one source; name one, or leave --split out")
    drawn = is_shapes(args.sources[0]) and not Path(args.sources[0]).exists()
    if args.split or drawn:
        return PictureSamples(open_pairs(args.sources[0], args.split, "data"), ready.transform)
    names, piped = expand_standard_input(args.sources, stack)
    return PictureSamples(open_images(names), ready.transform, piped)


@dataclass(frozen=True)
class Found:
    """Of one picture: its map (H, W) uint8 at the original size, or why it could not be read."""

    index: int
    grey: np.ndarray | None = None
    error: str = ""


class PictureSamples:
    """Pictures as {"index", "image", "size": (H, W)}, or {"index", "error"} for one that cannot be read.

    piped: the file that standard input was kept in, which is called `-`.
    """

    def __init__(self, source: Pictures, transform: EvalTransform, piped: str | None = None) -> None:
        self.source, self.transform, self.piped = source, transform, piped

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
        return {"index": index, "image": self.transform(image), "size": (image.height, image.width)}

    def collate(self, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As they are: some have no picture."""
        return samples


def predicted(ready: Ready, samples: PictureSamples, device: torch.device, args: argparse.Namespace) -> Iterator[Found]:
    """The map of each picture, in their order."""
    batch_size = args.batch_size if ready.transform.size else NATIVE_BATCH
    loader = evaluation_loader(samples, batch_size=batch_size, workers=args.workers)
    for batch in bar(loader, len(loader), "predict", "batch", leads=True):
        if batch.failed:
            raise batch.failed
        good = [sample for sample in batch.data if "image" in sample]
        maps: dict[int, torch.Tensor] = {}
        if good:
            images = torch.stack([sample["image"] for sample in good]).to(device)
            with torch.no_grad(), autocast(args.precision, device):
                found = saliency_maps(ready.model, images, [sample["size"] for sample in good])
            maps = {sample["index"]: one for sample, one in zip(good, found, strict=True)}
        for sample in batch.data:
            if "error" in sample:
                yield Found(sample["index"], error=sample["error"])
            else:
                yield Found(sample["index"], (255 * maps[sample["index"]]).round().byte().cpu().numpy())


def _keep(
    folder: Path, name: str, grey: np.ndarray, cutout: Image.Image, threshold: float | None
) -> dict[str, float | int | str]:
    """Write the mask and the cut-out of a picture; returns its row of the table."""
    paths = folder / "masks" / f"{name}.png", folder / "cutouts" / f"{name}.png"
    for path, picture in zip(paths, (Image.fromarray(grey), cutout), strict=True):
        save_picture(path, picture)
    cut = OBJECT if threshold is None else threshold
    row: dict[str, float | int | str] = {"share": round(float((grey >= 255 * cut).mean()), 4)}
    row |= {key: str(path.relative_to(folder)) for key, path in zip(("mask", "cutout"), paths, strict=True)}
    box = object_box(grey, cut)
    return row | (dict(zip(("left", "top", "right", "bottom"), box, strict=True)) if box else {})


def _writer(file: TextIO, form: str) -> Any:
    """A function that writes one row: file, mask, cutout, share of the picture and box of the object, error."""
    if form == "jsonl":
        return lambda row: print(json.dumps(row, ensure_ascii=False), file=file, flush=True)
    table = csv.DictWriter(file, COLUMNS, restval="")
    table.writeheader()
    return table.writerow


def _small(parts: Sequence[Image.Image]) -> list[Image.Image]:
    """Copies for the sheet."""
    copies = [part.copy() for part in parts]
    for copy in copies:
        copy.thumbnail((THUMBNAIL, THUMBNAIL))
    return copies


def _draw_sheet(thumbnails: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Picture, map and cut-out of each; what is transparent lies on a checkerboard."""
    images, captions = [], []
    for name, (picture, grey, cutout) in thumbnails:
        images += [picture, framed(grey), on_checkerboard(cutout) if cutout.mode == "RGBA" else cutout]
        captions += [name, "map", "cut-out"]
    return contact_sheet(images, captions, columns=min(2, len(thumbnails)) * 3, cell=200)
