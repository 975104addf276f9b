"""Scenes of shapes: what they say of themselves is exact, and the same everywhere and every time."""

import colorsys
import hashlib
import pickle
from math import pi

import numpy as np
import pytest

from volovan.data.errors import SourceError
from volovan.data.synthetic.shapes import draw_scene
from volovan.data.synthetic.shapes_classes import (
    ARM,
    GROUNDS,
    HALF_SIDE,
    HOLE,
    REACH,
    SHAPE_CLASSES,
    STAR,
    THINGS,
    TRIANGLE,
    any_limbs,
    inside,
    points,
)
from volovan.data.synthetic.shapes_sources import SalientShapes, ShapesSource, shapes_splits

NUMBERS = {about.name: number for number, about in enumerate(SHAPE_CLASSES)}
DIGESTS = {
    "crowd": "bdcc7f87978a1becf2fb08194b3a81a67217fdc0ff9d7485a7d94bad373c8fdc",
    "salient": "4eff9d60ebd96d6ffff82640c7e8a88b756360d9c90e2bde5f12ecde931c567e",
}


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene("train", index, 120, 152) for index in range(80)]


def shoelace(corners):
    x, y = np.array(corners).T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def in_polygon(x, y, corners):
    """Winding number by angles: another way than that of the package."""
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape))
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ax, ay, bx, by = x0 - x, y0 - y, x1 - x, y1 - y
        total += np.arctan2(ax * by - ay * bx, ax * bx + ay * by)
    return abs(total) > pi


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("disc", pi),
        ("ring", pi * (1 - HOLE**2)),
        ("square", 4 * HALF_SIDE**2),
        ("triangle", shoelace(TRIANGLE)),
        ("star", shoelace(STAR)),
        ("cross", 8 * ARM[0] * ARM[1] - 4 * ARM[0] ** 2),
    ],
)
def test_an_outline_has_the_area_of_its_formula(name, area):
    steps = (np.arange(900) + 0.5) / 300 - 1.5
    found = inside(name, steps[None], steps[:, None], ()).sum() / 9e4
    assert found == pytest.approx(area, rel=3e-3)


def test_a_figure_is_a_head_a_body_and_four_limbs_within_reach():
    steps = (np.arange(600) + 0.5) / 200 - 1.5
    x, y = steps[None], steps[:, None]
    for share in (0.0, 0.5, 1.0):
        limbs = any_limbs(share, 1 - share, share, share)
        mask = inside("figure", x, y, limbs)
        assert not mask[np.broadcast_to(abs(x) > REACH, mask.shape) | (abs(y) > REACH)].any()
        head, neck, left_hand, right_hand, hip, left_foot, right_foot = points("figure", limbs)
        assert left_hand[0] > neck[0] > right_hand[0]
        assert left_foot[0] > hip[0] > right_foot[0]
        assert head[1] < neck[1] < hip[1] < min(left_foot[1], right_foot[1])
        for end in (left_hand, right_hand, left_foot, right_foot):
            along = np.hypot(x - end[0], y - end[1])
            assert mask[along < 0.18].all()
            assert not mask[(along > 0.195) & (along < 0.25)].all()


def test_visible_masks_equal_outlines_less_what_is_in_front(scenes):
    """Outlines are rebuilt from the keypoints, and tested in another way than the package does."""
    x, y = np.arange(152)[None] + 0.5, np.arange(120)[:, None] + 0.5
    tested = dict.fromkeys(("square", "triangle", "ring", "star"), 0)
    for scene in scenes:
        for number, thing in enumerate(scene.instances):
            name, places = SHAPE_CLASSES[thing.category].name, thing.keypoints[:, :2].astype(float)
            if name not in tested or not thing.keypoints[:, 2].all():
                continue
            if name == "ring":
                middle, size = places.mean(0), np.hypot(*(places[0] - places[2])) / (1 + HOLE)
                away = np.hypot(x - middle[0], y - middle[1])
                outline = (away <= size) & (away >= HOLE * size)
            else:
                if name == "star":
                    middle = places.mean(0)
                    notches = middle - (places[[3, 4, 0, 1, 2]] - middle) * (0.6 / 1.15)
                    places = np.stack([places, notches], 1).reshape(-1, 2)
                outline = in_polygon(x, y, places)
            front = np.zeros(outline.shape, dtype=bool)
            for other in scene.instances[number + 1 :]:
                front |= other.mask
            assert ((outline & ~front) != thing.mask).sum() <= 1  # a middle of a pixel may lie on the line to 1e-5
            tested[name] += 1
    assert min(tested.values()) >= 5


