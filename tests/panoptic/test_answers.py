"""Objects and classes of the same network: what predict writes, what validate judges, and what the options change."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import volovan
from commands import refused, rows_of, run
from detections import FIGURES, coco_json, jittered, pycocotools_figures
from networks import TINY
from segments import CLASSES, THINGS
from volovan.data.panoptic.segments import Panoptic, Segment, objects_in
from volovan.data.pictures.palettes import spread
from volovan.data.samples import things_of
from volovan.data.sources import open_source
from volovan.engine.settings import SettingsError
from volovan.panoptic.inference import Answers, FoundSegments
from volovan.panoptic.mask2former import Predictions
from volovan.panoptic.metrics import PanopticMetric
from volovan.panoptic.network import create_panoptic
from volovan.panoptic.ready import ReadyPanoptic
from volovan.panoptic.recipe import TestSettings
from volovan.panoptic.rehearse import write_scenes
from volovan.room.found import coco_results

NOTHING = FoundSegments(Panoptic(np.zeros((120, 160), np.int32), ()), np.zeros(0, np.float32))


# Figures


def drawn() -> tuple[Any, list[Panoptic]]:
    """Scenes of shapes; every seventh thing is a crowd, every ninth segment is void."""
    source = open_source("shapes:8@160x120", "train", kind="panoptic")
    things, number, told = things_of(source), 0, []
    for index in range(8):
        one, segments = source.target(index), []
        ids = one.ids.copy()
        for segment in one.segments:
            number += 1
            if number % 9 == 0:
                ids[ids == segment.id] = 0
            else:
                segments.append(Segment(segment.id, segment.label, things[segment.label] and number % 7 == 0))
        told.append(Panoptic(ids, tuple(segments)))
    return source, told


def test_ap_of_masks_is_that_of_pycocotools() -> None:
    source, told = drawn()
    things, count = things_of(source), len(source.classes)
    metric = PanopticMetric(source.classes, things, lambda model, batch: batch, also=("instance",))
    pictures, results = [], []
    for index, one in enumerate(told):
        truth, size = objects_in(one, things), (120, 160)
        found = jittered(truth, size, index, classes=count)
        found = found.only(np.array([things[label] for label in found.labels], bool))
        metric.add(index, Answers(NOTHING, objects=found), one)
        pictures.append((truth, size))
        results += coco_results(found, index, range(count), size)
    assert sum(truth.crowd.sum() for truth, _ in pictures) > 2
    expected, figures = pycocotools_figures(coco_json(pictures, count), results, "segm"), metric.finish()
    for name in FIGURES:
        there = float("nan") if expected[name] == -1 else expected[name]  # no object is so small
        assert figures[f"mask_{name}"] == pytest.approx(there, abs=1e-9, nan_ok=True), name
    assert 0.1 < figures["mask_ap"] < 0.9
    per_class = metric.per_class()["mask_ap"]
    assert [bool(np.isnan(value)) for value in per_class[:3]] == [True] * 3  # stuff has none
    assert figures["mask_ap"] == pytest.approx(np.nanmean(per_class))
    assert "miou" not in figures


def test_miou_is_that_of_loops() -> None:
    source, told = drawn()
    count, random = len(source.classes), np.random.default_rng(0)
    metric = PanopticMetric(source.classes, things_of(source), lambda model, batch: batch, also=("semantic",))
    both, either = [0] * count, [0] * count
    for index, one in enumerate(told):
        label_of = {segment.id: segment.label for segment in one.segments}
        there = [[label_of.get(id) for id in row] for row in one.ids.tolist()]
        found = np.array([[random.integers(count) if label is None else label for label in row] for row in there])
        found = np.where(random.random(found.shape) < 0.3, random.integers(0, count, found.shape), found)
        metric.add(index, Answers(NOTHING, classes=found.astype(np.uint8)), one)
        for row, own in zip(there, found.tolist(), strict=True):
            for real, said in zip(row, own, strict=True):
                if real is None:
                    continue
                both[real] += real == said
                either[real] += 1
                either[said] += real != said
    expected = [a / b for a, b in zip(both, either, strict=True)]
    assert metric.per_class()["iou"] == pytest.approx(expected)
    assert metric.finish()["miou"] == pytest.approx(np.mean(expected))
    assert 0.1 < np.mean(expected) < 0.9
    assert not [name for name in metric.finish() if "ap" in name]


# From the command line and from Python


@pytest.fixture(scope="module")
def pictures(learned: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "images"
    folder.mkdir()
    for index in range(3):
        learned.source.load(index).save(folder / f"{index}.png")
    return folder


def test_predict_writes_what_it_is_asked_for(learned: Any, pictures: Path, capsys: Any, tmp_path: Path) -> None:
    files: dict[str, set[str]] = {}
    for name, words in {"none": (), "instance": ("instance",), "semantic": ("semantic",)}.items():
        also = ("--also", *words) if words else ()
        run(capsys, "predict", learned.run, pictures, "--workers", 0, *also, "--out", tmp_path / name)
        files[name] = {path.relative_to(tmp_path / name).parts[0] for path in (tmp_path / name).iterdir()}
    assert files["instance"] - files["none"] == {"coco.json", "objects.csv"}
    assert files["semantic"] - files["none"] == {"masks", "classes.csv"}
    assert {"panoptic", "panoptic.json", "segments.csv", "predictions.csv", "overlays"} <= files["none"]


def test_files_are_the_answers_of_python(learned: Any, pictures: Path, capsys: Any, tmp_path: Path) -> None:
    out = tmp_path / "found"
    words = ["--also", "instance", "semantic", "--overlays", "png", "--out", out]
    run(capsys, "predict", learned.run, pictures, "--workers", 0, *words)
    rows, said = rows_of(out / "objects.csv"), json.loads((out / "coco.json").read_text())
    ready = volovan.load(learned.run, device="cpu").using(also=("instance", "semantic"))
    total = 0
    for index in range(3):
        answer = ready.predict(pictures / f"{index}.png")
        assert np.array_equal(np.asarray(Image.open(out / "masks" / f"{index}.png")), answer.mask)
        own = [row for row in rows if row["file"].endswith(f"{index}.png")]
        assert [row["class"] for row in own] == [CLASSES[label] for label in answer.objects.labels]
        assert [float(row["score"]) for row in own] == pytest.approx(answer.objects.scores.tolist(), abs=1e-6)
        assert {row["class"] for row in own} <= {"cat"}  # things alone
        assert min(answer.objects.scores, default=1) >= 0.3
        drawn = np.asarray(Image.open(out / "overlays" / f"{index}.png"))
        assert np.array_equal(drawn, np.asarray(answer.draw()))
        total += len(own)
    assert total == len(said["annotations"]) > 1
    # and both are data sets beside their pictures
    (tmp_path / "masked").mkdir()
    for name in ("masks", "classes.csv"):
        shutil.move(out / name, tmp_path / "masked" / name)
    shutil.copytree(pictures, tmp_path / "masked" / "images")
    masked = open_source(tmp_path / "masked", None, kind="mask")
    assert tuple(masked.classes) == CLASSES
    by_name = {Path(masked.name(index)).name: masked.target(index) for index in range(3)}
    assert np.array_equal(by_name["0.png"], ready.predict(pictures / "0.png").mask)
    shutil.copytree(pictures, tmp_path / "boxed")
    shutil.copy(out / "coco.json", tmp_path / "boxed")
    boxed = open_source(tmp_path / "boxed", None, kind="boxes")
    assert sum(len(boxed.target(index)) for index in range(len(boxed))) == total


def test_without_asking_python_answers_segments_alone(learned: Any, pictures: Path) -> None:
    answer = volovan.load(learned.run, device="cpu").predict(pictures / "0.png")
    assert answer.objects is None
    assert answer.mask is None
    assert len(answer) == len(answer.names) == len(answer.scores) == len(answer.row()["segments"]) >= 3
    assert answer.draw().width >= 384


def test_validate_judges_both_unless_it_is_told(learned: Any, capsys: Any, tmp_path: Path) -> None:
    found = {}
    for name, words in {"all": (), "none": ("--also",), "one": ("--also", "semantic")}.items():
        out = tmp_path / name
        said, _ = run(capsys, "validate", learned.run, "--workers", 0, *words, "--out", out)
        figures, columns = json.loads((out / "metrics.json").read_text()), [*rows_of(out / "per_class.csv")[0]]
        found[name] = figures["pq"], "mask_ap" in figures, "miou" in figures
        assert ("AP of objects by their masks" in said) == ("mask_ap" in columns) == ("mask_ap" in figures)
        assert ("mIoU of classes" in said) == ("iou" in columns) == ("miou" in figures)
    pq = found["all"][0]
    assert found == {"all": (pq, True, True), "none": (pq, False, False), "one": (pq, False, True)}
    figures = json.loads((tmp_path / "all" / "metrics.json").read_text())
    assert figures["mask_ap50"] > 0.4
    assert figures["miou"] > 0.8


# Options


def test_score_and_visible_leave_segments_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cat that is surer hides two thirds of another."""
    model = create_panoptic("van", num_classes=3, trunk_options=TINY["van"], head_options={"width": 32}).eval()
    masks = torch.full((1, 2, 16, 16), -20.0)
    masks[0, 0, :, :12], masks[0, 1, :, 4:] = 20, 20
    classes = torch.tensor([[[0.95, 0.01, 0.01, 0.03], [0.7, 0.1, 0.1, 0.1]]]).log()
    monkeypatch.setattr(model, "forward", lambda images: Predictions(classes, masks))
    ready = ReadyPanoptic("new", model, CLASSES, THINGS, spread(3), TestSettings(size=(64, 64)))

    def scores(**options: float) -> list[float]:
        found: list[float] = ready.using(**options).predict(Image.new("RGB", (64, 64))).scores.round(2).tolist()
        return found

    assert scores(score=0.0, visible=0.0) == pytest.approx([0.95, 0.7])
    assert scores(score=0.0, visible=0.3) == pytest.approx([0.95, 0.7])
    assert scores(score=0.0, visible=0.4) == pytest.approx([0.95])
    assert scores(visible=0.0) == pytest.approx([0.95])  # 0.8 by default
    assert scores(score=0.96) == []


