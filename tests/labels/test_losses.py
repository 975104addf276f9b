import math

import pytest
import torch
from torch.testing import assert_close

from networks import golden_state, tiny
from volovan.labels.losses import mix_targets, soft_target_loss, token_label_loss, with_ground_truth
from volovan.labels.targets import TokenTargets, plain_targets
from volovan.models.layers import MixTokenOutput

CLOSE = {"atol": 1e-5, "rtol": 1e-4}
NO_BOX = torch.zeros(4, dtype=torch.int64)


def total(*arguments, **options):
    """The loss that is minimised: the sum of its parts."""
    return sum(token_label_loss(*arguments, **options).values())


def golden_targets(g, key):
    target = g["loss.hard_target" if key == "hard" else "loss.target"]
    if key == "hard":
        return TokenTargets(target, target, target)
    return TokenTargets(target[..., 0], target[..., 1], target[..., 2:].transpose(1, 2))


def random_case(batch=3, grid=(2, 3), classes=5, box=(0, 1, 2, 3)):
    """Output and targets in float64; the soft targets do not sum to 1, as smoothing leaves them."""
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64)  # noqa: E731
    output = MixTokenOutput(draw(batch, classes), draw(batch, grid[0] * grid[1], classes), torch.tensor(box))
    hard, cls, patch = (draw(*t.shape).softmax(-1) * 1.01 for t in (output.logits, output.logits, output.patch_logits))
    return output, TokenTargets(hard, cls, patch)


def loop_loss(output, targets, grid, dense_weight, class_weight, ground_truth):
    """volo.md 6.5 in plain numbers."""
    logits, patches = output.logits.tolist(), output.patch_logits.tolist()
    hard, cls, patch = targets.hard.tolist(), targets.cls.tolist(), targets.patch.tolist()

    def cross_entropy(z, t):
        total = sum(math.exp(v) for v in z)
        return -sum(weight * (v - math.log(total)) for weight, v in zip(t, z, strict=True))

    if ground_truth:
        for i, (t, y) in enumerate(zip(cls, hard, strict=True)):
            r = 0.5 if t.index(max(t)) == y.index(max(y)) else 0.9
            cls[i] = [r * a + (1 - r) * b for a, b in zip(t, y, strict=True)]
    r1, c1, r2, c2 = output.box.tolist()
    share = 1 - (r2 - r1) * (c2 - c1) / (grid[0] * grid[1])
    class_loss = patch_loss = 0.0
    for i, z in enumerate(logits):
        mixed = [share * a + (1 - share) * b for a, b in zip(cls[i], cls[-1 - i], strict=True)]
        class_loss += cross_entropy(z, mixed) / len(logits)
        for token, t in zip(patches[i], patch[i], strict=True):
            patch_loss += cross_entropy(token, t) / len(logits) / len(patches[i])
    return class_weight * class_loss + dense_weight * patch_loss


@pytest.mark.parametrize("key", ["plain", "gt", "hard"])
def test_losses_and_gradients_equal_the_golden_ones(golden, key):
    g = golden("volo_tiny")
    logits, patches = g["train.x_cls"].requires_grad_(), g["train.x_aux"].requires_grad_()
    output = MixTokenOutput(logits, patches, g["train.bbox"])
    loss = total(output, golden_targets(g, key), (4, 4), dense_weight=0.5, ground_truth=key == "gt")
    loss.backward()
    assert_close(loss, g[f"loss.{key}"][0], **CLOSE)
    assert_close(logits.grad, g[f"loss.{key}.grad_cls"], atol=1e-7, rtol=1e-4)
    assert_close(patches.grad, g[f"loss.{key}.grad_aux"], atol=1e-8, rtol=1e-4)


def test_loss_with_an_empty_box_equals_the_golden_one(golden):
    g = golden("volo_tiny")
    output = MixTokenOutput(g["train.x_cls"], g["train.x_aux"], NO_BOX)
    assert_close(total(output, golden_targets(g, "plain"), (4, 4)), g["loss.plain_nobox"][0], **CLOSE)