def test_boxes_and_segments_follow_from_the_masks(scenes):
    for scene in scenes:
        table = {segment.id: segment for segment in scene.segments}
        assert set(np.unique(scene.panoptic)) == set(table)
        for segment in scene.segments:
            mask = scene.panoptic == segment.id
            assert segment.area == mask.sum()
            assert segment.iscrowd == 0
            assert set(scene.labels[mask]) == {segment.category_id}
            assert segment.isthing == SHAPE_CLASSES[segment.category_id].is_thing
            rows, columns = np.nonzero(mask)
            left, top, width, height = segment.bbox
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width - 1, top + height - 1) == (columns.max(), rows.max())
        things = [segment for segment in scene.segments if segment.isthing]
        assert len(things) == len(scene.instances)
        for segment, thing in zip(things, scene.instances, strict=True):
            assert np.array_equal(thing.mask, scene.panoptic == segment.id)
            left, top, width, height = segment.bbox
            assert thing.box == (left, top, left + width, top + height)
            assert thing.category == segment.category_id
        grounds = [segment.category_id for segment in scene.segments if not segment.isthing]
        assert len(set(grounds)) == len(grounds)  # one segment for each kind of ground, as COCO has it


def test_keypoints_lie_on_their_things_and_say_what_hides_them(scenes):
    seen, astray = np.zeros(3, dtype=int), 0
    for scene in scenes:
        for number, thing in enumerate(scene.instances):
            about = SHAPE_CLASSES[thing.category]
            assert thing.keypoints.shape == (len(about.keypoints), 3)
            for x, y, visibility in thing.keypoints:
                seen[int(visibility)] += 1
                if visibility == 0:
                    assert (x, y) == (0, 0)
                    continue
                around = np.s_[max(int(y) - 2, 0) : int(y) + 3, max(int(x) - 2, 0) : int(x) + 3]
                front = any(other.mask[around].any() for other in scene.instances[number + 1 :])
                # A sharp corner may show between the middles of the pixels, or what hides it be narrower than these.
                astray += not (thing.mask[around].any() if visibility == 2 else front)
    assert (seen > 20).all()
    assert astray <= 0.02 * seen.sum()


def test_each_thing_stays_half_in_view_and_all_classes_come(scenes):
    assert {thing.category for scene in scenes for thing in scene.instances} == set(THINGS)
    assert {int(label) for scene in scenes for label in np.unique(scene.labels)} >= set(GROUNDS)
    assert all(1 <= len(scene.instances) <= 6 for scene in scenes)
    assert min(thing.mask.sum() for scene in scenes for thing in scene.instances) > 100


def test_flips_exchange_left_and_right_and_bones_join_points_there_are():
    for about in SHAPE_CLASSES:
        turn = {"left": "right", "right": "left"}
        mirrored = ["_".join(turn.get(word, word) for word in name.split("_")) for name in about.keypoints]
        assert [about.keypoints[flip] for flip in about.flips] == mirrored
        assert all(0 <= end < len(about.keypoints) for bone in about.skeleton for end in bone)
    assert len({about.name for about in SHAPE_CLASSES} | {about.colour for about in SHAPE_CLASSES}) == 20


@pytest.mark.parametrize("kind", ["crowd", "salient"])
def test_a_scene_is_the_same_on_every_machine(kind):
    scene = draw_scene("val", 7, 96, 130, kind)
    found = hashlib.sha256(scene.image.tobytes() + scene.labels.tobytes() + scene.panoptic.tobytes())
    assert found.hexdigest() == DIGESTS[kind]


