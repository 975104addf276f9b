"""Data that are odd: they train, are scored and predicted without a number that is none, or are refused by name."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import refused, rows_of, run
from segments import CLASSES, Painted, write_segments
from volovan.data.panoptic.segments import VOID, Panoptic, Segment


def filled(height: int, width: int, id: int, *segments: Segment) -> Panoptic:
    return Panoptic(np.full((height, width), id, np.int32), segments)


def usual() -> Panoptic:
    ids = np.full((48, 64), 1, np.int32)
    ids[24:], ids[10:40, 10:30] = 2, 3
    return Panoptic(ids, (Segment(1, 1), Segment(2, 2), Segment(3, 0)))


def many() -> Panoptic:
    """500 segments of 2 x 3 pixels."""
    ids = (np.arange(40)[:, None] // 2 * 25 + np.arange(75) // 3 + 1).astype(np.int32)
    return Panoptic(ids, tuple(Segment(id, id % 3) for id in range(1, 501)))


def one_pixel() -> Panoptic:
    ids = np.full((48, 64), VOID, np.int32)
    ids[0, 0], ids[47, 63], ids[20, 30] = 1, 2, 3
    return Panoptic(ids, (Segment(1, 0), Segment(2, 1), Segment(3, 0)))


ODD = {
    "no segment": filled(48, 64, VOID),
    "a thing over all": filled(48, 64, 7, Segment(7, 0)),
    "stuff over all": filled(48, 64, 256**3 - 1, Segment(256**3 - 1, 2)),
    "five hundred": many(),
    "one pixel": one_pixel(),
    "crowd alone": filled(48, 64, 9, Segment(9, 0, crowd=True)),
    "wide": filled(1, 3000, 4, Segment(4, 1)),
    "tall": filled(3000, 1, 4, Segment(4, 0)),
    "tiny": filled(1, 1, 4, Segment(4, 0)),
}


def strict(path: Path) -> Any:
    """What a JSON says, which has no NaN in it."""

    def refuse(said: str) -> None:
        raise ValueError(f"{path} has {said}")

    return json.loads(path.read_text(), parse_constant=refuse)


def data(folder: Path, odd: list[Panoptic]) -> Path:
    """Two usual pictures and odd ones in train, the same in val."""
    for split in ("train", "val"):
        write_segments(folder, Painted([usual(), usual(), *odd]), split=split)
    return folder


@pytest.mark.parametrize("what", ["all", *(pytest.param(one, marks=pytest.mark.slow) for one in ODD)])
def test_odd_segments_train_and_are_scored(what: str, recipe: Path, tmp_path: Path, capsys: Any) -> None:
    odd = [*ODD.values()] if what == "all" else [ODD[what]]
    folder, out = data(tmp_path / "data", odd), tmp_path / "run"
    words = ["--data.source", folder, "--augment.scale", "[0.1,2]", "--train.batch_size", 1]
    run(capsys, "fit", recipe, *words, "--out", out)
    rows = rows_of(out / "steps.csv")
    assert len(rows) == 2 + len(odd)  # each once
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    everything = ("--score", 0, "--visible", 0)
    for name, rule in {"usual": (), "loose": everything}.items():
        run(capsys, "validate", out, "--workers", 0, *rule, "--out", tmp_path / name)
        figures = strict(tmp_path / name / "metrics.json")
        assert all(0 <= figures[key] <= 1 for key in ("pq", "sq", "rq", "miou"))
    pictures, found = folder / "images" / "val", tmp_path / "found"
    words = ["--workers", 0, *everything, "--also", "instance", "semantic", "--out", found]
    run(capsys, "predict", out, pictures, *words)
    assert [row["error"] for row in rows_of(found / "predictions.csv")] == [""] * (2 + len(odd))
    sizes = {(image["width"], image["height"]) for image in strict(found / "panoptic.json")["images"]}
    assert sizes == {(64, 48)} | {one.ids.shape[::-1] for one in odd}
    strict(found / "coco.json")


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (ODD["no segment"], "no picture of the train split (2) shows a segment, so nothing can be learned"),
        (ODD["crowd alone"], "shows a segment (crowds: 2), so nothing can be learned; paint some"),
    ],
    ids=["void", "crowds"],
)
def test_data_that_teach_nothing_are_refused(
    odd: Panoptic, why: str, recipe: Path, tmp_path: Path, capsys: Any
) -> None:
    for split in ("train", "val"):
        write_segments(tmp_path / "data", Painted([odd, odd]), split=split)
    said = refused(capsys, "fit", recipe, "--data.source", tmp_path / "data", "--out", tmp_path / "run")
    assert why in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("label", [0, 1])
def test_data_of_things_or_of_stuff_alone(label: int, recipe: Path, tmp_path: Path, capsys: Any) -> None:
    """There is no figure of the other kind, and the run has one all the same."""
    one = Panoptic(usual().ids, tuple(Segment(id, 0) for id in (1, 2, 3)))
    for split in ("train", "val"):
        write_segments(tmp_path / "data", Painted([one] * 4, CLASSES[:1], (label == 0,)), split=split)
    words = ["--data.source", tmp_path / "data", "--train.max_steps", 2, "--out", tmp_path / "run"]
    run(capsys, "fit", recipe, *words)
    said, _ = run(capsys, "validate", tmp_path / "run", "--workers", 0, "--out", tmp_path / "judged")
    figures = strict(tmp_path / "judged" / "metrics.json")
    other = "pq_things" if label else "pq_stuff"
    assert figures["pq"] == figures["pq_stuff" if label else "pq_things"]
    assert figures.get(other) is None
    assert ("AP of objects" in said) == (label == 0)
    assert "mIoU" in said
