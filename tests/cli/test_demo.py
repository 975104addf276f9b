"""volovan demo, of every task, cut to a few steps: the flow and the page, not how good the networks are."""

import re
from functools import partial

import pytest

from volovan.cli import main


def test_demo_makes_a_page_that_holds_its_pictures(tmp_path, capsys):
    assert main(["demo", "--epochs", "1", "--no-open", "--out", str(tmp_path / "demo")]) == 0
    page = (tmp_path / "demo" / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 5
    assert "digits_volo" in page
    assert "index.html" in capsys.readouterr().out


# task -> first network, its recipe, heading of its first figure, folder with a file of each prediction
FIRST = {
    "segment": ("VAN", "shapes_van", "mIoU", "masks"),
    "saliency": ("EDN", "shapes_edn", "MAE", "masks"),
    "detect": ("GFL", "shapes_detect", "AP", "overlays"),
}


@pytest.mark.parametrize("task", FIRST)
def test_demo_of_a_dense_task_shows_table_curves_and_pictures(tmp_path, capsys, monkeypatch, task):
    small(monkeypatch, task)
    folder = tmp_path / "demo"
    assert main(["demo", "--task", task, "--steps", "2", "--no-open", "--out", str(folder)]) == 0
    said, page = capsys.readouterr().out, (folder / "index.html").read_text()
    assert "index.html" in said
    name, recipe, score, files = FIRST[task]
    assert re.search(rf"on the validation scenes: {name} [\d.]+", said)
    assert f"<td>{recipe}</td>" in page
    assert f"<th>{score}</th>" in page
    assert page.count("data:image/png;base64,") >= 4
    assert "{" not in re.sub(r"<style>.*?</style>", "", page, flags=re.S)  # every blank is filled
    assert ("<td>star</td>" in page) == (task == "segment")
    assert len(list((folder / "pictures").glob("*.png"))) == 2
    assert len(list((folder / name.lower() / "predictions" / files).iterdir())) == 2


def test_demo_of_pose_finds_figures_and_then_their_points(tmp_path, capsys, monkeypatch):
    small(monkeypatch, "pose", nets=2)
    folder = tmp_path / "demo"
    assert main(["demo", "--task", "pose", "--steps", "2", "--no-open", "--out", str(folder)]) == 0
    assert re.search(r"on the validation scenes: GFL [\d.]+, SimpleBaseline [\d.]+", capsys.readouterr().out)
    assert len(list((folder / "simplebaseline" / "predictions" / "overlays").iterdir())) == 2
    rows = (folder / "simplebaseline" / "predictions" / "predictions.csv").read_text().splitlines()
    assert [row.split(",")[3] for row in rows[1:]] == ["0", "0"]  # after two steps the detector is sure of nothing


def test_demo_of_panoptic_shows_quality_and_segments(tmp_path, capsys, monkeypatch):
    small(monkeypatch, "panoptic")
    folder = tmp_path / "demo"
    assert main(["demo", "--task", "panoptic", "--steps", "2", "--no-open", "--out", str(folder)]) == 0
    assert re.search(r"on the validation scenes: Mask2Former [\d.]+", capsys.readouterr().out)
    page = (folder / "index.html").read_text()
    assert "<td>shapes_panoptic</td>" in page
    assert all(f"<th>{score}</th>" in page for score in ("PQ", "PQ of things", "AP of masks", "mIoU"))
    assert page.count("data:image/png;base64,") >= 4
    predictions = folder / "mask2former" / "predictions"
    assert len(list((predictions / "overlays").iterdir())) == 2
    assert len(list((predictions / "panoptic").iterdir())) == 2


def small(monkeypatch, task, nets=1):
    """One network or two, few scenes, two pictures: what is left is the way through the verbs."""
    import dataclasses

    from volovan.data.synthetic import shapes_sources
    from volovan.verbs import demo_tasks

    first = dict(list(demo_tasks.DEMOS[task].nets.items())[:nets])
    demo = dataclasses.replace(demo_tasks.DEMOS[task], nets=first, pictures=2)
    monkeypatch.setitem(demo_tasks.DEMOS, task, demo)
    for kind, scenes in list(shapes_sources._OF_KIND.items()):
        monkeypatch.setitem(shapes_sources._OF_KIND, kind, partial(_few, scenes))


def _few(scenes, split, count, size):
    return scenes(split, min(count, 20), size)


def test_demo_refuses_an_unknown_task(capsys):
    assert main(["demo", "--task", "poetry"]) == 2
    assert (
        "--task poetry: there is no such demo; expected classify, segment, saliency, detect, panoptic, pose"
        in capsys.readouterr().err
    )
