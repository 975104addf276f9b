"""The command `volovan validate MODEL --suite imagenet`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from volovan.classify.load import Classifier, load_classifier
from volovan.classify.network import eval_transform
from volovan.classify.suite import report
from volovan.classify.suite.classes import check_outputs
from volovan.classify.suite.published import Published, measured_crop, published, published_variant
from volovan.classify.suite.readers import Pass, SuiteSamples
from volovan.classify.suite.scoring import AcceptedMetric, Score
from volovan.classify.suite.sets import SETS, choose, expected, locate, open_sets, roots
from volovan.engine.distributed import Place, distributed, gather
from volovan.engine.evaluate import BadSamples, evaluate
from volovan.engine.progress import clock, speak
from volovan.engine.settings import SettingsError, TrainSettings
from volovan.files.whole import whole_file
from volovan.models.preprocessing import Preprocessing


@dataclass
class Suite:
    """One run of the suite over a model."""

    classifier: Classifier
    args: argparse.Namespace
    place: Place
    variant: str | None
    missing: tuple[str, ...]
    figures: list[report.Figure] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    pictures: int = 0
    begin: float = field(default_factory=time.perf_counter)

    def others(self, figure: str, metric: str) -> tuple[Published, ...]:
        """What others measured of the same network, at the size that its weights were trained for."""
        size = self.classifier.transform.size
        if self.variant is None or size != self.seen.input_size:
            return ()
        return published(self.variant, size, figure, metric)

    @property
    def seen(self) -> Preprocessing:
        """What the weights were trained to see."""
        return self.classifier.model.preprocessing  # type: ignore[return-value]

    def about(self) -> dict[str, Any]:
        """What the figures belong to; the head of suite.json."""
        transform = self.classifier.transform
        return {
            "suite": "imagenet",
            "model": self.classifier.name,
            "weights": self.args.weights,
            "variant": self.variant,
            "size": list(transform.size),
            "crop_pct": transform.crop_pct,
            "crop_pct_of_c": self.args.crop_pct or 1.0,
            "mean": list(transform.mean),
            "std": list(transform.std),
            "interpolation": transform.interpolation.value,
            "precision": self.args.precision,
            "limit": self.args.limit,
            "missing": list(self.missing),
            "unreadable": self.unreadable,
        }


def run_suite(args: argparse.Namespace, spec: str, weights: str | None, size: tuple[int, int] | None) -> int:
    """Score a classifier on every set that is found; 1 if one that --sets names is missing or a picture was left out,
    else 0.

    Every process of torchrun calls it; the first one prints and writes.
    """
    names, places = choose(args.sets), roots(args.root)
    missing = tuple(name for name in names if locate(name, places) is None)
    if missing == names:
        shown = ", ".join(map(str, places))
        raise SettingsError(
            f"no data set of the suite is in {shown}; expected one or more of these folders: {expected(names)}"
        )
    with distributed(args.device) as place:
        classifier = load_classifier(spec, weights, place.device).resized(size, args.crop_pct)
        note = check_model(classifier)
        if note and place.leads:
            speak(f"note: {note}")
        suite = Suite(classifier, args, place, published_variant(classifier.model.config), missing)
        _score_all(suite, open_sets(names, places))
    return 1 if suite.unreadable or (missing and args.sets) else 0


def _score_all(suite: Suite, opened: dict[str, Iterable[Pass]]) -> None:
    """Every pass of every set, with what is printed before, between and after."""
    place = suite.place
    if place.leads:
        _print_head(suite)
    for name, passes in opened.items():
        if name == "c" and suite.args.crop_pct is None and place.leads:
            speak("  the pictures of ImageNet-C are cut already and are shown whole (crop 1)")
        for work in passes:
            _score(suite, work)
        if name == "c" and place.leads:
            figures, lacking = report.mean_corruption_figures(suite.figures)
            _add(suite, figures)
            if lacking:
                speak(f"  {lacking}")
    if place.leads:
        _print_end(suite)


def check_model(classifier: Classifier) -> str:
    """SettingsError if a network cannot be scored on ImageNet's sets; returns a note on its classes, or ""."""
    config: Any = classifier.model.config
    if config.in_chans != 3:
        raise SettingsError(f"{classifier.name} takes {config.in_chans} channels; --suite imagenet has RGB pictures")
    return check_outputs(classifier.name, classifier.classes)


