import math
import random

import pytest
import torch
from torch.testing import assert_close
from torchvision.ops import roi_align

from volovan.engine.settings import SettingsError
from volovan.labels.targets import pad_maps, plain_targets, smooth_labels, token_targets

CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def random_maps(batch, ranks, rows, columns, num_classes):
    """(B, 2, k, H, W) with k different classes in each cell."""
    numbers = torch.rand(batch, num_classes, rows, columns).argsort(dim=1)[:, :ranks]
    return torch.stack([torch.randn(batch, ranks, rows, columns) * 5, numbers.float()], dim=1)


def dense_targets(maps, boxes, num_classes, size, smoothing, order):
    """The same by torchvision's operator on maps of all classes: (B, N, K)."""
    logits, numbers = maps[:, 0], maps[:, 1].long()
    dense = logits.new_zeros(len(maps), num_classes, *logits.shape[2:]).scatter_(1, numbers, logits)
    height, width = dense.shape[2:]
    top, left, h, w = boxes.unbind(1)
    x1, y1, x2, y2 = (left, top, left + w, top + h) if order == "right" else (top, left, top + h, left + w)
    rois = torch.stack([x1 * width, y1 * height, x2 * width, y2 * height], dim=1) - 0.5
    cut = roi_align(dense, [roi[None] for roi in rois], output_size=size, aligned=False, sampling_ratio=-1)
    off = smoothing / num_classes
    return cut.flatten(2).transpose(1, 2).softmax(dim=2) * (1 - smoothing + off) + off


def loop_target(label_map, box, num_classes, size, row, column):
    """Soft target of one token of one picture in plain float64 arithmetic, order `right`, without smoothing."""
    _, ranks, height, width = label_map.shape
    logits = [0.0] * num_classes
    axes = []
    for cells, begin, extent, tokens, token in ((height, 0, 2, size[0], row), (width, 1, 3, size[1], column)):
        start, length = box[begin] * cells - 0.5, max(box[extent] * cells, 1.0)
        step = length / tokens
        count = math.ceil(step)
        axes.append([start + token * step + (i + 0.5) * step / count for i in range(count)])
    samples = [(y, x) for y in axes[0] for x in axes[1] if -1 <= y <= height and -1 <= x <= width]
    for y, x in samples:
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        for r in {math.floor(y), min(math.floor(y) + 1, height - 1)}:
            for c in {math.floor(x), min(math.floor(x) + 1, width - 1)}:
                weight = (1 - abs(y - r)) * (1 - abs(x - c)) / (len(axes[0]) * len(axes[1]))
                for rank in range(ranks):
                    logits[int(label_map[1, rank, r, c])] += weight * float(label_map[0, rank, r, c])
    total = sum(math.exp(z) for z in logits)
    return [math.exp(z) / total for z in logits]


@pytest.mark.parametrize(
    ("key", "size", "order"),
    [("tl.target", 4, "official"), ("tl.target1", 1, "official"), ("tl.target_xy", 4, "right")],
)
def test_targets_equal_the_golden_ones(golden, key, size, order):
    g = golden("volo_tiny")
    boxes, labels = g["tl.maps"][:, 2, 0, 0, :4], g["tl.maps"][:, 2, 0, 0, 5].long()
    targets = token_targets(g["tl.maps"][:, :2], boxes, labels, 10, size, 0.1, order)
    parts = [targets.hard[:, None], targets.cls[:, None], *([] if size == 1 else [targets.patch])]
    assert_close(torch.cat(parts, dim=1).transpose(1, 2), g[key], **CLOSE)


