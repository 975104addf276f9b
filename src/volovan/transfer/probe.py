"""How well frozen features tell classes apart, by nearest neighbours and by a linear classifier."""

import csv
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from volovan.classify.data import ClassSamples
from volovan.classify.metrics import Scores, score_ranked
from volovan.classify.ready import ReadyClassifier
from volovan.data.source import Source
from volovan.engine.settings import SettingsError
from volovan.files.whole import whole_file, write_bytes
from volovan.room.settings import at_least
from volovan.transfer.features import Features, read_about, read_features, write_features
from volovan.transfer.linear import STRENGTHS, choose_probe
from volovan.transfer.neighbours import classify
from volovan.transfer.stamps import source_digest


@dataclass(frozen=True)
class ProbeSettings:
    """What is tried: numbers of neighbours and the temperature of their votes, strengths of the linear classifier."""

    k: Sequence[int] = (20,)
    temperature: float = 0.07
    l2: Sequence[float] = STRENGTHS
    steps: int = 300
    only: Literal["knn", "linear"] | None = None
    batch_size: int = 64
    workers: int = 2
    precision: str = "fp32"

    def __post_init__(self) -> None:
        for key, value in (("--batch-size", self.batch_size), ("--k", min(self.k)), ("--steps", self.steps)):
            at_least(key, value, 1)
        if not self.temperature > 0:
            raise SettingsError(f"--temperature is {self.temperature}; a number above 0 is expected, such as 0.07")
        for strength in self.l2:
            if not (math.isfinite(strength) and strength >= 0):
                raise SettingsError(f"--l2 is {strength}; numbers from 0 on are expected, such as 1e-3")


def probe(ready: ReadyClassifier, train: Source, val: Source, out: Path, settings: ProbeSettings) -> dict[str, Scores]:
    """Learn from one source, score another; features, scores and the linear classifier go into `out`, scores are
    printed and returned. The head of the network is gone afterwards."""
    transform = ready.eval_transform()
    to_learn = ClassSamples(train, transform, train.classes)
    to_score = ClassSamples(val, transform, train.classes)
    if to_score.note:
        print(f"note: {to_score.note}")
    learned = _features(ready, to_learn, out / "train.safetensors", settings)
    scored = _features(ready, to_score, out / "val.safetensors", settings)
    if not len(learned.labels) or not len(scored.labels):
        raise SettingsError("pictures to learn from and pictures to score are needed; one side has none")
    print(
        f"{ready.name}: {learned.features.shape[1]} features, {len(learned.labels):,} pictures to learn from, "
        f"{len(scored.labels):,} to score, {len(learned.classes)} classes"
    )
    scores: dict[str, Scores] = {}
    chosen: dict[str, Any] = {}
    if settings.only != "linear":
        scores |= _neighbours(learned, scored, settings.k, settings.temperature)
    if settings.only != "knn":
        scores["linear"], chosen["linear"] = _linear(learned, scored, settings, out)
    counts = {"train": len(learned.labels), "val": len(scored.labels)}
    _report(out, {"model": ready.name, **counts}, learned.classes, scores, chosen)
    return scores


def _features(ready: ReadyClassifier, samples: ClassSamples, path: Path, settings: ProbeSettings) -> Features:
    """Of one split, on the device; read from --out if the same network has seen the same pictures there before."""
    labels = torch.tensor(samples.labels())  # refuses a picture without a label before any is read
    about = {
        "network": weights_digest(ready.model),
        "pictures": source_digest(samples.source),
        "transform": json.dumps({key: str(value) for key, value in sorted(vars(samples.transform).items())}),
        "precision": settings.precision,
    }
    found = read_about(path) or {}
    if all(found.get(key) == value for key, value in about.items()):
        print(f"features of an earlier probe are used: {path}")
    else:
        written = write_features(
            ready,
            samples.source,
            path,
            batch_size=settings.batch_size,
            workers=settings.workers,
            precision=settings.precision,
            about=about,
        )
        if written.failed:
            name, reason = written.failed[0]
            print(
                f"note: {len(written.failed)} picture(s) could not be read and are left out, the first is {name}: "
                f"{reason}; {path.with_suffix('.csv')} lists them"
            )
    read = read_features(path)
    labels = labels[read.indices].to(ready.device)
    return Features(read.features.to(ready.device), labels, samples.classes, read.indices)


def weights_digest(model: nn.Module) -> str:
    """A digest of all weights but the heads', which features do not depend on."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        if name.split(".")[0] not in ("head", "aux_head"):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _neighbours(learned: Features, scored: Features, counts: Sequence[int], temperature: float) -> dict[str, Scores]:
    scores = {}
    there, classes = len(learned.labels), len(learned.classes)
    if max(counts) > there:
        print(f"note: --k {max(counts)} is more than the {there} pictures to learn from; all {there} of them vote")
    for k in dict.fromkeys(min(k, there) for k in counts):
        for name, heat in ((f"knn {k}", temperature), (f"knn {k} majority", None)):
            ranked = classify(scored.features, learned.features, learned.labels, classes, k, heat)
            scores[name] = score_ranked(ranked, scored.labels, classes)
    return scores


def _linear(learned: Features, scored: Features, settings: ProbeSettings, out: Path) -> tuple[Scores, dict[str, Any]]:
    from safetensors.torch import save

    strengths, classes = sorted(settings.l2, reverse=True), len(learned.classes)
    found, trials = choose_probe(learned.features, learned.labels, classes, strengths, settings.steps)
    for trial in trials:
        print(f"  l2 {trial.strength:<7g} held out: top-1 {trial.top1:6.2f} %, loss {trial.loss:.4f}")
    tried = [trial.strength for trial in trials]
    if len(tried) > 1 and found.strength in (min(tried), max(tried)):
        print(f"note: l2 {found.strength:g} is at the end of what was tried; --l2 takes others")
    tensors = {"weight": found.weight.cpu().contiguous(), "bias": found.bias.cpu().contiguous()}
    about = {"classes": json.dumps(list(learned.classes)), "l2": repr(found.strength)}
    write_bytes(out / "linear.safetensors", save(tensors, metadata=about))
    ranked = found.logits(scored.features).topk(min(5, classes), dim=1).indices
    trials_out = [vars(trial) for trial in trials]
    return score_ranked(ranked, scored.labels, classes), {"l2": found.strength, "held_out": trials_out}


def _report(
    out: Path, about: dict[str, Any], classes: Sequence[str], scores: dict[str, Scores], chosen: dict[str, Any]
) -> None:
    print(f"  {'':20s} {'top-1':>7s} {'top-5':>7s} {'classes':>7s}")
    for key, score in scores.items():
        top5 = "" if score.top5 is None else f"{score.top5:7.2f}"
        print(f"  {key:20s} {score.top1:7.2f} {top5:>7s} {score.class_mean:7.2f}")
    with whole_file(out / "probe.json") as file:
        values = {
            key: {"top1": score.top1, "top5": score.top5, "class_mean": score.class_mean, **chosen.get(key, {})}
            for key, score in scores.items()
        }
        print(json.dumps({**about, "scores": values}, indent=2), file=file)
    with whole_file(out / "per_class.csv") as file:
        table = csv.writer(file)
        table.writerow(["class", "pictures", *scores])
        for number, label in enumerate(classes):
            of_class = [score.per_class[number] for score in scores.values()]
            table.writerow([label, of_class[0][0], *(f"{value:.3f}" for _, value in of_class)])
    print(f"wrote {out}/probe.json, per_class.csv{' and linear.safetensors' if 'linear' in scores else ''}")
