import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from volovan import create_model
from volovan.data.randomness import seed_everything
from volovan.labels.mixtoken import draw_box, mixtoken_box, next_box, share_of

GRID = (14, 14)


def test_boxes_equal_the_golden_ones(golden):
    g = golden("volo_tiny")
    for lam, centre, box in zip(g["bbox.lam"].tolist(), g["bbox.centre"].tolist(), g["bbox.box"].tolist(), strict=True):
        assert list(mixtoken_box(lam, tuple(centre), GRID)) == box


@pytest.mark.parametrize("grid", [(14, 14), (7, 12), (1, 1)], ids=str)
def test_boxes_lie_in_the_grid_with_even_sides_unless_cut_off(grid):
    for number in range(300):
        r1, c1, r2, c2 = draw_box(grid, 1.0, number).tolist()
        for low, high, side in ((r1, r2, grid[0]), (c1, c2, grid[1])):
            assert 0 <= low <= high <= side
            assert (high - low) % 2 == 0 or low == 0 or high == side


def test_drawn_boxes_follow_beta_and_leave_the_expected_share():
    boxes = torch.stack([draw_box(GRID, 1.0, 5, number) for number in range(4000)])
    shares = torch.stack([share_of(box, GRID) for box in boxes])
    draw = np.random.default_rng(0)
    want = []
    for _ in range(4000):
        r1, c1, r2, c2 = mixtoken_box(draw.random(), tuple(draw.integers(14, size=2).tolist()), GRID)
        want.append(1 - (r2 - r1) * (c2 - c1) / 196)
    assert shares.mean().item() == pytest.approx(np.mean(want), abs=0.015)
    assert shares.std().item() == pytest.approx(np.std(want), abs=0.015)
    strong = torch.stack([share_of(draw_box(GRID, 20.0, number), GRID) for number in range(500)])
    assert strong.std() < 0.7 * shares.std()  # Beta(20, 20) stays near a half


def test_a_key_always_gives_its_box_and_touches_no_other_generator():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    want = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    boxes = [draw_box(GRID, 1.0, 3, step).tolist() for step in range(20)]
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == want
    assert boxes == [draw_box(GRID, 1.0, 3, step).tolist() for step in range(20)]
    assert len(set(map(tuple, boxes))) > 10


def test_next_box_follows_from_the_step_alone_and_differs_between_steps_and_ranks():
    def boxes(steps, rank):
        found = []
        for step in steps:
            seed_everything(7, step, rank, 1)  # as the engine does before each step
            found.append([next_box(GRID, 1.0).tolist() for _ in range(2)])
        return found

    assert boxes(range(3, 8), 0) == boxes(range(8), 0)[3:]
    assert boxes(range(8), 0) != boxes(range(8), 1)
    first, second = zip(*boxes(range(8), 0), strict=True)
    assert first != second  # micro-batches of a step


def test_alpha_0_is_the_empty_box_and_draws_nothing():
    torch.manual_seed(0)
    want = torch.rand(1)
    torch.manual_seed(0)
    assert next_box(GRID, 0.0).tolist() == [0, 0, 0, 0]
    assert torch.equal(torch.rand(1), want)
    assert share_of(next_box(GRID, 0.0), GRID) == 1


def test_share_is_what_the_box_leaves():
    assert share_of(torch.tensor([1, 0, 3, 3]), (4, 4)).item() == 1 - 6 / 16
    assert share_of(torch.tensor([0, 0, 2, 5]), (2, 5)).item() == 0


@pytest.mark.parametrize("name", ["volo", "lvvit"])
def test_model_takes_a_drawn_box_in_its_own_grid(name):
    small = {
        "volo": {"depths": (1, 1, 0, 0), "embed_dims": (12, 24, 24, 24), "num_heads": (2, 2, 2, 2), "stem_width": 8},
        "lvvit": {"depth": 1, "embed_dim": 24, "num_heads": 2, "stem_width": 8},
    }
    model = create_model(name, img_size=64, num_classes=5, **small[name]).train()
    grid = model.config.token_grid((64, 64))
    output = model(torch.randn(3, 3, 64, 64), box=next_box(grid, 1.0))
    assert output.patch_logits.shape == (3, grid[0] * grid[1], 5)


PROCESS = """
import sys, torch
from volovan.data.randomness import seed_everything
from volovan.labels.mixtoken import next_box
rank = int(sys.argv[1])
torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
seed_everything(3, 11, rank, 1)
print([next_box((14, 14), 1.0, shared=shared).tolist() for shared in (True, True, False, False)])
"""


def test_shared_boxes_are_the_first_process_s_and_others_are_their_own(tmp_path):
    command = [sys.executable, "-c", PROCESS]
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "meeting")], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    first, second = (json.loads(process.communicate(timeout=120)[0]) for process in processes)
    assert first[:2] == second[:2]
    assert first[2:] != second[2:]
    assert first[0] != first[1]
    seed_everything(3, 11, 0, 1)
    assert first == [next_box(GRID, 1.0).tolist() for _ in range(4)]
