"""Names of points: what each becomes in a mirror, and how far labels of it scatter."""

import numpy as np
import pytest

from volovan.data.objects.skeleton import COCO_NAMES, OTHER_SIGMA, Skeleton


@pytest.mark.parametrize(
    ("names", "flips"),
    [
        (("nose", "left_eye", "right_eye"), (0, 2, 1)),
        (("Left Eye", "Right Eye", "Nose"), (1, 0, 2)),
        (("leftEye", "rightEye"), (1, 0)),
        (("lefteye", "righteye"), (1, 0)),
        (("LEFT-EYE", "RIGHT-EYE"), (1, 0)),
        (("l_hip", "tail", "r_hip"), (2, 1, 0)),
        (("hip_l", "hip_r"), (1, 0)),
        (("LHip", "RHip"), (1, 0)),
        (("eye.left", "eye.right"), (1, 0)),
        (("left1", "right1", "left2", "right2"), (1, 0, 3, 2)),
        (("top_left", "top_right", "bottom_right", "bottom_left"), (1, 0, 3, 2)),
        (("left_eye", "nose"), (0, 1)),  # its other side is no point
        (("leftover", "bright_eye", "light"), (0, 1, 2)),
        (("left eye", "Left_Eye", "right_eye"), (0, 1, 2)),  # nothing says which
        (("head", "neck"), (0, 1)),
        (("鼻", "é"), (0, 1)),
    ],
)
def test_flips_follow_from_names(names: tuple[str, ...], flips: tuple[int, ...]) -> None:
    assert Skeleton(names).flips == flips


def test_sigmas_are_those_of_coco_for_its_joints() -> None:
    published = [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]
    assert np.allclose(Skeleton(COCO_NAMES).sigmas, np.array(published) / 1000)
    assert Skeleton(("Right Hip", "nose")).sigmas == (0.107, 0.026)
    assert Skeleton((*COCO_NAMES, "left_toe")).sigmas == (*Skeleton(COCO_NAMES).sigmas, OTHER_SIGMA)
    assert Skeleton(("nose", "tail")).sigmas == (OTHER_SIGMA, OTHER_SIGMA)  # of no person


def test_what_is_said_goes_before_what_names_say() -> None:
    own = Skeleton(("left", "right"), flips=(0, 1), sigmas=(0.1, 0.2))
    assert (own.flips, own.sigmas) == ((0, 1), (0.1, 0.2))


def test_points_are_swapped_and_nothing_is_changed() -> None:
    points = np.array([[[1.0, 2, 2], [3, 4, 1], [0, 0, 0]]])
    before = points.copy()
    skeleton = Skeleton(("left_a", "b", "right_a"))
    assert skeleton.swapped(points).tolist() == [[[0, 0, 0], [3, 4, 1], [1, 2, 2]]]
    assert np.array_equal(points, before)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"names": ()}, "no names of points"),
        ({"names": ("a", "a")}, "names 'a' twice, expected each once"),
        ({"lines": ((0, 2),)}, r"a line \(0, 2\), expected two numbers from 0 to 1"),
        ({"lines": ((-1, 1),)}, "a line"),
        ({"flips": (0,)}, r"the flips \[0\], expected 2 numbers from 0 on that swap pairs"),
        ({"flips": (1, 1)}, "the flips"),
        ({"names": ("a", "b", "c"), "flips": (1, 2, 0)}, "the flips"),
        ({"sigmas": (0.1,)}, "the sigmas"),
        ({"sigmas": (0.1, 0)}, "the sigmas"),
        ({"sigmas": (0.1, float("nan"))}, "the sigmas"),
    ],
)
def test_what_contradicts_itself_is_refused(said: dict[str, tuple], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Skeleton(**({"names": ("a", "b")} | said))
