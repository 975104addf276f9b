"""volovan.pack: what is packed is there again, smaller, with its targets, and what was damaged since is named."""

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import volovan
from annotating import picture
from commands import refused, run
from volovan.data import open_source
from volovan.data.checks.recognise import recognise
from volovan.data.images import open_images
from volovan.data.objects.annotated import Annotated
from volovan.data.objects.shapes import Polygons, Raster
from volovan.data.packs.targets import decode, encode, resized
from volovan.data.panoptic.segments import Panoptic
from volovan.labels.keys import label_key

TASKS = {"segment": "mask", "saliency": "map", "detect": "boxes", "pose": "points", "panoptic": "panoptic"}


def photograph(path, width, height, seed=0, **how):
    """A smooth JPEG, which survives being made smaller."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=95, **how)


@pytest.fixture
def folder(tmp_path):
    """Two classes in two splits, of several sizes; names that meet, dots and spaces in them."""
    root = tmp_path / "data"
    for seed, name in enumerate(("train/cat/a b.jpg", "train/cat/x.y.jpg", "train/dog/a.jpg", "val/cat/a.jpg")):
        photograph(root / name, 640, 480, seed)
    photograph(root / "train/dog/small.jpg", 100, 70, 9)
    Image.new("RGB", (40, 30), (10, 200, 90)).save(root / "train/dog/a.png")
    return root


def equal(one, other):
    """Whether two targets say the same, places in files aside."""
    if isinstance(one, Annotated):
        arrays = ("boxes", "labels", "crowd", "areas", "points")
        same = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays if name != "points")
        points = one.points is other.points is None or np.array_equal(one.points, other.points)
        return same and points and all(map(alike, one.shapes, other.shapes))
    if isinstance(one, Panoptic):
        return np.array_equal(one.ids, other.ids) and one.segments == other.segments
    return np.array_equal(one, other)


def alike(one, other):
    if isinstance(one, Polygons):
        return all(map(np.array_equal, one.parts, other.parts))
    if isinstance(one, Raster):
        return (one.x, one.y) == (other.x, other.y) and np.array_equal(one.mask, other.mask)
    return one is other is None


def by_key(source):
    return {label_key(source.name(index)): index for index in range(len(source))}


# ---- what comes back


@pytest.mark.parametrize(("task", "kind"), TASKS.items())
def test_targets_of_every_kind_come_back_as_they_were(tmp_path, task, kind):
    made = volovan.pack("shapes:12@96x64", tmp_path / "pack", task=task, workers=0)
    assert made.pictures == {"train": 12, "val": 2}
    assert recognise(str(tmp_path / "pack")) == (kind, "")
    for split in made.pictures:
        whole, packed = (open_source(spec, split, kind) for spec in ("shapes:12@96x64", tmp_path / "pack"))
        assert (packed.kind, packed.classes) == (whole.kind, whole.classes)
        for name in ("palette", "things", "skeleton"):
            assert getattr(packed, name, ()) == (getattr(whole, name, None) or getattr(packed, name, ()))
        places = by_key(packed)
        for index in range(len(whole)):
            other = places[label_key(whole.name(index))]
            assert np.array_equal(np.asarray(packed.load(other)), np.asarray(whole.load(index)))
            assert packed.picture_size(other) == whole.load(index).size
            assert equal(whole.target(index), packed.target(other))


def test_class_folders_come_back_with_their_splits_and_small_pictures_byte_for_byte(folder, tmp_path):
    made = volovan.pack(folder, tmp_path / "pack", size=120, workers=0)
    assert made.pictures == {"train": 5, "val": 1}
    packed = open_source(tmp_path / "pack", "train")
    assert packed.classes == ("cat", "dog")
    places = {packed.name(index).partition("/")[2]: index for index in range(len(packed))}
    assert set(places) == {"cat/a b.jpg", "cat/x.jpg", "dog/a.jpg", "dog/a~2.png", "dog/small.jpg"} or set(places) == {
        *("cat/a b.jpg", "cat/x.jpg", "dog/a~2.jpg", "dog/a.png", "dog/small.jpg")
    }
    assert {name: packed.target(index) for name, index in places.items()} == {
        name: 0 if name.startswith("cat") else 1 for name in places
    }
    assert packed.raw(places["dog/small.jpg"]) == (folder / "train/dog/small.jpg").read_bytes()
    png = next(name for name in places if name.endswith(".png"))
    assert packed.raw(places[png]) == (folder / "train/dog/a.png").read_bytes()
    view = packed.load(places["cat/a b.jpg"])
    assert view.size == (160, 120)
    with Image.open(folder / "train/cat/a b.jpg") as whole:
        expected = np.asarray(whole.resize((160, 120), Image.Resampling.BICUBIC), float)
    assert np.abs(np.asarray(view, float) - expected).mean() < 2  # of 255: JPEG


def test_a_pack_of_classes_is_what_other_readers_of_webdataset_expect(folder, tmp_path):
    volovan.pack(folder, tmp_path / "pack", workers=0)
    with tarfile.open(tmp_path / "pack" / "train-000000.tar") as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}
    keys = {name.partition(".")[0] for name in members}
    assert len(members) == 2 * len(keys) == 10
    assert all(int(members[f"{key}.cls"]) == ("cat", "dog").index(key.partition("/")[0]) for key in keys)
    shards = open_source(str(tmp_path / "pack" / "*.tar"), "train")  # without pack.json: shards like any others
    assert (len(shards), shards.classes) == (5, ("cat", "dog"))


def test_objects_shrink_with_their_picture(tmp_path):
    picture(tmp_path / "data/images/a.png", (400, 300))
    corners = [40.0, 60.0, 200.0, 60.0, 200.0, 240.0]
    said = {"bbox": [40, 60, 160, 180], "segmentation": [corners], "area": 14400.0}
    entry = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, **said}
    text = {
        "images": [{"id": 1, "file_name": "a.png", "width": 400, "height": 300}],
        "annotations": [entry],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "data/annotations").mkdir()
    for split in ("train", "val"):
        (tmp_path / f"data/annotations/instances_{split}.json").write_text(json.dumps(text))
    volovan.pack(tmp_path / "data", tmp_path / "pack", task="detect", size=150, workers=0)
    packed = open_source(tmp_path / "pack", "train", "boxes")
    (target,) = (packed.target(0),)
    assert packed.load(0).size == (200, 150)
    assert target.boxes.tolist() == [[20, 30, 100, 120]]
    assert target.areas.tolist() == [3600]
    assert np.array_equal(target.shapes[0].parts[0], np.array(corners).reshape(-1, 2) / 2)


def test_a_turned_photograph_is_upright_and_small(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(tmp_path / "data/cat/a.jpg", 800, 600, exif=exif)
    photograph(tmp_path / "data/dog/a.jpg", 60, 40, exif=exif)
    for name in ("b", "c", "d"):
        photograph(tmp_path / f"data/dog/{name}.jpg", 60, 40)
    volovan.pack(tmp_path / "data", tmp_path / "pack", size=100, workers=0)
    packed = open_source(tmp_path / "pack")
    sizes = {packed.name(index).partition("/")[2]: packed.load(index).size for index in range(len(packed))}
    assert sizes["cat/a.jpg"] == (100, 133)
    assert sizes["dog/a.jpg"] == (40, 60)


@pytest.mark.parametrize("column", ["labels", "value:width,value:height"])
def test_several_labels_and_numbers_come_back(tmp_path, column):
    rows = ["image," + column]
    for number in range(12):
        photograph(tmp_path / f"data/{number}.jpg", 64, 48, number)
        cells = ("cat|dog" if number % 3 else "cat") if column == "labels" else f"{number / 7},{number}"
        rows.append(f"{number}.jpg,{cells}")
    (tmp_path / "data/list.csv").write_text("\n".join(rows) + "\n")
    whole = open_source(tmp_path / "data/list.csv", "val")
    volovan.pack(tmp_path / "data/list.csv", tmp_path / "pack", workers=0)
    packed = open_source(tmp_path / "pack", "val", whole.kind)
    assert (packed.kind, packed.classes, len(packed)) == (whole.kind, whole.classes, len(whole))
    assert all(np.array_equal(packed.target(index), whole.target(index)) for index in range(len(whole)))


def test_pictures_of_a_pack_can_be_looked_at_whatever_its_targets_are(tmp_path):
    volovan.pack("shapes:8@64x64", tmp_path / "pack", task="detect", workers=0)
    seen = open_images([str(tmp_path / "pack")])
    assert len(seen) == 9
    assert {seen.load(index).size for index in range(9)} == {(64, 64)}


def test_shards_have_the_size_that_was_asked_for_and_processes_change_nothing(tmp_path):
    for number in range(24):
        draw = np.random.default_rng(number)
        path = tmp_path / f"data/{'cat' if number % 2 else 'dog'}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (256, 256, 3), np.uint8)).save(path)
    made = [volovan.pack(tmp_path / "data", tmp_path / f"pack{n}", shard_mb=1, workers=n) for n in (0, 2)]
    shards = [sorted(path for path in one.folder.glob("train-*.tar")) for one in made]
    assert len(shards[0]) > 3
    assert all(path.stat().st_size < 1.3 * 2**20 for path in shards[0])
    assert [path.read_bytes() for path in shards[0]] == [path.read_bytes() for path in shards[1]]


# ---- the command line


def test_command_packs_and_what_it_packed_trains_and_scores(folder, tmp_path, capsys):
    for seed in range(12):
        photograph(folder / f"train/{'cat' if seed % 2 else 'dog'}/more{seed}.jpg", 90, 60, seed + 20)
    out, _ = run(capsys, "pack", folder, "--out", tmp_path / "pack", "--size", "64")
    assert "packed 17 of train, 1 of val" in out
    assert "read again and found whole" in out
    words = [
        "--data.source",
        tmp_path / "pack",
        "--data.size",
        "32",
        "--train.max_steps",
        "2",
        "--train.batch_size",
        "4",
    ]
    run(capsys, "fit", "digits_van", *words, "--train.workers", "0", "--out", tmp_path / "run")
    run(capsys, "validate", tmp_path / "run", "--data", tmp_path / "pack", "--out", tmp_path / "judged")
    run(capsys, "check-data", tmp_path / "pack", "--out", tmp_path / "checked")


def test_a_picture_that_cannot_be_read_stops_or_is_left_out(folder, tmp_path, capsys):
    (folder / "train/cat/torn.jpg").write_bytes((folder / "train/cat/a b.jpg").read_bytes()[:3000])
    said = refused(capsys, "pack", folder, "--out", tmp_path / "pack", "--workers", "0")
    assert "torn.jpg" in said
    assert "--on-bad skip" in said
    assert not (tmp_path / "pack").exists()
    assert not list(tmp_path.glob(".*.part"))
    out, _ = run(capsys, "pack", folder, "--out", tmp_path / "pack", "--workers", "0", "--on-bad", "skip", status=1)
    assert "1 picture(s) could not be read" in out
    assert len(open_source(tmp_path / "pack", "train")) == 5


def test_nothing_of_a_user_is_replaced(folder, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    said = refused(capsys, "pack", folder, "--out", tmp_path / "mine")
    assert "is there already" in said
    assert os.listdir(tmp_path / "mine") == ["notes.txt"]
    said = refused(capsys, "pack", folder, "--out", tmp_path / "mine/notes.txt")
    assert "is there already" in said
    said = refused(capsys, "pack", folder, "--out", folder / "train")
    assert "is there already" in said


@pytest.mark.parametrize(
    ("words", "about"),
    [(["--size", "-1"], "--size"), (["--quality", "0"], "--quality"), (["--shard-mb", "0"], "--shard-mb")],
)
def test_settings_that_mean_nothing_are_refused(folder, tmp_path, capsys, words, about):
    assert about in refused(capsys, "pack", folder, "--out", tmp_path / "pack", *words)


# ---- what a hostile tester found


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF", "PPM", "MPO", "JPEG", "PNG", "WEBP"])
def test_what_is_not_made_smaller_loses_nothing_whatever_its_format(tmp_path, kind):
    draw = np.random.default_rng(0)
    for name in ("cat/a", "cat/b", "dog/a", "dog/b"):
        path = tmp_path / f"data/{name}.{kind.lower() if kind != 'MPO' else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(draw.integers(0, 256, (20, 30, 3), np.uint8))
        image.save(path, kind, **({"save_all": True, "append_images": [image]} if kind == "MPO" else {}))
    volovan.pack(tmp_path / "data", tmp_path / "pack", size=0, workers=0)
    for split in ("train", "val"):
        whole, packed = open_source(tmp_path / "data", split), open_source(tmp_path / "pack", split)
        places = by_key(packed)
        for index in range(len(whole)):
            other = places[label_key(whole.name(index))]
            assert np.array_equal(np.asarray(whole.load(index)), np.asarray(packed.load(other)))
            if kind in ("MPO", "JPEG", "PNG", "WEBP"):
                assert packed.raw(other) == whole.raw(index)


def test_a_picture_that_is_too_long_for_a_jpeg_is_packed(folder, tmp_path):
    Image.new("RGB", (66_000, 12)).save(folder / "train/dog/long.bmp")
    volovan.pack(folder, tmp_path / "pack", size=10, workers=0)
    packed = open_source(tmp_path / "pack", "train")
    assert packed.picture_size(by_key(packed)["dog/long"])[1] == 10


def test_a_link_to_a_new_place_is_followed(folder, tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "real")
    volovan.pack(folder, tmp_path / "dangling", workers=0)
    assert (tmp_path / "real/pack.json").is_file()
    assert (tmp_path / "dangling").is_symlink()


def test_a_pack_that_fails_leaves_no_folder_above_it(folder, tmp_path):
    (folder / "train/cat/torn.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"torn\.jpg"):
        volovan.pack(folder, tmp_path / "deep/er/pack", workers=0)
    assert not (tmp_path / "deep").exists()


def test_what_killed_calls_have_left_goes_with_the_next_one(folder, tmp_path):
    rest, alive = tmp_path / ".pack.999999999.part", tmp_path / f".pack.{os.getppid()}.part"
    for path in (rest, alive):
        path.mkdir()
        (path / "train-000000.tar").write_bytes(b"much")
    volovan.pack(folder, tmp_path / "pack", workers=0)
    assert not rest.exists()
    assert alive.exists()


def test_a_signal_to_end_leaves_nothing(tmp_path):
    words = ["pack", "generated:2x4000@256x256", "--out", str(tmp_path / "pack"), "--workers", "1"]
    with subprocess.Popen([sys.executable, "-m", "volovan", *words], stderr=subprocess.PIPE, text=True) as running:
        for _ in range(600):
            if list(tmp_path.glob(".pack.*.part/train-*.tar")):
                break
            time.sleep(0.1)
        running.terminate()
        _, said = running.communicate(timeout=60)  # which waits for loader processes too
    assert running.returncode == 130
    assert "interrupted" in said
    assert not list(tmp_path.iterdir())


def test_notes_of_a_source_go_along(tmp_path):
    volovan.pack("shapes:8@64x64", tmp_path / "pack", task="detect", workers=0)
    assert "scenes are drawn" in open_source(tmp_path / "pack", "train", "boxes").note


def test_a_single_picture_can_be_packed(tmp_path):
    photograph(tmp_path / "one.jpg", 60, 40)
    made = volovan.pack(tmp_path / "one.jpg", tmp_path / "pack", workers=0)
    assert made.pictures == {"train": 1}


# ---- targets alone


@pytest.mark.parametrize("seed", range(20))
def test_pixels_of_objects_come_back_exactly(seed):
    draw = np.random.default_rng(seed)
    shapes = [
        Raster(draw.random((int(draw.integers(1, 9)), int(draw.integers(1, 9)))) < draw.random(), 3, 5),
        Raster(np.zeros((0, 0), bool)),
        Polygons((draw.random((3, 2)) * 50, draw.random((5, 2)) * 50)),
        None,
    ]
    count = len(shapes)
    target = Annotated(
        draw.random((count, 4)) * 60,
        draw.integers(0, 9, count),
        draw.random(count) < 0.5,
        draw.random(count) * 1e5,
        tuple(shapes),
        points=draw.random((count, 4, 3)),
    )
    again = decode("points", encode("points", target, ()), (), 4)
    assert equal(target, again)
    assert [shape is None for shape in again.shapes] == [False, False, False, True]


def test_segments_that_vanish_in_a_smaller_picture_are_left_out():
    source = open_source("shapes:4@128x128", "train", "panoptic")
    for index in range(4):
        small = resized("panoptic", source.target(index), (128, 128), (12, 12))
        assert {segment.id for segment in small.segments} == {*np.unique(small.ids).tolist()} - {0}


def test_files_of_a_pack_are_plain(tmp_path):
    volovan.pack("digits", tmp_path / "pack", workers=0)
    names = {Path(name).name for name in os.listdir(tmp_path / "pack")}
    assert names == {"pack.json", "classes.txt", "train.npz", "train-000000.tar", "val.npz", "val-000000.tar"}
    with tarfile.open(tmp_path / "pack/train-000000.tar") as archive:
        first = archive.next()
        assert Image.open(io.BytesIO(archive.extractfile(first).read())).size == (8, 8)
