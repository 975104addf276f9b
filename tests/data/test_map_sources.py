"""Layouts of pictures with saliency masks, the values that masks may hold, and the pack where it is."""

import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from volovan.data.checks.recognise import recognise
from volovan.data.errors import BadImage, SourceError
from volovan.data.masks.maps import read_map
from volovan.data.samples import take
from volovan.data.source import Source
from volovan.data.sources import list_splits, open_source

Jpeg = Callable[..., bytes]
Lay = Callable[..., None]
SIZE = (12, 9)
open_maps, list_maps = partial(open_source, kind="map"), partial(list_splits, kind="map")
PACKS = os.environ.get("VOLOVAN_DATA", "")
SOFT = np.resize(np.array([0, 77, 255], np.uint8), SIZE[::-1])


@pytest.fixture
def lay(tmp_path: Path, jpeg: Jpeg) -> Lay:
    """lay("a/b.jpg", "c/b.png", mask): a picture and its mask, either of which may be left out with ""."""

    def make(picture: str, mask: str = "", values: np.ndarray = SOFT) -> None:
        for path in filter(None, (picture, mask)):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        if picture:
            (tmp_path / picture).write_bytes(jpeg(len(picture), SIZE))
        if mask:
            Image.fromarray(values).save(tmp_path / mask)

    return make


def held(source: Source[np.ndarray]) -> list[tuple[str, list[int]]]:
    copy = pickle.loads(pickle.dumps(source))
    assert all(copy.load(index).size == SIZE for index in range(len(copy)))
    return [(copy.name(index), np.unique(copy.target(index)).tolist()) for index in range(len(copy))]


# ---------------------------------------------------------------------------------------------------------------------
# layouts


def test_duts(tmp_path: Path, lay: Lay) -> None:
    lay("DUTS-TR/DUTS-TR-Image/a.jpg", "DUTS-TR/DUTS-TR-Mask/a.png")
    lay("DUTS-TE/DUTS-TE-Image/b.jpg", "DUTS-TE/DUTS-TE-Mask/b.png")
    assert list_maps(tmp_path) == ("train", "test")
    assert held(open_maps(tmp_path, "train")) == [("DUTS-TR/DUTS-TR-Image/a.jpg", [0, 77, 255])]
    val = open_maps(tmp_path, "val")
    assert held(val)[0][0] == "DUTS-TE/DUTS-TE-Image/b.jpg"
    assert "test is used in its place" in val.note
    assert held(open_maps(tmp_path / "DUTS-TR", "train"))[0][0] == "DUTS-TR-Image/a.jpg"
    assert list_maps(tmp_path / "DUTS-TE") == ("test",)
    assert recognise(str(tmp_path)) == ("map", "")


@pytest.mark.parametrize(
    ("pictures", "masks", "split"),
    [
        ("DUT-OMRON-image", "pixelwiseGT-new-PNG", "test"),
        ("datasets/imgs/pascal", "datasets/masks/pascal", "test"),
        ("images", "ground_truth_mask", "test"),
        ("imgs", "gt", None),
        ("Imgs", "GT", None),
        ("Img", "GT", None),
        ("image", "mask", None),
    ],
    ids=["dut-omron", "pascal-s", "ecssd", "hku-is", "pascal-s-copies", "copies", "plain"],
)
def test_sets_to_be_scored_on(tmp_path: Path, lay: Lay, pictures: str, masks: str, split: str | None) -> None:
    lay(f"{pictures}/0001.jpg", f"{masks}/0001.png")
    assert list_maps(tmp_path) == ((split,) if split else ())
    assert held(open_maps(tmp_path, split)) == [(f"{pictures}/0001.jpg", [0, 77, 255])]
    assert recognise(str(tmp_path))[0] == "map" if split else True


@pytest.mark.parametrize(
    "form", ["image/{}/a.jpg mask/{}/a.png", "{}/image/a.jpg {}/mask/a.png"], ids=["below", "above"]
)
def test_plain_folders_may_have_splits(tmp_path: Path, lay: Lay, form: str) -> None:
    for split in ("train", "val"):
        lay(*form.format(split, split).split())
    assert list_maps(tmp_path) == ("train", "val")
    assert len(open_maps(tmp_path)) == 2
    assert held(open_maps(tmp_path, "val"))[0][0] == form.format("val", "val").split()[0]