def test_size_is_what_the_network_sees(learned: Any, pictures: Path) -> None:
    ready = volovan.load(learned.run, device="cpu")
    picture = Image.open(pictures / "0.png").resize((128, 128), Image.Resampling.NEAREST)
    seen = {size: ready.using(size=size).predict(picture) for size in ((64, 64), (96, 96), "native")}
    assert {answer.size for answer in seen.values()} == {(128, 128)}
    assert np.array_equal(seen[(64, 64)].ids, ready.predict(picture).ids)
    assert not np.array_equal(seen[(96, 96)].ids, seen[(64, 64)].ids)
    assert not np.array_equal(seen["native"].ids, seen[(96, 96)].ids)


def test_options_of_validate_are_written_down(learned: Any, capsys: Any, tmp_path: Path) -> None:
    words = ["--score", 0.9, "--visible", 0.5, "--size", 96, 64, "--also", "--out", tmp_path / "judged"]
    said, _ = run(capsys, "validate", learned.run, "--workers", 0, *words)
    assert "(into 96x64)" in said
    test = json.loads((tmp_path / "judged" / "metrics.json").read_text())["test"]
    assert (test["score"], test["visible"], test["size"]) == (0.9, 0.5, [96, 64])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--score", "2"], "--score is 2.0; 0 to 1 is taken"),
        (["--visible", "-0.1"], "--visible is -0.1; 0 to 1 is taken"),
        (["--size", "8"], "8"),
    ],
)
def test_options_that_cannot_be_are_refused(
    words: list[str], said: str, learned: Any, pictures: Path, capsys: Any, tmp_path: Path
) -> None:
    assert said in refused(capsys, "predict", learned.run, pictures, *words, "--out", tmp_path / "found")
    assert said in refused(capsys, "validate", learned.run, *words, "--out", tmp_path / "judged")
    assert not (tmp_path / "found").exists()


