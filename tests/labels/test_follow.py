"""A picture whose colours say where they come from, and a map whose logits do: both must arrive at the same place.

Red and green are the place in the original picture, blue is 1 inside of it; the logits of classes 0, 1 and 2 are the
same, read back from the targets as log(p_k / p_3). Places are compared in cells of the map.
"""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import LEVEL_TO_ARG, NAME_TO_OP, AugmentOp, RandAugment

from volovan.classify.recipe import AugmentSettings
from volovan.classify.transforms import EvalTransform, TrainTransform
from volovan.data.randomness import seed_everything
from volovan.labels.follow import MOVES, covered, motion, move_map
from volovan.labels.targets import token_targets

ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
TOKENS, PATCH = (6, 8), 8
VIEW = (TOKENS[0] * PATCH, TOKENS[1] * PATCH)
MEASURING = 0.06  # of a cell: colours have 8 bits, and are rounded by every operation


def positions_picture(height, width):
    y, x = np.mgrid[:height, :width] + 0.5
    return Image.fromarray(np.stack([255 * x / width, 255 * y / height, np.full_like(x, 255)], 2).round().astype("u1"))


def positions_map(rows, columns, height, width, coverage):
    """Fractions of the picture at the centres of the cells; of the map itself where it is used as if it were all."""
    top, left, tall, wide = covered(width, height, coverage)
    y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    logits = torch.stack([(left + x * wide / columns) / width, (top + y * tall / rows) / height, torch.ones_like(x)])
    return torch.stack([logits, torch.arange(3.0)[:, None, None].expand_as(logits)])


def read_map(label_map, box, tokens, **more):
    """(3, S, T) x, y and validity at the tokens."""
    patch = token_targets(label_map[None], box[None], torch.tensor([0]), 4, tokens, 0.0, **more).patch[0]
    return (patch[:, :3] / patch[:, 3:]).log().T.unflatten(1, tokens)


