"""The file that is copied: it needs neither torch nor volovan, decodes as volovan does, and says what is wrong."""

import io
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from exported import odd_pictures, ready
from volovan import predictor
from volovan.data.pictures.decoding import decode
from volovan.exports.exporting import about_of, choose_format, export
from volovan.predictor import FileError

ALONE = """
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "volovan", "torchvision", "scipy", "timm"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Refused())
import predictor
sys.exit(predictor.main(sys.argv[1:]))
"""


def kinds():
    """Name -> a picture of a kind of its own, and how it is saved."""
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (40, 30, 3), dtype=np.uint8)
    rgb = Image.fromarray(colours)
    alpha = rgb.copy()
    alpha.putalpha(Image.fromarray(random.integers(0, 256, (40, 30), dtype=np.uint8)))
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "rgb": (rgb, "PNG", {}),
        "jpeg": (rgb, "JPEG", {}),
        "turned": (rgb, "JPEG", {"exif": turned}),
        "cmyk": (rgb.convert("CMYK"), "JPEG", {}),
        "grey": (rgb.convert("L"), "PNG", {}),
        "bits": (rgb.convert("1"), "PNG", {}),
        "palette": (rgb.convert("P"), "GIF", {}),
        "clear palette": (rgb.convert("P"), "PNG", {"transparency": 3}),
        "alpha": (alpha, "PNG", {}),
        "grey alpha": (alpha.convert("LA"), "PNG", {}),
        "16 bits": (Image.fromarray(colours[..., 0].astype(np.uint16) * 200), "PNG", {}),
        "float": (Image.fromarray(random.random((40, 30), dtype=np.float32)), "TIFF", {}),
        "webp": (alpha, "WEBP", {}),
    }


