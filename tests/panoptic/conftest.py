"""A panoptic run that has learned what it was shown, for all that needs answers which are not by chance."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from segments import Painted, write_segments
from volovan.data.panoptic.segments import Panoptic, Segment

TINY = """
task: panoptic
model:
  name: van
  options: {embed_dims: [8, 16, 32, 64], depths: [1, 1, 2, 1], mlp_ratios: [2, 2, 2, 2]}
  head_options:
    {queries: 10, width: 32, heads: 4, encoder_layers: 1, encoder_ffn: 32, decoder_layers: 3, decoder_ffn: 32}
data: {source: "shapes:12@64x64"}
augment: {resize: [64, 64], scale: [1.0, 1.0], crop: 64}
loss: {points: 256}
optim: {lr: 2.0e-3, clip_norm: 1.0}
schedule: {epochs: 1, warmup_epochs: 0}
train: {batch_size: 2, workers: 0, threads: 1, tensorboard: false, device: cpu, log_steps: 1}
test: {size: [64, 64]}
"""


@dataclass(frozen=True)
class Learned:
    """A run, and the data that it was trained on: two cats at most before sky and road."""

    run: Path
    data: Path
    source: Painted


def view(cats: int) -> Panoptic:
    """64 x 64: ids beyond 65,536 too."""
    ids = np.full((64, 64), 300, np.int32)
    ids[32:] = 70_000
    segments = [Segment(300, 1), Segment(70_000, 2)]
    for number in range(cats):
        ids[12 + 12 * number : 40 + 12 * number, 6 + 32 * number : 26 + 32 * number] = 5 + number
        segments.append(Segment(5 + number, 0))
    return Panoptic(ids, tuple(segments))


@pytest.fixture(scope="session")
def tiny() -> str:
    """A recipe that takes seconds."""
    return TINY


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The same as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    from volovan.cli import main

    folder = tmp_path_factory.mktemp("learned")
    views = [view(cats) for cats in (2, 1, 0)]
    write_segments(folder / "data", Painted(4 * views), split="train")
    write_segments(folder / "data", Painted(views))
    (folder / "tiny.yaml").write_text(TINY)
    words = f"""--data.source {folder / "data"} --out {folder / "run"} --model.head_options.width 64
        --model.head_options.queries 6 --loss.points 400 --augment.hflip 0 --optim.clip_norm 5 --train.batch_size 4
        --schedule.epochs 20 --train.validate_every 20"""
    assert main(["fit", str(folder / "tiny.yaml"), *words.split()]) == 0
    return Learned(folder / "run", folder / "data", Painted(views))
