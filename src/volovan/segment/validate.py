"""volovan validate: metrics of a segmenter on pictures with masks."""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import asdict
from functools import partial
from math import isnan
from pathlib import Path

import torch

from volovan.data.masks import MaskSource
from volovan.data.segmentation import open_masks
from volovan.engine.distributed import Place, distributed
from volovan.engine.evaluate import BadSamples, autocast, evaluate
from volovan.engine.settings import SettingsError, TrainSettings, expand_variables
from volovan.files.pictures import save_picture
from volovan.files.whole import whole_file
from volovan.recipes import find_recipe, read_recipe
from volovan.segment.arguments import test_settings
from volovan.segment.data import EvalSamples, EvalTransform
from volovan.segment.draw import draw_comparison, draw_confusion
from volovan.segment.inference import segment
from volovan.segment.load import ReadySegmenter, load_segmenter, segmenter_of_recipe
from volovan.segment.metrics import PictureScore, SegmentationMetric
from volovan.segment.recipe import Recipe, TestSettings, pair_of

MOST_PRINTED = 40
"""classes up to which the table of classes is printed, and the confusion matrix drawn"""


def validate(args: argparse.Namespace) -> int:
    """Print the metric table of one model; with --out, files beside it. Arguments: volovan.verbs.validate."""
    for key, value in (("--limit", args.limit), ("--pictures", args.pictures + 1)):
        if value is not None and value < 1:
            raise SettingsError(f"{key} is {value if key == '--limit' else args.pictures}; a larger number is needed")
    recipe = recipe_of(args.model)
    spec, split = _data(args, recipe)
    with distributed(args.device) as place:
        source = open_masks(expand_variables(spec), split)
        ready = load(args, recipe, source, place.device)
        test = test_settings(ready.test, args)
        seen = ready.preprocessing
        samples = EvalSamples(source, EvalTransform(seen.mean, seen.std), ready.classes)
        if not len(samples):
            raise SettingsError(f"{spec} holds no picture of the split {split!r}; name another with --data or --split")
        if source.note and place.leads:
            print(f"note: {source.note}")
        metric = SegmentationMetric(len(ready.classes), place.device, partial(segment, test=test), args.boundary)
        bad = BadSamples(args.on_bad == "skip", print, "--on-bad skip")
        begin = time.perf_counter()
        settings = TrainSettings(precision=args.precision, workers=args.workers)
        # One picture at a time: sizes differ, and a batch of large ones would fill the memory.
        evaluate(ready.model, samples, metric, settings, place, bad, batch_size=1, limit=args.limit)
        if place.leads:
            _print_table(ready, metric, test, time.perf_counter() - begin, bad)
            if args.out:
                _write(Path(args.out), ready, metric, test, bad)
                _draw(Path(args.out), ready, metric, samples, test, args, place)
    return 0


def recipe_of(model: str) -> Recipe | None:
    """The recipe of a run, a recipe file or a packaged recipe; None for a checkpoint file."""
    path = Path(model)
    if (path / "recipe.yaml").is_file():
        path = path / "recipe.yaml"
    elif path.suffix == ".safetensors" or path.is_dir():
        return None
    else:
        path = find_recipe(model)
    recipe, _ = read_recipe(path, [])
    assert isinstance(recipe, Recipe)  # the command line has chosen the room by it
    return recipe


def load(
    args: argparse.Namespace, recipe: Recipe | None, source: MaskSource | None, device: torch.device
) -> ReadySegmenter:
    """The network of a run, or of a recipe with --weights; source: where a recipe's classes come from."""
    if recipe is None or Path(args.model).is_dir():
        if args.weights:
            raise SettingsError(f"{args.model} has weights of its own; leave out --weights {args.weights}")
        return load_segmenter(args.model, device)
    weights = args.weights or recipe.model.weights
    if weights is None or weights == "pretrained":
        raise SettingsError(f"recipe {args.model} starts with a new head; name a run, or --weights FILE")
    if source is None:
        source = open_masks(expand_variables(recipe.data.source), recipe.data.val_split)
    return segmenter_of_recipe(recipe, weights, source, device)


def _data(args: argparse.Namespace, recipe: Recipe | None) -> tuple[str, str]:
    """(source, split) to validate on."""
    source = args.data or (recipe and (recipe.data.val or recipe.data.source))
    if not source:
        raise SettingsError(f"{args.model} does not say which pictures to validate on; name them with --data")
    default = recipe.data.val_split if recipe is not None and not args.data else "val"
    return source, args.split or default


