"""What check-data looks at, what fit trains on and what predict reads are the same pixels, or the same refusal."""

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import volovan
from poses import YOLO_LINE, write_yolo_settings
from volovan.data import check_data, open_source
from volovan.data.errors import BadImage
from volovan.data.images import open_images
from volovan.data.pictures.tensors import Pixels, to_tensor
from volovan.data.source import Source
from volovan.room.ready import Pictures
from volovan.use.recipes import read_recipe
from volovan.use.rooms import ROOMS

SIZE = (12, 10)


def pixels(draw: random.Random, mode: str) -> Image.Image:
    """A picture of a mode, smooth enough for JPEG."""
    colour = Image.new("RGB", SIZE)
    colour.putdata([(x * 20 % 256, y * 25 % 256, draw.randrange(256)) for y in range(SIZE[1]) for x in range(SIZE[0])])
    if mode == "I;16":
        return Image.fromarray(np.asarray(colour.convert("L"), np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(np.asarray(colour.convert("L"), np.float32) / draw.choice([255, 1, 0.001]))
    if mode in ("RGBA", "LA"):
        seen = colour.convert(mode)
        seen.putalpha(Image.frombytes("L", SIZE, draw.randbytes(SIZE[0] * SIZE[1])))
        return seen
    return colour.convert(mode)


FORMATS = [  # (mode, format, suffix)
    ("RGB", "JPEG", ".jpg"), ("L", "JPEG", ".jpg"), ("CMYK", "JPEG", ".jpeg"), ("RGB", "PNG", ".png"),
    ("L", "PNG", ".PNG"), ("LA", "PNG", ".png"), ("RGBA", "PNG", ".png"), ("P", "PNG", ".png"), ("1", "PNG", ".png"),
    ("I;16", "PNG", ".png"), ("RGBA", "WEBP", ".webp"), ("P", "GIF", ".gif"), ("RGB", "BMP", ".bmp"),
    ("I;16", "TIFF", ".tif"), ("F", "TIFF", ".tiff"), ("LAB", "TIFF", ".tif"), ("RGB", "PNG", ".jpg"),
    ("RGB", "JPEG", ".png"),
]  # fmt: skip


def encoded(draw: random.Random) -> tuple[bytes, str]:
    """(content, suffix) of a file as people have them; one of four cannot be used."""
    mode, form, suffix = draw.choice(FORMATS)
    content, options = io.BytesIO(), dict[str, Any]()
    seen = pixels(draw, mode.replace("LAB", "RGB"))
    if mode == "LAB":
        from PIL import ImageCms

        seen = ImageCms.profileToProfile(
            seen, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    if form in ("JPEG", "PNG", "WEBP") and draw.random() < 0.5:
        exif = Image.Exif()
        exif[0x0112] = draw.randrange(0, 10)  # 1 to 8 are turns
        options["exif"] = exif
    if mode == "P" and draw.random() < 0.5:
        options["transparency"] = draw.randrange(256)
    if form in ("GIF", "WEBP") and draw.random() < 0.5:
        options |= {"save_all": True, "append_images": [pixels(draw, mode)]}
    seen.save(content, form, **options)
    data = content.getvalue()
    broken = draw.random()
    if broken < 0.1:
        data = data[: draw.randrange(len(data))]
    elif broken < 0.2:
        data = draw.choice([b"", b"<html>", b"version https://git-lfs.github.com/spec/v1", b"\0" * 40, b"%PDF-1.4"])
    elif broken < 0.25:
        at = draw.randrange(len(data))
        data = data[:at] + draw.randbytes(1) + data[at + 1 :]
    return data, suffix


def write(draw: random.Random, root: Path, kind: str, count: int) -> None:
    """Pictures for a room: in class folders, or with masks or boxes beside them."""
    if kind == "points":
        write_yolo_settings(root)
    for number in range(count):
        data, suffix = encoded(draw)
        folder = root / draw.choice(["cat", "dog"]) if kind == "class" else root / "images"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}{suffix}").write_bytes(data)
        if kind in ("boxes", "points"):
            (root / "labels").mkdir(exist_ok=True)
            line = YOLO_LINE if kind == "points" else f"{draw.randrange(2)} 0.5 0.5 0.6 0.4"
            (root / "labels" / f"{number}.txt").write_text(f"{line}\n")
        elif kind != "class":
            (root / "masks").mkdir(exist_ok=True)
            values = np.random.default_rng(number).integers(0, 2, SIZE[::-1]).astype(np.uint8)
            Image.fromarray(values * (255 if kind == "map" else 1)).save(root / "masks" / f"{number}.png")


def read(source: Source) -> dict[str, np.ndarray | str]:
    """{file: its pixels, or why it cannot be used}."""
    found: dict[str, np.ndarray | str] = {}
    for index in range(len(source)):
        name = Path(source.name(index)).name
        try:
            found[name] = np.asarray(source.load(index))
        except BadImage as error:
            found[name] = str(error).removeprefix(f"{source.name(index)}: ")
    return found


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, which the command line does not show
@pytest.mark.parametrize("kind", sorted({room.kind for room in ROOMS.values()}))
@pytest.mark.parametrize("seed", range(3))
def test_one_reader(tmp_path: Path, kind: str, seed: int) -> None:
    write(random.Random(f"{kind} {seed}"), tmp_path / "data", kind, 40)
    spec = str(tmp_path / "data")
    trained = {**read(open_source(spec, "train", kind=kind)), **read(open_source(spec, "val", kind=kind))}
    predicted = read(open_images([spec], kind))
    looked = {Path(sample.name).name: sample.remark for sample in check_data(spec, kind).broken}
    assert trained.keys() == predicted.keys()
    assert len(trained) == 40
    for name, seen in trained.items():
        if isinstance(seen, str):
            assert predicted[name] == seen
            assert looked[name] == seen
        else:
            assert np.array_equal(seen, predicted[name]), name
            assert (seen.dtype, seen.shape[2]) == (np.uint8, 3)
    refused = {name for name, seen in trained.items() if isinstance(seen, str)}
    assert looked.keys() == refused
    assert 3 <= len(refused) <= 20


def tried(read: Callable[[int], dict[str, Any]], index: int) -> Any:
    """The tensor that a network gets of a sample, or why it gets none: (name, reason)."""
    try:
        return read(index)["image"]
    except BadImage as error:
        return error.name, error.reason


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 30), marks=pytest.mark.slow)], ids=["some", "many"])
def test_networks_get_the_same_tensors_or_the_same_refusal(case: Any, tmp_path: Path, seeds: range) -> None:
    ready: Any = volovan.load(case.run, device="cpu")
    seen, equal = ready.preprocessing, 0
    for seed in seeds:
        root, kind = tmp_path / str(seed), ROOMS[case.room].kind
        write(random.Random(f"{case.room} {seed}"), root, kind, 40)
        words = ["--data.source", str(root)] + (["--augment.crop", "32"] if kind in ("mask", "panoptic") else [])
        data = ROOMS[case.room].task()(read_recipe(case.recipe, words)[0]).build_data()
        pictures = Pictures(open_images([str(root)], ready.kind), ready.transform())
        predicted = {Path(pictures.name(i)).name: pictures.read(i) for i in range(len(pictures))}
        report: Any = check_data(str(root), kind)
        looked = {Path(one.name).name: one.remark for one in report.broken}
        bad = getattr(report, "bad_masks", ()) or getattr(report, "bad_segments", ())
        masks = {one.name: one.remark for one in bad}
        for samples in (data.train, data.val):
            for index in range(len(samples)):
                name, found = Path(samples.name(index)).name, tried(samples.read, index)
                if isinstance(found, tuple) and found[0] in masks:  # the picture is turned, and its mask is not
                    assert found[1] == masks[found[0]]
                elif isinstance(found, tuple):
                    assert found[1] == predicted[name]["error"] == looked[name]
                elif samples is data.train:  # augmented
                    assert "image" in predicted[name]
                else:
                    image, found = (
                        one.normalised()[0]
                        if isinstance(one, Pixels)
                        else to_tensor(one.numpy(), seen.mean, seen.std)
                        if one.dtype == torch.uint8
                        else one
                        for one in (predicted[name]["image"], found)
                    )
                    assert torch.equal(found, image), name
                    equal += 1
    assert equal >= len(seeds)