@pytest.mark.parametrize("order", ["right", "official"])
def test_targets_equal_roi_align_of_maps_of_all_classes(order):
    for seed in range(60):
        torch.manual_seed(seed)
        random.seed(seed)
        batch, ranks, num_classes = random.randint(1, 3), random.randint(1, 5), random.choice([5, 10, 200])
        rows, columns = random.randint(1, 20), random.randint(1, 20)
        size = (random.randint(1, 9), random.randint(1, 9))
        maps = random_maps(batch, ranks, rows, columns, num_classes)
        boxes = torch.rand(batch, 4) * torch.tensor([1.2, 1.2, 1.5, 1.5]) - torch.tensor([0.3, 0.3, 0, 0])
        targets = token_targets(maps, boxes, torch.zeros(batch).long(), num_classes, size, 0.1, order)
        want = dense_targets(maps, boxes, num_classes, size, 0.1, order)
        patch = targets.cls[:, None] if size == (1, 1) else targets.patch
        assert_close(patch, want, atol=1e-6, rtol=1e-5, msg=lambda text, seed=seed: f"seed {seed}: {text}")
        assert_close(
            targets.cls, dense_targets(maps, boxes, num_classes, (1, 1), 0.1, order)[:, 0], atol=1e-6, rtol=1e-5
        )


def test_targets_equal_a_loop_in_plain_numbers():
    for seed in range(6):
        torch.manual_seed(seed)
        maps = random_maps(1, 3, 5, 7, 12)
        box = [round(x, 3) for x in (torch.rand(4) * torch.tensor([0.8, 0.8, 0.9, 0.9]) - 0.1).tolist()]
        box[2:] = [abs(x) + 0.05 for x in box[2:]]
        patch = token_targets(maps, torch.tensor([box]), torch.tensor([0]), 12, (3, 2), 0.0).patch[0]
        want = [loop_target(maps[0], box, 12, (3, 2), row, column) for row in range(3) for column in range(2)]
        assert_close(patch, torch.tensor(want), atol=2e-6, rtol=1e-5)


def test_a_lone_logit_of_8_among_1000_classes_gets_three_quarters():
    maps = torch.stack([torch.full((1, 4, 4), 8.0), torch.full((1, 4, 4), 17.0)])[None]
    cls = token_targets(maps, torch.tensor([[0, 0, 1.0, 1.0]]), torch.tensor([17]), 1000, 2, 0.0).cls[0]
    assert cls[17].item() == pytest.approx(0.749, abs=5e-4)  # volo.md 6.4
    assert_close(cls.sum(), torch.tensor(1.0))


def test_soft_targets_sum_to_a_little_more_than_one_and_hard_ones_to_one():
    targets = token_targets(random_maps(3, 5, 6, 6, 20), torch.rand(3, 4), torch.tensor([1, 5, 19]), 20, 3, 0.1)
    assert_close(targets.patch.sum(2), torch.full((3, 9), 1 + 0.1 / 20))
    assert_close(targets.cls.sum(1), torch.full((3,), 1 + 0.1 / 20))
    assert_close(targets.hard.sum(1), torch.ones(3))
    assert_close(targets.hard[1, 5], torch.tensor(0.9 + 0.1 / 20))


@pytest.mark.parametrize("size", [1, 4], ids=["size 1", "size 4"])
def test_batch_of_one_equals_the_picture_within_a_batch(size):
    maps, boxes, labels = random_maps(4, 5, 9, 9, 30), torch.rand(4, 4), torch.tensor([3, 1, 4, 1])
    whole = token_targets(maps, boxes, labels, 30, size)
    for i in range(4):
        one = token_targets(maps[i : i + 1], boxes[i : i + 1], labels[i : i + 1], 30, size)
        for got, want in zip(one, whole, strict=True):
            assert (got is None and want is None) or torch.allclose(got, want[i : i + 1], atol=1e-6)
    assert (whole.patch is None) == (size == 1)