def test_masks_with_lists_find_their_pictures_next_door(tmp_path: Path, lay: Lay) -> None:
    for name in ("1", "2", "3"):
        lay(f"photos/images/{name}.jpg", f"salient/mask/{name}.png")
    lay("photos/images/more.jpg")
    lay("others/images/1.jpg")  # lacks two of them
    (tmp_path / "salient" / "train.txt").write_text("3\n1\n")
    (tmp_path / "salient" / "val.txt").write_text("2\n")
    train = open_maps(tmp_path / "salient", "train")
    assert held(train) == [("photos/images/3.jpg", [0, 77, 255]), ("photos/images/1.jpg", [0, 77, 255])]
    (tmp_path / "link").symlink_to(tmp_path / "salient")
    assert held(open_maps(tmp_path / "link", "val"))[0][0] == "photos/images/2.jpg"
    for name in ("2", "3"):
        lay(f"others/images/{name}.jpg")
    with pytest.raises(
        SourceError, match=r"exactly one must hold all 3 .* found .*others/images and .*photos/images; put"
    ):
        open_maps(tmp_path / "salient", "train")
    (tmp_path / "salient" / "val.txt").write_text("gone\n")
    with pytest.raises(SourceError, match=r"found none; put an images folder into .* or write a masks\.csv"):
        open_maps(tmp_path / "salient", "train")
    rows = ("image,mask,split", "../photos/images/1.jpg,mask/1.png,train", "../photos/images/2.jpg,mask/2.png,val")
    (tmp_path / "salient" / "masks.csv").write_text("\n".join(rows))
    assert held(open_maps(tmp_path / "salient", "train"))[0][0] == "photos/images/1.jpg"  # never begins with ../


def test_salient_shapes_are_a_source() -> None:
    source = open_maps("shapes:3@64x48", "val")
    assert source.target(0).shape == (48, 64)
    assert set(np.unique(source.target(0))) == {0, 255}
    assert list_maps("shapes") == ("train", "val")


def test_parts_work_without_classes(tmp_path: Path, lay: Lay) -> None:
    for number in range(20):
        lay(f"image/{number}.jpg", f"mask/{number}.png")
    train, val = open_maps(tmp_path, "train"), open_maps(tmp_path, "val")
    assert len(train) + len(val) == 20
    assert "held out as val" in val.note
    assert len(held(take(train, 3))) == 3


# ---------------------------------------------------------------------------------------------------------------------
# values


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(SOFT),
        Image.fromarray(SOFT.astype(np.uint16) * 257),
        Image.fromarray(np.dstack([SOFT] * 3)),
        Image.fromarray(np.dstack([SOFT] * 3 + [np.full_like(SOFT, 255)])),
    ],
    ids=["grey", "16 bits", "equal channels", "opaque"],
)
def test_soft_values_are_kept(tmp_path: Path, image: Image.Image) -> None:
    image.save(tmp_path / "m.png")
    mask = read_map(tmp_path / "m.png", "m")
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, SOFT)


def test_one_bit_and_grey_palettes_are_black_and_white(tmp_path: Path) -> None:
    hard = np.where(SOFT > 100, 255, 0).astype(np.uint8)
    Image.fromarray(hard).convert("1").save(tmp_path / "bit.png")
    palette = Image.fromarray(hard // 255)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.save(tmp_path / "palette.png")
    for name in ("bit.png", "palette.png"):
        assert np.array_equal(read_map(tmp_path / name, name), hard)


def test_an_alpha_channel_is_a_matte(tmp_path: Path) -> None:
    white, photo = np.full((*SOFT.shape, 3), 255, np.uint8), np.random.default_rng(0).integers(0, 256, (*SOFT.shape, 3))
    for colours in (white, photo.astype(np.uint8), np.dstack([np.where(SOFT > 0, 255, 0).astype(np.uint8)] * 3)):
        Image.fromarray(np.dstack([colours, SOFT])).save(tmp_path / "m.png")
        assert np.array_equal(read_map(tmp_path / "m.png", "m"), SOFT)
    Image.fromarray(np.dstack([white[..., 0], SOFT])).save(tmp_path / "m.png")  # grey and alpha
    assert np.array_equal(read_map(tmp_path / "m.png", "m"), SOFT)


def test_jpeg_is_soft(tmp_path: Path) -> None:
    hard = np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((16, 16), np.uint8))
    Image.fromarray(hard).save(tmp_path / "m.jpg")
    assert np.abs(read_map(tmp_path / "m.jpg", "m").astype(int) - hard).max() < 20


