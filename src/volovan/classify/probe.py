"""volovan probe: how well frozen features tell classes apart, by nearest neighbours and by a linear classifier."""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from volovan.classify.data import ClassSamples, open_labelled
from volovan.classify.features import Features, read_about, read_features, write_features
from volovan.classify.inference import PictureSamples
from volovan.classify.linear import STRENGTHS, LinearProbe, choose_probe
from volovan.classify.load import Classifier, load_classifier
from volovan.classify.metrics import Scores, score_ranked
from volovan.classify.neighbours import classify
from volovan.classify.stamps import source_digest
from volovan.classify.validate import parse_size
from volovan.engine.distributed import choose_device
from volovan.engine.settings import SettingsError, expand_variables
from volovan.files.whole import whole_file


@dataclass(frozen=True)
class Sides:
    """Features to learn from and features to score, with classes numbered alike."""

    train: Tensor
    train_labels: Tensor
    val: Tensor
    val_labels: Tensor
    classes: tuple[str, ...]


def probe(args: argparse.Namespace) -> int:
    """Print the scores; features, scores and the linear classifier go into --out. Arguments: volovan.verbs.probe."""
    _check(args)
    device = choose_device(args.device)
    classifier = load_classifier(args.model, args.weights, device).resized(parse_size(args.size))
    out = Path(args.out)
    sides = _sides(classifier, args, out, device)
    print(
        f"{classifier.name}: {sides.train.shape[1]} features, {len(sides.train):,} pictures to learn from, "
        f"{len(sides.val):,} to score, {len(sides.classes)} classes"
    )
    scores: dict[str, Scores] = {}
    settings: dict[str, Any] = {}
    if args.only != "linear":
        scores |= _neighbours(sides, args.k, args.temperature)
    if args.only != "knn":
        scores["linear"], settings["linear"] = _linear(sides, args, out)
    _report(out, classifier.name, sides, scores, settings)
    return 0


def _check(args: argparse.Namespace) -> None:
    for key, value in (("--batch-size", args.batch_size), ("--k", min(args.k)), ("--steps", args.steps)):
        if value < 1:
            raise SettingsError(f"{key} is {value}; at least 1 is needed")
    if not args.temperature > 0:
        raise SettingsError(f"--temperature is {args.temperature}; a number above 0 is expected, such as 0.07")
    for strength in args.l2 or ():
        if not (math.isfinite(strength) and strength >= 0):
            raise SettingsError(f"--l2 is {strength}; numbers from 0 on are expected, such as 1e-3")


# ---- features -------------------------------------------------------------------------------------------------------


def _sides(classifier: Classifier, args: argparse.Namespace, out: Path, device: torch.device) -> Sides:
    train_spec, val_spec = expand_variables(args.source), expand_variables(args.val or args.source)
    train_source = open_labelled(train_spec, args.train_split)
    val_source = open_labelled(val_spec, args.val_split)
    train_samples = ClassSamples(train_source, classifier.transform, train_source.classes)
    val_samples = ClassSamples(val_source, classifier.transform, train_source.classes)
    train = _features(classifier, train_samples, out / "train.safetensors", args, device)
    val = _features(classifier, val_samples, out / "val.safetensors", args, device)
    if not len(train.labels) or not len(val.labels):
        raise SettingsError(
            f"{args.source}: pictures to learn from and pictures to score are needed; one side has none"
        )
    return Sides(
        train.features.to(device),
        train.labels.to(device),
        val.features.to(device),
        val.labels.to(device),
        train.classes,
    )


def _features(
    classifier: Classifier, samples: ClassSamples, path: Path, args: argparse.Namespace, device: torch.device
) -> Features:
    """Of one split, read from --out if the same network has seen the same pictures there before."""
    labels = torch.tensor(samples.labels())  # refuses a picture without a label before any is read
    about = {
        "network": weights_digest(classifier.model),
        "pictures": source_digest(samples.source),
        "transform": json.dumps({key: str(value) for key, value in sorted(vars(classifier.transform).items())}),
        "precision": args.precision,
    }
    found = read_about(path) or {}
    if all(found.get(key) == value for key, value in about.items()):
        print(f"features of an earlier probe are used: {path}")
    else:
        written = write_features(
            classifier,
            PictureSamples(samples.source, classifier.transform),
            path,
            device,
            batch_size=args.batch_size,
            workers=args.workers,
            precision=args.precision,
            about=about,
        )
        if written.failed:
            name, reason = written.failed[0]
            print(
                f"note: {len(written.failed)} picture(s) could not be read and are left out, the first is {name}: "
                f"{reason}; {path.with_suffix('.csv')} lists them"
            )
    read = read_features(path)
    return Features(read.features, labels[read.indices], samples.classes, read.indices)


