"""Pictures that their EXIF turns, and masks that were drawn on them as they are shown or as they are stored."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from volovan.cli import main
from volovan.data import check_data
from volovan.data.checks.report import render
from volovan.data.errors import BadImage
from volovan.data.masks.files import DrawnOn
from volovan.data.pictures.decoding import decode, exif_turn
from volovan.data.sources import open_source

Turned = Callable[..., np.ndarray]
ORIENTATIONS = range(1, 9)


@pytest.fixture
def turned(tmp_path: Path) -> Turned:
    """turned("images/a.png", 6, (12, 9)): a picture with an EXIF orientation; returns a mask of its stored pixels."""

    def make(file: str, orientation: int, size: tuple[int, int] = (12, 9)) -> np.ndarray:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros(size[::-1], np.uint8)
        mask[:2, :3] = 1  # a corner, so that every turn shows
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.dstack([255 * mask] * 3)).save(tmp_path / file, exif=exif, quality=100, subsampling=0)
        return mask

    return make


def agree(folder: Path, drawn_on: DrawnOn | None, kind: str = "mask") -> list[bool]:
    source = open_source(folder, kind=kind, drawn_on=drawn_on)  # type: ignore[call-overload]
    return [
        np.array_equal(np.asarray(source.load(index))[..., 0] > 128, source.target(index) > 0)
        for index in range(len(source))
    ]


@pytest.mark.parametrize("kind", ["mask", "map"])
def test_masks_of_stored_pixels_are_turned_as_their_pictures(tmp_path: Path, turned: Turned, kind: str) -> None:
    (tmp_path / "masks").mkdir()
    for orientation in ORIENTATIONS:
        mask = turned(f"images/{orientation}.jpg", orientation)
        Image.fromarray(mask * np.uint8(255)).save(tmp_path / f"masks/{orientation}.png")
    assert agree(tmp_path, "stored", kind) == [True] * 8
    source = open_source(tmp_path, kind=kind)  # type: ignore[call-overload]
    assert [source.may_be_turned(index) for index in range(8)] == [False, True, True, True, *[False] * 4]
    with pytest.raises(BadImage, match=r"^masks/6\.png: 12 x 9, but .* say --data\.drawn_on stored \(check-data"):
        source.target(5)


def test_masks_of_shown_pictures_and_with_a_turn_of_their_own_stay(tmp_path: Path, turned: Turned) -> None:
    (tmp_path / "masks").mkdir()
    for orientation in ORIENTATIONS:
        turned(f"images/{orientation}.jpg", orientation)
        upright = np.asarray(decode(tmp_path / f"images/{orientation}.jpg"))[..., 0] > 128
        Image.fromarray(upright.astype(np.uint8)).save(tmp_path / f"masks/{orientation}.png")
    assert agree(tmp_path, "shown") == agree(tmp_path, None) == [True] * 8
    exif = Image.Exif()
    exif[0x0112] = 3
    mask = turned("images/3.jpg", 3)
    Image.fromarray(mask).save(tmp_path / "masks/3.png", exif=exif)
    assert agree(tmp_path, "shown")[2]
    source = open_source(tmp_path, kind="mask", drawn_on="stored")
    assert np.array_equal(source.target(2), np.asarray(source.load(2))[..., 0] > 128)
    assert not open_source(tmp_path, kind="mask").may_be_turned(2)  # type: ignore[attr-defined]


def test_pictures_of_equal_sides_tell_nothing(tmp_path: Path, turned: Turned) -> None:
    (tmp_path / "masks").mkdir()
    for orientation in ORIENTATIONS:
        np.save(tmp_path / f"masks/{orientation}.npy", turned(f"images/{orientation}.jpg", orientation, (9, 9)))
    source = open_source(tmp_path, kind="mask")
    assert [source.may_be_turned(index) for index in range(8)] == [False, *[True] * 7]  # type: ignore[attr-defined]
    assert agree(tmp_path, "stored") == [True] * 8
    assert exif_turn(tmp_path / "images/1.jpg", "1") is None


def test_check_data_lists_them_until_it_is_said(
    tmp_path: Path, turned: Turned, capsys: pytest.CaptureFixture[str]
) -> None:
    for orientation, name in ((3, "a"), (1, "b"), (3, "c")):
        mask = turned(f"set/images/{name}.jpg", orientation)
        (tmp_path / "set" / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / f"set/masks/{name}.png")
    report = check_data(str(tmp_path / "set"), "mask")
    assert sorted(sample.name for sample in report.turned) == ["images/a.jpg", "images/c.jpg"]
    assert "pictures whose masks may be turned (2)" in render(report)
    for said in ("shown", "stored"):
        words = ["check-data", str(tmp_path / "set"), "--task", "segment", "--drawn-on", said]
        assert main([*words, "--out", str(tmp_path / "out")]) == 0
        assert "may be turned" not in capsys.readouterr().out


def test_outlines_of_stored_pixels(tmp_path: Path, turned: Turned) -> None:
    corners = [0, 0, 3, 0, 3, 2, 0, 2]
    images = []
    for orientation in ORIENTATIONS:
        turned(f"yolo/images/{orientation}.jpg", orientation)
        turned(f"coco/images/{orientation}.jpg", orientation)
        path = tmp_path / f"yolo/labels/{orientation}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(" ".join(map(str, [0, *(value / (12, 9)[place % 2] for place, value in enumerate(corners))])))
        images.append({"id": orientation, "file_name": f"{orientation}.jpg", "width": 12, "height": 9})
    outlines = [{"id": n, "image_id": n, "category_id": 1, "segmentation": [corners]} for n in ORIENTATIONS]
    said = {"images": images, "annotations": outlines, "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "coco/result.json").write_text(json.dumps(said))
    assert agree(tmp_path / "yolo", "stored") == agree(tmp_path / "coco", "stored") == [True] * 8
    assert agree(tmp_path / "coco", None) == [True, False, False, False, *[True] * 4]  # the sizes tell
    for folder, doubtful in (("yolo", [True] * 4), ("coco", [False] * 4)):
        source = open_source(tmp_path / folder, kind="mask")
        found = [source.may_be_turned(index) for index in range(8)]  # type: ignore[attr-defined]
        assert found == [False, True, True, True, *doubtful]
