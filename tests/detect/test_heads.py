"""Every head of `create_detector`: parameters of the published rows, maps that it reads, what it learns and finds."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, nms

from networks import TINY
from volovan.detect.fpn import FPN
from volovan.detect.masks import mask_targets
from volovan.detect.network import Detector, create_detector
from volovan.detect.objects import Objects, Outline
from volovan.detect.rois import pool
from volovan.detect.select import Choice, keep

HEADS = sorted(Detector.HEADS)
# Table 9, 10 and 11 of VAN as computed, with 80 classes (the table prints millions).
PUBLISHED = {
    ("van_b0", "retinanet"): 13_386_068,
    ("van_b1", "retinanet"): 23_598_772,
    ("van_b2", "retinanet"): 36_315_444,
    ("van_b3", "retinanet"): 54_502_580,
    ("van_b0", "mask_rcnn"): 23_885_136,
    ("van_b1", "mask_rcnn"): 33_516_208,
    ("van_b2", "mask_rcnn"): 46_232_880,
    ("van_b3", "mask_rcnn"): 64_420_016,
    ("van_b2", "cascade_mask_rcnn"): 84_068_082,
    ("van_b2", "atss"): 34_181_018,
    ("van_b2", "gfl"): 34_326_233,
}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("trunk", "head"), PUBLISHED)
def test_parameters_of_the_published_rows(trunk, head):
    with torch.device("meta"):
        assert count(create_detector(trunk, head)) == PUBLISHED[trunk, head]


@pytest.mark.parametrize("proposals", [100, 300])
def test_parameters_of_sparse_rcnn_by_arithmetic(proposals):
    with torch.device("meta"):
        model = create_detector("van_b2", "sparse_rcnn", head_options={"proposals": proposals})
    c, k = 256, 80
    attention = 4 * c * c + 4 * c + 2 * c
    interaction = (c + 1) * 2 * c * 64 + 2 * 64 + 2 * c + (49 * c + 1) * c + 2 * c + 2 * c
    ffn = 2 * c * 2048 + 2048 + c + 2 * c
    outputs = 4 * (c * c + 2 * c) + (c + 1) * (k + 4)
    fpn = sum(width * c + c for width in (64, 128, 320, 512)) + 4 * (9 * c * c + c)
    trunk = count(model.trunk)
    assert count(model) == trunk + fpn + 6 * (attention + interaction + ffn + outputs) + proposals * (c + 4)


# Maps


def test_p6_of_retinanet_is_made_of_c5_and_that_of_atss_of_p5():
    for extra, moved in (("input", True), ("output", False)):
        fpn = FPN((8, 16, 256), 5, extra)
        maps = [torch.zeros(1, width, 32 // side, 32 // side) for width, side in ((8, 1), (16, 2), (256, 4))]
        for conv in (*fpn.lateral_convs, *list(fpn.fpn_convs)[:3]):
            torch.nn.init.zeros_(conv.weight)
        before = fpn(maps)
        maps[-1] = maps[-1] + 1
        assert torch.equal(before[2], fpn(maps)[2])
        assert (not torch.equal(before[3], fpn(maps)[3])) == moved


def test_nothing_lies_between_p6_and_p7():
    fpn = FPN((8, 16, 32), 5, "input")
    torch.nn.init.constant_(fpn.fpn_convs[3].weight, -1.0)
    maps = [torch.ones(1, width, 8 * side, 8 * side) for width, side in ((8, 4), (16, 2), (32, 1))]
    p6, p7 = fpn(maps)[3:]
    assert (p6 < 0).all()
    assert torch.allclose(p7, fpn.fpn_convs[4](p6))
    assert p7.abs().sum() > 0


def test_the_fifth_map_of_rcnn_is_every_second_value_of_the_fourth():
    maps = [torch.randn(1, 8, side, side) for side in (32, 16, 8, 4)]
    levels = FPN((8,) * 4, 5)(maps)
    assert [tuple(level.shape[2:]) for level in levels] == [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
    assert torch.equal(levels[4], levels[3][..., ::2, ::2])


def test_boxes_are_read_from_the_map_of_their_size():
    """Torchvision chooses the same maps; it reads half a pixel off (aligned=False), so constant maps are compared."""
    maps = [torch.full((2, 3, 128 // side, 128 // side), float(side)) for side in (1, 2, 4, 8)]
    generator = torch.Generator().manual_seed(0)
    boxes = []
    for _ in range(2):
        low = torch.rand(40, 2, generator=generator) * 20
        boxes.append(torch.cat((low, low + torch.rand(40, 2, generator=generator) * 480), dim=1))
    theirs = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    want = theirs({str(i): map_ for i, map_ in enumerate(maps)}, boxes, [(512, 512)] * 2)
    assert torch.equal(pool(maps, boxes)[..., 3, 3], want[..., 3, 3])


def test_a_value_of_a_box_is_that_of_its_place():
    """A map whose value is x: the cell over x = 20 to 24 at stride 4 has its mean, 22, half a value less 0.5."""
    ramp = torch.arange(32.0).expand(1, 1, 32, 32).contiguous()
    found = pool([ramp], [torch.tensor([[0.0, 0, 56, 56]])], side=14)
    assert found[0, 0, 0].tolist() == pytest.approx([(4 * cell + 2) / 4 - 0.5 for cell in range(14)], abs=1e-5)


# Masks


def test_what_a_mask_head_learns():
    """The left half of a box of 28 x 28 is an object; a box that is twice as wide has it in its first quarter."""
    outline = Outline(torch.ones(28, 14, dtype=torch.uint8), x=40, y=30)
    boxes = torch.tensor([[40.0, 30, 68, 58], [40.0, 30, 96, 58], [100.0, 100, 128, 128]])
    masks = mask_targets(boxes, [outline], torch.zeros(3, dtype=torch.int64))
    want = torch.zeros(3, 28, 28)
    want[0, :, :14] = 1
    want[1, :, :7] = 1
    assert torch.equal(masks, want)


# Detections


def test_suppression_equals_torchvision_class_by_class():
    generator = torch.Generator().manual_seed(1)
    low = torch.rand(300, 2, generator=generator) * 100
    boxes = torch.cat((low, low + 20 + torch.rand(300, 2, generator=generator) * 30), dim=1)
    scores, labels = torch.rand(300, generator=generator), torch.randint(0, 3, (300,), generator=generator)
    found = keep(boxes, scores, labels, Choice(most=1000))
    left = []
    for label in range(3):
        rows = (labels == label).nonzero()[:, 0]
        left += rows[nms(boxes[rows], scores[rows], 0.5)].tolist()
    order = sorted(left, key=lambda row: -float(scores[row]))
    assert torch.equal(found.boxes, boxes[order])
    assert torch.equal(found.labels, labels[order])


# Whole networks


def some_objects(masks: bool = True) -> list[Objects]:
    boxes = torch.tensor([[10.0, 10, 60, 70], [50.0, 40, 120, 100]])
    outlines = (Outline(torch.ones(60, 50), 10, 10), Outline(torch.ones(60, 70), 50, 40))
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    return [Objects(boxes, torch.tensor([1, 3]), outlines if masks else ()), nothing]


@pytest.fixture(scope="module")
def made():
    """made(head, trunk="van"): a tiny detector of five classes."""
    found: dict[tuple[str, str], Detector] = {}

    def make(head: str, trunk: str = "van") -> Detector:
        if (head, trunk) not in found:
            torch.manual_seed(0)
            options = {"width": 32}
            options |= {"proposals": 20, "stages": 2} if head == "sparse_rcnn" else {}
            options |= {"taught": 32, "proposals": 200} if "rcnn" in head and head != "sparse_rcnn" else {}
            found[head, trunk] = create_detector(
                trunk,
                head,
                5,
                trunk_options={k: v for k, v in TINY[trunk].items() if k != "img_size"},
                head_options=options,
            )
        return found[head, trunk]

    return make


SIZES = [(128, 160), (100, 140)]


@pytest.mark.parametrize("head", HEADS)
def test_every_parameter_learns(made, head):
    model = made(head).train()
    images = torch.randn(2, 3, 128, 160)
    losses = model(images, some_objects(), SIZES)
    total = sum(losses.values())
    assert torch.isfinite(total)
    model.zero_grad()
    total.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []


@pytest.mark.parametrize("head", HEADS)
def test_losses_are_there_in_evaluation_mode_too(made, head):
    with torch.no_grad():
        losses = made(head).eval()(torch.randn(2, 3, 128, 160), some_objects(), SIZES)
    assert all(math.isfinite(value) for value in losses.values())


@pytest.mark.parametrize("trunk", ["van", "volo"])
@pytest.mark.parametrize("head", HEADS)
def test_detections_lie_in_their_pictures(made, head, trunk):
    model = made(head, trunk).eval()
    with torch.no_grad():
        every = model(torch.randn(2, 3, 128, 160) * 3, sizes=SIZES)
    for found, (height, width) in zip(every, SIZES, strict=True):
        assert (found.boxes >= 0).all()
        assert (found.boxes <= torch.tensor([width, height] * 2)).all()
        assert (found.scores.diff() <= 0).all()
        assert ((found.labels >= 0) & (found.labels < 5)).all()
        assert (found.masks is None) == ("mask" not in head)
        assert found.masks is None or found.masks.shape == (len(found), 28, 28)


HOSTILE: dict[str, Tensor] = {
    "nothing": torch.zeros(0, 4),
    "one pixel": torch.tensor([[5.0, 5, 6, 6]]),
    "over the edge": torch.tensor([[-50.0, -50, 400, 300]]),
    "outside": torch.tensor([[500.0, 500, 600, 600]]),
    "no width": torch.tensor([[20.0, 20, 20, 60], [30.0, 30, 60, 60]]),
    "a thousandth": torch.tensor([[20.0, 20, 20.001, 20.001]]),
    "two hundred": torch.rand(200, 4, generator=torch.Generator().manual_seed(2)).sort(dim=1).values * 120,
    "twice the same": torch.tensor([[20.0, 20, 60, 60]] * 2),
}


MANY = torch.rand(2000, 4, generator=torch.Generator().manual_seed(2)).sort(dim=1).values * 120


@pytest.mark.parametrize("what", [*HOSTILE, pytest.param("two thousand", marks=pytest.mark.slow)])
@pytest.mark.parametrize("head", HEADS)
def test_hostile_boxes_give_finite_losses(made, head, what):
    model, boxes = made(head).train(), HOSTILE.get(what, MANY)
    masks = tuple(Outline(torch.ones(3, 3), int(box[0]), int(box[1])) for box in boxes)
    there = Objects(boxes, torch.arange(len(boxes)) % 5, masks)
    losses = model(torch.randn(2, 3, 128, 160), [there, there])
    model.zero_grad()
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values()), losses
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
