"""A panoptic run from settings to figures: what it learns, names, things, frozen norms, sizes, what is refused."""

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import volovan
from commands import refused, rows_of, run
from segments import CLASSES, THINGS, Painted, write_segments
from volovan.cli import main
from volovan.data.panoptic.segments import Panoptic, Segment
from volovan.engine.optim import keep_frozen_statistics
from volovan.panoptic.data import EvalSamples, TrainSamples, TrainTransform
from volovan.panoptic.mask2former import Predictions
from volovan.panoptic.metrics import PanopticMetric
from volovan.panoptic.recipe import AugmentSettings, Recipe, TestSettings
from volovan.panoptic.task import PanopticTask, find
from volovan.room.views import Fitted
from volovan.use.recipes import read_recipe

STATS = ((0.5,) * 3, (0.5,) * 3)
STOPPED = ("--schedule.epochs", 2, "--train.max_steps", 1, "--train.validate_every", 1, "--out")


def figures(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


# Runs


def test_a_run_learns_and_validate_says_the_same(learned: Any, capsys: Any, tmp_path: Path) -> None:
    losses = [float(row["loss"]) for row in rows_of(learned.run / "steps.csv")]
    assert np.mean(losses[-4:]) < 0.25 * np.mean(losses[:4])
    last = rows_of(learned.run / "metrics.csv")[-1]
    assert float(last["pq"]) > 0.8
    run(capsys, "validate", learned.run, "--workers", 0, "--out", tmp_path / "judged")
    judged = figures(tmp_path / "judged")
    for name in ("pq", "sq", "rq", "pq_things", "pq_stuff"):
        assert judged[name] == pytest.approx(float(last[name]), abs=1e-9), name


TRUNKS = {
    "volo": "{depths: [1, 1, 1, 1], embed_dims: [24, 48, 48, 48], num_heads: [2, 4, 4, 4], stem_width: 8}",
    "lvvit": "{depth: 2, embed_dim: 24, num_heads: 3, stem_width: 8}",
}


@pytest.mark.parametrize("family", TRUNKS)
def test_other_trunks_train_and_answer(family: str, recipe: Path, capsys: Any, tmp_path: Path) -> None:
    trunk = ["--model.name", family, "--model.options", TRUNKS[family], "--optim.trunk_lr", "0.1"]
    run(capsys, "fit", recipe, *trunk, "--train.max_steps", 2, "--out", tmp_path / "run")
    assert all(math.isfinite(float(row["loss"])) for row in rows_of(tmp_path / "run" / "steps.csv"))
    # of another size and shape than the network was built for
    run(capsys, "validate", tmp_path / "run", "--workers", 0, "--size", 112, 80, "--out", tmp_path / "judged")
    assert 0 <= figures(tmp_path / "judged")["pq"] <= 1
    answer = volovan.load(tmp_path / "run", device="cpu").predict(Painted([odd()]).load(0))
    assert answer.ids.shape == (60, 90)


def test_classes_in_another_order_are_matched_by_name(learned: Any, capsys: Any, tmp_path: Path) -> None:
    order = (2, 0, 1)  # road, cat, sky
    told = [
        Panoptic(one.ids, tuple(Segment(s.id, order.index(s.label), s.crowd) for s in one.segments))
        for one in learned.source.told
    ]
    other = Painted(told, tuple(CLASSES[k] for k in order), tuple(THINGS[k] for k in order))
    write_segments(tmp_path / "data", other)
    for name, data in (("own", learned.data), ("other", tmp_path / "data")):
        words = ["--data", data, "--split", "val", "--workers", 0, "--out", tmp_path / name]
        out, err = run(capsys, "validate", learned.run, *words)
    assert "matched by name" in out + err
    assert figures(tmp_path / "other")["pq"] == figures(tmp_path / "own")["pq"] > 0.8
    assert rows_of(tmp_path / "other" / "per_class.csv") == rows_of(tmp_path / "own" / "per_class.csv")


def test_things_that_are_none_to_the_network_are_refused(learned: Any, capsys: Any, tmp_path: Path) -> None:
    write_segments(tmp_path / "data", Painted(learned.source.told, CLASSES, (True, True, False)))
    words = ["--data", tmp_path / "data", "--split", "val", "--workers", 0, "--out", tmp_path / "judged"]
    said = refused(capsys, "validate", learned.run, *words)
    why = "'sky' is things that are counted in the data to validate on, but a whole that is not counted to the network"
    assert why in said
    assert not (tmp_path / "judged" / "metrics.json").exists()


def test_a_run_does_not_go_on_with_other_things(learned: Any, capsys: Any, tmp_path: Path) -> None:
    shutil.copytree(learned.data, tmp_path / "data")
    run(capsys, "fit", learned.run / "recipe.yaml", "--data.source", tmp_path / "data", *STOPPED, tmp_path / "run")
    for path in (tmp_path / "data" / "annotations").glob("*.json"):
        said = json.loads(path.read_text())
        said["categories"][1]["isthing"] = 1
        path.write_text(json.dumps(said))
    said = refused(capsys, "fit", "--resume", tmp_path / "run")
    assert "'sky' is things that are counted in the data, but a whole that is not counted to the network" in said


# Samples


def odd() -> Panoptic:
    """60 x 90, in quarters of strides."""
    ids = np.full((60, 90), 11, np.int32)
    ids[32:], ids[8:40, 8:32], ids[16:48, 48:80] = 12, 70_000, 14
    return Panoptic(ids, (Segment(11, 1), Segment(12, 2), Segment(70_000, 0), Segment(14, 0)))


class Sure(nn.Module):
    """A network that knows the truth: a query for each segment, masks at stride 4 of the padded picture."""

    def __init__(self, truths: dict[tuple[int, int], Panoptic]) -> None:
        super().__init__()
        self.truths = truths

    def forward(self, images: torch.Tensor) -> Predictions:
        height, width = images.shape[-2:]
        one = self.truths[height, width]
        frame = torch.zeros(-(-height // 32) * 32, -(-width // 32) * 32, dtype=torch.int32)
        ids = torch.from_numpy(one.ids)
        frame[:height, :width] = ids.repeat_interleave(height // len(ids), 0).repeat_interleave(width // len(ids[0]), 1)
        masks = torch.stack([40.0 * (frame[1::4, 1::4] == segment.id) - 20 for segment in one.segments])
        classes = torch.full((len(one.segments), len(CLASSES) + 1), -20.0)
        classes[range(len(one.segments)), [segment.label for segment in one.segments]] = 20
        return Predictions(classes[None].expand(len(images), -1, -1), masks[None].expand(len(images), -1, -1, -1))


@pytest.mark.parametrize("sides", [None, (180, 120)])
def test_a_network_that_knows_the_truth_is_right(sides: tuple[int, int] | None) -> None:
    """The whole way, pictures of two sizes in a batch: reader, frame, answers of the size of the picture, score."""
    told = [odd(), Panoptic(odd().ids.T.copy(), odd().segments), odd()]
    by = 1 if sides is None else 2
    network = Sure({(by * one.ids.shape[0], by * one.ids.shape[1]): one for one in told})
    samples = EvalSamples(Painted(told), Fitted(sides, *STATS), CLASSES, THINGS)
    test = TestSettings(size=sides, batch=2)
    metric = PanopticMetric(CLASSES, THINGS, lambda model, batch: find(model, batch, THINGS, test))
    metric.update(network, samples.collate([samples.read(index) for index in range(3)]))
    assert metric.tally().tp.tolist() == [6, 3, 3]
    assert metric.finish()["rq"] == 1
    assert metric.finish()["sq"] > 0.93


def test_an_answer_does_not_depend_on_what_else_is_asked(recipe: Path) -> None:
    task = PanopticTask(read_recipe(recipe, [])[0])
    task.build_data()
    model, test = task.build_model().eval(), TestSettings(score=0.0, visible=0.0, batch=2)
    torch.manual_seed(0)
    images = [torch.randn(3, 64, 64), torch.randn(3, 48, 70), torch.randn(3, 64, 64)]
    sizes = [(128, 128), (96, 140), (64, 64)]
    batch: dict[str, Any] = {"image": images, "picture_size": sizes}
    every = find(model, batch, task.things, test)
    for image, size, both in zip(images, sizes, every, strict=True):
        (alone,) = find(model, {"image": [image], "picture_size": [size]}, task.things, test)
        assert alone.segments.panoptic.segments == both.segments.panoptic.segments
        assert (alone.segments.panoptic.ids == both.segments.panoptic.ids).mean() > 0.999
        assert both.segments.panoptic.ids.shape == size


def test_crowds_are_not_learned_but_are_there_to_score() -> None:
    ids = np.array([[1] * 40 + [2] * 40] * 40, np.int32)
    source = Painted([Panoptic(ids, (Segment(1, 0, crowd=True), Segment(2, 1)))])
    transform = TrainTransform(AugmentSettings(resize=None, scale=(1, 1), crop=64, hflip=0), *STATS)
    sample = TrainSamples(source, transform, CLASSES, THINGS).read(0)
    assert sample["segments"].labels.tolist() == [1]
    assert sample["segments"].rows.unique().tolist() == [-1, 0]
    assert sample["image"].shape == (3, 64, 64)
    there = EvalSamples(source, Fitted(None, *STATS), CLASSES, THINGS).read(0)["panoptic"]
    assert [segment.crowd for segment in there.segments] == [True, False]


# Settings


@pytest.mark.parametrize("frozen", [False, True])
def test_norms_of_the_trunk_stay_where_they_are_frozen(frozen: bool, recipe: Path) -> None:
    settings: Recipe = read_recipe(recipe, ["--model.frozen_norm", str(frozen).lower()])[0]
    task = PanopticTask(settings)
    reader: Any = task.build_data().train
    model = task.build_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    keep_frozen_statistics(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum(task.loss(model, reader.collate([reader.read(0), reader.read(1)])).values()).backward()
    optimizer.step()
    after = model.state_dict()
    norms = [
        f"{name}.{part}"
        for name, module in model.trunk.named_modules(prefix="trunk")
        if isinstance(module, nn.BatchNorm2d)
        for part in ("weight", "bias", "running_mean", "running_var")
    ]
    assert len(norms) > 20
    assert all(torch.equal(before[name], after[name]) for name in norms) == frozen
    assert not torch.equal(before["trunk.patch_embed2.proj.weight"], after["trunk.patch_embed2.proj.weight"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--augment.scale", "[2,1]"], "augment.scale is [2.0, 1.0]"),
        (["--augment.crop", "16"], "augment.crop is 16; at least 32 pixels are needed"),
        (["--augment.hflip", "2"], "augment.hflip is 2.0; 0 to 1 is taken"),
        (["--loss.points", "0"], "loss.points is 0; at least 1"),
        (["--loss.oversample", "0.5"], "loss.oversample is 0.5; at least 1"),
        (["--loss.importance", "1.5"], "loss.importance is 1.5; 0 to 1 is taken"),
        (["--loss.no_object", "-1"], "loss.no_object is -1.0; at least 0"),
        (["--test.size", "[8,8]"], "test.size is 8; 32 to"),
        (["--test.visible", "1.5"], "test.visible is 1.5; 0 to 1 is taken"),
        (["--test.batch", "0"], "test.batch is 0; at least 1"),
        (["--test.overlap", "0.8"], "test.visible"),
        (["--train.sampling", "balanced"], "train.sampling is balanced, but a picture has segments of several classes"),
        (["--data.size", "64"], "augment.crop"),
        (["--augment.jitter", "[0.5,2]"], "augment.scale"),
        (["--model.head", "maskformer"], "mask2former"),
        (["--model.head_options", "{width: 40}"], "width is 40; a multiple of 32"),
        (["--model.head_options", "{layers: 5}"], "no option 'layers'"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_key(
    words: list[str], said: str, recipe: Path, capsys: Any, tmp_path: Path
) -> None:
    assert main(["fit", str(recipe), "--out", str(tmp_path / "run"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_picture_that_is_smaller_than_the_crop_lies_in_the_corner(recipe: Path) -> None:
    source = Painted([odd(), view_of(70, 100)])
    transform = TrainTransform(AugmentSettings(resize=None, scale=(0.5, 0.5), crop=(64, 96), hflip=0), *STATS)
    samples = TrainSamples(source, transform, CLASSES, THINGS)
    batch = samples.collate([samples.read(index) for index in range(2)])
    assert batch["image"].shape == (2, 3, 64, 96)
    assert [tuple(one.rows.shape) for one in batch["segments"]] == [(30, 45), (35, 50)]
    assert not batch["image"][0, :, 30:].any()
    assert not batch["image"][0, :, :, 45:].any()
    assert batch["image"][0, :, :30, :45].abs().min() > 0


def view_of(height: int, width: int) -> Panoptic:
    return Panoptic(np.ones((height, width), np.int32), (Segment(1, 1),))


def test_steps_are_written_with_each_part_of_the_loss(learned: Any) -> None:
    with (learned.run / "steps.csv").open() as file:
        header = next(csv.reader(file))
    assert {"loss", "class", "mask", "dice"} <= {name.removeprefix("loss_") for name in header}
