"""volovan validate: all measures of a saliency network on pictures with masks."""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import Image

from volovan.data import contact_sheet
from volovan.data.saliency import SaliencySource
from volovan.engine.distributed import distributed
from volovan.engine.evaluate import BadSamples, evaluate
from volovan.engine.settings import SettingsError, TrainSettings
from volovan.files.pictures import save_picture
from volovan.files.whole import whole_file
from volovan.models.factory import list_models
from volovan.recipes import find_recipe, read_recipe
from volovan.saliency.baselines import score_baselines
from volovan.saliency.data import EvalSamples, open_pairs, take
from volovan.saliency.draw import draw_curves, framed
from volovan.saliency.load import Ready, load_saliency
from volovan.saliency.recipe import Recipe
from volovan.saliency.scoring import SaliencyMetric, saliency_maps

NATIVE_BATCH = 1
"""pictures of their own sizes do not stack"""


def validate(args: argparse.Namespace) -> int:
    """Print the table of measures; with --out, files beside it. Arguments: volovan.verbs.validate."""
    for key, value in (("--batch-size", args.batch_size), ("--limit", args.limit), ("--pictures", args.pictures + 1)):
        if value is not None and value < 1:
            raise SettingsError(f"{key} is {value}; at least 1 is needed")
    recipe = find_settings(args.model)
    with distributed(args.device) as place:
        ready = load_saliency(args.model, args.weights, place.device, recipe).resized(args.size)
        source = _source(args, recipe)
        metric = SaliencyMetric(place.device, structure=True, quantise=args.maps == "8bit", stretch=args.stretch)
        if source.note and place.leads:
            print(f"note: {source.note}")
        bad = BadSamples(args.on_bad == "skip", print, "--on-bad skip")
        begin = time.perf_counter()
        evaluate(
            ready.model,
            EvalSamples(source, ready.transform),
            metric,
            TrainSettings(precision=args.precision, workers=args.workers),
            place,
            bad,
            batch_size=args.batch_size if ready.transform.size else NATIVE_BATCH,
            limit=args.limit,
        )
        seconds = time.perf_counter() - begin
        if place.leads:
            table = {"this network": metric.finish()}
            if args.baselines:
                table |= _baselines(args, recipe, source, metric.rows)
            _print(args, ready, table, len(metric.rows), seconds, bad)
            if args.out:
                _write(args, ready, table, metric, source, bad)
    return 0


def find_settings(spec: str) -> Recipe | None:
    """The recipe of a run, or the one that is named; None for a checkpoint file or the name of a trunk."""
    path = Path(spec)
    if (path / "recipe.yaml").is_file():
        path = path / "recipe.yaml"
    elif spec in list_models() or (path.exists() and path.suffix not in (".yaml", ".yml")):
        return None
    settings, _ = read_recipe(find_recipe(str(path)), [])
    if not isinstance(settings, Recipe):
        raise SettingsError(f"{spec} is of the task {settings.task}, not saliency")
    return settings


def _source(args: argparse.Namespace, recipe: Recipe | None) -> SaliencySource:
    """What is validated on."""
    spec = args.data or (recipe and (recipe.data.val or recipe.data.source))
    if not spec:
        raise SettingsError(f"{args.model} does not say which pictures to validate on; name them with --data")
    default = recipe.data.val_split if recipe is not None and not args.data else "val"
    return open_pairs(spec, args.split or default, "data")


def _baselines(
    args: argparse.Namespace, recipe: Recipe | None, source: SaliencySource, indices: Iterable[int]
) -> dict[str, dict[str, float]]:
    if recipe is None:
        raise SettingsError("--baselines come from training masks; name a run, whose recipe says where they are")
    train = take(open_pairs(recipe.data.source, recipe.data.train_split), recipe.data.limit)
    return score_baselines(train, (source.mask(index) for index in indices), args.maps == "8bit")


def _print(
    args: argparse.Namespace,
    ready: Ready,
    table: dict[str, dict[str, float]],
    count: int,
    seconds: float,
    bad: BadSamples,
) -> None:
    size = "x".join(map(str, ready.transform.size)) if ready.transform.size else "their own sizes"
    print(f"{ready.name} on {count} pictures at {size}, {count / seconds:.0f} images/s")
    print(f"maps {'in 8 bits' if args.maps == '8bit' else 'in float'}{', stretched to 0 .. 1' if args.stretch else ''}")
    names = list(table)
    if len(names) > 1:
        print(" " * 14 + "".join(f"{name:>26}" for name in names))
    for key in table[names[0]]:
        cells = [f"{table[name][key]:.4f}" if key in table[name] else "" for name in names]
        width = 26 if len(names) > 1 else 9
        print(f"  {key:12s}" + "".join(f"{cell:>{width}}" for cell in cells))
    if bad.names:
        print(f"  {len(bad.names)} unreadable picture(s) were left out")


def _write(
    args: argparse.Namespace,
    ready: Ready,
    table: dict[str, dict[str, float]],
    metric: SaliencyMetric,
    source: SaliencySource,
    bad: BadSamples,
) -> None:
    folder = Path(args.out)
    names, rows = list(table), metric.rows
    with whole_file(folder / "metrics.json") as file:
        about = {"model": ready.name, "pictures": len(rows), "maps": args.maps, "stretch": args.stretch}
        others = {"baselines": {name: table[name] for name in names[1:]}} if len(names) > 1 else {}
        print(json.dumps({**about, "skipped": bad.names, **table[names[0]], **others}, indent=2), file=file)
    with whole_file(folder / "per_picture.csv") as file:
        writer = csv.writer(file)
        writer.writerow(["picture", *next(iter(rows.values()), ())])
        writer.writerows([source.name(index), *(f"{v:.6f}" for v in row.values())] for index, row in rows.items())
    draw_curves(metric, folder / "curves.png")
    written = "metrics.json, per_picture.csv, curves.png"
    if args.pictures:
        save_picture(folder / "worst_and_best.png", draw_extremes(ready, source, rows, args.pictures))
        written += ", worst_and_best.png"
    print(f"wrote {folder}/{written}")


def draw_extremes(ready: Ready, source: SaliencySource, rows: dict[int, dict[str, float]], count: int) -> Image.Image:
    """Sheet of the pictures with the largest and with the least MAE: picture, mask, map. rows: of `SaliencyMetric`."""
    ranked = sorted(rows, key=lambda index: -rows[index]["mae"])
    chosen = ranked if len(ranked) <= 2 * count else [*ranked[:count], *ranked[-count:]]
    images, captions = [], []
    device = next(ready.model.parameters()).device
    for index in chosen:
        picture, mask = source.load(index), source.mask(index)
        with torch.no_grad():
            (found,) = saliency_maps(ready.model, ready.transform(picture)[None].to(device), [mask.shape[:2]])
        grey = Image.fromarray((255 * found).round().byte().cpu().numpy())
        images += [picture, framed(Image.fromarray(mask)), framed(grey)]
        captions += [Path(source.name(index)).name, "mask", f"MAE {rows[index]['mae']:.3f}"]
    return contact_sheet(
        images, captions, columns=6, cell=150, title=f"Largest and least error of {len(rows)} pictures"
    )