def _score(suite: Suite, work: Pass) -> None:
    """One pass over the pictures of a set, and its figures."""
    args, place = suite.args, suite.place
    transform = suite.classifier.transform
    if work.cut and args.crop_pct is None:
        whole = replace(suite.seen, input_size=transform.size, crop_pct=1.0)
        transform = eval_transform(whole, transform.mode)
    if work.source.note and place.leads:
        speak(f"note: {work.source.note}")
    samples = SuiteSamples(work, transform, args.limit)
    bad = BadSamples(args.on_bad == "skip", speak, "--on-bad skip")
    metric = AcceptedMetric([row.name for row in work.rows], place.device, work.subset, keep=work.upload)
    settings = TrainSettings(precision=args.precision, workers=args.workers)
    evaluate(
        suite.classifier.model,
        samples,
        metric,
        settings,
        place,
        bad,
        batch_size=args.batch_size,
        label=work.name,
    )
    for names in gather(bad.names, place):
        suite.unreadable |= names
    if not place.leads:
        return
    scores = metric.scores()
    broken = int(metric.totals["not_finite"])
    if broken:
        speak(f"note: {work.name}: {broken} outputs are not finite and count as wrong; try --precision fp32")
    found = report.corruption_figures(work.name, scores) if work.cut else report.plain_figures(scores, suite.others)
    suite.pictures += len(samples)
    _add(suite, found)
    if args.limit is None:
        _compare_counts(work, len(samples), scores)
    if work.upload:
        _upload(suite, work, metric)


def _compare_counts(work: Pass, read: int, scores: dict[str, Score]) -> None:
    """Say it where a set has not as many pictures as it was published with."""
    counts = {"c": read} if work.cut else {name: score.pictures for name, score in scores.items() if name in SETS}
    for name, count in counts.items():
        if count != SETS[name].pictures:
            speak(f"    note: {work.name if work.cut else name} is published with {SETS[name].pictures:,} pictures")


def _add(suite: Suite, figures: list[report.Figure]) -> None:
    suite.figures += figures
    for line in report.lines(figures):
        speak(line)
    if suite.args.out:
        report.write(Path(suite.args.out), suite.about(), suite.figures)


def _upload(suite: Suite, work: Pass, metric: AcceptedMetric) -> None:
    """The predictions for a server that keeps the labels: {picture: class number}, as VizWiz's takes them."""
    here = "its labels are not public, so nothing is scored here"
    if not suite.args.out:
        speak(f"  {work.name}: {here}; with --out the predictions for its server are written")
        return
    path = Path(suite.args.out) / f"{work.name}_predictions.json"
    with whole_file(path) as file:
        json.dump({Path(work.source.name(index)).name: number for index, number in metric.rows.items()}, file)
    whole = "" if len(metric.rows) == len(work.source) else " (not of all pictures)"
    speak(f"  {work.name}: {here}; wrote the predictions{whole} for its server, {path}")


def _print_head(suite: Suite) -> None:
    transform = suite.classifier.transform
    height, width = transform.size
    origin = "of --crop-pct" if suite.args.crop_pct else "of its weights, --crop-pct sets another"
    speak(
        f"{suite.classifier.name} at {height}x{width}, crop {transform.crop_pct:g} ({origin}), {suite.args.precision}"
    )
    if transform.crop_pct > 1:
        speak("  crop above 1: the whole picture with a black border")
    other = measured_crop(suite.variant, transform.size) if suite.variant else None
    if other is not None and other != transform.crop_pct:
        speak(f"  timm measured the same weights at crop {other:g}; --crop-pct {other:g} repeats that")
    if suite.args.limit is not None:
        speak(f"  a part of each set only: --limit {suite.args.limit}")


def _print_end(suite: Suite) -> None:
    seconds = time.perf_counter() - suite.begin
    speak(f"{suite.pictures:,} pictures in {clock(seconds)}, {suite.pictures / seconds:.0f} images/s")
    for name in suite.missing:
        entry = SETS[name]
        folders = ", ".join(
            filter(None, (f"{folder}/val" if entry.read is None else folder for folder in entry.folders))
        )
        speak(f"missing: {name} ({entry.title}); looked for {folders}; get it from {entry.where}")
    if suite.unreadable:
        speak(f"{len(suite.unreadable)} unreadable picture(s) were left out")
    if suite.args.out:
        report.write(Path(suite.args.out), suite.about(), suite.figures)
        speak(f"wrote {suite.args.out}/suite.json and suite.csv")