def test_things_have_the_hue_of_their_class_and_grounds_have_any():
    source = ShapesSource("train", 70, (40, 40))
    things, grounds = [], []
    for index in range(len(source)):
        scene = source.scene(index)
        things += [(hue(scene.image[thing.mask]), THINGS.index(thing.category) / 7) for thing in scene.instances]
        grounds += [hue(scene.image[scene.labels == number]) for number in GROUNDS if (scene.labels == number).any()]
    assert max(min(abs(found - own), 1 - abs(found - own)) for found, own in things) < 0.06
    assert len(np.unique(np.floor(7 * np.array(grounds)))) == 7


def hue(pixels: np.ndarray) -> float:
    """Of the mean colour, from 0 to 1."""
    return colorsys.rgb_to_hsv(*(pixels.mean(0) / 255))[0]


def test_what_is_salient_is_the_things_and_stands_out():
    differences = []
    for index in range(40):
        scene = draw_scene("train", index, 96, 128, "salient")
        assert 1 <= len(scene.instances) <= 2
        things = np.logical_or.reduce([thing.mask for thing in scene.instances])
        assert np.array_equal(scene.salient, np.where(things, 255, 0))
        assert scene.salient.dtype == np.uint8
        assert 0.04 < things.mean() < 0.6
        for thing in scene.instances:
            inner = np.median(scene.image[thing.mask], 0)
            ground = [np.median(scene.image[scene.panoptic == s.id], 0) for s in scene.segments if not s.isthing]
            differences.append(min(abs(inner - other).max() for other in ground))
    assert np.quantile(differences, 0.1) > 60


def test_sources_follow_from_split_and_number():
    first, val = ShapesSource("train", 30, (48, 64)), ShapesSource("val", 30, (48, 64))
    again = pickle.loads(pickle.dumps(first))
    assert first.load(3).size == (64, 48)
    assert first.load(3).mode == "RGB"
    assert first.name(3) == "train/shapes_00000003.png"
    for index in (0, 3):
        assert np.array_equal(first.load(index), again.load(index))
        assert np.array_equal(first.target(index), again.target(index))
    pictures = {source.load(index).tobytes() for source in (first, val) for index in range(30)}
    assert len(pictures) == 60  # no scene of one split is in the other
    mask = first.target(0)
    mask[:] = 99  # a copy
    assert first.target(0).max() < len(first.classes) == len(first.palette)
    with pytest.raises(IndexError, match="30"):
        first.load(30)


def test_salient_sources_offer_masks_of_0_and_255():
    source = SalientShapes("val", 5, (40, 56))
    assert source.load(4).size == (56, 40)
    assert set(np.unique(source.target(4))) == {0, 255}
    assert not np.array_equal(source.load(0), ShapesSource("val", 5, (40, 56)).load(0))


@pytest.mark.parametrize("size", ["32x32", "33x47", "32x200", "481x77"])
def test_scenes_of_odd_sizes_are_whole(size):
    width, height = map(int, size.split("x"))
    for kind in ("crowd", "salient"):
        for index in range(6):
            scene = draw_scene("train", index, height, width, kind)
            assert scene.image.shape == (height, width, 3)
            assert scene.labels.shape == (height, width)
            assert scene.instances
            assert scene.panoptic.min() == 1


def test_a_spec_says_how_many_and_how_large():
    for kind in ("mask", "map"):
        parts = {split: opener() for split, opener in shapes_splits("shapes", kind).items()}
        assert {split: (len(part), part.size) for split, part in parts.items()} == {
            "train": (2000, (128, 128)),
            "val": (200, (128, 128)),
        }
        small = shapes_splits("shapes:15@160x90", kind)
        assert [len(small[split]()) for split in ("train", "val")] == [15, 2]
        assert small["val"]().load(1).size == (160, 90)
        assert len(shapes_splits("shapes:7", kind)["train"]()) == 7


@pytest.mark.parametrize("spec", ["shapes:", "shapes:0", "shapes:5@64", "shapes:5@16x64", "shapes5", "shapes:x@64x64"])
def test_a_spec_that_cannot_be_read_is_refused(spec):
    with pytest.raises(SourceError, match=r"expected shapes, shapes:COUNT or shapes:COUNT@WIDTHxHEIGHT"):
        shapes_splits(spec, "mask")
