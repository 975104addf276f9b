"""Token labels and MixToken in a training run: targets, losses, mistakes, and a run that repeats after a stop."""

from pathlib import Path

import pytest
import torch

from volovan.classify.task import ClassifyTask
from volovan.classify.token_labels import LabelMaps, TokenLoss
from volovan.cli import main
from volovan.data import open_source
from volovan.data.randomness import seed_everything
from volovan.engine.evaluate import to_device
from volovan.engine.settings import SettingsError
from volovan.engine.task import parts_of
from volovan.labels.keys import label_key
from volovan.labels.losses import token_label_loss
from volovan.labels.mixtoken import next_box
from volovan.labels.published import serialise
from volovan.labels.targets import TokenTargets, token_targets
from volovan.use.recipes import find_recipe, read_recipe

COUNT = 40


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published folder for the first digits: the right class is the best one everywhere, others are random."""
    folder = tmp_path_factory.mktemp("maps")
    source = open_source("digits", "train")
    draw = torch.Generator().manual_seed(0)
    for index in range(len(source)):
        label = source.target(index)
        logits = torch.rand(3, 6, 6, generator=draw).sort(dim=0, descending=True).values
        logits[0] += 6
        classes = torch.stack([torch.full((6, 6), (label + shift) % 10) for shift in range(3)])
        path = folder / f"{label_key(source.name(index))}.pt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(serialise(torch.stack([logits, classes]).half()))
    return folder


def recipe_of(*words: str, name: str = "digits_volo"):
    recipe, _ = read_recipe(find_recipe(name), ["--data.limit", str(COUNT), "--train.workers", "0", *words])
    return recipe


def task_of(*words: str, name: str = "digits_volo") -> tuple[ClassifyTask, dict[str, torch.Tensor]]:
    """A task and a batch of eight of its training pictures."""
    torch.manual_seed(0)
    task = ClassifyTask(recipe_of(*words, name=name))
    data = task.build_data()
    return task, to_device(data.train.collate([data.train.read(index) for index in range(8)]), torch.device("cpu"))


def test_batch_carries_map_and_box(maps):
    _, batch = task_of("--labels.source", str(maps))
    assert batch["map"].shape == (8, 2, 3, 6, 6)
    assert batch["map_size"].tolist() == [[6, 6]] * 8
    assert batch["box"].shape == (8, 4)


def test_loss_is_that_of_the_labels_room(maps):
    words = ("--labels.source", str(maps), "--augment.mixtoken", "1", "--labels.ground_truth", "true")
    task, batch = task_of(*words)
    model = task.build_model().eval()  # no drop path; a box asks for the training output in this mode too
    grid = model.config.token_grid(tuple(batch["image"].shape[2:]))
    seed_everything(1, 2, 3)
    got = task.loss(model, batch)
    seed_everything(1, 2, 3)
    box = next_box(grid, 1.0)
    smoothing = task.recipe.loss.smoothing
    targets = token_targets(batch["map"], batch["box"], batch["label"], 10, grid, smoothing)
    want = token_label_loss(model(batch["image"], box=box), targets, grid, dense_weight=0.5, ground_truth=True)
    torch.testing.assert_close(got, want)


def test_mixtoken_alone_trains_every_token_on_the_label():
    task, batch = task_of("--augment.mixtoken", "1")
    model = task.build_model().eval()
    grid = model.config.token_grid(tuple(batch["image"].shape[2:]))
    seed_everything(5)
    got = task.loss(model, batch)
    seed_everything(5)
    output = model(batch["image"], box=next_box(grid, 1.0))
    eps = task.recipe.loss.smoothing
    hard = torch.full((8, 10), eps / 10)
    hard[range(8), batch["label"]] += 1 - eps
    want = token_label_loss(output, TokenTargets(hard, hard, hard[:, None].expand(-1, grid[0] * grid[1], -1)), grid)
    torch.testing.assert_close(got, want)


def test_official_order_and_coverage_reach_the_targets(maps):
    words = ("--labels.source", str(maps), "--augment.crop", "random_resized", "--augment.crop_scale", "[0.1, 0.4]")
    losses = {}
    for order in ("right", "official"):
        task, batch = task_of(*words, "--labels.order", order)
        seed_everything(1)
        losses[order] = parts_of(task.loss(task.build_model().eval(), batch))[0].item()
    assert losses["right"] != losses["official"]


def test_van_learns_from_the_soft_label_of_the_picture(maps):
    task, batch = task_of("--labels.source", str(maps), name="digits_van")
    model = task.build_model().eval()
    targets = token_targets(batch["map"], batch["box"], batch["label"], 10, 1, task.recipe.loss.smoothing)
    assert targets.patch is None
    torch.testing.assert_close(task.loss(model, batch), token_label_loss(model(batch["image"]), targets))


def test_every_parameter_gets_a_gradient(maps):
    task, batch = task_of("--labels.source", str(maps), "--augment.mixtoken", "1")
    model = task.build_model().train()
    parts_of(task.loss(model, batch))[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--augment.mixtoken", "1", "--augment.mixup", "0.8"],
            "augment.mixtoken does not go together with augment.mix",
        ),
        (["--labels.source", "x", "--augment.cutmix", "1"], "labels.source does not go together with"),
        (["--augment.mixtoken", "1", "--loss.name", "binary"], "has a loss of its own"),
        (["--augment.mixtoken", "-1"], "augment.mixtoken is -1"),
        (["--labels.dense_weight", "-0.5"], "labels.dense_weight is -0.5"),
        (["--labels.size", "0"], "labels.size is 0"),
        (["--data.mixed_sizes", "[24, 40]", "--labels.size", "4"], "labels.size is 4, but data.mixed_sizes changes"),
        (["--data.limit", "0"], "data.limit is 0"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_settings_that_contradict_are_refused(words, message):
    recipe, _ = read_recipe(find_recipe("digits_volo"), words)
    with pytest.raises(SettingsError, match=message):
        recipe.check()


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("digits_van", ["--augment.mixtoken", "1"], "mixes tokens, which van has not"),
        ("digits_van", ["--labels.size", "4"], "has no dense head"),
        ("digits_volo", ["--labels.size", "1"], "dense head of volo untrained"),
        ("digits_volo", ["--labels.size", "3"], "labels.size is 3, but volo has"),
    ],
    ids=["mixtoken-van", "dense-van", "one", "three"],
)
def test_sizes_that_do_not_fit_the_model_are_refused(maps, name, words, message):
    words = words if "mixtoken" in words[0] else ["--labels.source", str(maps), *words]
    with pytest.raises(SettingsError, match=message):
        task_of(*words, name=name)


def test_missing_map_stops_before_the_first_step(maps, tmp_path, capsys):
    names = [open_source("digits", "train").name(index) for index in range(3)]
    folder = tmp_path / "few"
    for name in names[1:]:
        path = folder / f"{label_key(name)}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((maps / f"{label_key(name)}.pt").read_bytes())
    out = tmp_path / "run"
    assert main(["fit", "digits_volo", "--out", str(out), "--labels.source", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "lacks the maps of 1,431 of 1,433 pictures" in said
    assert names[0] in said
    assert not out.exists()


def test_damaged_map_is_named_by_training(maps, tmp_path, capsys):
    folder = tmp_path / "maps"
    source = open_source("digits", "train")
    for index in range(len(source)):
        path = folder / f"{label_key(source.name(index))}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = (maps / f"{label_key(source.name(index))}.pt").read_bytes()
        path.write_bytes(content[:-100] if index == 7 else content)
    words = ["--labels.source", str(folder), "--train.workers", "0", "--train.tensorboard", "false"]
    assert main(["fit", "digits_volo", "--out", str(tmp_path / "run"), *words]) == 2
    said = capsys.readouterr().err
    assert "its label map cannot be used" in said
    assert "volovan label --verify finds all of them" in said
    assert f"{label_key(source.name(7))}.pt" in said


def test_class_numbers_are_translated_by_name(maps):
    class Named:
        folder, about, coverage = maps, None, "image"
        classes = tuple("9876543210")

        def read(self, key):
            return torch.stack([torch.ones(1, 2, 2), torch.full((1, 2, 2), 2.0)]).half()

    label_maps = LabelMaps(str(maps), "auto", tuple("0123456789"))
    assert label_maps.coverage == "centre"  # a published folder does not say
    from volovan.classify import token_labels

    label_maps.store, label_maps.numbers = Named(), token_labels._translation(Named(), tuple("0123456789"))
    assert label_maps.read("digits:train[0]")[1].unique().tolist() == [7.0]
    with pytest.raises(SettingsError, match=r"knows 5 class\(es\) that the data lack: '9', '8'"):
        token_labels._translation(Named(), tuple("01234"))


def test_stopped_run_goes_on_as_the_uninterrupted_one(maps, tmp_path):
    words = ["--labels.source", str(maps), "--augment.mixtoken", "1", "--data.limit", "64", "--train.batch_size", "16"]
    words += ["--train.workers", "1", "--train.tensorboard", "false", "--schedule.epochs", "2"]
    words += ["--schedule.warmup_epochs", "1", "--train.checkpoint_steps", "1"]
    from safetensors.torch import load_file

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(["fit", "digits_volo", "--out", str(whole), *words]) == 0
    assert main(["fit", "digits_volo", "--out", str(parts), *words, "--train.max_steps", "3"]) == 0
    recipe = parts / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("max_steps: 3", "max_steps: null"))
    assert main(["fit", "--resume", str(parts)]) == 0
    one, two = (load_file(max((run / "checkpoints").glob("step-*.safetensors"))) for run in (whole, parts))
    for name, tensor in one.items():
        if name.startswith("model"):
            assert torch.equal(tensor, two[name]), name


def test_token_loss_follows_the_size_of_the_batch(maps):
    task, batch = task_of("--labels.source", str(maps))
    model = task.build_model().eval()
    larger = {**batch, "image": torch.nn.functional.interpolate(batch["image"], scale_factor=1.5)}
    assert isinstance(task.token_loss, TokenLoss)
    assert torch.isfinite(parts_of(task.loss(model, larger))[0])