def describe_test(test: TestSettings) -> str:
    """In words, such as "whole, into 2048x512, 6 scales, mirrored too"."""
    height, width = pair_of(test.window)
    down, across = pair_of(test.stride)
    words = ["whole" if test.mode == "whole" else f"windows of {height}x{width} by {down}x{across}"]
    if test.size:
        words.append(f"into {max(test.size)}x{min(test.size)}")
    if len(test.scales) > 1 or test.scales[0] != 1:
        words.append(f"scales {' '.join(f'{scale:g}' for scale in test.scales)}")
    return ", ".join([*words, "mirrored too"] if test.flip else words)


def _print_table(
    ready: ReadySegmenter, metric: SegmentationMetric, test: TestSettings, seconds: float, bad: BadSamples
) -> None:
    count = int(metric.totals["count"])
    print(f"{ready.name} on {count} pictures ({describe_test(test)}), {count / seconds:.1f} images/s")
    for name, value in metric.finish().items():
        print(f"  {name:14s} {value:7.2f} %")
    if bad.names:
        print(f"  {len(bad.names)} unreadable sample(s) were left out")
    if len(ready.classes) > MOST_PRINTED:
        return
    table = metric.per_class()
    width = max(14, *(len(name) for name in ready.classes))
    print(f"\n  {'class':{width}s}" + "".join(f"{name:>14s}" for name in table))
    for number, name in enumerate(ready.classes):
        print(f"  {name:{width}s}" + "".join(f"{values[number]:14.2f}" for values in table.values()))


def _write(
    folder: Path, ready: ReadySegmenter, metric: SegmentationMetric, test: TestSettings, bad: BadSamples
) -> None:
    """metrics.json, per_class.csv and confusion.png."""
    with whole_file(folder / "metrics.json") as file:
        about = {"model": ready.name, "pictures": int(metric.totals["count"]), "skipped": bad.names}
        print(json.dumps({**about, "test": asdict(test), **metric.finish()}, indent=2), file=file)
    table = metric.per_class()
    with whole_file(folder / "per_class.csv") as file:
        writer = csv.writer(file)
        writer.writerow(["class", *table])
        for number, name in enumerate(ready.classes):
            writer.writerow([name, *(f"{values[number]:.3f}" for values in table.values())])
    drawn = len(ready.classes) <= MOST_PRINTED
    if drawn:
        draw_confusion(metric.totals["confusion"].cpu(), ready.classes, folder / "confusion.png", ready.palette)
    print(f"wrote {folder}/metrics.json, per_class.csv{' and confusion.png' if drawn else ''}")


def _draw(
    folder: Path,
    ready: ReadySegmenter,
    metric: SegmentationMetric,
    samples: EvalSamples,
    test: TestSettings,
    args: argparse.Namespace,
    place: Place,
) -> None:
    """The worst and the best pictures beside their masks: pictures/worst_01.png ..."""
    chosen = extremes(metric.rows, args.pictures)
    for kind, indices in chosen.items():
        for rank, index in enumerate(indices, 1):
            sample = samples.read(index)
            image = sample["image"].to(place.device)
            with torch.no_grad(), autocast(args.precision, place.device):
                predicted = segment(ready.model, image, tuple(sample["mask"].shape), test)
            score = metric.rows[index]
            title = f"{samples.name(index)}    mIoU {score.miou:.1f} %, {score.aacc:.1f} % of the pixels right"
            page = draw_comparison(
                samples.source.load(index),
                predicted.cpu().numpy(),
                sample["mask"].numpy(),
                ready.classes,
                ready.palette,
                title,
            )
            path = folder / "pictures" / f"{kind}_{rank:02d}.png"
            save_picture(path, page)
    if any(chosen.values()):
        print(f"wrote {folder}/pictures: the {len(chosen['worst'])} worst and the {len(chosen['best'])} best")


def extremes(scores: dict[int, PictureScore], count: int) -> dict[str, list[int]]:
    """The `count` worst and best pictures by mIoU, none among both. scores: rows of SegmentationMetric."""
    ranked = sorted((index for index in scores if not isnan(scores[index].miou)), key=lambda i: scores[i].miou)
    half = min(count, -(-len(ranked) // 2))
    return {"worst": ranked[:half], "best": ranked[: half - 1 : -1][:half] if half else []}