def test_masks_of_0_and_1_are_scaled_and_said(tmp_path: Path, lay: Lay) -> None:
    for number in range(3):
        lay(f"image/{number}.jpg", f"mask/{number}.png", np.where(SOFT > 100, 1, 0).astype(np.uint8))
    source = open_maps(tmp_path)
    assert source.note == "The masks hold 0 and 1: 1 counts as 255."
    assert [values for _, values in held(source)] == [[0, 255]] * 3
    Image.fromarray(SOFT).save(tmp_path / "mask" / "1.png")
    with pytest.raises(
        BadImage, match=r"^mask/0\.png: values 0 and 1, where other masks go up to 255; multiply it by 255"
    ):
        open_maps(tmp_path).target(0)
    with pytest.raises(
        BadImage, match=r"^mask/1\.png: values up to 255, where other masks hold 0 and 1; save all masks"
    ):
        source.target(1)


def test_empty_and_full_masks_are_fine(tmp_path: Path, lay: Lay) -> None:
    lay("image/0.jpg", "mask/0.png", np.zeros(SIZE[::-1], np.uint8))
    lay("image/1.jpg", "mask/1.png", np.full(SIZE[::-1], 255, np.uint8))
    assert [values for _, values in held(open_maps(tmp_path))] == [[0], [255]]


def test_masks_that_are_not_grey_are_refused(tmp_path: Path) -> None:
    pixels = np.zeros((5, 6, 3), np.uint8)
    pixels[4, 2] = 200, 0, 0
    Image.fromarray(pixels).save(tmp_path / "m.png")
    with pytest.raises(BadImage, match=r"^m: colour \(200, 0, 0\) at row 4, column 2, expected grey from 0 to 255"):
        read_map(tmp_path / "m.png", "m")
    Image.fromarray(np.dstack([SOFT] * 3 + [255 - SOFT // 2])).save(tmp_path / "m.png")
    with pytest.raises(BadImage, match=r"^m: a grey mask in its colours and another one in its alpha channel"):
        read_map(tmp_path / "m.png", "m")
    Image.fromarray(np.array([[0, 70_000]], np.int32)).save(tmp_path / "m.tif")
    with pytest.raises(BadImage, match=r"^m: grey values from 0 to 70000; save it with 8 bits"):
        read_map(tmp_path / "m.tif", "m")


def test_partners_sizes_and_unknown_folders_are_refused(tmp_path: Path, lay: Lay) -> None:
    lay("image/a.jpg", "mask/a.png", SOFT[:5])
    with pytest.raises(BadImage, match=r"^mask/a\.png: 12 x 5, but image/a\.jpg is 12 x 9"):
        open_maps(tmp_path).target(0)
    lay("image/b.jpg")
    with pytest.raises(SourceError, match=r"^image/b\.jpg has no mask in mask; add"):
        open_maps(tmp_path)
    with pytest.raises(SourceError, match="is no source of pictures with masks of what is salient"):
        open_maps(tmp_path / "image")
    with pytest.raises(SourceError, match="there is no such file or folder"):
        open_maps(tmp_path / "gone")


@pytest.mark.skipif(not PACKS, reason="VOLOVAN_DATA is not set")
def test_saliency_pack() -> None:
    folder = Path(PACKS, "saliency")
    train, val = open_maps(folder, "train"), open_maps(folder, "val")
    assert (len(train), len(val)) == (99, 93)
    assert train.name(0) == "coco_tiny/images/000000000009.jpg"
    for index in range(0, 99, 25):
        assert set(np.unique(train.target(index))) == {0, 255}
        assert train.target(index).shape == train.load(index).size[::-1]
    assert recognise(str(folder))[0] == "map"