def test_training_forward_and_loss_equal_the_golden_ones_together(golden):
    g = golden("volo_tiny")
    model = tiny("volo").train()
    model.load_state_dict(golden_state("volo"))
    output = model(g["train.input"], box=g["train.bbox"])
    assert_close(total(output, golden_targets(g, "gt"), (4, 4), ground_truth=True), g["loss.gt"][0], **CLOSE)


@pytest.mark.parametrize("ground_truth", [False, True], ids=["teacher", "ground truth"])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_loss_equals_a_loop_in_plain_numbers(batch, ground_truth):
    for seed in range(10):
        torch.manual_seed(seed)
        box = [(0, 1, 2, 3), (0, 0, 0, 0), (0, 0, 2, 3), (1, 2, 2, 3)][seed % 4]
        output, targets = random_case(batch, box=box)
        weights = {"dense_weight": 0.7, "class_weight": 1.3, "ground_truth": ground_truth}
        got = total(output, targets, (2, 3), **weights)
        assert got.item() == pytest.approx(loop_loss(output, targets, (2, 3), **weights), rel=2e-6)


def test_gradients_equal_softmax_minus_target():
    torch.manual_seed(0)
    output, targets = random_case()
    logits, patches = output.logits.requires_grad_(), output.patch_logits.requires_grad_()
    total(output, targets, (2, 3), dense_weight=0.5).backward()
    mixed = mix_targets(targets.cls, 1 - 4 / 6)
    want = (logits.softmax(-1) * mixed.sum(-1, keepdim=True) - mixed) / 3
    assert_close(logits.grad, want.detach(), atol=1e-6, rtol=1e-5)
    want = 0.5 * (patches.softmax(-1) * targets.patch.sum(-1, keepdim=True) - targets.patch) / 18
    assert_close(patches.grad, want.detach(), atol=1e-6, rtol=1e-5)


def test_one_target_per_picture_counts_for_every_token():
    torch.manual_seed(0)
    output, targets = random_case()
    repeated = targets._replace(patch=targets.cls[:, None].expand(-1, 6, -1))
    same = total(output, targets._replace(patch=targets.cls), (2, 3))
    assert_close(same, total(output, repeated, (2, 3)))


def test_hard_labels_without_a_box_equal_smoothed_cross_entropy():
    logits, labels = torch.randn(4, 7), torch.tensor([0, 3, 6, 3])
    loss = total(logits, plain_targets(labels, 7, 0.1, dense=False))
    assert_close(loss, torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1))


def test_targets_of_size_1_have_no_patch_loss():
    torch.manual_seed(0)
    output, targets = random_case()
    alone = token_label_loss(output, targets._replace(patch=None), (2, 3))
    assert alone.keys() == {"class"}
    assert_close(alone["class"], total(output, targets, (2, 3), dense_weight=0.0))


@pytest.mark.parametrize("has_box", [True, False], ids=["no dense head", "plain logits"])
def test_patch_targets_without_patch_logits_are_an_error(has_box):
    output, targets = random_case()
    without = MixTokenOutput(output.logits, None, NO_BOX) if has_box else output.logits
    with pytest.raises(ValueError, match="size 1"):
        total(without, targets, (2, 3))


def test_ground_truth_counts_half_where_the_teacher_agrees_and_a_tenth_where_not():
    target = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2]])
    hard = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    mixed = with_ground_truth(target, hard)
    assert_close(mixed, torch.tensor([[0.85, 0.1, 0.05], [0.19, 0.63, 0.18]]))


def test_mixed_targets_pair_the_first_sample_with_the_last():
    target = torch.eye(3)
    assert_close(mix_targets(target, 0.75), torch.tensor([[0.75, 0, 0.25], [0, 1, 0], [0.25, 0, 0.75]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_low_precision_logits_give_a_float32_loss(dtype):
    torch.manual_seed(0)
    logits = (torch.randn(4, 1000) * 3).to(dtype)
    target = torch.rand(4, 1000).softmax(-1)
    loss = soft_target_loss(logits, target)
    assert loss.dtype == torch.float32
    assert_close(loss, soft_target_loss(logits.double(), target.double()).float(), atol=1e-5, rtol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(soft_target_loss(logits, target), loss)