@pytest.mark.parametrize("kind", kinds())
def test_pictures_are_decoded_as_volovan_does(kind):
    picture, form, how = kinds()[kind]
    file = io.BytesIO()
    picture.save(file, form, **how)
    content = file.getvalue()
    assert (np.asarray(predictor.decode(content)) == np.asarray(decode(content))).all()
    if form != "GIF":  # whose end says little
        with pytest.raises(FileError, match="is damaged, cut off or no picture"):
            predictor.decode(content[: len(content) // 2])


def test_a_copy_predicts_without_torch(written, tmp_path):
    found, made = written("classify")
    shutil.copy(predictor.__file__, tmp_path / "predictor.py")
    shutil.copy(made.path, tmp_path / "model.onnx")
    for number, picture in enumerate(odd_pictures(8)):
        picture.save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    words = ["model.onnx", *(f"{number}.png" for number in range(8)), "bad.png", "missing.png"]
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert time.perf_counter() - begin < 20
    assert "8 pictures predicted, 2 could not be read; wrote predictions" in done.stdout
    assert "bad.png is damaged, cut off or no picture" in done.stderr
    assert "missing.png is not there; mend the path" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "predictions" / "predictions.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == words[1:]
    answers = found.predict([tmp_path / f"{number}.png" for number in range(8)])
    for row, answer in zip(rows, answers, strict=False):
        assert [entry["class"] for entry in row["top"]] == list(answer.classes)
    drawn = [f"{number:04d}_{number}.png" for number in range(8)]
    assert [row["drawn"] for row in rows[:8]] == drawn
    assert sorted(path.name for path in (tmp_path / "predictions").glob("*.png")) == drawn


def test_a_second_call_replaces_what_the_first_has_written_and_no_more(written, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    network = str(written("classify")[1].path)
    for number, picture in enumerate(odd_pictures(2)):
        picture.save(f"{number}.png")
    assert predictor.main([network, "0.png", "1.png"]) == 0
    (tmp_path / "predictions" / "mine.png").write_bytes(b"mine")
    assert predictor.main([network, "1.png"]) == 0
    found = sorted(path.name for path in (tmp_path / "predictions").iterdir())
    assert found == ["0000_1.png", "mine.png", "predictions.jsonl"]
    table = tmp_path / "predictions" / "predictions.jsonl"
    table.write_text(table.read_text() + '{"file": "2.png", "dr')  # killed
    assert predictor.main([network, "0.png"]) == 0
    assert sorted(path.name for path in table.parent.iterdir()) == ["0000_0.png", "mine.png", "predictions.jsonl"]
    capsys.readouterr()
    for other in ("my notes", "my notes\n", '{"note": "mine"}\n', "3\n"):
        table.write_text(other)
        assert predictor.main([network, "0.png"]) == 2
        assert "was not written by this program; name another folder with --out" in capsys.readouterr().err
        assert table.read_text() == other


def test_pictures_of_somebody_else_stay(written, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    network = str(written("classify")[1].path)
    odd_pictures(1)[0].save("0.png")
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "0000_0.png").write_bytes(b"mine")
    assert predictor.main([network, "0.png"]) == 2
    assert "0000_0.png is there, and not of this program; name another folder with --out" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "predictions").iterdir()] == ["0000_0.png"]
    assert (tmp_path / "predictions" / "0000_0.png").read_bytes() == b"mine"


def test_names_that_are_no_text_are_taken(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"a\xff.png")
    try:
        odd_pictures(1)[0].save(name)
    except OSError:
        pytest.skip("this file system has no such names")
    assert predictor.main([str(written("classify")[1].path), name, os.fsdecode(b"b\xff.png")]) == 1
    rows = [json.loads(line) for line in (tmp_path / "predictions" / "predictions.jsonl").read_text().splitlines()]
    assert rows[0]["file"] == name
    assert "is not there" in rows[1]["error"]


@pytest.mark.parametrize("threads", [0, -1, 10**11, "2", 1.5])
def test_strange_numbers_of_threads_are_refused(written, threads):
    with pytest.raises(FileError, match=r"threads is .*; a whole number from 1 to 1024 is expected"):
        predictor.Predictor(written("classify")[1].path, threads)


LIES = {
    ("segment", "ham"): {
        "palette": [[], [[1, 2, 3]], [[1, 2, 300]] * 3, [[1, 2]] * 3, None],
        "test.scales": [[], None, 1.0], "test.window": [None, 0, [1]], "test.flip": [None, 1],
        "test.multiple": [None, 0],
        "test.mode": [None, "other", []], "test": [None, [], {}],
    },
    ("detect", "retinanet"): {
        "test.most": [0, "x"], "test.shown": [None, "x", True, float("nan")], "test.overlap": ["x", []],
        "config.head": [None, {}], "config": [{}],
    },
    ("pose", "simple"): {
        "reading": [{}, [], None], "reading.coding": ["udp", None], "reading.aligned": [1],
        "reading.padding": [0, None],
        "reading.skeleton.flips": [[], [0, 0, 1], None, ["x"] * 3], "reading.skeleton.lines": [[[0, 3]], [[0]], 3],
        "reading.skeleton.sigmas": [[], [0, 1, 1], None], "test.sure": [None, "x"], "test.coding": ["udp", []],
    },
    ("panoptic", "mask2former"): {"things": [{}, [True], [1, 1, 0]], "test.score": [None], "test.visible": ["x", []]},
}  # fmt: skip


@pytest.mark.parametrize(("task", "head"), LIES)
def test_what_a_task_needs_is_looked_at_before_it_is_used(tmp_path, task, head):
    """Each thing that its part of the metadata says, left out and in other kinds."""
    text = about_of(ready(task, head)).text()
    assert predictor.said_of(text, tmp_path)["said"]["task"] == task
    for key, lies in LIES[task, head].items():
        *above, last = key.split(".")
        for lie in (*lies, KeyError):
            found = json.loads(text)
            place = found["said"]
            for name in above:
                place = place[name]
            if lie is KeyError:
                del place[last]
            else:
                place[last] = lie
            with pytest.raises(FileError, match=r"says of its network what .* cannot read; export the network again"):
                predictor.said_of(json.dumps(found), tmp_path)


def test_a_lower_score_shows_more(tmp_path):
    found, picture = ready("detect", "retinanet"), odd_pictures(8)[7].convert("RGB").resize((64, 64))
    made = export(found, choose_format("onnx", "fp32"), tmp_path / "a.onnx", about_of(found, size=(64, 64)), [picture])
    network = predictor.Predictor(made.path)
    counts = [len(network(picture, score=score)["scores"]) for score in (0.0, 0.05, 0.9)]
    assert counts[0] == len(found.using(score=0.0).predict(picture)) >= counts[1] >= counts[2]


def test_nothing_can_be_done_without_a_network(tmp_path, capsys):
    assert predictor.main([str(tmp_path / "model.onnx"), "a.png"]) == 2
    assert "is not there; mend the path" in capsys.readouterr().err


def test_fixed_sizes_bytes_and_boxes(written, tmp_path):
    found = ready("pose", "simple")
    path = tmp_path / "pose.onnx"
    about = about_of(found, raw=True, size=(64, 48), batch=2)
    export(found, choose_format("onnx", "fp32"), path, about, odd_pictures(8)[7:])
    network = predictor.Predictor(path)
    picture = odd_pictures(8)[7]
    boxes = np.array([[10, 10, 90, 120], [200, 20, 310, 200], [12, 11, 91, 121]], float)
    answer = network(picture, boxes=boxes)
    for bad in ([[float("nan")] * 4], [[90, 10, 10, 120]]):
        with pytest.raises(FileError, match=r"rows of x1, y1, x2, y2 with x1 < x2"):
            network(picture, boxes=bad)
    assert answer["points"].shape[1:] == (3, 3)
    assert 1 <= len(answer["points"]) <= 3
    right = found.predict(picture)
    np.testing.assert_allclose(network(picture)["points"], right.points, atol=0.05)
    file = tmp_path / "boxes.json"
    entries = [{"image_id": 1, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": 1.0}
               for x1, y1, x2, y2 in boxes.tolist()]  # fmt: skip
    picture.save(tmp_path / "photo.png")
    file.write_text(json.dumps({"images": [{"id": 1, "file_name": "photo.png"}],
                                "categories": [{"id": 1, "name": "person"}], "annotations": entries}))  # fmt: skip
    judged = found.using(boxes=str(file)).predict(tmp_path / "photo.png")
    assert len(judged) == len(answer["points"])
    np.testing.assert_allclose(answer["points"], judged.points, atol=0.05)
