"""What check-data says of pictures and maps of what is salient is what a run finds in them, whatever lies there."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agreeing import compare
from volovan.saliency.recipe import DataSettings, ModelSettings, Recipe
from volovan.saliency.task import SaliencyTask

LAYOUTS = {  # picture and mask of a sample
    "flat": ("images/{name}{end}", "masks/{name}{mask}"),
    "inner": ("images/{split}/{name}{end}", "masks/{split}/{name}{mask}"),
    "outer": ("{split}/image/{name}{end}", "{split}/mask/{name}{mask}"),
    "one": ("{split}/{name}{end}", "{split}/{name}_mask{mask}"),
    "two": ("{split}/{name}{end}", "{split}_masks/{name}{mask}"),
    "DUTS": ("DUTS-TR/DUTS-TR-Image/{name}{end}", "DUTS-TR/DUTS-TR-Mask/{name}{mask}"),
    "both DUTS": ("DUTS-{TR}/DUTS-{TR}-Image/{name}{end}", "DUTS-{TR}/DUTS-{TR}-Mask/{name}{mask}"),
    "ECSSD": ("images/{name}{end}", "ground_truth_mask/{name}{mask}"),
    "HKU-IS": ("imgs/{name}{end}", "gt/{name}{mask}"),
    "wrapped": ("set/photos/{name}{end}", "set/alpha/{name}{mask}"),
    "table": ("x/{name}{end}", "y/{name}{mask}"),
    "names": ("img/{name}{end}", "gts/{name}{mask}"),
}
STRAY = ("notes.txt", "Thumbs.db", ".DS_Store", "._1.png", "masks/._p1.png", "images/.hidden.png", "classes.txt")
STRAY += ("masks/readme.md", "images/p0.txt", "extra/1.png", "test/1.png", "masks/p1_color.png", "images/loose.JPG")
VALUES = {"white": (0, 255), "ones": (0, 1), "soft": (0, 90, 130, 255), "grey": (0, 60, 120), "nothing": (0,)}
VALUES |= {"full": (255,), "classes": (0, 1, 2, 3)}
MODES = ["L"] * 9 + ["1", "P", "RGB", "RGBA", "LA", "matte", "cut-out", "16", "12", "F", "npy", "coloured"]
ENDS = ([".png"], [".jpg"], [".JPG", ".jpeg"], [".PNG"], [".png", ".bmp", ".webp"])
SPOILS = ("empty", "page", "cut", "size", "no mask", "no picture", "twice", "no file")


def save_picture(draw: random.Random, path: Path, size: tuple[int, int], turned: float) -> None:
    """Noise; by chance its EXIF turns it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if draw.random() < turned:
        exif[0x0112] = draw.choice([1, 3, 6, 8])
    Image.frombytes("RGB", size, draw.randbytes(3 * size[0] * size[1])).save(path, exif=exif)


