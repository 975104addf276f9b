"""In every room, whatever lies in and around the place of --out: files of the user stay as they are, to the bit, and
what a verb wrote is never read, neither as pictures nor as classes, masks or splits."""

import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from volovan.cli import main
from volovan.data import BadImage, SourceError, open_images
from volovan.data.sources import find_splits
from volovan.files.hidden import is_hidden
from volovan.files.results import MARK, is_result, marked

FOLDERS = (
    ".", ".", "a", "b/c", "images", "masks", "labels", "train/cat", "train/dog", "val/cat", "val/dog", "out",
    "out/masks", "predictions", "check-data", "pictures", "overlays", "checkpoints", "tensorboard",
)  # fmt: skip
FILES = (
    "1.png", "2.png", "3.JPG", "1.jpg", "best_01.png", "sheet.png", "samples.png", "pictures.png", "notes.txt",
    "log.txt", "classes.txt", "classes.csv", "predictions.csv", "predictions.jsonl", "per_class.csv", "features.csv",
    "per_picture.csv", "steps.csv", "metrics.csv", "metrics.json", "report.json", "index.json", "recipe.yaml",
    ".hidden", ".1.png.7.part",
)  # fmt: skip
OUTS = [".", "out", "out", "a", "new/deep", "predictions", "masks", "train/results", "images/out", "pictures"]
VERBS = ["predict", "predict", "validate", "check-data", "fit", "resume", "label", "features", "probe"]


