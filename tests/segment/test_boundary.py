"""Boundary IoU against scipy's erosion, class by class, and against figures that can be told by hand."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from volovan.data.masks.coding import IGNORE
from volovan.segment.metrics import BoundarySums, boundary, boundary_width

CPU = torch.device("cpu")


def regions(classes, height, width, seed, cell=8):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(1, classes, -(-height // cell), -(-width // cell), generator=generator)
    return torch.nn.functional.interpolate(values, (height, width), mode="bilinear")[0].argmax(0).byte()


def eroded_away(region, width):
    """Of a bool mask, what `width` erosions by 3 x 3 take away; beyond the picture there is nothing."""
    return region & ~ndimage.binary_erosion(region, np.ones((3, 3)), iterations=width, border_value=0)


def written_out(pairs, classes, dilation):
    both, either = np.zeros(classes), np.zeros(classes)
    for guess, label in pairs:
        guess, label = guess.numpy().copy(), label.numpy()
        guess[label == IGNORE] = IGNORE
        width = max(1, round(dilation * np.hypot(*label.shape)))
        for number in range(classes):
            of_guess, of_label = (eroded_away(which == number, width) for which in (guess, label))
            both[number] += (of_guess & of_label).sum()
            either[number] += (of_guess | of_label).sum()
    with np.errstate(invalid="ignore"):
        return 100 * both / either


def ignoring(mask, box):
    mask = mask.clone()
    mask[box] = IGNORE
    return mask


PAIRS = {
    "regions": [(regions(4, 60, 90, seed), regions(4, 60, 90, seed + 10)) for seed in range(2)],
    "noise": [(regions(4, 30, 20, 1, cell=1), regions(4, 30, 20, 2, cell=1))],
    "moved": [(regions(4, 70, 50, 3).roll(2, 1), regions(4, 70, 50, 3))],
    "ignored": [
        (regions(4, 60, 80, 5).roll(1, 0), ignoring(regions(4, 60, 80, 5), np.s_[10:30, 20:60])),
        (regions(4, 40, 40, 6), torch.full((40, 40), IGNORE).byte()),
    ],
    "full": [(torch.ones(25, 40).byte(), torch.ones(25, 40).byte())],
    "empty": [(torch.zeros(25, 40).byte(), torch.ones(25, 40).byte())],
}


@pytest.mark.parametrize("dilation", [0.02, 0.05, 0.001])
@pytest.mark.parametrize("kind", PAIRS)
def test_boundary_iou_equals_erosion_class_by_class(kind, dilation):
    sums = BoundarySums(4, CPU, dilation)
    for guess, label in PAIRS[kind]:
        sums.add(guess, label)
    np.testing.assert_allclose(sums.iou(), written_out(PAIRS[kind], 4, dilation), rtol=1e-12)


def test_boundary_of_a_square_is_a_frame_and_the_edge_of_the_picture():
    label = torch.zeros(40, 50).byte()
    label[10:30, 10:30] = 1
    frame = boundary(label, 3)
    assert int(frame[label == 1].sum()) == 20 * 20 - 14 * 14
    assert frame[:3].all()
    assert frame[:, -3:].all()
    assert not frame[15:25, 15:25].any()
    assert not frame[5, 40]


def test_width_is_two_per_cent_of_the_diagonal_and_at_least_one():
    assert boundary_width(1024, 2048) == 46  # 0.02 x 2289.7
    assert boundary_width(360, 480) == 12
    assert boundary_width(8, 8) == 1


def test_boundary_iou_falls_faster_than_iou_where_a_region_is_moved():
    label = torch.zeros(100, 100).byte()
    label[20:80, 20:80] = 1
    sums = BoundarySums(2, CPU)
    sums.add(label.roll(3, 1), label)
    iou = 100 * (57 * 60) / (63 * 60)
    assert float(sums.iou()[1]) < iou - 30