def save_mask(draw: random.Random, path: Path, size: tuple[int, int], values: tuple[int, ...], mode: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.array(draw.choices(values, k=size[0] * size[1]), np.uint8).reshape(size[::-1])
    image = Image.fromarray(grey)
    if mode in ("matte", "cut-out"):
        ground = Image.new("RGB", size, "white") if mode == "matte" else Image.effect_noise(size, 50).convert("RGB")
        ground.putalpha(image)
        image = ground
    elif mode == "npy":
        np.save(path.with_suffix(".npy"), grey)
        return
    elif mode in ("16", "12"):
        image = Image.fromarray(grey.astype(np.uint16) * (257 if mode == "16" else 1))
    elif mode == "F":
        Image.fromarray(grey.astype(np.float32) / 255).save(path.with_suffix(".tif"))
        return
    elif mode == "coloured":
        image = Image.merge("RGB", [image, Image.new("L", size), Image.new("L", size)])
    else:
        image = image.convert(mode)
    image.save(path)


def spoil(draw: random.Random, picture: Path, mask: Path) -> None:
    """Make something wrong with one sample."""
    file = draw.choice([picture, mask])
    match draw.choice(SPOILS):
        case "empty":
            file.write_bytes(b"")
        case "page":
            file.write_text("<html>no such file</html>")
        case "cut" if file.is_file():
            file.write_bytes(file.read_bytes()[:-20])
        case "size":
            save_mask(draw, mask, (7, 8), (0, 255), "L")
        case "no mask":
            mask.unlink(missing_ok=True)
        case "no picture":
            picture.unlink()
        case "twice":
            save_mask(draw, file.with_suffix(".tiff"), (9, 9), (0, 255), "L")
        case "no file":
            picture.unlink()
            mask.unlink(missing_ok=True)


def write_tree(draw: random.Random, root: Path) -> Path:
    """A source as people have it, often with something wrong."""
    layout, end = draw.choice([*LAYOUTS]), draw.choice(ENDS)
    values, mode = VALUES[draw.choice(["white"] * 4 + [*VALUES])], draw.choice(MODES)
    size, turned = draw.choice([(9, 8), (9, 8), (9, 9), (1, 12)]), draw.choice([0, 0, 0.5])
    mixed, wrong, splits = (
        draw.random() < 0.15,
        draw.choice([0, 0, 0.1]),
        draw.choice([("train", "val"), ("train", "test")]),
    )
    rows, members = ["image,mask,split"], dict.fromkeys(splits, "")
    for number in range(draw.randint(1, 9)):
        split = splits[number % 3 == 1]
        name = f"{draw.choice(['a/', 'b/c/', ''])}p{number}" if draw.random() < 0.2 else f"p{number}"
        words = {"split": split, "TR": "TR" if split == "train" else "TE", "name": name, "end": draw.choice(end)}
        picture, mask = (path.format(**words, mask=draw.choice([".png"] * 9 + [".PNG"])) for path in LAYOUTS[layout])
        save_picture(draw, root / picture, size, turned)
        shown = size[::-1] if picture_turned(root / picture) and draw.random() < 0.7 else size
        save_mask(draw, root / mask, shown, VALUES[draw.choice([*VALUES])] if mixed else values, mode)
        if draw.random() < wrong:
            spoil(draw, root / picture, root / mask)
        rows.append(f"{picture},{mask},{split}")
        members[split] += f"{name}\n"
    for stray in draw.sample(STRAY, draw.choice([0, 0, 2])):
        if (root / stray).parent.is_dir():
            (root / stray).write_text("x")
    if layout == "names":
        for split, names in members.items():
            (root / f"{split}.txt").write_text(names)
    if layout == "table":
        (root / "masks.csv").write_text("\n".join(rows))
    return root / "masks.csv" if layout == "table" and draw.random() < 0.5 else root


def picture_turned(path: Path) -> bool:
    with Image.open(path) as image:
        return image.getexif().get(0x0112, 1) > 4


def task_of(source: Path, drawn_on: str) -> SaliencyTask:
    options = {"embed_dims": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "mlp_ratios": [1, 1, 1, 1]}
    head = {"widths": (8, 8, 8, 8, 8, 8), "extreme": 8, "units": 1}
    model = ModelSettings(name="van", options=options, head_options=head)
    return SaliencyTask(Recipe(model=model, data=DataSettings(str(source), size=32, drawn_on=drawn_on)))


@pytest.mark.parametrize(
    "seeds", [range(100), pytest.param(range(100, 500), marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_check_data_and_fit_say_the_same(tmp_path: Path, seeds: range) -> None:
    outcomes: Counter[str] = Counter()
    for seed in seeds:
        draw, root = random.Random(seed), tmp_path / str(seed)
        root.mkdir()
        source, drawn_on = write_tree(draw, root), draw.choice(["shown", "shown", "stored"])
        try:
            report, found = compare(task_of(source, drawn_on), drawn_on=drawn_on)
        except AssertionError as error:
            raise AssertionError(f"tree {seed}: {error}") from error
        outcomes["not opened" if report is None else "refused" if found.refused else "fine"] += 1
    assert min(outcomes["not opened"] + outcomes["refused"], outcomes["fine"]) > len(seeds) // 4, outcomes