def test_an_answer_that_is_not_known_is_refused(learned: Any) -> None:
    with pytest.raises(SettingsError, match="--also boxes is not known; give instance or semantic"):
        volovan.load(learned.run, device="cpu").using(also=("boxes",))


def test_more_classes_than_a_mask_holds_have_no_masks(recipe: Path, capsys: Any, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_scenes(tmp_path / "data", split, 2, 255)
    words = ["--data.source", tmp_path / "data", "--augment.resize", "[64,64]"]
    run(capsys, "fit", recipe, *words, "--train.max_steps", 1, "--out", tmp_path / "run")
    where = ["predict", tmp_path / "run", tmp_path / "data" / "images" / "val", "--workers", 0]
    said = refused(capsys, *where, "--also", "semantic", "--out", tmp_path / "found")
    assert "--also semantic: a mask holds 254 classes at most" in said
    assert "has 255; leave semantic out" in said
    run(capsys, *where, "--also", "instance", "--out", tmp_path / "found")
    judge = ["validate", tmp_path / "run", "--workers", 0, "--out"]
    assert "254 classes at most" in refused(capsys, *judge, tmp_path / "judged", "--also", "semantic")
    said, _ = run(capsys, *judge, tmp_path / "judged")
    assert "AP of objects" in said
    assert "mIoU" not in said
