"""Names decide which outputs of a detector are a class, in every head; background stays background."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor

import volovan
from networks import TINY
from volovan.detect.network import Detector
from volovan.files.checkpoint import write_checkpoint

HELD, WANTED = ["cat", "dog", "eel", "fox"], ["fox", "ape", "cat"]
SMALL = {"width": 32}
OPTIONS = {
    "retinanet": SMALL,
    "atss": SMALL,
    "gfl": SMALL,
    "faster_rcnn": SMALL,
    "mask_rcnn": SMALL,
    "cascade_rcnn": SMALL,
    "cascade_mask_rcnn": SMALL,
    "sparse_rcnn": SMALL | {"proposals": 10, "stages": 2},
}


def build(head: str, classes: list[str], weights: Path | None = None) -> Detector:
    options = {"head_options": OPTIONS[head], "trunk_options": TINY["van"]}
    return volovan.create_detector("van", head, classes=classes, weights=weights, **options)


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Detector, Detector]:
    """A detector of HELD, whose weights were all drawn, and one of WANTED with its weights."""
    torch.manual_seed(0)
    old = build(request.param, HELD)
    with torch.no_grad():
        for parameter in old.head.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.05)
    task = {"task": "detect", "config": asdict(old.config), "classes": HELD}
    task["preprocessing"] = asdict(old.preprocessing)
    write_checkpoint(tmp_path / "run.safetensors", {"task": task, "model": old.state_dict()})
    return old.eval(), build(request.param, WANTED, tmp_path / "run.safetensors").eval()


@pytest.mark.parametrize("pair", list(OPTIONS), indirect=True)
def test_a_class_keeps_its_outputs_wherever_it_moves(pair: tuple[Detector, Detector]) -> None:
    old, new = pair
    torch.manual_seed(1)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        theirs, ours = outputs(old, images), outputs(new, images)
    assert len(theirs) == len(ours)
    moved = 0
    for before, after in zip(theirs, ours, strict=True):
        if before.shape == after.shape:  # boxes that no class has for itself
            torch.testing.assert_close(before, after)
            continue
        moved += 1
        for place, name in enumerate(WANTED):
            if name in HELD:
                torch.testing.assert_close(before.select(-1, HELD.index(name)), after.select(-1, place))
            else:
                assert not any(torch.equal(before.select(-1, k), after.select(-1, place)) for k in range(len(HELD)))
        if before.shape[-1] == len(HELD) + 1:
            torch.testing.assert_close(before[..., -1], after[..., -1])  # background
    assert moved


def outputs(model: Detector, images: Tensor) -> list[Tensor]:
    """What the head computes, with the classes last."""
    found = []
    count = model.config.num_classes
    for part in model.head.work(model.maps(images)):
        if part.ndim == 4:  # masks
            part = part.movedim(1, -1)
        elif part.ndim == 3 and part.shape[1] == count:  # boxes of each class
            part = part.transpose(1, 2)
        found.append(part)
    return found


@pytest.mark.parametrize("pair", ["retinanet", "mask_rcnn"], indirect=True)
def test_all_else_is_that_of_the_file(pair: tuple[Detector, Detector]) -> None:
    old, new = pair
    state = new.state_dict()
    same = [key for key, tensor in old.state_dict().items() if tensor.shape == state[key].shape]
    assert all(torch.equal(old.state_dict()[key], state[key]) for key in same)
    other = [key for key in state if key not in same]
    assert other
    assert all(any(part in key for part in ("class_out", "box_out", "mask_out")) for key in other)


def test_a_head_for_another_number_of_classes_is_new_where_no_name_is_known(tmp_path: Path, caplog) -> None:
    old = build("mask_rcnn", HELD)
    torch.save(old.state_dict(), tmp_path / "plain.pt")
    build("mask_rcnn", WANTED, tmp_path / "plain.pt")
    assert "the classifier for 3 classes is new: that of the file has 4" in caplog.text
