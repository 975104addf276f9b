"""Names decide which row of a head is a class, in every network: random sets of classes, in any order."""

import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import volovan
from networks import TINY
from volovan.files.checkpoint import write_checkpoint

WORDS = ["cat", "Cat dog", "dog", "2", "eel", "fox", "été", "10", "a b", "bus", "n/a", "road", "sky", "0x", "x"]
HEADS = {"fpn": {"pyramid_channels": 8, "channels": 8}, "ham": {"channels": 32, "rank": 4}, "upernet": {"channels": 16}}


def build(kind: str, classes: list[str], weights: Path | None) -> nn.Module:
    if kind in HEADS:
        options: dict[str, Any] = {"head_options": HEADS[kind], "trunk_options": TINY["van"]}
        return volovan.create_segmenter("van", head=kind, classes=classes, weights=weights, **options)
    return volovan.create_model(kind, classes=classes, weights=weights, **TINY[kind])


def of_classes(model: nn.Module, kind: str) -> dict[str, torch.Tensor]:
    """The tensors of which a row is a class."""
    begin = ("head.classifier.", "aux_head.classifier.") if kind in HEADS else ("head.", "aux_head.")
    return {key: tensor for key, tensor in model.state_dict().items() if key.startswith(begin)}


def some(draw: random.Random, least: int) -> list[str]:
    return draw.sample(WORDS, draw.randint(least, 6))


@pytest.mark.parametrize("kind", [*TINY, *HEADS])
@pytest.mark.parametrize("seed", range(4))
def test_rows_of_a_head_follow_their_names(tmp_path: Path, kind: str, seed: int) -> None:
    draw = random.Random(f"{kind} {seed}")
    held, wanted = some(draw, 2), some(draw, 2)
    if not {*held} & {*wanted}:
        wanted[0] = held[-1]
    old = build(kind, held, None)
    task = {"config": asdict(old.config), "classes": held}
    if kind in HEADS:
        task |= {"task": "segment", "preprocessing": asdict(old.preprocessing)}
    write_checkpoint(tmp_path / "run.safetensors", {"task": task, "model": old.state_dict()})
    new = build(kind, wanted, tmp_path / "run.safetensors")
    theirs, ours = of_classes(old, kind), of_classes(new, kind)
    assert theirs.keys() == ours.keys() != set()
    for key, rows in ours.items():
        assert len(rows) == len(wanted)
        for name, row in zip(wanted, rows, strict=True):
            if name in held:
                assert torch.equal(row, theirs[key][held.index(name)]), (key, name)
            elif row.dim():
                assert not any(torch.equal(row, other) for other in theirs[key]), (key, name)
    for key, tensor in old.state_dict().items():
        if key not in theirs:
            assert torch.equal(tensor, new.state_dict()[key]), key
