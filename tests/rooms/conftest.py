"""Every room as a case of one battery: a recipe that takes seconds, and a finished run of it. The toy room too."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detections import as_found
from poses import write_points
from segments import write_segments
from volovan.data.objects.annotated import Annotated
from volovan.data.panoptic.segments import Panoptic
from volovan.data.source import Source
from volovan.room.objects_ledger import ledger

HERE = Path(__file__).parent
SMALL_VAN = "{embed_dims: [8, 16, 24, 32], depths: [1, 1, 1, 1], mlp_ratios: [2, 2, 2, 2]}"
COMMON = """
optim: {lr: 3.0e-3}
schedule: {epochs: 2, warmup_epochs: 0, per: step}
train: {batch_size: 8, workers: 0, tensorboard: false, device: cpu, log_steps: 1}
"""
RECIPES = {
    "classify": f"""
task: classify
model: {{name: van, options: {SMALL_VAN}}}
data: {{source: "generated:3x24@48x40", size: 32}}
augment: {{mixup: 0, cutmix: 0}}
{COMMON}""",
    "segment": f"""
task: segment
model: {{name: van, head: fpn, options: {SMALL_VAN}, head_options: {{pyramid_channels: 16, channels: 8}}}}
data: {{source: "shapes:30@64x64"}}
augment: {{crop: 64}}
{COMMON}""",
    "saliency": f"""
task: saliency
model:
  name: van
  options: {SMALL_VAN}
  head_options: {{widths: [8, 16, 16, 16, 16, 16], extreme: 16, units: 1}}
data: {{source: "shapes:30@72x64", size: 64}}
{COMMON}""",
    "detect": f"""
task: detect
model: {{name: van, head: atss, options: {SMALL_VAN}, head_options: {{width: 16}}}}
data: {{source: "shapes:30@64x64"}}
augment: {{resize: [64, 64]}}
test: {{size: [64, 64]}}
{COMMON}""",
    "panoptic": f"""
task: panoptic
model:
  name: van
  options: {SMALL_VAN}
  head_options:
    {{queries: 10, width: 32, heads: 4, encoder_layers: 1, encoder_ffn: 32, decoder_layers: 2, decoder_ffn: 32}}
data: {{source: "shapes:30@64x64"}}
augment: {{resize: [64, 64], scale: [0.8, 1.2], crop: 64}}
loss: {{points: 200}}
test: {{size: [64, 64]}}
{COMMON}""",
    "pose": f"""
task: pose
model: {{name: van, options: {SMALL_VAN}, head_options: {{width: 16}}}}
data: {{source: "shapes:30@64x64", size: [64, 64]}}
{COMMON}""",
    "colour": f"""
task: colour
model: {{name: van, options: {SMALL_VAN}}}
data: {{source: "generated:3x24@48x40", size: 32}}
{COMMON}""",
}


@pytest.fixture(scope="session")
def recipes() -> dict[str, str]:
    """Room -> a recipe that takes seconds."""
    return RECIPES


@dataclass(frozen=True)
class Case:
    """A room under test: its recipe file, a finished run, and labelled data on the disk (one sample unreadable)."""

    room: str
    recipe: Path
    run: Path

    def read(self) -> str:
        return self.recipe.read_text()


@pytest.fixture(scope="session", autouse=True)
def _toy_room() -> Iterator[None]:
    """The table of rooms with one more: all that a room needs outside itself, besides its line in the contract."""
    from volovan.use.rooms import ROOMS, Room

    sys.path.insert(0, str(HERE))
    import colour.arguments
    import colour.ready
    import colour.recipe
    import colour.task

    ROOMS["colour"] = Room(
        words=lambda: (colour.recipe.Recipe, colour.arguments),
        networks=lambda: (colour.task.ColourTask, colour.ready.ReadyColour, colour.task),
        kind="class",
    )
    yield
    del ROOMS["colour"]
    sys.path.remove(str(HERE))


@pytest.fixture(scope="session", params=list(RECIPES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _toy_room: None) -> Case:
    """Each room in turn."""
    from volovan.cli import main

    folder = tmp_path_factory.mktemp(request.param)
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPES[request.param])
    assert main(["fit", str(recipe), "--out", str(folder / "run")]) == 0
    return Case(request.param, recipe, folder / "run")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture in every shape that one has: plain, turned by EXIF, grey, 16 bit, CMYK, alpha, palette, tiny."""
    folder = tmp_path_factory.mktemp("pictures")
    rows, columns = np.mgrid[:60, :80]
    plain = Image.fromarray(np.stack([3 * columns, 4 * rows, rows + columns], -1).astype(np.uint8))
    plain.save(folder / "plain.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    plain.save(folder / "turned.jpg", exif=turned, quality=95)
    plain.convert("L").save(folder / "grey.jpg", quality=95)
    plain.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    plain.convert("P").save(folder / "palette.png")
    alpha = plain.convert("RGBA")
    alpha.putalpha(120)
    alpha.save(folder / "alpha.png")
    Image.fromarray(np.asarray(plain.convert("L")).astype(np.uint16) * 257).save(folder / "deep.png")
    plain.resize((3, 2)).save(folder / "tiny.png")
    return folder


def write_objects(folder: Path, source: Source, count: int) -> None:
    """The first pictures of a source and their objects as COCO has them."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "images" / "val").mkdir(parents=True)
    with ledger(folder / "annotations", source.classes) as book:
        for index in range(count):
            picture = source.load(index)
            picture.save(folder / "images" / "val" / f"{index}.png")
            size = (picture.height, picture.width)
            book.add(f"{index}.png", size, as_found(source.target(index), size))
    (folder / "annotations" / "coco.json").rename(folder / "annotations" / "instances_val.json")


@pytest.fixture
def labelled(case: Case, tmp_path: Path) -> Path:
    """Labelled data of the room's kind on the disk: three samples to validate on."""
    import volovan.data.sources as sources
    from volovan.use.rooms import ROOMS

    spec = "shapes:30@64x64" if ROOMS[case.room].kind != "class" else "generated:3x3@48x40"
    source = sources.open_source(spec, "val", ROOMS[case.room].kind)
    for index in range(3):
        target = source.target(index)
        if isinstance(target, Annotated):
            (write_objects if target.points is None else write_points)(tmp_path / "data", source, 3)
            break
        if isinstance(target, Panoptic):
            write_segments(tmp_path / "data", source, 3)
            break
        if isinstance(target, np.ndarray):
            for kind, picture in (("images", source.load(index)), ("masks", Image.fromarray(target))):
                path = tmp_path / "data" / kind / "val" / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)
        else:
            path = tmp_path / "data" / "val" / source.classes[index] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            source.load(index).save(path)
    if ROOMS[case.room].kind == "mask":
        names = "".join(f"{name}\n" for name in source.classes)
        (tmp_path / "data" / "classes.txt").write_text(names)
    return tmp_path / "data"