class Folder:
    """A folder of the user. own: what they have put there; kept: that, and results that they have changed."""

    def __init__(self, draw: random.Random, root: Path) -> None:
        self.draw, self.root = draw, root
        self.own: dict[str, bytes] = {}
        self.folders: set[str] = set()
        self.kept: dict[str, bytes] = {}
        root.mkdir(parents=True)
        for _ in range(draw.randint(1, 9)):
            self.add(draw.choice(FOLDERS), draw.choice(FILES))
        if draw.random() < 0.3:
            self.make(draw.choice([*FOLDERS, *OUTS]))

    def make(self, name: str) -> None:
        """A folder, perhaps an empty one."""
        (self.root / name).mkdir(parents=True, exist_ok=True)
        self.folders |= {folder.as_posix() for folder in (Path(name), *Path(name).parents)}

    def add(self, folder: str, file: str) -> None:
        """A picture, a mask or a text."""
        path = self.root / folder / file
        name = path.relative_to(self.root).as_posix()
        if path.exists() or not all(folder.is_dir() or not folder.exists() for folder in path.parents):
            return
        self.make(path.parent.relative_to(self.root).as_posix())
        if path.suffix.lower() in (".png", ".jpg"):
            mode = "L" if path.parent.name in ("masks", "labels") else "RGB"
            Image.frombytes(mode, (40, 36), self.draw.randbytes(40 * 36 * len(mode))).save(path)
        else:
            path.write_text(f"mine, {self.draw.random()}")
        self.own[name] = self.kept[name] = path.read_bytes()

    def results(self) -> list[Path]:
        """What volovan has written and nobody has changed, but for what a run goes on with."""
        marks = [(mark.parent, marked(mark.parent)) for mark in sorted(self.root.rglob(MARK))]
        there = [folder / name for folder, found in marks for name, (_, digest) in found.files.items() if digest]
        return [path for path in there if path.is_file() and path.relative_to(self.root).as_posix() not in self.kept]

    def work(self) -> None:
        """What a user does between two calls: nothing, add, correct a result, remove one, copy one elsewhere."""
        results = self.results()
        match self.draw.choice(["add", "correct", "remove", "copy", "", ""]):
            case "add":
                self.add(self.draw.choice([*OUTS, *FOLDERS]), self.draw.choice(FILES))
            case "correct" if results:
                path = self.draw.choice(results)
                path.write_bytes(path.read_bytes() + b"corrected")
                self.kept[path.relative_to(self.root).as_posix()] = path.read_bytes()
            case "remove" if results:
                self.draw.choice(results).unlink()
            case "copy" if results:
                path = self.draw.choice(results)
                name = f"copied/{self.draw.randrange(99)}{path.suffix}"
                self.make("copied")
                self.own[name] = self.kept[name] = shutil.copyfile(path, self.root / name).read_bytes()

    def check(self, elsewhere: Path) -> None:
        """AssertionError if something of the user has changed, or is read otherwise than without the results."""
        for name, content in self.kept.items():
            assert (self.root / name).is_file(), f"{name} is gone"
            assert (self.root / name).read_bytes() == content, f"{name} has changed"
        for name in self.folders:
            assert (self.root / name).is_dir(), f"{name}/ is gone"
        for name, content in self.own.items():
            if is_hidden(name):
                continue
            (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
            (elsewhere / name).write_bytes(content)
        for name in self.folders:
            if not any((self.root / name).rglob(MARK)):  # else it was empty, and is one of results now
                (elsewhere / name).mkdir(parents=True, exist_ok=True)
        found, expected = dict(readings(self.root)), dict(readings(elsewhere))
        for how in found.keys() | expected.keys():
            if how in expected or how in ("predict", "class"):  # results may be the masks of pictures beside them
                assert found.get(how) == expected.get(how), how
        assert not any(is_result(self.root / name) for name in self.own)


def readings(root: Path) -> Iterator[tuple[str, object]]:
    """What predict, and fit of every kind, take of a folder: classes and names of each split. Nothing where they refuse
    it."""
    with suppress(SourceError, BadImage):
        pictures = open_images([str(root)])
        yield "predict", [str(Path(pictures.name(i)).relative_to(root)) for i in range(len(pictures))]
    for kind in ("class", "mask", "map"):
        with suppress(SourceError, BadImage):
            sources = {split: opener() for split, opener in find_splits(str(root), kind).items()}
            yield kind, {split: (one.classes, [*map(one.name, range(len(one)))]) for split, one in sources.items()}


def words(case, labelled: Path, folder: Folder, verb: str, out: Path) -> list[str]:
    source = folder.draw.choice([folder.root, *{(folder.root / name).parent for name in folder.own}])
    named = {
        "predict": ["predict", case.run, source, "--workers", 0, "--sheet", folder.draw.choice([0, 4])],
        "validate": ["validate", case.run, "--data", labelled, "--split", "val", "--workers", 0, "--pictures", 1],
        "check-data": ["check-data", source, "--task", case.room],
        "fit": ["fit", case.recipe, "--train.max_steps", 1, "--data.limit", 2],
        "label": ["label", case.run, labelled, "--split", "val", "--workers", 0, "--limit", 2, "--pictures", 2],
        "features": ["predict", case.run, source, "--features", "--workers", 0],
        "probe": ["probe", case.run, labelled, "--train-split", "val", "--only", "linear", "--steps", 1, "--l2", 1],
    }
    if verb == "resume":
        runs = [path.parent for path in sorted(folder.root.rglob("environment.json"))]
        return list(map(str, ["fit", "--resume", folder.draw.choice(runs or [out])]))
    return list(map(str, [*named[verb], "--out", out]))


@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(4, 60), marks=pytest.mark.slow)], ids=["some", "many"])
def test_files_of_the_user_stay_and_results_are_never_read(case, labelled, tmp_path, seeds):
    written = 0
    for seed in seeds:
        draw = random.Random(f"{case.room} {seed}")
        folder = Folder(draw, tmp_path / str(seed) / "mine")
        called: list[list[str]] = []
        for step in range(4):
            verb = draw.choice(VERBS if case.room == "classify" else VERBS[:6])
            called.append(words(case, labelled, folder, verb, folder.root / draw.choice(OUTS)))
            written += main(called[-1]) in (0, 1)
            try:
                folder.check(tmp_path / f"{seed} alone {step}" / "mine")
            except AssertionError as error:
                raise AssertionError(f"folder {seed}, {called}: {error}") from error
            folder.work()
    assert written > len(seeds) // 2
