"""Pictures of poses: what is shown, in which colours, and nothing at all."""

import numpy as np
from PIL import Image

from volovan.data.objects.annotated import Annotated
from volovan.data.objects.joints import FIRST, SECOND
from volovan.data.objects.skeleton import Skeleton
from volovan.pose.draw import draw_comparison, draw_poses, draw_sheet, marks_of, thumbnail
from volovan.pose.found import Poses

SKELETON = Skeleton(("nose", "left_eye", "right_eye"), lines=((0, 1), (0, 2)))
PICTURE = Image.new("RGB", (400, 300), (90, 90, 90))
PLACES = np.array(
    [[[100.0, 100, 0.9], [60, 60, 0.8], [140, 60, 0.2]], [[300, 200, 0.9], [260, 160, 0.9], [340, 160, 0.9]]]
)
BOXES = np.array([[40.0, 40, 160, 140], [240, 140, 360, 240]])


def poses(rows: list[int]) -> Poses:
    count = len(rows)
    return Poses(PLACES[rows], np.linspace(0.9, 0.5, count), BOXES[rows], np.zeros(count, np.int64), np.ones(count))


def truth() -> Annotated:
    points = PLACES.copy()
    points[..., 2] = 2
    return Annotated(BOXES, np.zeros(2, np.int64), np.zeros(2, bool), np.full(2, 9e3), (None, None), points=points)


def test_sides_have_colours_and_unsure_points_are_left_out() -> None:
    pixels = np.asarray(draw_poses(PICTURE, poses([0]), SKELETON, ["cat"], 0.5))
    shown = pixels[:316]  # without the legend
    assert (shown == FIRST).all(axis=2).sum() > 10  # the left eye
    assert not (shown[:, 100:] == SECOND).all(axis=2).any()  # the right eye is not sure enough
    assert pixels.shape[0] > 300  # a legend


def test_what_is_found_has_the_colour_of_what_it_is() -> None:
    """Found in another order than annotated."""
    found = poses([1, 0])
    ours = marks_of(found, 0.3)
    assert ours[0].colour != ours[1].colour
    picture = np.asarray(draw_comparison(PICTURE, found, truth(), SKELETON, 0.3, "a.png"))
    apart = {tuple(colour) for colour in (mark.colour for mark in ours)}
    columns = [np.flatnonzero((picture == colour).all(axis=2).any(axis=0)) for colour in apart]
    halves = [{bool(column > picture.shape[1] / 2) for column in found_at} for found_at in columns]
    assert halves == [{False, True}] * 2  # each colour on both sides
    for found_at in columns:  # and at the same place of both
        left = found_at[found_at < picture.shape[1] / 2]
        right = found_at[found_at > picture.shape[1] / 2]
        assert abs((right.min() - left.min()) - (right.max() - left.max())) <= 6


def test_nothing_is_drawn_too() -> None:
    nothing = poses([])
    bare = truth().only(np.zeros(2, bool))
    assert draw_poses(PICTURE, nothing, SKELETON, ["cat"], 0.3).width >= 400
    for found, there in ((nothing, truth()), (poses([0]), bare), (nothing, bare)):
        assert draw_comparison(PICTURE, found, there, SKELETON, 0.3).width >= 800
    assert draw_sheet([(thumbnail(PICTURE, nothing, SKELETON, 0.3), "a.png", 0)]).width > 200
