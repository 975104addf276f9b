"""volovan validate: metrics of a classifier on labelled pictures."""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

from volovan.classify.data import ClassSamples, open_labelled
from volovan.classify.draw import draw_confusion
from volovan.classify.load import Classifier, load_classifier
from volovan.classify.metrics import ClassificationMetric
from volovan.classify.target_metrics import MultiLabelMetric, RegressionMetric
from volovan.classify.targets import TargetSamples, open_targets
from volovan.engine.distributed import distributed
from volovan.engine.evaluate import BadSamples, evaluate
from volovan.engine.settings import SettingsError, TrainSettings
from volovan.files.whole import whole_file
from volovan.models.factory import list_models
from volovan.recipes import find_recipe, read_recipe

LARGEST = 8192
"""pixels of a side that --size takes; more would only run out of memory, slowly"""
PER_CENT = ("top1", "top5", "class_mean", "map", "f1", "f1_micro", "exact_match")


def validate(args: argparse.Namespace) -> int:
    """Print the metric table of one model; with --out, files beside it. Arguments: volovan.verbs.validate."""
    _check(args)
    spec, weights, recipe = _model(args)
    if args.suite:
        from volovan.classify.suite.run import run_suite

        return run_suite(args, spec, weights, parse_size(args.size))
    source, split = _data(args, recipe)
    with distributed(args.device) as place:
        classifier = load_classifier(spec, weights, place.device)
        classifier = classifier.resized(parse_size(args.size), args.crop_pct)
        samples = _samples(classifier, source, split)
        metric = classifier.new_metric(place.device)
        if not len(samples):
            raise SettingsError(
                f"{source} holds no picture of the split {split!r}; name another with --data or --split"
            )
        if samples.source.note and place.leads:
            print(f"note: {samples.source.note}")
        bad = BadSamples(args.on_bad == "skip", print, "--on-bad skip")
        settings = TrainSettings(precision=args.precision, workers=args.workers)
        begin = time.perf_counter()
        evaluate(
            classifier.model,
            samples,
            metric,
            settings,
            place,
            bad,
            batch_size=args.batch_size,
            limit=args.limit,
        )
        seconds = time.perf_counter() - begin
        if place.leads:
            _report(classifier, metric, samples, seconds, bad, args.out)
    return 0


def parse_size(words: list[Any] | None) -> tuple[int, int] | None:
    """--size 224 or --size 224 320 -> (height, width)."""
    if not words:
        return None
    if len(words) > 2 or not all(str(word).isdigit() for word in words):
        raise SettingsError(f"--size {' '.join(map(str, words))}: one number, or height and width, are expected")
    numbers = [int(word) for word in words]
    if not 8 <= min(numbers) <= max(numbers) <= LARGEST:
        raise SettingsError(f"--size {' '.join(map(str, words))}: sides from 8 to {LARGEST} pixels are expected")
    return (numbers[0], numbers[-1])


def _check(args: argparse.Namespace) -> None:
    """Refuse numbers that make no sense, and options that do not go together."""
    for key, value in (("--batch-size", args.batch_size), ("--limit", args.limit)):
        if value is not None and value < 1:
            raise SettingsError(f"{key} is {value}; at least 1 is needed")
    if args.crop_pct is not None and not 0.1 <= args.crop_pct <= 10:
        raise SettingsError(f"--crop-pct is {args.crop_pct}; a ratio from 0.1 to 10 is expected, such as 0.96")
    if args.suite and (args.data or args.split):
        raise SettingsError("--suite brings its own data; leave out --data and --split, or choose sets with --sets")
    if not args.suite and (args.root or args.sets):
        raise SettingsError("--root and --sets belong to --suite imagenet; add it, or name pictures with --data")


def _model(args: argparse.Namespace) -> tuple[str, str | None, Any]:
    """(model, weights, recipe or None): what the run or recipe says where the user says nothing."""
    run = Path(args.model)
    recipe = None
    if (run / "recipe.yaml").is_file():
        recipe, _ = read_recipe(run / "recipe.yaml", [])
    elif args.model not in list_models() and not run.exists():
        recipe, _ = read_recipe(find_recipe(args.model), [])
    elif run.suffix in (".yaml", ".yml"):
        recipe, _ = read_recipe(run, [])
    spec, weights = args.model, args.weights
    if recipe is not None and not run.is_dir():
        spec = recipe.model.name
        weights = weights or recipe.model.weights
        if weights is None:
            raise SettingsError(f"recipe {args.model} starts from random weights; name a run, or --weights FILE")
        weights = None if weights == "pretrained" else weights
    return spec, weights, recipe


def _data(args: argparse.Namespace, recipe: Any) -> tuple[str, str]:
    """(source, split) to validate on."""
    source = args.data or (recipe and (recipe.data.val or recipe.data.source))
    if not source:
        raise SettingsError(f"{args.model} does not say which pictures to validate on; name them with --data")
    default = recipe.data.val_split if recipe is not None and not args.data else "val"
    return source, args.split or default


def _samples(classifier: Classifier, spec: str, split: str) -> ClassSamples | TargetSamples:
    if classifier.outputs:
        found, targets = open_targets(spec, split, classifier.outputs.kind)
        return TargetSamples(found, classifier.outputs.encode(targets), classifier.transform)
    source = open_labelled(spec, split)
    known = classifier.classes
    if set(source.classes) <= set(known):
        return ClassSamples(source, classifier.transform, known)
    # Published weights know their classes by number (ImageNet's folders are named by WordNet id).
    if len(source.classes) == len(known):
        return ClassSamples(source, classifier.transform, source.classes)
    raise SettingsError(
        f"{spec} has {len(source.classes)} classes, {classifier.name} knows {len(known)}, and their names differ"
    )


def _report(
    classifier: Classifier,
    metric: ClassificationMetric | MultiLabelMetric | RegressionMetric,
    samples: ClassSamples | TargetSamples,
    seconds: float,
    bad: BadSamples,
    out: str | None,
) -> None:
    values = metric.finish()
    count = int(metric.totals["count"])
    height, width = classifier.transform.size
    print(f"{classifier.name} on {count} pictures at {height}x{width}, {count / seconds:.0f} images/s")
    for name, value in values.items():
        print(f"  {name:12s} {value:9.4f} {'%' if name in PER_CENT else ''}")
    if bad.names:
        print(f"  {len(bad.names)} unreadable picture(s) were left out")
    if out is None:
        return
    folder = Path(out)
    with whole_file(folder / "metrics.json") as file:
        about = {"model": classifier.name, "pictures": count, "skipped": bad.names, **values}
        print(json.dumps(about, indent=2), file=file)
    if isinstance(metric, RegressionMetric):
        print(f"wrote {folder}/metrics.json")
        return
    classes = samples.classes if isinstance(samples, ClassSamples) else classifier.classes
    figure = "accuracy" if isinstance(metric, ClassificationMetric) else "average_precision"
    with whole_file(folder / "per_class.csv") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "pictures", figure])
        rows = zip(classes, metric.per_class(), strict=True)
        writer.writerows([name, n, f"{value:.3f}"] for name, (n, value) in rows)
    drawn = "confusion" in metric.totals and len(classes) <= 200
    if drawn:
        draw_confusion(metric.totals["confusion"].cpu(), classes, folder / "confusion.png")
    print(f"wrote {folder}/metrics.json, per_class.csv{' and confusion.png' if drawn else ''}")
