"""Pictures of segments: names where there is room, legends, comparisons, sheets, and hardly anything to draw."""

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from segments import CLASSES, THINGS
from volovan.data.objects.shapes import Raster
from volovan.data.panoptic.overlay import middle_of, name_segments, segment_colours, segments_overlay
from volovan.data.panoptic.segments import VOID, Panoptic, Segment
from volovan.data.pictures.palettes import spread
from volovan.data.pictures.sheet import share_text
from volovan.panoptic.draw import (
    CELL,
    draw_comparison,
    draw_figures,
    draw_segments,
    draw_sheet,
    entries_of,
    said_of,
    thumbnail,
)
from volovan.panoptic.inference import Answers, FoundSegments
from volovan.panoptic.metrics import PanopticMetric, compare

PALETTE = spread(3)
GREY = Image.new("RGB", (400, 300), (90, 90, 90))


def scene() -> Panoptic:
    """Sky over road, a large cat in the sky and one of 6 x 6 pixels on the road, void in a corner."""
    ids = np.full((300, 400), 1, np.int32)
    ids[150:], ids[20:130, 50:200], ids[200:206, 300:306], ids[280:, 380:] = 2, 3, 4, VOID
    return Panoptic(ids, (Segment(1, 1), Segment(2, 2), Segment(3, 0), Segment(4, 0)))


def difference(one: Image.Image, other: Image.Image) -> np.ndarray:
    """(H, W) bool"""
    return (np.asarray(one) != np.asarray(other)).any(axis=2)


def named(texts: list[str], told: Panoptic | None = None) -> np.ndarray:
    """Where names are written."""
    told = told or scene()
    plain = segments_overlay(GREY, told, PALETTE, THINGS)
    colours = segment_colours(told, PALETTE, THINGS)
    return difference(name_segments(plain.copy(), told, texts, colours), plain)


def test_a_name_stands_in_the_middle_of_its_segment() -> None:
    ids = scene().ids
    for number, id in ((1, 2), (2, 3)):
        where = named(["" if k != number else "name" for k in range(4)])
        assert (ids[where] == id).all()
        rows, columns = np.nonzero(where)
        x, y, room = middle_of(Raster(ids == id))
        assert abs(rows.mean() - y) < 2
        assert abs(columns.mean() - x) < 2
        assert room > 50


def test_there_is_no_name_where_there_is_no_room() -> None:
    assert not named(["", "", "", "small"]).any()
    assert not named(["", "", "a name that is wider than the picture " * 5, ""]).any()
    assert not named([""] * 4).any()


def test_no_name_covers_another() -> None:
    """Two columns beside each other: the name of the larger stands, that of the other would lie on it."""
    ids = np.full((300, 400), VOID, np.int32)
    ids[:, 190:210], ids[:, 210:231] = 1, 2
    told = Panoptic(ids, (Segment(1, 1), Segment(2, 0)))
    narrow, wide, both = (named(texts, told) for texts in (["long name", ""], ["", "long name"], ["long name"] * 2))
    assert (narrow & wide).any()
    assert np.array_equal(both, wide)


