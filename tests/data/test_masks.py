"""One mask file: every way to write classes, and every refusal in one sentence with the name of the file."""

import io
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from volovan.data.errors import BadImage, SourceError
from volovan.data.masks.coding import IGNORE, BadMask, Coding, plain_ids, ranges, read_mask
from volovan.data.masks.files import MaskFiles, class_masks
from volovan.data.pairing.partners import Pairs
from volovan.data.pictures.palettes import spread

THREE = Coding(("ground", "cat", "dog"), spread(3), plain_ids(3))
COLOURS = {(0, 0, 0): 0, (255, 0, 0): 1, (0, 0, 255): 2, (9, 9, 9): IGNORE}
COLOURED = Coding(("ground", "cat", "dog"), ((0, 0, 0), (255, 0, 0), (0, 0, 255)), plain_ids(3), COLOURS, "classes.csv")
GRID = np.array([[0, 1, 2, 2, 255], [0, 1, 1, 2, 255]], np.uint8)

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """save(array or picture, name="m.png", **options of Pillow)"""

    def write(pixels: np.ndarray | Image.Image, name: str = "m.png", **options: object) -> Path:
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return write


def refusal(path: Path, coding: Coding = THREE) -> str:
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(BadImage) as caught:
        read_mask(path, path.name, coding)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path.name}: ")
    assert "\n" not in sentence
    assert str(pickle.loads(pickle.dumps(caught.value))) == sentence  # loader processes hand it on
    assert (path.read_bytes() if path.is_file() else b"") == before
    return caught.value.reason


def paletted(values: np.ndarray, colours: list[int]) -> Image.Image:
    image = Image.fromarray(values).convert("L")
    image.putpalette(colours)
    assert image.mode == "P"
    return image


# ---------------------------------------------------------------------------------------------------------------------
# ways to write ids


@pytest.mark.parametrize("name", ["m.png", "m.bmp", "m.tif"])
def test_mask_of_grey_values_holds_ids(save: Save, name: str) -> None:
    mask = read_mask(save(GRID, name), name, THREE)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, GRID)
    mask[0, 0] = 7  # whoever augments may write


def test_mask_of_palette_holds_indices_whatever_the_colours(save: Save) -> None:
    image = paletted(np.where(GRID == 255, 1, GRID), [9, 9, 9, 255, 255, 255, 0, 0, 0])
    assert np.array_equal(read_mask(save(image), "m", THREE), np.where(GRID == 255, 1, GRID))


def test_mask_of_palette_may_be_packed_to_few_bits(save: Save) -> None:
    values = np.array([[0, 1, 2, 1]], np.uint8)
    path = save(paletted(values, [0, 0, 0, 255, 0, 0, 0, 255, 0]), bits=2)
    assert np.array_equal(read_mask(path, "m", THREE), values)


@pytest.mark.parametrize("bits", [2, 4])
def test_mask_of_packed_grey_is_not_spread(tmp_path: Path, bits: int) -> None:
    """Pillow multiplies such values by 85 or 17, which would turn ids 0 1 2 into 0 85 170."""
    values = np.array([[0, 1, 2, 2]], np.uint8)
    path = tmp_path / "m.png"
    path.write_bytes(packed_png(values, bits))
    assert np.asarray(Image.open(path)).max() == 2 * 255 // (2**bits - 1)
    assert np.array_equal(read_mask(path, "m", THREE), values)


