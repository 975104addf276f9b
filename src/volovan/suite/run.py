"""A classifier on every set of the suite: `volovan validate MODEL --suite imagenet`."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from volovan.classify.ready import ReadyClassifier
from volovan.classify.transforms import EvalTransform, eval_transform
from volovan.engine.distributed import Place, gather
from volovan.engine.evaluate import BadSamples, evaluate
from volovan.engine.progress import clock, speak
from volovan.engine.settings import SettingsError, TrainSettings
from volovan.files.whole import whole_file
from volovan.suite import report
from volovan.suite.classes import imagenet_outputs
from volovan.suite.published import Published, measured_crop, published, published_variant
from volovan.suite.readers import Pass, SuiteSamples
from volovan.suite.scoring import AcceptedMetric
from volovan.suite.sets import SETS, choose, expected, locate, open_sets, roots


@dataclass(frozen=True)
class SuiteSettings:
    """What is scored, and how.

    sets      names of the sets, with commas between them; None: those that are found
    root      folders in which they are looked for; default: VOLOVAN_SUITE
    weights   as the user named them, for the report
    crop_pct  crop ratio; None: that of the weights
    limit     so many pictures of each set only, spread
    """

    sets: str | None = None
    root: Sequence[str] | None = None
    weights: str | None = None
    crop_pct: float | None = None
    limit: int | None = None
    on_bad: str = "stop"
    batch_size: int = 64
    workers: int = 2
    precision: str = "fp32"
    out: str | None = None


@dataclass
class Suite:
    """One run of the suite over a model. order: the output of each class; None: they are the classes."""

    classifier: ReadyClassifier
    transform: EvalTransform
    order: tuple[int, ...] | None
    settings: SuiteSettings
    place: Place
    variant: str | None
    missing: tuple[str, ...]
    figures: list[report.Figure] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    pictures: int = 0
    begin: float = field(default_factory=time.perf_counter)

    def others(self, figure: str, metric: str) -> tuple[Published, ...]:
        """What others measured of the same network, at the size that its weights were trained for."""
        size = self.transform.size
        if self.variant is None or size != self.classifier.preprocessing.input_size:
            return ()
        return published(self.variant, size, figure, metric)

    def about(self) -> dict[str, Any]:
        """What the figures belong to; the head of suite.json."""
        transform = self.transform
        return {
            "suite": "imagenet",
            "model": self.classifier.name,
            "weights": self.settings.weights,
            "variant": self.variant,
            "size": list(transform.size),
            "crop_pct": transform.crop_pct,
            "crop_pct_of_c": self.settings.crop_pct or 1.0,
            "mean": list(transform.mean),
            "std": list(transform.std),
            "interpolation": transform.interpolation,
            "precision": self.settings.precision,
            "limit": self.settings.limit,
            "missing": list(self.missing),
            "unreadable": self.unreadable,
        }


def run_suite(open_ready: Callable[[], ReadyClassifier], settings: SuiteSettings, place: Place) -> int:
    """Score a classifier on every set that is found; 1 if one that `sets` names is missing or a picture was left out,
    else 0. Every process of torchrun calls it; the first one prints and writes.

    open_ready  gives the network, once it is known that there is something to score it on
    """
    names, places = choose(settings.sets), roots(settings.root)
    missing = tuple(name for name in names if locate(name, places) is None)
    if missing == names:
        shown = ", ".join(map(str, places))
        raise SettingsError(
            f"no data set of the suite is in {shown}; expected one or more of these folders: {expected(names)}"
        )
    classifier = open_ready()
    config: Any = classifier.model.config
    if config.in_chans != 3:
        raise SettingsError(f"{classifier.name} takes {config.in_chans} channels; --suite imagenet has RGB pictures")
    order, note = imagenet_outputs(classifier.name, classifier.classes)
    if note and place.leads:
        speak(f"note: {note}")
    suite = Suite(classifier, classifier.eval_transform(), order, settings, place, published_variant(config), missing)
    opened = open_sets(names, places)
    if place.leads:
        _print_head(suite)
    for name, passes in opened.items():
        if name == "c" and settings.crop_pct is None and place.leads:
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
    return 1 if suite.unreadable or (missing and settings.sets) else 0


def _score(suite: Suite, work: Pass) -> None:
    """One pass over the pictures of a set, and its figures."""
    settings, place = suite.settings, suite.place
    transform = suite.transform
    if work.cut and settings.crop_pct is None:
        whole = replace(suite.classifier.preprocessing, input_size=transform.size, crop_pct=1.0)
        transform = eval_transform(whole, transform.mode)
    if work.source.note and place.leads:
        speak(f"note: {work.source.note}")
    samples = SuiteSamples(work, transform, settings.limit)
    bad = BadSamples(settings.on_bad == "skip", speak, "--on-bad skip")
    names = [row.name for row in work.rows]
    metric = AcceptedMetric(names, place.device, work.subset, keep=work.upload, order=suite.order)
    train = TrainSettings(precision=settings.precision, workers=settings.workers)  # type: ignore[arg-type]
    evaluate(
        suite.classifier.model, samples, metric, train, place, bad, batch_size=settings.batch_size, label=work.name
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
    if settings.limit is None:  # say it where a set has not as many pictures as it was published with
        parts = {name: score.pictures for name, score in scores.items() if name in SETS}
        for name, count in ({"c": len(samples)} if work.cut else parts).items():
            if count != SETS[name].pictures:
                speak(f"    note: {work.name if work.cut else name} is published with {SETS[name].pictures:,} pictures")
    if work.upload:
        _upload(suite, work, metric)


def _add(suite: Suite, figures: list[report.Figure]) -> None:
    suite.figures += figures
    for line in report.lines(figures):
        speak(line)
    if suite.settings.out:
        report.write(Path(suite.settings.out), suite.about(), suite.figures)


def _upload(suite: Suite, work: Pass, metric: AcceptedMetric) -> None:
    """The predictions for a server that keeps the labels: {picture: class number}, as VizWiz's takes them."""
    here = "its labels are not public, so nothing is scored here"
    if not suite.settings.out:
        speak(f"  {work.name}: {here}; with --out the predictions for its server are written")
        return
    path = Path(suite.settings.out) / f"{work.name}_predictions.json"
    with whole_file(path) as file:
        json.dump({Path(work.source.name(index)).name: number for index, number in metric.rows.items()}, file)
    whole = "" if len(metric.rows) == len(work.source) else " (not of all pictures)"
    speak(f"  {work.name}: {here}; wrote the predictions{whole} for its server, {path}")


