"""Pictures of what was found: any size of picture, labels that are seen, what is wrong in red; figures."""

import numpy as np
import pytest
import torch
from PIL import Image

from detections import CLASSES, as_found, jittered, metric_of, scenes
from volovan.data.objects.annotated import Thing, annotated
from volovan.data.objects.overlay import Mark, painted
from volovan.data.objects.shapes import Polygons
from volovan.data.pictures.palettes import spread
from volovan.data.pictures.sheet import counted
from volovan.detect.draw import (
    _ALERT,
    draw_comparison,
    draw_confusion,
    draw_curves,
    draw_found,
    draw_sheet,
    thumbnail,
)  # fmt: skip
from volovan.room.found import Found

PALETTE = spread(len(CLASSES))
NOTHING = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))


def count(image: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(image.convert("RGB")) == colour).all(axis=2).sum())


def grey(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (90, 90, 90))


def one(box, label: int = 2, score: float = 0.93) -> Found:
    return Found(np.array([box], float), np.array([score]), np.array([label]))


@pytest.mark.parametrize(
    "size", [(64, 48), (3000, 2000), (3000, 60), (40, 1200), (1, 3000), (3000, 1), (1, 1)], ids=str
)
def test_any_picture_is_drawn_with_its_boxes_and_a_legend(size):
    found = one((size[0] / 4, size[1] / 4, size[0] * 0.75, size[1] * 0.75))
    truth = annotated([Thing("", tuple(found.boxes[0].tolist()))], [1])
    page = draw_found(grey(*size), found, CLASSES, PALETTE)
    assert page.width >= 320
    assert count(page, PALETTE[2]) > 14 * 14 - 60  # the legend at least
    assert count(draw_comparison(grey(*size), found, truth, CLASSES, PALETTE, "a title"), _ALERT) > 100
    small = thumbnail(grey(*size), found, PALETTE)
    assert max(small.size) <= 224
    assert count(small, PALETTE[2]) >= 1


def test_a_label_stands_above_its_box_and_is_as_large_in_large_pictures():
    for side in (400, 1600, 3000):
        picture = grey(side, side)
        mark = Mark((side * 0.3, side * 0.3, side * 0.6, side * 0.6), (10, 200, 30), "cat 0.93")
        shown = picture.resize((min(side, 1600),) * 2)
        above = np.asarray(painted(picture, shown, [mark]))[: round(shown.height * 0.3) - 3]
        rows = np.flatnonzero((above == (10, 200, 30)).all(axis=2).any(axis=1))
        assert rows.size >= 12 * shown.height / 600 or rows.size >= 20
    # At the upper edge it stands inside.
    top = np.asarray(painted(picture, shown, [Mark((10, 0, 1500, 1500), (10, 200, 30), "cat 0.93")]))
    assert (top[4:16, 10:30] == (10, 200, 30)).all(axis=2).mean() > 0.3


def test_labels_do_not_cover_each_other():
    picture = grey(600, 400)
    marks = [Mark((100, 100, 300, 300), spread(9)[k], f"object {k}") for k in range(9)]
    pixels = np.asarray(painted(picture, picture, marks))
    tags = [k for k in range(9) if (pixels == spread(9)[k]).all(axis=2).sum() > 300]
    assert 4 <= len(tags) < 9
    assert tags[0] == 0  # the surest comes first


def test_masks_lie_over_the_picture_and_have_an_edge():
    triangle = Polygons((np.array([[50.0, 50], [350, 50], [50, 350]]),))
    page = painted(grey(400, 400), grey(400, 400), [Mark((50, 50, 350, 350), (255, 0, 0), shape=triangle)])
    pixels = np.asarray(page)
    mixed = round(90 + 0.45 * (255 - 90)), round(90 - 0.45 * 90), round(90 - 0.45 * 90)
    assert np.abs(pixels[100, 100].astype(int) - mixed).max() <= 1
    assert (pixels[300, 300] == 90).all()
    assert (pixels[199, 198:202] == (255, 0, 0)).all(axis=1).any()  # the slanted side