def packed_png(values: np.ndarray, bits: int) -> bytes:
    """A grey PNG of one row with so many bits a pixel, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    digits = "".join(f"{value:0{bits}b}" for value in values[0])
    row = bytes(int(digits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(digits), 8))
    header = struct.pack(">IIBBBBB", values.shape[1], 1, bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )


def test_mask_of_one_bit_holds_0_and_1(save: Save) -> None:
    values = np.array([[0, 1], [1, 1]], np.uint8)
    assert np.array_equal(read_mask(save(Image.fromarray(values * 255).convert("1")), "m", THREE), values)


def test_mask_of_sixteen_bits_is_taken_if_its_ids_are_known(save: Save) -> None:
    wide = Coding(("a", "b"), spread(2), {7: 0, 40_000: 1, 65_535: IGNORE})
    values = np.array([[7, 40_000, 65_535]], np.uint16)
    path = save(values)
    assert np.array_equal(read_mask(path, "m", wide), [[0, 1, 255]])
    assert "id 7 in 1 pixels, id 40000 in 1 pixels, id 65535 in 1 pixels, expected 0 to 2" in refusal(path)
    assert np.array_equal(read_mask(save(GRID.astype(np.uint16)), "m", THREE), GRID)


def test_mask_of_equal_channels_holds_ids(save: Save) -> None:
    assert np.array_equal(read_mask(save(np.dstack([GRID] * 3)), "m", THREE), GRID)
    opaque = np.dstack([GRID] * 3 + [np.full_like(GRID, 255)])
    assert np.array_equal(read_mask(save(opaque), "m", THREE), GRID)


def test_mask_of_colours_is_looked_up(save: Save) -> None:
    table = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255], [9, 9, 9]], np.uint8)
    pixels = table[np.where(GRID == 255, 3, GRID)]
    assert np.array_equal(read_mask(save(pixels), "m", COLOURED), GRID)
    opaque = np.dstack([pixels, np.full(GRID.shape, 255, np.uint8)])
    assert np.array_equal(read_mask(save(opaque), "m", COLOURED), GRID)
    assert np.array_equal(read_mask(save(GRID), "m", COLOURED), GRID)  # grey beside colours is ids


def test_mask_in_black_and_white_follows_grey_colours(save: Save) -> None:
    coding = Coding(("hole", "solid"), spread(2), plain_ids(2), {(255, 255, 255): 0, (0, 0, 0): 1}, "classes.csv")
    assert np.array_equal(read_mask(save(np.array([[0, 255]], np.uint8)), "m", coding), [[1, 0]])


def test_every_class_number_survives(save: Save) -> None:
    coding = Coding(tuple(map(str, range(254))), spread(254), plain_ids(254))
    values = np.array([[*range(254), 255]], np.uint8)
    assert np.array_equal(read_mask(save(values), "m", coding), values)
    colours = {(number, 1, 2): number for number in range(254)}
    coded = Coding(coding.classes, coding.palette, {}, colours)
    pixels = np.array([[[number, 1, 2] for number in range(254)]], np.uint8)
    assert np.array_equal(read_mask(save(pixels), "m", coded), values[:, :254])
    with pytest.raises(SourceError, match="255 classes, expected 1 to 254"):
        Coding(tuple(map(str, range(255))), spread(255), plain_ids(255))


# ---------------------------------------------------------------------------------------------------------------------
# refusals


def test_unknown_ids_are_counted(save: Save) -> None:
    values = np.array([[0, 3, 3, 9, 200]], np.uint8)
    path = save(values)
    assert refusal(path) == (
        "id 3 in 2 pixels, id 9 in 1 pixels, id 200 in 1 pixels, expected 0 to 2 (ignored: 255); "
        "mend the mask, or name the id in a classes.txt"
    )
    with pytest.raises(BadMask) as caught:
        read_mask(path, "m.png", THREE)
    assert pickle.loads(pickle.dumps(caught.value)).unknown == ((3, 2), (9, 1), (200, 1))


def test_colours_instead_of_ids_are_refused_with_the_first_of_them(save: Save) -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    pixels[2, 3] = 128, 64, 0
    assert refusal(save(pixels)) == (
        "colours instead of ids, the first is (128, 64, 0) at row 2, column 3; put a classes.csv with the columns "
        "name,r,g,b beside the folders, or save ids as 8-bit PNG"
    )


def test_unknown_colours_are_counted(save: Save) -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    pixels[1, 1:4] = 255, 0, 1
    assert refusal(save(pixels), COLOURED) == (
        "colour (255, 0, 1) at row 1, column 1, in all 3 pixels of a colour that is none of the 4 in classes.csv; "
        "mend the mask, or name the colour in classes.csv"
    )


def test_transparent_masks_are_refused(save: Save) -> None:
    pixels = np.zeros((4, 5, 4), np.uint8)
    for coding in (THREE, COLOURED):
        assert refusal(save(pixels), coding).startswith("transparent pixels, which have no class")


def test_a_palette_that_contradicts_the_colours_is_refused(save: Save) -> None:
    values = np.array([[0, 1, 2]], np.uint8)
    agreeing = save(paletted(values, [0, 0, 0, 255, 0, 0, 0, 0, 255]))
    assert np.array_equal(read_mask(agreeing, "m", COLOURED), values)
    reason = refusal(save(paletted(values, [0, 0, 0, 0, 0, 255, 255, 0, 0])), COLOURED)
    assert reason.startswith("its palette shows index 1 as (0, 0, 255), which classes.csv gives to another class")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("m.jpg", "a mask as JPEG, which changes ids along borders; draw it again and save it as PNG"),
        ("m.webp", "a mask as WEBP, which may change ids; save it as PNG"),
        ("m.gif", "a mask as GIF, which may change ids; save it as PNG"),
        ("m.pgm", "a mask as PPM, which may change ids; save it as PNG"),
    ],
    ids=["jpeg", "webp", "gif", "pgm"],
)
def test_formats_that_change_ids_are_refused(save: Save, name: str, reason: str) -> None:
    assert refusal(save(GRID, name)) == reason


def test_a_tiff_with_jpeg_inside_is_refused(save: Save) -> None:
    path = save(np.zeros((16, 16), np.uint8), "m.tif", compression="jpeg")
    assert "a mask as JPEG" in refusal(path)


def test_floats_and_wide_integers_are_refused(save: Save) -> None:
    assert "pixels of the kind F, expected ids as 8-bit grey or palette PNG" in refusal(
        save(np.zeros((2, 2), np.float32), "m.tif")
    )
    wide = np.array([[0, 70_000]], np.int32)
    assert "ids from 0 to 70000, expected 0 to 65535" in refusal(save(wide, "m.tif"))
    assert "ids from -1 to 0" in refusal(save(np.array([[-1, 0]], np.int32), "m.tif"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"<html>", "a web page (HTML)"),
        (b"version https://git-lfs", "a Git LFS pointer"),
        (None, "there is no such file"),
    ],
    ids=["empty", "page", "pointer", "missing"],
)
def test_files_that_are_no_masks_are_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "m.png"
    if content is not None:
        path.write_bytes(content)
    assert reason in refusal(path)


def test_a_mask_that_is_cut_off_is_refused(save: Save) -> None:
    path = save(np.random.default_rng(0).integers(0, 3, (80, 80), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-300])
    assert "cut off" in refusal(path)


# ---------------------------------------------------------------------------------------------------------------------
# mask and picture


@pytest.fixture
def of_one(tmp_path: Path) -> Callable[..., MaskFiles]:
    """of_one(picture, mask, **options of the picture): a source of one pair."""

    def make(picture: Image.Image, mask: np.ndarray, **options: object) -> MaskFiles:
        picture.save(tmp_path / "a.jpg", **options)
        Image.fromarray(mask).save(tmp_path / "a.png")
        return class_masks(tmp_path, Pairs(("a.jpg",), ("a.png",)), THREE)

    return make


def test_a_mask_of_another_size_is_refused_with_both(of_one: Callable[..., MaskFiles]) -> None:
    source = of_one(Image.new("RGB", (6, 4)), np.zeros((4, 5), np.uint8))
    with pytest.raises(BadImage, match=r"^a\.png: 5 x 4, but a\.jpg is 6 x 4; a mask needs the size of its picture"):
        source.target(0)


def test_exif_turns_pictures_and_the_mask_must_follow(of_one: Callable[..., MaskFiles]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.new("RGB", (6, 4))
    upright = of_one(lying, np.zeros((6, 4), np.uint8), exif=exif)
    assert upright.load(0).size == (4, 6)
    assert upright.target(0).shape == (6, 4)
    with pytest.raises(BadImage, match=r"6 x 4, but a\.jpg is 4 x 6; the picture .* else turn the mask by 90 deg"):
        of_one(lying, np.zeros((4, 6), np.uint8), exif=exif).target(0)


def test_exif_of_the_mask_counts_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: what was left comes up
    values = np.array([[0, 1, 2], [0, 1, 2]], np.uint8)
    Image.fromarray(values).save(tmp_path / "m.png", exif=exif)
    assert np.array_equal(read_mask(tmp_path / "m.png", "m", THREE), np.rot90(values, -1))


def test_mask_files_travel_to_processes(of_one: Callable[..., MaskFiles]) -> None:
    source = of_one(Image.new("RGB", (6, 4)), np.full((4, 6), 2, np.uint8))
    source.target(0)
    copy = pickle.loads(pickle.dumps(source))
    assert (copy.target(0) == 2).all()
    assert len(pickle.dumps(source)) < 10_000  # the lookup tables stay at home
    with pytest.raises(BadImage):
        MaskFiles(source.root, Pairs(("gone.jpg",), ("a.png",)), source.reader).target(0)


def test_reading_a_mask_is_fast(save: Save) -> None:
    """Lookup tables: a mask of CamVid's size in a few milliseconds, most of which is the PNG. Best of ten."""
    values = np.kron(np.random.default_rng(0).integers(0, 3, (36, 48), dtype=np.uint8), np.ones((10, 10), np.uint8))
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)[values]
    for path, coding in ((save(values), THREE), (save(colours, "c.png"), COLOURED)):
        read_mask(path, "m", coding)
        spans = []
        for _ in range(10):
            start = time.process_time()
            read_mask(path, "m", coding)
            spans.append(time.process_time() - start)
        assert min(spans) < 0.03


def test_ranges_are_short() -> None:
    assert ranges([]) == ""
    assert ranges([2, 0, 1, 7, 9, 10]) == "0 to 2, 7, 9 to 10"
    assert ranges(list(range(0, 100, 2))) == "0, 2, 4, 6, 8, 10, 12, 14 ... 98"


def test_palettes_differ() -> None:
    assert len(set(spread(254))) == 254
    assert spread(5) == spread(9)[:5]
    image = io.BytesIO()
    paletted(np.zeros((1, 1), np.uint8), [channel for colour in spread(256) for channel in colour]).save(image, "PNG")