def weights_digest(model: nn.Module) -> str:
    """A digest of all weights but the heads', which features do not depend on."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        if name.split(".")[0] not in ("head", "aux_head"):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# ---- the two classifiers --------------------------------------------------------------------------------------------


def _neighbours(sides: Sides, counts: list[int], temperature: float) -> dict[str, Scores]:
    scores = {}
    there = len(sides.train)
    if max(counts) > there:
        print(f"note: --k {max(counts)} is more than the {there} pictures to learn from; all {there} of them vote")
    for k in dict.fromkeys(min(k, there) for k in counts):
        for name, heat in ((f"knn {k}", temperature), (f"knn {k} majority", None)):
            ranked = classify(sides.val, sides.train, sides.train_labels, len(sides.classes), k, heat)
            scores[name] = score_ranked(ranked, sides.val_labels, len(sides.classes))
    return scores


def _linear(sides: Sides, args: argparse.Namespace, out: Path) -> tuple[Scores, dict[str, Any]]:
    strengths = sorted(args.l2 or STRENGTHS, reverse=True)
    found, trials = choose_probe(sides.train, sides.train_labels, len(sides.classes), strengths, args.steps)
    for trial in trials:
        print(f"  l2 {trial.strength:<7g} held out: top-1 {trial.top1:6.2f} %, loss {trial.loss:.4f}")
    tried = [trial.strength for trial in trials]
    if len(tried) > 1 and found.strength in (min(tried), max(tried)):
        print(f"note: l2 {found.strength:g} is at the end of what was tried; --l2 takes others")
    _save(found, out / "linear.safetensors", sides.classes)
    ranked = found.logits(sides.val).topk(min(5, len(sides.classes)), dim=1).indices
    trials_out = [vars(trial) for trial in trials]
    return score_ranked(ranked, sides.val_labels, len(sides.classes)), {"l2": found.strength, "held_out": trials_out}


def _save(found: LinearProbe, path: Path, classes: tuple[str, ...]) -> None:
    from safetensors.torch import save

    tensors = {"weight": found.weight.cpu().contiguous(), "bias": found.bias.cpu().contiguous()}
    with whole_file(path) as file:
        file.buffer.write(save(tensors, metadata={"classes": json.dumps(list(classes)), "l2": repr(found.strength)}))


# ---- results --------------------------------------------------------------------------------------------------------


def _report(out: Path, name: str, sides: Sides, scores: dict[str, Scores], settings: dict[str, Any]) -> None:
    print(f"  {'':20s} {'top-1':>7s} {'top-5':>7s} {'classes':>7s}")
    for key, score in scores.items():
        top5 = "" if score.top5 is None else f"{score.top5:7.2f}"
        print(f"  {key:20s} {score.top1:7.2f} {top5:>7s} {score.class_mean:7.2f}")
    with whole_file(out / "probe.json") as file:
        values = {
            key: {"top1": score.top1, "top5": score.top5, "class_mean": score.class_mean, **settings.get(key, {})}
            for key, score in scores.items()
        }
        about = {"model": name, "train": len(sides.train), "val": len(sides.val), "scores": values}
        print(json.dumps(about, indent=2), file=file)
    with whole_file(out / "per_class.csv") as file:
        table = csv.writer(file)
        table.writerow(["class", "pictures", *scores])
        first = next(iter(scores.values()))
        for number, label in enumerate(sides.classes):
            cells = [f"{score.per_class[number][1]:.3f}" for score in scores.values()]
            table.writerow([label, first.per_class[number][0], *cells])
    print(f"wrote {out}/probe.json, per_class.csv{' and linear.safetensors' if 'linear' in scores else ''}")
