"""A tiny net with 1000 outputs, and every data set of the suite as a few pictures in its original layout.

The net's ranking of the classes for a picture is known before the picture is filed, so that a picture can be put where
it is right at once (rank 0), right among five (rank 1 to 4), or wrong (the last rank).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from volovan import create_model
from volovan.files.checkpoint import write_checkpoint
from volovan.files.classes import wnids
from volovan.models.preprocessing import Preprocessing
from volovan.suite.classes import subset
from volovan.use.load import load

SIDE = 32
WRONG = -1  # the last rank


class Ranked:
    """Makes pictures and knows their ranking."""

    def __init__(self, checkpoint: Path) -> None:
        self.classifier = load(str(checkpoint), device="cpu")
        self.seed = 0

    def picture(self, known: Sequence[int] | None = None, crop: float | None = None) -> tuple[Image.Image, list[int]]:
        """A new picture and the classes (all, or those of `known`), best first."""
        self.seed += 1
        pixels = np.random.default_rng(self.seed).integers(0, 256, (SIDE + 8, SIDE, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        classifier = self.classifier.using(crop_pct=crop)
        with torch.no_grad():
            logits = classifier.model(classifier.eval_transform()(image)[None])[0]
        order = logits.argsort(descending=True).tolist()
        return image, [number for number in order if known is None or number in set(known)]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """tiny_checkpoint(classes): the checkpoint of a small VAN with these output names."""

    def make(classes: Sequence[str], in_chans: int = 3) -> Path:
        torch.manual_seed(0)
        model = create_model(
            "van", embed_dims=(8, 8, 16, 16), depths=(1, 1, 1, 1), num_classes=len(classes), in_chans=in_chans
        )
        about = {
            "task": "classify",
            "config": asdict(model.config),
            "preprocessing": asdict(Preprocessing((SIDE, SIDE), crop_pct=0.9)),
            "eval_mode": "center",
            "classes": list(classes),
        }
        path = tmp_path_factory.mktemp("net") / "tiny.safetensors"
        write_checkpoint(path, {"task": about, "model": model.state_dict()})
        return path

    return make


@pytest.fixture(scope="session")
def net(tiny_checkpoint: Callable[..., Path]) -> Path:
    """Checkpoint with ImageNet's classes."""
    return tiny_checkpoint(wnids())


@pytest.fixture(scope="session")
def ranked(net: Path) -> Ranked:
    return Ranked(net)


@pytest.fixture(scope="session")
def file_pictures(ranked: Ranked) -> Callable[..., None]:
    """file_pictures(folder, [0, 2, WRONG], ...): one picture for each rank, in folder/<class of that rank>/."""

    def file(
        folder: Path,
        ranks: Sequence[int],
        name: Callable[[int], str] = lambda number: wnids()[number],
        known: Sequence[int] | None = None,
        crop: float | None = None,
    ) -> None:
        for number, rank in enumerate(ranks):
            image, order = ranked.picture(known, crop)
            target = folder / name(order[rank])
            target.mkdir(parents=True, exist_ok=True)
            image.save(target / f"{number}.png")

    return file


CORRUPTIONS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "spatter"),
}


@pytest.fixture(scope="session")
def suite_root(tmp_path_factory: pytest.TempPathFactory, ranked: Ranked, file_pictures: Callable[..., None]) -> Path:
    """All sets but ImageNet-V2 top images, with the answers that test_suite_command.py states."""
    root = tmp_path_factory.mktemp("suite")
    _file_val(root, ranked)
    v2 = root / "imagenetv2-matched-frequency-format-val"
    file_pictures(v2, [0, 0, 0, 3, WRONG], name=str)
    file_pictures(root / "imagenetv2-threshold0.7-format-val", [0, WRONG], name=str)
    file_pictures(root / "ImageNet_A", [0, 4, WRONG, WRONG], known=subset("a"))
    file_pictures(root / "imagenet-r", [0, 0, WRONG], known=subset("r"))
    file_pictures(root / "sketch", [1, WRONG])
    for group, names in CORRUPTIONS.items():
        for corruption in names:
            for severity in range(1, 6):
                folder = root / "imagenet-c" / group / corruption / str(severity)
                file_pictures(folder, [0, 0 if severity <= 2 and corruption != "fog" else WRONG], crop=1.0)
    _file_vizwiz(root / "vizwiz-classification", ranked)
    return root


def _file_val(root: Path, ranked: Ranked) -> None:
    """Four pictures of val. Right: val 1, 2; ReaL 2, 3; the fourth has no label in ReaL."""
    real: list[list[int]] = []
    for number, (rank, others) in enumerate([(0, [WRONG]), (0, [0, 7]), (2, [900, 0]), (WRONG, [])], start=1):
        image, order = ranked.picture()
        folder = root / "imagenet" / "val" / wnids()[order[rank]]
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"ILSVRC2012_val_{number:08}.png")
        real.append([order[other] for other in others])
    (root / "real.json").write_text(json.dumps(real))


def _file_vizwiz(folder: Path, ranked: Ranked) -> None:
    """Six pictures, 20 classes of which alone compete. Ranks accepted and flaws as in `answers`."""
    classes = range(0, 1000, 50)
    answers: list[tuple[list[int], dict[str, bool] | None]] = [
        ([0], {"NON": True, "BLR": False}),
        ([5, 0], {"NON": True}),
        ([3], {"NON": True}),
        ([0], {"BLR": True, "OBS": True, "NON": False}),
        ([WRONG], {"BLR": True, "DRK": True, "BRT": True, "ROT": True, "FRM": True}),
        ([0], None),
    ]
    (folder / "images").mkdir(parents=True)
    labelled = {}
    for number, (ranks, flaws) in enumerate(answers):
        image, order = ranked.picture(list(classes))
        name = f"VizWiz_val_{number:08}.png"
        image.save(folder / "images" / name)
        labelled[name] = {"labels": [order[rank] for rank in ranks], "flaws": flaws}
    (folder / "labels.json").write_text(json.dumps(labelled))
    public = {
        "categories": [{"id": number, "wordnet_id": wnids()[number]} for number in classes],
        "images": list(labelled),
    }
    (folder / "annotations.json").write_text(json.dumps(public))
