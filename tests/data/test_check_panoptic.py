"""volovan check-data for segments: what it counts, what it draws, what stops a run."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.annotating import CORNERS, SIZE, coco, picture
from tests.support.painting import ids_of, lay, panoptic, png, segments

from volovan.data import check_data, run_check
from volovan.data.checks.recognise import recognise
from volovan.data.checks.report import render
from volovan.data.images import open_images
from volovan.data.panoptic import files
from volovan.data.pictures.decoding import decode_stored

BESIDE = "Panoptic segments are listed as well; --task panoptic reads those."


def test_segments_are_counted_by_class(tmp_path: Path) -> None:
    lay(tmp_path / "set")
    lay(tmp_path / "set", "val")
    ids = ids_of(3, 4)
    ids[0] = 9
    picture(tmp_path / "set/images/train/b.png")
    png(tmp_path / "set/annotations/panoptic_train/b.png", ids)
    table = segments(ids, {3: 1, 4: 1}) + segments(ids, {9: 7}, iscrowd=1)
    said = panoptic(["a.png", "b.png"], [segments(ids_of(), {70000: 1, 300: 7}), table])
    (tmp_path / "set/annotations/panoptic_train.json").write_text(json.dumps(said))
    report = check_data(str(tmp_path / "set"), "panoptic", out=tmp_path / "out")
    assert report.ok
    train = report.splits["train"]
    assert (train.segments, train.pictures) == ({"cat": 3, "sky": 1}, {"cat": 2, "sky": 1})
    assert train.pixels == {"cat": 48 + 84, "sky": 48}
    assert (train.per_picture, train.crowds, train.counted, train.void) == ([2, 2], 1, 216, 24)
    assert report.things == ["cat"]
    text = render(report)
    assert "2 classes of segments (1 of things, 1 of stuff)" in text
    assert "train         4          3     2 / 2 / 2                 0       1  11.11 %" in text
    row = next(line for line in text.splitlines() if line.startswith("sky"))
    assert row.split() == ["sky", "stuff", "1", "1", "22.22", "%", "1", "1", "44.44", "%"]
    assert {Path(file).name for file in report.files} == {"samples.png", "report.json"}
    assert json.loads((tmp_path / "out/report.json").read_text())["splits"]["train"]["void"] == 24
    assert Image.open(tmp_path / "out/samples.png").width > 200


def test_what_is_void_throughout_stops_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(tmp_path / "set", "val")
    lay(tmp_path / "set", annotations=[{"image_id": 1, "file_name": "a.png", "segments_info": []}])
    png(tmp_path / "set/annotations/panoptic_train/a.png", np.zeros(SIZE[::-1], int))
    assert run_check(str(tmp_path / "set"), "panoptic", out=str(tmp_path / "out")) == 1
    said = capsys.readouterr().out
    assert "no picture of the train split (1) shows a segment, so nothing can be learned" in said
    assert "Odd: 1 pictures of which every pixel is void" in said


@pytest.mark.parametrize("kind", ["mask", "boxes"])
def test_segments_of_other_targets_are_checked_too(tmp_path: Path, kind: str) -> None:
    for split in ("train", "val"):
        picture(tmp_path / f"set/images/{split}/a.png")
        if kind == "mask":
            (tmp_path / f"set/masks/{split}").mkdir(parents=True)
            Image.fromarray(np.eye(9, 12, dtype=np.uint8)).save(tmp_path / f"set/masks/{split}/a.png")
        else:
            (tmp_path / f"set/labels/{split}").mkdir(parents=True)
            (tmp_path / f"set/labels/{split}/a.txt").write_text("0 0.1 0.1 0.6 0.1 0.6 0.8")
    report = check_data(str(tmp_path / "set"), "panoptic")
    assert report.ok, render(report)
    assert (len(report.things) > 0) == (kind == "boxes")


def test_panoptic_files_are_recognised_where_nothing_else_is_told(tmp_path: Path) -> None:
    lay(tmp_path / "set")
    named = tmp_path / "set/annotations/panoptic_train.json"
    assert recognise(str(tmp_path / "set")) == recognise(str(named)) == ("panoptic", "")
    assert open_images([str(named)]).name(0) == "images/train/a.png"
    assert len(open_images([str(tmp_path / "set")])) == 1
    (tmp_path / "set/annotations/instances_train.json").write_text(
        json.dumps(coco(["a.png"], [{"segmentation": [CORNERS]}]))
    )
    kind, why = recognise(str(tmp_path / "set"))
    assert kind == "mask"
    assert why == f"Masks are drawn from the outlines of objects; --task detect reads the objects. {BESIDE}"
    assert len(open_images([str(tmp_path / "set")])) == 1
    assert recognise(str(named))[0] == "panoptic"


def test_segments_beside_masks_and_of_scenes_are_named(tmp_path: Path) -> None:
    where = "ADEChallengeData2016"
    for folder in ("training", "validation"):
        picture(tmp_path / f"{where}/images/{folder}/a.jpg")
        (tmp_path / f"{where}/annotations/{folder}").mkdir(parents=True)
        Image.fromarray(np.ones(SIZE[::-1], np.uint8)).save(tmp_path / f"{where}/annotations/{folder}/a.png")
    assert recognise(str(tmp_path)) == ("mask", "")
    said = panoptic(["a.jpg"], [segments(ids_of(), {70000: 1, 300: 7})])
    (tmp_path / where / "ade20k_panoptic_train.json").write_text(json.dumps(said))
    assert recognise(str(tmp_path)) == ("mask", BESIDE)
    (tmp_path / where / "ade20k_panoptic_training.json").write_text(json.dumps(said))  # two of a split: not read here
    assert recognise(str(tmp_path))[0] == "mask"
    assert "--task panoptic segments" in recognise("shapes")[1]


def test_each_png_of_ids_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path)
    lay(tmp_path, "val")
    decoded: list[str] = []

    def counting(path: Path, name: str) -> Image.Image:
        decoded.append(name)
        return decode_stored(path, name)

    monkeypatch.setattr(files, "decode_stored", counting)
    assert check_data(str(tmp_path), "panoptic").ok
    assert sorted(decoded) == ["annotations/panoptic_train/a.png", "annotations/panoptic_val/a.png"]