def test_inputs_stay_as_they_are_and_a_second_call_gives_the_same():
    maps, boxes, labels = random_maps(2, 5, 8, 8, 30), torch.rand(2, 4), torch.tensor([3, 1])
    kept = [t.clone() for t in (maps, boxes, labels)]
    first = token_targets(maps, boxes, labels, 30, 4, order="official")
    second = token_targets(maps, boxes, labels, 30, 4, order="official")
    assert all(torch.equal(a, b) for a, b in zip((maps, boxes, labels), kept, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_official_order_is_the_right_one_with_exchanged_box():
    maps, boxes, labels = random_maps(3, 5, 8, 8, 30), torch.rand(3, 4), torch.tensor([3, 1, 2])
    official = token_targets(maps, boxes, labels, 30, 4, order="official")
    exchanged = token_targets(maps, boxes[:, [1, 0, 3, 2]], labels, 30, 4)
    assert torch.equal(official.patch, exchanged.patch)
    assert not torch.allclose(official.patch, token_targets(maps, boxes, labels, 30, 4).patch)


def test_padded_maps_of_different_sizes_equal_each_map_alone():
    torch.manual_seed(0)
    shapes = [(18, 18), (12, 20), (3, 4), (1, 1)]
    maps = [random_maps(1, 5, *shape, 40)[0] for shape in shapes]
    boxes = torch.rand(4, 4) * 1.3 - torch.tensor([0.2, 0.2, 0, 0])  # beyond the border, where padding would show
    padded, sizes = pad_maps(maps)
    assert padded.shape == (4, 2, 5, 18, 20)
    assert sizes.tolist() == [list(shape) for shape in shapes]
    together = token_targets(padded, boxes, torch.tensor([0, 1, 2, 3]), 40, (5, 7), sizes=sizes)
    for i, label_map in enumerate(maps):
        alone = token_targets(label_map[None], boxes[i : i + 1], torch.tensor([i]), 40, (5, 7))
        for got, want in zip(together, alone, strict=True):
            assert_close(got[i : i + 1], want, atol=1e-6, rtol=1e-5)


def test_tokens_outside_of_the_map_get_flat_targets():
    maps = random_maps(1, 5, 6, 6, 10)
    box = torch.tensor([[0.0, -1.0, 1.0, 3.0]])  # a picture three times as wide as its centre square
    patch = token_targets(maps, box, torch.tensor([0]), 10, (3, 6), 0.0).patch[0].unflatten(0, (3, 6))
    assert_close(patch[:, [0, -1]], torch.full((3, 2, 10), 0.1))
    assert (patch[:, 2:4] - 0.1).abs().amax(dim=2).min() > 0.05


def test_half_precision_maps_give_float32_targets():
    maps, box, label = random_maps(2, 5, 6, 6, 2000), torch.rand(2, 4), torch.tensor([0, 1])
    half = token_targets(maps.half(), box, label, 2000, 3)
    assert {t.dtype for t in half} == {torch.float32}
    exact = maps.clone()
    exact[:, 0] = maps[:, 0].half().float()
    assert_close(half.patch, token_targets(exact, box, label, 2000, 3).patch)


def test_autocast_does_not_lower_the_precision():
    maps, box, label = random_maps(2, 5, 6, 6, 50), torch.rand(2, 4), torch.tensor([0, 1])
    want = token_targets(maps, box, label, 50, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(token_targets(maps, box, label, 50, 3).patch, want.patch)


@pytest.mark.parametrize("number", [10, 999, -1])
def test_a_class_the_data_do_not_have_is_an_error_that_names_it(number):
    maps = random_maps(2, 2, 4, 4, 10)
    maps[1, 1, 0, 2, 3] = number
    with pytest.raises(SettingsError, match=rf"class {number}, but there are 10 classes"):
        token_targets(maps, torch.rand(2, 4), torch.tensor([0, 1]), 10, 2)


def test_plain_targets_are_the_smoothed_label_everywhere():
    targets = plain_targets(torch.tensor([2, 0]), 4, 0.2)
    assert_close(targets.hard, torch.tensor([[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]))
    assert targets.cls is targets.hard is targets.patch
    assert plain_targets(torch.tensor([2]), 4, dense=False).patch is None
    assert_close(smooth_labels(torch.tensor([1]), 3, 0.0), torch.tensor([[0.0, 1.0, 0.0]]))