def test_comparison_marks_what_is_missed_and_wrong_and_not_crowds():
    boxes = [(20, 20, 120, 120), (200, 20, 300, 120), (20, 200, 120, 300), (200, 200, 390, 390)]
    truth = annotated([Thing("", box, crowd=k == 3) for k, box in enumerate(boxes)], [0, 1, 2, 3])
    right = Found(np.array(boxes[:3], float), np.array([0.9, 0.8, 0.7]), np.array([0, 1, 2]))
    picture = grey(400, 400)
    assert count(draw_comparison(picture, right, truth, CLASSES, PALETTE), _ALERT) == 0
    missed = draw_comparison(picture, right.only(np.array([True, True, False])), truth, CLASSES, PALETTE)
    assert np.asarray(missed)[:, : missed.width // 2].shape == np.asarray(missed)[:, missed.width // 2 :].shape
    half = missed.width // 2
    assert count(missed.crop((half, 0, missed.width, 450)), _ALERT) > 500
    assert count(missed.crop((0, 0, half, 450)), _ALERT) == 0
    unsure = draw_comparison(picture, right, truth, CLASSES, PALETTE, score=0.75)
    assert np.array_equal(np.asarray(missed.crop((0, 45, 800, 440))), np.asarray(unsure.crop((0, 45, 800, 440))))


def test_nothing_found_and_nothing_there():
    empty = annotated([], [])
    assert draw_found(grey(100, 80), NOTHING, CLASSES, PALETTE).width > 100
    assert draw_comparison(grey(100, 80), NOTHING, empty, CLASSES, PALETTE).width > 200
    sheet = draw_sheet([(thumbnail(grey(100, 80), NOTHING, PALETTE), "a.png", NOTHING.labels)], CLASSES, PALETTE)
    assert sheet.width > 224


def test_boxes_outside_of_the_picture_and_without_area_are_drawn_at_its_edge():
    boxes = [(-50, -50, -10, -10), (500, 10, 600, 90), (30, 30, 30, 30), (-10, -10, 500, 500)]
    found = Found(np.array(boxes, float), np.full(4, 0.9), np.array([0, 1, 2, 3]))
    page = draw_found(grey(400, 400), found, CLASSES, PALETTE)
    assert all(count(page.crop((0, 0, 430, 425)), PALETTE[k]) for k in range(4))


def test_figures_of_scenes(tmp_path):
    pictures = scenes(5)
    metric = metric_of(pictures, [jittered(*picture, seed) for seed, picture in enumerate(pictures)])
    (path,) = draw_confusion(metric.confusion(), CLASSES, tmp_path / "new", PALETTE)
    assert tuple(PALETTE[3]) in {colour for _, colour in Image.open(path).convert("RGB").getcolors(1 << 20)}
    (path,) = draw_curves(metric.coco()[0].curves(), CLASSES, tmp_path / "new", PALETTE)
    assert path.name == "precision_recall_boxes.png"
    assert Image.open(path).width > 500
    assert draw_confusion(torch.zeros(8, 8).long(), CLASSES, tmp_path / "none", PALETTE) == []
    assert draw_curves(np.full((7, 101), np.nan), CLASSES, tmp_path / "none", PALETTE) == []
    assert not (tmp_path / "none").exists()


def test_many_classes_make_a_confusion_of_those_that_occur(tmp_path):
    table = torch.zeros(301, 301).long()
    table[7, 7], table[7, 300], table[300, 120] = 3, 1, 2
    names = [f"class {k}" for k in range(300)]
    (path,) = draw_confusion(table, names, tmp_path, spread(300))
    assert Image.open(path).width < 800
    assert draw_confusion(torch.ones(301, 301).long(), names, tmp_path / "none", spread(300)) == []


def test_a_sheet_says_how_many_of_each(tmp_path):
    pictures = scenes(3)
    shown = []
    for number, (truth, size) in enumerate(pictures):
        found = as_found(truth, size)
        shown.append((thumbnail(grey(*size[::-1]), found, PALETTE), f"{number}.png", found.labels))
    sheet = draw_sheet(shown, CLASSES, PALETTE)
    assert all(count(sheet, PALETTE[label]) > 100 for _, _, labels in shown for label in labels)


def test_captions_count_the_most_frequent_names() -> None:
    assert counted(["dog", "cat", "cat"], "nothing") == "cat 2, dog 1"
    assert counted("aaabbcde", "nothing") == "a 3, b 2, c 1, +2"
    assert counted([], "nothing") == "nothing"
