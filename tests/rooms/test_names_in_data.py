"""Names decide in every room, whatever they are: random sets of classes, in another order, renamed, more and fewer of
them, to validate on, to validate on while training, and to fine-tune on."""

import logging
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest

import volovan
from named import KINDS, Kind, Learned, pictures
from volovan.data import Source, open_source
from volovan.engine.settings import SettingsError
from volovan.files.checkpoint import write_checkpoint
from volovan.use.rooms import ROOMS

WORDS = ["ant", "bee", "cow", "Kuh_2", "été", "naïve", "tree-top", "ü", "3D-print", "Über", "dog", "x"]
SEEDS = pytest.mark.parametrize(
    "seeds", [range(5), pytest.param(range(5, 60), marks=pytest.mark.slow)], ids=["some", "many"]
)


def lay_folders(root: Path, names: Sequence[str], shown: Sequence[str]) -> Path:
    """A folder for each class, whose order is that of the names."""
    for path, name, split in pictures(root, shown):
        for other in names:
            (root / split / other).mkdir(parents=True, exist_ok=True)
        (root / path).rename(root / split / name / Path(path).name)
    shutil.rmtree(root / "images")
    return root


def another(draw: random.Random, learned: Sequence[str]) -> list[str]:
    """Classes like those that were learned: fewer, renamed, more, in another order, accents written in another way."""
    names = [name for name in learned if draw.random() < 0.8]
    unseen = draw.sample([word for word in WORDS if word not in learned], 4)
    wild = draw.random() < 0.4
    for place, name in enumerate(names):
        if wild and draw.random() < 0.3:
            names[place] = draw.choice([name.swapcase(), f"{name}s", unseen[0]])
        elif draw.random() < 0.3:
            names[place] = normalize("NFD", name)
    names = list(dict.fromkeys([*names, *(unseen[1 : 1 + draw.randint(0, 2)] if wild else ())]))
    names += unseen[3:] if len(names) == 1 else unseen[2:] if not names else []
    return draw.sample(names, len(names)) if draw.random() < 0.8 else names


def knowing(kind: Kind, recipe: str, folder: Path, learned: Sequence[str]) -> Learned:
    """A network for these classes, of random weights."""
    folder.mkdir()
    (folder / "recipe.yaml").write_text(recipe.replace("crop: 64", "crop: 32"))
    source = kind.data(folder / "learned", learned, learned)
    known = Learned(kind, folder / "recipe.yaml", folder / "run.safetensors", source)
    task, _ = known.task(source)
    write_checkpoint(known.run, {"task": task.describe(), "model": task.build_model().state_dict()})
    return known


def plain(names: Sequence[str]) -> list[str]:
    return [normalize("NFC", name) for name in names]


def called(target: Any, names: Sequence[str]) -> Any:
    """A target by the names of its classes: that of a picture, those that apply, the numbers, or that of each pixel."""
    names, values = plain(names), np.asarray(target)
    if values.ndim == 1:
        return {name: value for name, value in zip(names, values.tolist(), strict=True) if value}
    return np.array(names)[values].tolist()


def read(samples: Any, index: int, names: Sequence[str], outputs: Any) -> Any:
    """The target of a sample of a network as `called` has that of the data."""
    sample = samples.read(index)
    target = np.asarray(sample["mask"] if "mask" in sample else sample["label"])
    if outputs is not None and outputs.kind == "regression":
        target = (target * np.array(outputs.std) + outputs.mean).round()
    return called(target, names)


def check(samples: Any, source: Source, names: Sequence[str], outputs: Any = None) -> None:
    """Whether samples of a network whose outputs have these names are what the data say by name, and what is said."""
    for index in range(len(source)):
        assert read(samples, index, names, outputs) == called(source.target(index), source.classes)
    ours, theirs = plain(names), plain(source.classes)
    assert ("lack" in samples.note) == bool({*ours} - {*theirs})
    assert ("by name" in samples.note) == ([ours.index(name) for name in theirs] != sorted(map(ours.index, theirs)))


def rows_of(task: Any, state: dict[str, Any], names: Sequence[str]) -> tuple[int, int, int]:
    """Compare the network of a task with the state that it begins with, whose outputs have these names: (rows that are
    kept, new ones, dropped ones)."""
    ours, theirs = plain(task.classes), plain(names)
    for key, tensor in task.build_model().state_dict().items():
        if tensor.dim() and "classifier" not in key and not key.startswith(("head.", "aux_head.")):
            assert tensor.equal(state[key]), key
        if key.endswith(("classifier.weight", "classifier.bias")) or key in ("head.weight", "head.bias"):
            assert (len(tensor), len(state[key])) == (len(ours), len(theirs))
            for name, row in zip(ours, tensor, strict=True):
                if name in theirs:
                    assert row.equal(state[key][theirs.index(name)]), (key, name)
                elif row.dim():
                    assert not any(row.equal(other) for other in state[key]), (key, name)
    kept = len({*ours} & {*theirs})
    return kept, len(ours) - kept, len(theirs) - kept


LAID = {**KINDS, "folders": Kind("classify", lay_folders)}


@SEEDS
@pytest.mark.parametrize("kind", LAID.values(), ids=[*LAID])
def test_names_decide(kind, recipes, tmp_path, caplog, seeds):
    refused = 0
    for seed in seeds:
        draw = random.Random(seed)
        learned = draw.sample(WORDS, draw.randint(3, 6))
        known = knowing(kind, recipes[kind.room], tmp_path / str(seed), learned)
        ready: Any = volovan.load(known.run, device="cpu")
        learned = list(ready.classes)
        names = another(draw, learned)
        data = kind.data(tmp_path / str(seed) / "other", names, draw.sample(names, draw.randint(2, len(names))))
        source = open_source(data, "val", ROOMS[kind.room].kind)
        outputs = getattr(ready, "outputs", None)
        lacks = outputs is not None and outputs.kind == "regression" and {*learned} - {*plain(names)}
        unknown = [name for name in source.classes if normalize("NFC", name) not in learned]
        for reader in (ready.reader, lambda val, known=known, data=data: known.task(known.source, val=data)[1].val):
            if unknown or lacks:
                with pytest.raises(SettingsError, match="not learned: " if unknown else "the data lack") as said:
                    reader(source)
                assert repr(unknown[0] if unknown else min(lacks, key=learned.index)) in str(said.value)
            else:
                check(reader(source), source, learned, outputs)
        refused += bool(unknown or lacks)
        caplog.clear()
        with caplog.at_level(logging.INFO, "volovan"):
            task, _ = known.task(data, weights=known.run)
        assert list(task.classes) == list(source.classes)
        counts = rows_of(task, ready.model.state_dict(), learned)
        if plain(task.classes) != learned and counts[0]:
            parts = [f"{count} {word}" for count, word in zip(counts, ("kept", "new", "dropped"), strict=True) if count]
            assert all(f"{part} (" in caplog.text for part in parts), (parts, caplog.text)
    assert len(seeds) < 10 or len(seeds) // 5 < refused < len(seeds)