def _print_head(suite: Suite) -> None:
    transform = suite.transform
    height, width = transform.size
    origin = "of --crop-pct" if suite.settings.crop_pct else "of its weights, --crop-pct sets another"
    crop, precision = f"{transform.crop_pct:g} ({origin})", suite.settings.precision
    speak(f"{suite.classifier.name} at {height}x{width}, crop {crop}, {precision}")
    if transform.crop_pct > 1:
        speak("  crop above 1: the whole picture with a black border")
    other = measured_crop(suite.variant, transform.size) if suite.variant else None
    if other is not None and other != transform.crop_pct:
        speak(f"  timm measured the same weights at crop {other:g}; --crop-pct {other:g} repeats that")
    if suite.settings.limit is not None:
        speak(f"  a part of each set only: --limit {suite.settings.limit}")


def _print_end(suite: Suite) -> None:
    seconds = time.perf_counter() - suite.begin
    speak(f"{suite.pictures:,} pictures in {clock(seconds)}, {suite.pictures / seconds:.0f} images/s")
    for name in suite.missing:
        entry = SETS[name]
        folders = ", ".join(entry.shown())
        speak(f"missing: {name} ({entry.title}); looked for {folders}; get it from {entry.where}")
    if suite.unreadable:
        speak(f"{len(suite.unreadable)} unreadable picture(s) were left out")
    if suite.settings.out:
        speak(f"wrote {suite.settings.out}/suite.json and suite.csv")
