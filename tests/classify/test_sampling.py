"""Class-imbalance sampling: frequencies, resume, processes, and how it is asked for."""

from collections import Counter

import numpy as np
import pytest

from volovan.classify.data import ClassSamples
from volovan.cli import main
from volovan.data import open_source
from volovan.data.loader import TrainLoader
from volovan.data.sampling import POWERS, ClassProportions
from volovan.engine.checkpoint import CheckpointFolder
from volovan.engine.run import read_table
from volovan.engine.settings import SettingsError
from volovan.engine.task import class_proportions

COUNTS = (640, 160, 40, 0, 8)
LABELS = np.random.default_rng(5).permutation(np.repeat(np.arange(5), COUNTS))


class Reader:
    """Sample i is its number and what was drawn for it."""

    def __len__(self):
        return len(LABELS)

    def name(self, index):
        return str(index)

    def read(self, index):
        return index, np.random.rand()

    def collate(self, samples):
        return samples

    def labels(self):
        return LABELS.tolist()


def loader(sampling, **settings):
    reader = Reader()
    options = {"micro": 16, "seed": 3, "proportions": class_proportions(reader, sampling)} | settings
    return TrainLoader(reader, **options)


def read(train, epoch=0, start=0):
    return [[sample for batch in step for sample in batch.data] for step in train.epoch(epoch, start)]


def wanted(power):
    """N n^p / sum n^p, by hand."""
    weights = [count**power if count else 0 for count in COUNTS]
    return [sum(COUNTS) * weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("sampling", POWERS)
def test_frequencies_are_exact_to_one_sample_and_exact_on_average(sampling):
    proportions = ClassProportions(LABELS, POWERS[sampling])
    expected = np.array(wanted(POWERS[sampling]))
    total = np.zeros(5)
    for epoch in range(200):
        samples, _ = proportions.order(3, epoch)
        assert len(samples) == len(LABELS)
        counts = np.bincount(LABELS[samples], minlength=5)
        assert (np.abs(counts - expected) < 1).all()
        total += counts
    assert total / 200 == pytest.approx(expected, abs=0.12)
    assert total[3] == 0  # a class without samples


def test_published_proportions_of_three_samplings():
    """0.5 and 0 by numbers: 640 : 160 : 40 : 8 become 25.3 : 12.6 : 6.3 : 2.8, and 1 : 1 : 1 : 1."""
    assert wanted(0.0)[0] == wanted(0.0)[4] == 848 / 4
    assert wanted(0.5)[0] / wanted(0.5)[1] == pytest.approx(2)
    assert wanted(1.0) == list(COUNTS)


def test_a_rare_class_is_gone_through_evenly_and_a_common_one_changes():
    proportions = ClassProportions(LABELS, 0.0)
    seen = []
    for epoch in (0, 1):
        samples, before = proportions.order(3, epoch)
        rare = Counter(samples[LABELS[samples] == 4].tolist())
        assert set(rare) == set(np.flatnonzero(LABELS == 4))
        assert max(rare.values()) - min(rare.values()) <= 1
        common = samples[LABELS[samples] == 0]
        assert len(set(common.tolist())) == len(common)
        seen.append(set(common.tolist()))
        pairs = set(zip(samples.tolist(), before.tolist(), strict=True))
        assert len(pairs) == len(LABELS)  # each time is numbered, so that it is augmented anew
    assert seen[0] != seen[1]


def test_samples_drawn_twice_are_augmented_anew():
    drawn = [sample for step in read(loader("balanced", repeats=2)) for sample in step]
    assert max(Counter(index for index, _ in drawn).values()) > 20
    assert len({value for _, value in drawn}) == len(drawn)


@pytest.mark.parametrize("sampling", ["sqrt", "balanced"])
@pytest.mark.parametrize("start", [1, 17, 52])
def test_sampling_from_the_middle_equals_the_tail(sampling, start):
    assert read(loader(sampling), 2, start) == read(loader(sampling), 2)[start:]
    assert read(loader(sampling, workers=2), 2, start) == read(loader(sampling), 2)[start:]


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (2, 2), (4, 1)])
def test_sampling_does_not_depend_on_the_number_of_processes(world, accumulate):
    whole = read(loader("balanced"), 1)
    micro = 16 // (world * accumulate)
    ranks = [
        list(loader("balanced", micro=micro, accumulate=accumulate, rank=rank, world=world).epoch(1))
        for rank in range(world)
    ]
    for number, step in enumerate(whole):
        parts = [ranks[rank][number][part].data for part in range(accumulate) for rank in range(world)]
        assert [sample for part in parts for sample in part] == step


def test_sampling_shuffles_the_classes_in_time():
    labels = LABELS[[index for step in read(loader("balanced")) for index, _ in step]]
    quarters = [np.bincount(part, minlength=5) for part in np.array_split(labels, 4)]
    assert all(quarter[0] > 30 and quarter[4] > 30 for quarter in quarters)  # 53 of each on average


def test_sampling_over_many_samples_starts_at_once():
    labels = np.random.default_rng(0).integers(0, 1000, 1_300_000)
    proportions = ClassProportions(labels, 0.5)
    samples, _ = proportions.order(0, 0)
    assert len(samples) == 1_300_000


class Unlabelled(Reader):
    labels = property()


def test_sampling_needs_labels():
    assert class_proportions(Unlabelled(), "uniform") is None
    with pytest.raises(SettingsError, match=r"train.sampling is sqrt, but these data have no class"):
        class_proportions(Unlabelled(), "sqrt")


def test_sampling_takes_the_labels_of_a_classification_source():
    source = open_source("digits", "val")
    samples = ClassSamples(source, lambda image: image, source.classes)
    proportions = class_proportions(samples, "balanced")
    counts = np.bincount([source.target(i) for i in proportions.order(0, 0)[0]])
    assert counts.min() >= 36
    assert counts.max() <= 37


def test_a_run_with_balanced_classes_resumes_exactly(tmp_path):
    words = ["--train.sampling", "balanced", "--train.tensorboard", "false", "--train.log_steps", "1"]
    words += ["--schedule.epochs", "2", "--data.limit", "256", "--train.max_steps", "6", "--train.workers", "0"]
    assert main(["fit", "digits_van", "--out", str(tmp_path / "whole"), *words]) == 0
    folder = tmp_path / "parts"
    assert main(["fit", "digits_van", "--out", str(folder), *words[:-4], "--train.max_steps", "3"]) == 0
    recipe = (folder / "recipe.yaml").read_text()
    assert "max_steps: 3" in recipe
    (folder / "recipe.yaml").write_text(recipe.replace("max_steps: 3", "max_steps: 6"))
    assert main(["fit", "--resume", str(folder)]) == 0
    losses = [[row["loss"] for row in read_table(f / "steps.csv")] for f in (tmp_path / "whole", folder)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6
    weights = [CheckpointFolder(f / "checkpoints", 1).load_newest()["model"] for f in (tmp_path / "whole", folder)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_sampling_of_a_run_cannot_change_on_resume(tiny_run, tmp_path, capsys):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(tiny_run, folder)
    recipe = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(recipe.replace("sampling: uniform", "sampling: sqrt"))
    assert main(["fit", "--resume", str(folder)]) == 2
    assert "train.sampling was uniform at the checkpoint and is sqrt" in capsys.readouterr().err
