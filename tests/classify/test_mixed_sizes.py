"""data.mixed_sizes: one size for each optimiser step, drawn by (seed, epoch, step), whatever the processes."""

from collections import Counter

import pytest
import torch

from volovan.classify.recipe import Recipe
from volovan.classify.task import ClassifyTask
from volovan.cli import main
from volovan.data import open_source
from volovan.data.loader import TrainLoader
from volovan.data.samples import take
from volovan.engine.evaluate import to_device
from volovan.engine.run import read_table
from volovan.engine.settings import SettingsError
from volovan.labels.keys import label_key
from volovan.labels.published import serialise
from volovan.use.recipes import find_recipe, read_recipe

SIZES = (24, 32, 48)
NETS = {
    "van": "embed_dims [8,16] depths [1,1] mlp_ratios [2,2] patch_kernels [3,3] strides [2,2]",
    "volo": "",
    "lvvit": "depth 2 embed_dim 24 num_heads 2 mlp_ratio 2 stem_width 8",
}


class Reader:
    """A sample is its number, the size it was asked for, and what was drawn for it."""

    def __len__(self):
        return 96

    def name(self, index):
        return str(index)

    def read(self, index, size):
        return index, size, torch.rand(()).item()

    def collate(self, samples):
        return samples


class Sizeless(Reader):
    def read(self, index):
        return index


def loader(**settings):
    return TrainLoader(Reader(), **({"micro": 8, "seed": 3, "sizes": SIZES} | settings))


def read(train, epoch=0, start=0):
    return [[sample for batch in step for sample in batch.data] for step in train.epoch(epoch, start)]


def sizes_of(steps):
    """The size of each step, which all its samples share."""
    for step in steps:
        assert len({size for _, size, _ in step}) == 1
    return [step[0][1] for step in steps]


def test_a_step_has_one_size_and_all_are_drawn_alike():
    drawn = Counter(size for epoch in range(40) for size in sizes_of(read(loader(), epoch)))
    assert set(drawn) == set(SIZES)
    assert sum(drawn.values()) == 480
    assert all(120 < count < 200 for count in drawn.values())  # 160 each on average, deviation 10


def test_sizes_follow_from_seed_epoch_and_step():
    first = sizes_of(read(loader()))
    assert sizes_of(read(loader())) == first
    assert sizes_of(read(loader(), 1)) != first
    assert sizes_of(read(loader(seed=4))) != first
    assert read(loader(), 2, 5) == read(loader(), 2)[5:]
    assert read(loader(workers=2), 2, 5) == read(loader(), 2)[5:]


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (1, 2), (2, 2)])
def test_sizes_are_equal_in_all_processes_and_micro_batches(world, accumulate):
    whole = read(loader())
    micro = 8 // (world * accumulate)
    ranks = [list(loader(micro=micro, accumulate=accumulate, rank=r, world=world).epoch(0)) for r in range(world)]
    for number, step in enumerate(whole):
        parts = [ranks[rank][number][part].data for part in range(accumulate) for rank in range(world)]
        assert [sample for part in parts for sample in part] == step


def test_the_order_of_samples_does_not_depend_on_mixing_sizes():
    plain = TrainLoader(Sizeless(), micro=8, seed=3)
    assert [[s[0] for s in step] for step in read(loader())] == read(plain)


def recipe_of(family, *words):
    options = NETS[family].split()
    options = [
        part
        for pair in zip(options[::2], options[1::2], strict=True)
        for part in (f"--model.options.{pair[0]}", pair[1])
    ]
    name = [] if family == "volo" else ["--model.name", family, "--model.options", "{}"]
    path = find_recipe("digits_volo" if family == "volo" else "digits_van")
    recipe, _ = read_recipe(path, [*name, *options, "--data.mixed_sizes", str(list(SIZES)), *words])
    assert isinstance(recipe, Recipe)
    return recipe