def test_names_cost_what_their_segments_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the whole picture for each of them."""
    looked_at = []
    distance = scipy.ndimage.distance_transform_cdt
    monkeypatch.setattr(
        scipy.ndimage, "distance_transform_cdt", lambda mask, how: looked_at.append(mask.size) or distance(mask, how)
    )
    told = grid(300, 400, 15, 20)
    assert named(["x"] * 300, told).any()
    assert len(looked_at) == 300
    assert sum(looked_at) < 2 * told.ids.size


def test_a_legend_counts_things_and_measures_stuff() -> None:
    told = scene()
    area = told.ids.size
    assert entries_of(told, CLASSES, PALETTE, THINGS) == [
        ("road", PALETTE[2], f"{100 * (60_000 - 36 - 400) / area:.1f} %"),
        ("sky", PALETTE[1], f"{100 * (60_000 - 16_500) / area:.1f} %"),
        ("cat", PALETTE[0], "2"),
        ("nothing sure", (200, 200, 200), "0.3 %"),
    ]
    assert [share_text(part / 10_000) for part in (0, 1, 5, 10_000)] == ["0.0 %", "< 0.1 %", "0.1 %", "100.0 %"]
    drawn = draw_segments(GREY, told, [0.9] * 4, CLASSES, PALETTE, THINGS)
    pixels = np.asarray(drawn)
    below = pixels[16 + 300 :]
    for colour in (*PALETTE, (200, 200, 200)):
        assert (below == colour).all(axis=2).sum() > 50, colour


def test_things_have_edges_and_shades_and_stuff_has_neither() -> None:
    told = scene()
    colours = segment_colours(told, PALETTE, THINGS)
    assert colours[:3] == [PALETTE[1], PALETTE[2], PALETTE[0]]
    assert colours[3] != PALETTE[0]
    seen = np.asarray(segments_overlay(GREY, told, PALETTE, THINGS))
    edge = (seen == 250).all(axis=2)
    assert edge[20, 60:190].all()
    assert edge[30:120, 50].all()
    assert not edge[150, :].any()  # sky and road
    assert (seen[290, 390] == 90).all()  # void


def test_a_comparison_says_what_is_right_wrong_and_missed() -> None:
    truth = scene()
    found = Panoptic(np.where(np.isin(truth.ids, (2, 4)), 0, truth.ids), (truth.segments[0], truth.segments[2]))
    own = compare(found, truth, 3)
    counts = [(int(a), int(b), int(c)) for a, b, c in zip(own.tp, own.fp, own.fn, strict=True)]
    assert counts == [(1, 0, 1), (1, 0, 0), (0, 0, 1)]
    drawn = draw_comparison(GREY, found, truth, CLASSES, PALETTE, THINGS, counts, "a.png")
    assert drawn.width > 800
    halves = np.asarray(drawn)[:, :416], np.asarray(drawn)[:, 416:]
    at = 16 + 34 + 24  # below the title and the captions
    assert (halves[0][at + 250, 30] == 90).all()  # the road was not found
    assert not (halves[1][at + 250, 30] == 90).all()
    assert [said_of(2, 0, 1), said_of(0, 3, 0)] == ["2 of 3", "0 of 0, 3 wrong"]


def test_a_sheet_has_one_legend() -> None:
    small = thumbnail(GREY, scene(), PALETTE, THINGS)
    assert max(small.size) == CELL
    labels = [segment.label for segment in scene().segments]
    sheet = draw_sheet([(small, "a.png", labels), (small, "b.png", []), (small, "c.png", [0])], CLASSES, PALETTE)
    lowest = np.asarray(sheet)[-60:]
    assert sum((lowest == colour).all(axis=2).any() for colour in PALETTE) == 3


# Hardly anything, or much


def grid(height: int, width: int, rows: int, columns: int) -> Panoptic:
    """Segments side by side, each of some class."""
    down, across = np.arange(height) * rows // height, np.arange(width) * columns // width
    ids = (down[:, None] * columns + across + 1).astype(np.int32)
    return Panoptic(ids, tuple(Segment(id, id % 3) for id in range(1, rows * columns + 1)))


HARDLY = {
    "no segment": Panoptic(np.zeros((60, 80), np.int32), ()),
    "one over everything": Panoptic(np.full((60, 80), 7, np.int32), (Segment(7, 0),)),
    "stuff over everything": Panoptic(np.full((60, 80), 7, np.int32), (Segment(7, 1),)),
    "crowd over everything": Panoptic(np.full((60, 80), 7, np.int32), (Segment(7, 0, crowd=True),)),
    "500 segments": grid(400, 500, 20, 25),
    "500 in few pixels": grid(20, 25, 20, 25),
    "one column": grid(300, 1, 3, 1),
    "one row": grid(1, 300, 1, 3),
    "one pixel": grid(1, 1, 1, 1),
    "thin": grid(1, 3000, 1, 500),
}


@pytest.mark.parametrize("what", HARDLY)
def test_hardly_anything_is_drawn_too(what: str) -> None:
    told = HARDLY[what]
    height, width = told.ids.shape
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
    nothing = Panoptic(np.zeros_like(told.ids), ())
    scores, labels = [0.5] * len(told.segments), [segment.label for segment in told.segments]
    drawn = draw_segments(picture, told, scores, CLASSES, PALETTE, THINGS)
    assert drawn.mode == "RGB"
    for found, truth in ((told, told), (told, nothing), (nothing, told)):
        own = compare(found, truth, 3)
        counts = [(int(a), int(b), int(c)) for a, b, c in zip(own.tp, own.fp, own.fn, strict=True)]
        assert draw_comparison(picture, found, truth, CLASSES, PALETTE, THINGS, counts, "x").width >= 320
    small = thumbnail(picture, told, PALETTE, THINGS)
    assert small.width <= CELL >= small.height
    sheet = draw_sheet([(small, "a.png", labels)], CLASSES, PALETTE)
    shown = {label for label in labels if (np.asarray(sheet)[-90:] == PALETTE[label]).all(axis=2).any()}
    assert shown == {*labels}


def test_figures_are_drawn_of_classes_with_segments(tmp_path: Path) -> None:
    metric = PanopticMetric(CLASSES, THINGS, lambda model, batch: batch)
    assert draw_figures(metric, tmp_path) == []
    one = scene()
    metric.add(0, Answers(FoundSegments(one, np.ones(4, np.float32))), one)
    assert [path.name for path in draw_figures(metric, tmp_path)] == ["quality.png"]
    names = tuple(f"class {number}" for number in range(41))
    many = PanopticMetric(names, (True,) * 41, lambda model, batch: batch)
    all_of_them = Panoptic(np.arange(1, 42, dtype=np.int32)[None], tuple(Segment(n + 1, n) for n in range(41)))
    many.add(0, Answers(FoundSegments(all_of_them, np.ones(41, np.float32))), all_of_them)
    assert draw_figures(many, tmp_path) == []