def read_picture(tensor, tokens):
    rows, columns = tokens
    return tensor.view(3, rows, tensor.shape[1] // rows, columns, tensor.shape[2] // columns).mean(dim=(2, 4))


def operation(name, magnitude=9):
    strength = {"translate_const": 20, "translate_pct": 0.25, "img_mean": (0, 0, 0)}
    op = AugmentOp(name, prob=1.0, magnitude=magnitude, hparams=strength)
    op.kwargs["resample"] = Image.Resampling.BILINEAR
    return op


def make_transform(ops=(), layers=0, size=VIEW, evaluate=None, **augment):
    settings = AugmentSettings(**{"hflip": 0.0, "randaugment": None, "color_jitter": 0.0, "erase": 0.0} | augment)
    settings.interpolation = "bilinear"
    evaluate = evaluate or EvalTransform(size, ZERO, ONE, mode="squash", interpolation="bilinear")
    transform = TrainTransform(size, ZERO, ONE, settings, evaluate)
    if ops:
        transform.color = RandAugment([operation(name) for name in ops], layers)
    return transform


def misplaced(transform, height, width, grid, coverage, tokens, drawn=False):
    """By how many cells map and picture disagree (2, S, T), nan where either shows what was outside; and the box.

    drawn: the crop is drawn before, and no more is moved than it sees
    """
    given = positions_map(*grid, height, width, coverage)
    kept = given.clone()
    window = transform.draw(width, height) if drawn else None
    pixels, label_map, box = transform.with_map(positions_picture(height, width), given, coverage, window)
    assert torch.equal(given, kept)
    seen, told = read_picture(pixels.normalised()[0], tokens), read_map(label_map, box, tokens)
    _, _, tall, wide = covered(width, height, coverage)
    cells = torch.tensor([grid[1] * width / wide, grid[0] * height / tall])[:, None, None]
    valid = (seen[2] > 0.999) & (told[2] > 0.999)
    return torch.where(valid, ((seen - told)[:2].abs() * cells), torch.nan), box


def inner_tokens(box, grid, tokens, margin=0.5):
    """(S, T): tokens that do not reach into the outer half of the map's border cells, where RoIAlign stands still.

    margin: from the edges of the map, in cells; 0: those that lie within it
    """
    inside = []
    for axis in range(2):
        edges = (box[axis] + torch.arange(tokens[axis] + 1) / tokens[axis] * box[axis + 2]) * grid[axis]
        inside.append((edges[:-1] >= margin) & (edges[1:] <= grid[axis] - margin))
    return inside[0][:, None] & inside[1]


@pytest.mark.parametrize("coverage", ["centre", "image", "official"])
@pytest.mark.parametrize("name", MOVES)
def test_map_follows_the_picture_within_half_a_cell_in_each_operation(name, coverage):
    flips = {"FlipX": {"hflip": 1.0}, "FlipY": {"vflip": 1.0}}
    ops = () if name in flips else (name,)
    compared = 0
    for seed in range(12):
        seed_everything(seed)
        height, width = random.choice([(64, 64), (60, 90), (90, 60)])
        if coverage == "official":  # its maps and pictures agree where the picture is square
            height = width = 64
        grid = (6, 6) if coverage == "centre" else random.choice([(6, 6), (5, 7)])
        transform = make_transform(ops, 1, (8 * grid[0], 8 * grid[1]), crop="none", **flips.get(name, {}))
        transform.evaluate.mode = "squash"
        off, box = misplaced(transform, height, width, grid, coverage, grid)
        if coverage == "centre":
            off = torch.where(inner_tokens(box, grid, grid), off, torch.nan)
        assert off.nan_to_num().max() <= 0.5 + MEASURING
        compared += (~off.isnan()).sum()
    assert compared > 12 * 8


def test_map_follows_the_picture_in_1000_random_combinations():
    moving = [name for name in MOVES if not name.startswith("Flip")]
    compared = 0
    for seed in range(1000):
        seed_everything(1, seed)
        coverage = random.choice(["centre", "image"])
        height, width = random.randint(50, 100), random.randint(50, 100)
        side = random.randint(5, 8)
        grid = (side, side) if coverage == "centre" else (side, random.randint(5, 8))
        ops = random.sample(moving, random.randint(1, 4))
        crop = {
            "random_resized": {"crop_scale": (0.3, 1.0)},
            "pad": {"pad": random.randint(0, 12)},
            "none": {},
        }
        name = random.choice(list(crop))
        drawn = name == "random_resized" and seed % 2 == 0
        evaluate = EvalTransform(VIEW, ZERO, ONE, random.choice([0.8, 1.0, 1.25]), "bilinear")
        transform = make_transform(
            ops, random.randint(0, 3), hflip=0.5, vflip=0.5, crop=name, evaluate=evaluate, **crop[name]
        )
        off, box = misplaced(transform, height, width, grid, coverage, TOKENS, drawn)
        off = off[:, inner_tokens(box, grid, TOKENS)]
        assert (off.nan_to_num() <= 0.5 + MEASURING).all(), (seed, ops, name)
        compared += (~off[0].isnan()).sum()
    assert compared > 10_000


@pytest.mark.parametrize("crop", ["random_resized", "pad", "none"])
def test_crops_alone_keep_places_exact_inside_and_within_a_cell_at_the_border(crop):
    """RoIAlign stands still from the middle of a border cell on, and reads it up to half a cell outside of the map."""
    for seed in range(50):
        seed_everything(2, seed)
        height, width = random.randint(50, 100), random.randint(50, 100)
        evaluate = EvalTransform(VIEW, ZERO, ONE, random.choice([0.7, 1.0, 1.15, 1.5]), "bilinear")
        transform = make_transform(crop=crop, evaluate=evaluate, crop_scale=(0.3, 1), pad=9, hflip=0.5, vflip=0.5)
        coverage = random.choice(["centre", "image"])
        grid = (6, 6) if coverage == "centre" else (5, 7)
        off, box = misplaced(transform, height, width, grid, coverage, TOKENS)
        assert off.nan_to_num().max() <= 1 + MEASURING
        assert off[:, inner_tokens(box, grid, TOKENS, 0)].nan_to_num().max() <= 0.5 + MEASURING
        assert off[:, inner_tokens(box, grid, TOKENS)].nan_to_num().max() <= 2 * MEASURING


def test_official_order_reads_the_exchanged_crop():
    given = positions_map(9, 9, 60, 60, "image")
    box = torch.tensor([0.1, 0.3, 0.5, 0.25])  # top, left, height, width
    told = read_map(given, box, (4, 4), order="official")
    middle = (torch.arange(4) + 0.5) / 4
    torch.testing.assert_close(told[1], (0.3 + 0.25 * middle)[:, None].expand(4, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(told[0], (0.1 + 0.5 * middle).expand(4, 4), atol=1e-5, rtol=0)


def test_official_coverage_lays_the_crop_of_a_wide_picture_on_the_map_unchanged():
    seed_everything(3)
    transform = make_transform(crop="random_resized")
    seed_everything(4)
    _, _, official = transform.with_map(positions_picture(60, 120), positions_map(6, 6, 60, 60, "image"), "official")
    seed_everything(4)
    _, _, centre = transform.with_map(positions_picture(60, 120), positions_map(6, 6, 60, 60, "image"), "centre")
    torch.testing.assert_close(official[::2], centre[::2])  # rows are covered whole either way
    torch.testing.assert_close(centre[1], official[1] * 2 - 0.5)
    torch.testing.assert_close(centre[3], official[3] * 2)


def test_what_comes_from_outside_of_the_map_has_logit_0_and_the_class_of_the_edge():
    label_map = torch.stack([torch.full((1, 2, 3), 7.0), torch.tensor([[[1.0, 2, 3], [4, 5, 6]]])])
    moved = move_map(label_map, motion([("TranslateX", 10.0)], 30, 20), 30, 20, "image")
    assert moved[0, 0].tolist() == [[7, 7, 0], [7, 7, 0]]
    assert moved[1, 0].tolist() == [[2, 3, 3], [5, 6, 6]]
    assert label_map[0].eq(7).all()


def test_map_that_is_not_moved_is_the_same():
    label_map = torch.rand(2, 5, 18, 18)
    assert move_map(label_map, motion([], 30, 20), 30, 20, "centre") is label_map
    twice = motion([("FlipX", 0), ("FlipX", 0)], 30, 20)
    assert torch.equal(move_map(label_map, twice, 30, 20, "centre"), label_map)


@pytest.mark.parametrize("name", sorted(set(NAME_TO_OP) - set(MOVES)))
def test_every_other_operation_of_timm_leaves_pixels_where_they_are(name):
    pixels = np.full((40, 50, 3), 30, np.uint8)
    pixels[8:12, 31:35] = (250, 160, 90)
    op = operation(name, magnitude=5)
    if "Posterize" in name:
        op.aug_fn = NAME_TO_OP["PosterizeOriginal"]
    random.seed(0)
    changed = np.asarray(op(Image.fromarray(pixels)), dtype=float)
    off = np.abs(changed - changed[0, 0]).sum(axis=2)
    assert LEVEL_TO_ARG[name] is None or off.max() > 0
    rows, columns = np.nonzero(off > off.max() / 2)
    assert (rows.mean(), columns.mean()) == (9.5, 32.5)


def test_picture_with_a_map_is_the_same_picture_where_order_does_not_matter():
    transform = make_transform(crop="none", vflip=0.5, color_jitter=0.4, erase=1.0)
    transform.size = transform.evaluate.size = (70, 90)
    picture = positions_picture(70, 90)
    for seed in range(5):
        seed_everything(6, seed)
        alone = transform(picture)
        seed_everything(6, seed)
        pixels, _, _ = transform.with_map(picture, torch.zeros(2, 1, 3, 3), "image")
        assert torch.equal(pixels.normalised()[0], alone)


def test_size_can_be_changed_from_picture_to_picture():
    for crop in ("random_resized", "pad", "none"):
        transform = make_transform(crop=crop)
        for size in ((32, 40), (56, 24)):
            transform.size = size
            assert transform(positions_picture(50, 70)).shape == (3, *size)
            pixels, _, _ = transform.with_map(positions_picture(50, 70), torch.zeros(2, 1, 3, 3), "image")
            assert pixels.values.shape == (1, *size, 3)