@pytest.mark.parametrize("family", NETS)
@pytest.mark.parametrize("crop", ["random_resized", "pad", "none"])
def test_every_family_learns_at_every_size(family, crop):
    task = ClassifyTask(recipe_of(family, "--augment.crop", crop))
    data = task.build_data()
    model = task.build_model().train()
    assert data.sizes == SIZES
    train = TrainLoader(data.train, micro=4, seed=0, sizes=data.sizes)
    seen = {}
    for (batch,) in train.epoch(0):
        drawn = to_device(batch.data, torch.device("cpu"))
        side = drawn["image"].shape[-1]
        if side not in seen:
            assert drawn["image"].shape == (4, 3, side, side)
            seen[side] = task.loss(model, drawn)
            seen[side].backward()
        if len(seen) == 3:
            break
    assert set(seen) == set(SIZES)
    assert all(torch.isfinite(loss) for loss in seen.values())
    assert data.val.read(0)["image"].values.shape == (1, 32, 32, 3)


def test_randaugment_shifts_follow_the_size():
    task = ClassifyTask(recipe_of("van", "--augment.randaugment", "rand-m9-mstd0.5-inc1"))
    samples = task.build_data().train
    limits = {size: samples.sized[size].color.ops[0].hparams["translate_const"] for size in SIZES}
    assert limits == {24: 10, 32: 14, 48: 21}  # 45 % of the side


def test_sizes_below_what_the_model_takes_are_refused():
    with pytest.raises(SettingsError, match=r"data.mixed_sizes is 4; at least 8 is needed"):
        ClassifyTask(recipe_of("van", "--data.mixed_sizes", "[4, 32]"))
    with pytest.raises(SettingsError, match=r"data.mixed_sizes has 8; this model needs 15 pixels at least"):
        ClassifyTask(recipe_of("lvvit", "--data.mixed_sizes", "[8, 32]")).build_data()


@pytest.mark.parametrize("family", ["volo"])
def test_a_run_with_mixed_sizes_resumes_exactly(tmp_path, family):
    words = ["--data.mixed_sizes", "[24, 32, 40]", "--data.limit", "128", "--train.batch_size", "16"]
    words += ["--train.tensorboard", "false", "--train.log_steps", "1", "--schedule.epochs", "1"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(["fit", f"digits_{family}", "--out", str(whole), *words, "--train.max_steps", "6"]) == 0
    assert main(["fit", f"digits_{family}", "--out", str(parts), *words, "--train.max_steps", "3"]) == 0
    recipe = (parts / "recipe.yaml").read_text()
    (parts / "recipe.yaml").write_text(recipe.replace("max_steps: 3", "max_steps: 6"))
    assert main(["fit", "--resume", str(parts)]) == 0
    losses = [[row["loss"] for row in read_table(folder / "steps.csv")] for folder in (whole, parts)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6


def test_the_grid_of_token_labels_follows_the_size(tmp_path):
    words = ("--data.limit", "64", "--labels.source", str(tmp_path), "--augment.mixtoken", "1")
    source = take(open_source("digits", "train"), 64)
    for index in range(64):
        path = tmp_path / f"{label_key(source.name(index))}.pt"
        path.parent.mkdir(exist_ok=True)
        top = torch.stack([torch.ones(2, 4, 4), torch.full((2, 4, 4), float(source.target(index)))])
        path.write_bytes(serialise(top.half()))
    task = ClassifyTask(recipe_of("volo", *words))
    data = task.build_data()
    model = task.build_model()
    train = TrainLoader(data.train, micro=2, seed=0, sizes=data.sizes)
    sides = set()
    for (batch,) in train.epoch(0):
        seen = to_device(batch.data, torch.device("cpu"))
        side = seen["image"].shape[-1]
        sides.add(side)
        grid = model.config.token_grid((side, side))
        assert task.token_loss.targets(seen, grid).patch.shape == (2, grid[0] * grid[1], 10)
        assert all(torch.isfinite(part) for part in task.loss(model, seen).values())
    assert sides == set(SIZES)
