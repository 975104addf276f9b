"""Masks with a palette, overlays, legends, panels and figures."""

import numpy as np
import pytest
import torch
from PIL import Image

from volovan.data.masks.coding import IGNORE
from volovan.data.masks.overlay import overlay, shown_size
from volovan.data.masks.paletted import palette_picture
from volovan.data.pictures.sheet import draw_legend
from volovan.data.synthetic.shapes import draw_scene
from volovan.data.synthetic.shapes_classes import SHAPE_CLASSES
from volovan.room.confusion import confusion_of
from volovan.segment.draw import (
    draw_comparison,
    draw_confusion,
    draw_prediction,
    draw_sheet,
    entries_of,
    shares_of,
    thumbnail,
)

CLASSES = tuple(about.name for about in SHAPE_CLASSES)
PALETTE = tuple(about.colour for about in SHAPE_CLASSES)


@pytest.fixture(scope="module")
def scene():
    return draw_scene("val", 1, 60, 90)


def test_palette_picture_keeps_numbers_and_shows_colours(tmp_path, scene):
    mask = scene.labels.copy()
    mask[:5] = IGNORE
    palette_picture(mask, PALETTE).save(tmp_path / "mask.png")
    found = Image.open(tmp_path / "mask.png")
    assert found.mode == "P"
    assert np.array_equal(np.asarray(found), mask)
    colours = np.asarray(found.convert("RGB"))
    for number in np.unique(scene.labels[5:]):
        assert (colours[mask == number] == PALETTE[number]).all()


@pytest.mark.parametrize(
    ("size", "shown"),
    [((90, 60), (450, 300)), ((384, 200), (384, 200)), ((4096, 2048), (1600, 800)), ((1, 1), (384, 384))],
    ids=str,
)
def test_pictures_are_shown_at_a_size_to_look_at(size, shown):
    assert shown_size(Image.new("RGB", size)) == shown


def test_overlay_mixes_grey_and_the_colour_of_the_class_and_leaves_ignored_pixels(scene):
    mask = np.full((400, 400), 3, np.uint8)
    mask[:, 200:] = IGNORE
    mask[300:, :200] = 8
    picture = Image.new("RGB", (400, 400), (10, 200, 30))
    grey = 48 + 0.8 * picture.convert("L").getpixel((0, 0))
    found = np.asarray(overlay(picture, mask, PALETTE, opacity=0.5)).astype(float)
    assert np.abs(found[100, 100] - (grey + np.array(PALETTE[3])) / 2).max() <= 0.5
    assert np.abs(found[350, 100] - (grey + np.array(PALETTE[8])) / 2).max() <= 0.5
    assert (found[100, 300] == (10, 200, 30)).all()
    assert found[299, 100].min() > found[290, 100].min() + 50  # the outline between two classes


def test_shares_leave_out_ignored_pixels():
    mask = np.array([[0, 0, 2], [IGNORE, IGNORE, 2]], np.uint8)
    assert shares_of(mask, 4).tolist() == [0.5, 0, 0.5, 0]
    assert shares_of(np.full((2, 2), IGNORE, np.uint8), 3).tolist() == [0, 0, 0]


def colours_of(image):
    return {colour for _, colour in image.getcolors(1 << 18)}


def test_legend_shows_the_classes_that_occur_and_fits_into_its_width():
    shares = np.zeros(10)
    shares[[1, 4, 7]] = 0.5, 0.3, 0.2
    for width in (120, 300, 900):
        found = draw_legend(entries_of(CLASSES, PALETTE, shares), width)
        assert found.width == width
        shown = {number for number, colour in enumerate(PALETTE) if tuple(colour) in colours_of(found)}
        assert shown == {1, 4, 7}
    assert draw_legend(entries_of(CLASSES, PALETTE, shares), 120).height > found.height


def test_legend_survives_many_classes_long_names_and_none_at_all():
    names = [f"a class with a long name, number {number}" for number in range(150)]
    palette = [(number, 255 - number, 90) for number in range(150)]
    found = draw_legend(entries_of(names, palette, np.full(150, 1 / 150)), 400)
    assert found.width == 400
    assert found.height > 1000
    assert draw_legend(entries_of(names, palette, np.zeros(150)), 400).height < 40


def test_prediction_and_comparison_grow_by_legend_and_panels(scene):
    picture = Image.fromarray(scene.image)
    single = draw_prediction(picture, scene.labels, CLASSES, PALETTE)
    triple = draw_comparison(picture, np.zeros_like(scene.labels), scene.labels, CLASSES, PALETTE, title="a title")
    assert single.width == 450 + 32
    assert single.height > 300 + 32
    assert triple.width == 3 * 450 + 2 * 12 + 32
    tall = draw_prediction(Image.new("RGB", (20, 900)), np.zeros((900, 20), np.uint8), CLASSES, PALETTE)
    assert tall.width == 320 + 32  # room for the names of the classes
    wide = Image.new("RGB", (900, 300))
    labels = np.zeros((300, 900), np.uint8)
    assert draw_comparison(wide, labels, labels, CLASSES, PALETTE).width == 900 + 32  # one above the other


def test_sheet_holds_all_thumbnails(scene):
    shown = [
        (thumbnail(Image.fromarray(scene.image), scene.labels, PALETTE), f"{n}.png", shares_of(scene.labels, 10))
        for n in range(5)
    ]
    assert max(shown[0][0].size) == 224
    sheet = draw_sheet(shown, CLASSES, PALETTE)
    assert sheet.width > 2 * 224
    assert draw_sheet(shown[:1], CLASSES, PALETTE).width >= 2 * 224  # room for the legend


def test_figure_of_confusion_is_written(tmp_path, scene):
    labels = torch.from_numpy(scene.labels)
    confusion = confusion_of(labels.roll(3, 1), labels, 10)
    (path,) = draw_confusion(confusion, CLASSES, tmp_path / "new", PALETTE)
    assert tuple(PALETTE[9]) in colours_of(Image.open(path).convert("RGB"))
