"""Segments that were found as COCO's panoptic files have them, read back by this package and by another."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hotcoco.panoptic import PanopticEval
from PIL import Image

from commands import rows_of, run
from segments import CLASSES, THINGS, write_segments
from volovan.data.panoptic.segments import VOID, Panoptic, Segment
from volovan.data.pictures.palettes import spread
from volovan.data.sources import open_source
from volovan.panoptic.inference import Answers, FoundSegments
from volovan.panoptic.metrics import PanopticMetric
from volovan.panoptic.written import HEADER, boxes_of, ids_picture, ledger, table_rows

LAST = 256**3 - 1
NAMES = ("a.png", "b.png", "deep/c.png")


def told(seed: int, height: int = 40, width: int = 60) -> Panoptic:
    """Rectangles over each other, with ids of any size, on void; the first one is always there."""
    random = np.random.default_rng(seed)
    ids = np.full((height, width), VOID, np.int32)
    numbers = [LAST, 65_536, 65_535, 256, 1, *random.integers(2, LAST, 4).tolist()]
    for id in numbers[::-1]:
        top, left = random.integers(0, height - 8), random.integers(0, width - 8)
        ids[top : top + random.integers(4, 30), left : left + random.integers(4, 30)] = id
    return Panoptic(ids, tuple(Segment(id, n % 3) for n, id in enumerate(numbers) if (ids == id).any()))


def found_of(one: Panoptic) -> FoundSegments:
    return FoundSegments(one, np.linspace(0.9, 0.5, len(one.segments), dtype=np.float32))


def lay(folder: Path, scenes: list[Panoptic]) -> Path:
    """panoptic.json, panoptic/N.png, segments.csv of `scenes`, as predict lays them."""
    (folder / "panoptic").mkdir(parents=True)
    with ledger(folder, CLASSES, THINGS, spread(3)) as book:
        for number, one in enumerate(scenes):
            ids_picture(one.ids).save(folder / "panoptic" / f"{number}.png")
            height, width = one.ids.shape
            book.add(f"pictures/{number}.png", (height, width), found_of(one), f"panoptic/{number}.png")
    return folder


def test_ids_beyond_16_bits_are_read_as_they_were_written() -> None:
    ids = np.array([[0, 1, 255, 256], [65_535, 65_536, 70_000, LAST]], np.int32)
    pixels = np.asarray(ids_picture(ids)).astype(int)
    assert pixels[1, 2].tolist() == [112, 17, 1]
    assert np.array_equal(pixels @ [1, 256, 65_536], ids)


def test_our_reader_finds_the_same_segments(tmp_path: Path) -> None:
    scenes = [told(seed) for seed in range(6)] + [Panoptic(np.zeros((40, 60), np.int32), ())]
    assert any(segment.id > 65_536 for segment in scenes[0].segments)
    lay(tmp_path, scenes)
    for number, one in enumerate(scenes):
        Image.new("RGB", one.ids.shape[::-1]).save(tmp_path / f"{number}.png")
    source: Any = open_source(tmp_path / "panoptic.json", None, kind="panoptic")
    assert (source.classes, source.things, tuple(source.palette)) == (CLASSES, THINGS, tuple(spread(3)))
    assert sorted(Path(source.name(index)).name for index in range(len(source))) == [f"{n}.png" for n in range(7)]
    for index in range(len(source)):
        again, one = source.target(index), scenes[int(Path(source.name(index)).stem)]
        assert np.array_equal(again.ids, one.ids)
        assert again.segments == one.segments
        assert not source.doubts(index, again)  # areas too


def test_rows_and_boxes_are_those_of_the_pixels(tmp_path: Path) -> None:
    scenes = [told(seed) for seed in range(4)]
    rows = rows_of(lay(tmp_path, scenes) / "segments.csv")
    assert tuple(rows[0]) == ("file", *HEADER)
    said = json.loads((tmp_path / "panoptic.json").read_text())
    entries = [entry for one in said["annotations"] for entry in one["segments_info"]]
    segments = [(number, one, segment) for number, one in enumerate(scenes) for segment in one.segments]
    for row, entry, (number, one, segment) in zip(rows, entries, segments, strict=True):
        down, across = np.nonzero(one.ids == segment.id)
        box = [across.min(), down.min(), across.max() + 1, down.max() + 1]
        assert [int(row[side]) for side in ("x1", "y1", "x2", "y2")] == box
        assert entry["bbox"] == [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        assert int(row["pixels"]) == entry["area"] == len(down)
        assert (row["file"], int(row["segment"])) == (f"pictures/{number}.png", segment.id)
        assert (row["class"], int(row["thing"])) == (CLASSES[segment.label], THINGS[segment.label])
        assert entry["category_id"] == segment.label + 1


def test_nothing_that_was_found_has_no_row() -> None:
    nothing = FoundSegments(Panoptic(np.zeros((4, 5), np.int32), ()), np.zeros(0, np.float32))
    assert table_rows(nothing, CLASSES, THINGS) == []
    assert boxes_of(nothing.panoptic).shape == (0, 4)


def test_hotcoco_reads_the_truth_and_what_was_found(tmp_path: Path) -> None:
    truths = [told(seed) for seed in range(12)]
    moved = [Panoptic(np.roll(one.ids, (1, -2), (0, 1)), one.segments) for one in truths]
    there, seen = (lay(tmp_path / name, scenes) for name, scenes in (("there", truths), ("seen", moved)))
    scorer = PanopticEval(str(there / "panoptic.json"), str(seen / "panoptic.json"))
    scorer.evaluate()
    expected = scorer.results()
    metric = PanopticMetric(CLASSES, THINGS, lambda model, batch: batch["found"])
    for index, (one, truth) in enumerate(zip(moved, truths, strict=True)):
        metric.add(index, Answers(found_of(one)), truth)
    figures = metric.finish()
    assert 0.2 < figures["pq"] < 0.9
    for group, name in (("All", ""), ("Things", "_things"), ("Stuff", "_stuff")):
        for figure in ("pq", "sq", "rq"):
            assert figures[figure + name] == pytest.approx(expected[group][figure], abs=1e-9), group


# From the command line


@pytest.fixture(scope="module")
def predicted(learned: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Pictures in folders and folders below, and what was found in them."""
    from volovan.cli import main

    folder = tmp_path_factory.mktemp("predicted")
    for index, name in enumerate(NAMES):
        (folder / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        learned.source.load(index).save(folder / "new" / name)
    assert (
        main(["predict", str(learned.run), str(folder / "new"), "--workers", "0", "--out", str(folder / "found")]) == 0
    )
    return folder / "new", folder / "found"


def test_answers_copied_beside_the_pictures_are_a_data_set(
    predicted: tuple[Path, Path], learned: Any, capsys: Any, tmp_path: Path
) -> None:
    new, found = predicted
    shutil.copytree(new, tmp_path / "new")
    shutil.copy(found / "panoptic.json", tmp_path / "new")
    shutil.copytree(found / "panoptic", tmp_path / "new" / "panoptic")
    words = ["--task", "panoptic", "--out", tmp_path / "checked"]
    report = json.loads(run(capsys, "check-data", tmp_path / "new", *words, "--json")[0])
    assert sum(split["samples"] for split in report["splits"].values()) == 3
    assert "cat" in run(capsys, "check-data", tmp_path / "new", *words)[0]
    words = ["--data", tmp_path / "new", "--workers", 0, "--out", tmp_path / "judged"]
    run(capsys, "validate", learned.run, *words)
    figures = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    assert figures["pq"] == figures["sq"] == figures["rq"] == 1.0
    recipe = tmp_path / "again.yaml"
    shutil.copy(learned.run / "recipe.yaml", recipe)
    more = ["--data.source", tmp_path / "new", "--data.val", learned.data, "--train.batch_size", 2]
    run(capsys, "fit", recipe, *more, "--train.max_steps", 1, "--out", tmp_path / "run")
    assert len(rows_of(tmp_path / "run" / "steps.csv")) == 1


def test_hotcoco_reads_what_predict_writes(
    predicted: tuple[Path, Path], learned: Any, capsys: Any, tmp_path: Path
) -> None:
    """Against the truth of the same pictures, in the order of the files; PQ is that of validate."""
    _, found = predicted
    truth = write_segments(tmp_path / "data", learned.source) / "annotations" / "panoptic_val.json"
    said, there = json.loads((found / "panoptic.json").read_text()), json.loads(truth.read_text())
    order = [next(i for i, image in enumerate(said["images"]) if image["file_name"].endswith(name)) for name in NAMES]
    assert len({*order}) == 3
    for image, place in zip(there["images"], order, strict=True):
        old, image["id"] = image["id"], said["images"][place]["id"]
        for annotation in there["annotations"]:
            if annotation["file_name"] == f"{old}.png":
                annotation["image_id"] = image["id"]
    truth.write_text(json.dumps(there))
    scorer = PanopticEval(str(truth), str(found / "panoptic.json"))
    scorer.evaluate()
    run(capsys, "validate", learned.run, "--workers", 0, "--out", tmp_path / "judged")
    figures = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    assert scorer.results()["All"]["pq"] == pytest.approx(figures["pq"], abs=1e-9)
    assert figures["pq"] > 0.8


def test_files_say_what_the_answer_from_python_says(predicted: tuple[Path, Path], learned: Any) -> None:
    import volovan

    new, found = predicted
    rows = rows_of(found / "segments.csv")
    ready = volovan.load(learned.run, device="cpu")
    for name in NAMES:
        answer = ready.predict(new / name)
        own = [row for row in rows if row["file"].endswith(name)]
        assert [row["class"] for row in own] == answer.names
        assert [float(row["score"]) for row in own] == pytest.approx(answer.scores.tolist(), abs=1e-6)
        pixels = np.asarray(Image.open(found / "panoptic" / name).convert("RGB")).astype(int)
        assert np.array_equal(pixels @ [1, 256, 65_536], answer.ids)
        assert answer.row()["segments"][0]["class"] == answer.names[0]
    cells = {Path(row["file"]).name: row for row in rows_of(found / "predictions.csv")}
    assert cells["a.png"]["cat"] == str(answer_of(rows, "a.png").count("cat"))
    assert float(cells["c.png"]["sky"]) + float(cells["c.png"]["road"]) == pytest.approx(1, abs=0.05)


def answer_of(rows: list[dict[str, str]], name: str) -> list[str]:
    return [row["class"] for row in rows if row["file"].endswith(name)]
