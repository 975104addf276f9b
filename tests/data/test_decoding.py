"""Hostile pictures, all made here: each is decoded to the right pixels, or refused in one sentence."""

import hashlib
import os
import pickle
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from hostile import (
    BLACK,
    BLUE,
    GREEN,
    ODD_TURN,
    RED,
    WHITE,
    adobe_cmyk,
    big_endian_tiff,
    corners,
    encoded,
    flat,
    flipped,
    frames,
    huge_bmp,
    jpeg_with_exif,
    noise,
    palette,
    png,
    sixteen,
    tiff,
    tiff_lab,
    turned,
)
from volovan.data import BadImage, decode

GREYS = [(0,) * 3, (1,) * 3, (128,) * 3, (255,) * 3]
HALF_WHITE_RED = (255, 127, 127)


def is_corners(image: Image.Image) -> None:
    assert image.size == (16, 8)
    for place, colour in (((2, 1), RED), ((13, 1), GREEN), ((2, 6), BLUE), ((13, 6), WHITE)):
        assert np.abs(np.subtract(image.getpixel(place), colour)).max() <= 30, (place, image.getpixel(place))


# fmt: off
# name: (bytes, {place: colour}, tolerance)
DECODED: dict[str, tuple[Callable[[], bytes], dict[tuple[int, int], tuple[int, ...]], int]] = {
    "rgb.png": (lambda: encoded(corners(), "PNG"), {(0, 0): RED, (15, 0): GREEN, (0, 7): BLUE, (15, 7): WHITE}, 0),
    "grey.png": (lambda: encoded(flat(77, "L"), "PNG"), {(3, 3): (77,) * 3}, 0),
    "grey.jpg": (lambda: encoded(flat(77, "L"), "JPEG"), {(3, 3): (77,) * 3}, 1),
    "one-bit.png": (lambda: encoded(flat(1, "1"), "PNG"), {(3, 3): WHITE}, 0),
    "one-bit.tif": (lambda: encoded(flat(1, "1"), "TIFF", compression="group4"), {(3, 3): WHITE}, 0),
    "palette.png": (palette, {(0, 0): RED, (7, 0): BLUE}, 0),
    "palette-one-transparent.png": (lambda: palette(1), {(0, 0): WHITE, (7, 0): BLUE}, 0),
    "palette-half-transparent.png": (
        lambda: palette(bytes([255, 128, 0])),
        {(0, 0): HALF_WHITE_RED, (7, 0): WHITE},
        1,
    ),
    "rgba.png": (lambda: encoded(flat((255, 0, 0, 128), "RGBA"), "PNG"), {(0, 0): HALF_WHITE_RED}, 1),
    "rgba-invisible.webp": (
        lambda: encoded(flat((9, 99, 9, 0), "RGBA"), "WEBP", lossless=True, exact=True),
        {(0, 0): WHITE},
        0,
    ),
    "grey-alpha.png": (lambda: encoded(flat((0, 0), "LA"), "PNG"), {(0, 0): WHITE}, 0),
    "rgba.tif": (lambda: encoded(flat((0, 0, 0, 0), "RGBA"), "TIFF"), {(0, 0): WHITE}, 0),
    "colour-key.png": (
        lambda: encoded(corners(), "PNG", transparency=RED),
        {(0, 0): WHITE, (15, 0): GREEN},
        0,
    ),
    "cmyk.jpg": (adobe_cmyk, {(3, 3): RED}, 3),
    "cmyk.tif": (lambda: encoded(flat((0, 255, 255, 0), "CMYK"), "TIFF"), {(3, 3): RED}, 0),
    "ycbcr.tif": (lambda: encoded(flat(RED).convert("YCbCr"), "TIFF"), {(3, 3): RED}, 3),
    "lab.tif": (tiff_lab, {(3, 3): WHITE}, 2),
    "sixteen.png": (lambda: sixteen("PNG"), {(x, 0): grey for x, grey in enumerate(GREYS)}, 0),
    "sixteen.tif": (lambda: sixteen("TIFF"), {(x, 0): grey for x, grey in enumerate(GREYS)}, 0),
    "sixteen-in-32.tif": (lambda: sixteen("TIFF", "I"), {(x, 0): grey for x, grey in enumerate(GREYS)}, 0),
    "sixteen-big-endian.tif": (big_endian_tiff, {(x, 0): grey for x, grey in enumerate(GREYS)}, 0),
    "sixteen.pgm": (
        lambda: b"P5\n4 1\n65535\n" + struct.pack(">4H", 0, 257, 32896, 65535),
        {(x, 0): grey for x, grey in enumerate(GREYS)},
        0,
    ),
    "sixteen-rgb.png": (
        lambda: png(1, 1, 16, 2, b"\0" + struct.pack(">3H", 65535, 32896, 0)),
        {(0, 0): (255, 128, 0)},
        0,
    ),
    "float.tif": (
        lambda: tiff(np.array([[0, 1 / 255, 128 / 255, 1]], np.float32)),
        {(x, 0): grey for x, grey in enumerate(GREYS)},
        0,
    ),
    "float-255.tif": (lambda: tiff(np.array([[0, 1, 128, 255]], np.float32)), {(0, 0): BLACK, (3, 0): WHITE}, 0),
    "animated.gif": (lambda: frames("GIF"), {(3, 3): RED}, 0),
    "animated.webp": (lambda: frames("WEBP"), {(3, 3): RED}, 0),
    "animated.png": (lambda: frames("PNG"), {(3, 3): RED}, 0),
    "pages.tif": (lambda: frames("TIFF"), {(3, 3): RED}, 0),
    "several.mpo": (lambda: frames("MPO"), {(3, 3): RED}, 3),
    "progressive.jpg": (lambda: encoded(flat(RED), "JPEG", progressive=True, quality=100), {(3, 3): RED}, 3),
    "icon.ico": (lambda: encoded(flat(RED, size=(16, 16)), "ICO", sizes=[(16, 16)]), {(3, 3): RED}, 0),
    "bitmap.bmp": (lambda: encoded(corners(), "BMP"), {(0, 0): RED, (15, 7): WHITE}, 0),
    "thin.png": (lambda: encoded(flat(RED, size=(1, 5000)), "PNG"), {(0, 4999): RED}, 0),
    "dot.gif": (lambda: encoded(flat(RED, size=(1, 1)), "GIF"), {(0, 0): RED}, 0),
    "png-called.jpg": (lambda: encoded(corners(), "PNG"), {(0, 0): RED, (15, 7): WHITE}, 0),
    "jpeg-called.png": (lambda: encoded(flat(RED), "JPEG", quality=100), {(3, 3): RED}, 3),
    "junk-after-the-end.jpg": (lambda: encoded(flat(RED), "JPEG", quality=100) + b"\0junk" * 99, {(3, 3): RED}, 3),
    "bad-exif.jpg": (lambda: jpeg_with_exif(b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40), {(3, 3): RED}, 3),
    "bad-exif-count.jpg": (
        lambda: jpeg_with_exif(b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0\xff\xff\xff\xff\xff\xff\xff\xff"),
        {(3, 3): RED},
        3,
    ),
    "exif-not-tiff.jpg": (lambda: jpeg_with_exif(b"Exif\0\0garbage"), {(3, 3): RED}, 3),
    "orientation-99.jpg": (
        lambda: encoded(flat(RED), "JPEG", exif=ODD_TURN),
        {(3, 3): RED},
        3,
    ),
    "bad-profile.png": (
        lambda: encoded(flat(RED), "PNG", icc_profile=b"this is no profile"),
        {(3, 3): RED},
        0,
    ),
}
# fmt: on

# fmt: off
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.jpg": (lambda: b"", "empty"),
    "zeros.jpg": (lambda: bytes(5000), "zero bytes"),
    "text.jpg": (lambda: b"just some words\n" * 9, "text"),
    "page.jpg": (lambda: b"\n<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "drawing.svg": (lambda: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "lfs.png": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    "paper.jpg": (lambda: b"%PDF-1.7\n" + bytes(99), "PDF"),
    "script.jpg": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
    "archive.jpg": (lambda: b"PK\x03\x04" + bytes(99), "zip"),
    "phone.heic": (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "HEIC"),
    "film.jpg": (lambda: b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(99), "video"),
    "sound.webp": (lambda: b"RIFF\x24\0\0\0WAVEfmt " + bytes(99), "sound or video"),
    "noise.jpg": (lambda: np.random.default_rng(1).bytes(4000), "not a picture"),
    "only-the-header.jpg": (lambda: encoded(noise(), "JPEG")[:40], "cut off"),
    "only-the-signature.png": (lambda: b"\x89PNG\r\n\x1a\n", "PNG"),
    "half.jpg": (lambda: encoded(noise(), "JPEG")[:2000], "cut off"),
    "half-progressive.jpg": (lambda: encoded(noise(), "JPEG", progressive=True)[:2000], "cut off"),
    "nearly-whole.jpg": (lambda: encoded(noise(), "JPEG")[:-300], "cut off"),
    "half.png": (lambda: encoded(noise(), "PNG")[:5000], "cut off"),
    "half.webp": (lambda: encoded(noise(), "WEBP")[:900], "cut off"),
    "half.gif": (lambda: encoded(noise(), "GIF")[:2500], "cut off"),
    "half.bmp": (lambda: encoded(noise(), "BMP")[:5000], "cut off"),
    "half.tif": (lambda: encoded(noise(), "TIFF")[:5000], "cut off"),
    "half-lzw.tif": (lambda: encoded(noise(), "TIFF", compression="tiff_lzw")[:5000], "TIFF"),
    "half.jp2": (lambda: encoded(noise(), "JPEG2000")[:3000], "cut off"),
    "half.ppm": (lambda: encoded(noise(), "PPM")[:3000], "cut off"),
    "wrong-checksum.png": (lambda: encoded(noise(), "PNG").replace(b"IDAT", b"IDAT\0", 1), "cut off"),
    "flipped.png": (lambda: flipped(encoded(noise(), "PNG"), 3000), "damaged"),
    "bomb.png": (lambda: png(50_000, 50_000, 1, 0, b""), "pixels"),
    "bomb.bmp": (huge_bmp, "pixels"),
    "no-width.png": (lambda: png(0, 7, 8, 2, b""), "PNG"),
    "text-bomb.png": (lambda: png(1, 1, 8, 0, b"\0\0", (b"zTXt", b"k\0\0" + zlib.compress(bytes(200 << 20)))), ""),
    "not-a-number.tif": (lambda: tiff(np.array([[0, np.nan, 1]], np.float32)), "float"),
    "float-negative.tif": (lambda: tiff(np.array([[-3, 0, 1]], np.float32)), "float"),
    "deep.tif": (lambda: tiff(np.array([[0, 70_000]], np.int32)), "32-bit"),
}
# fmt: on


def test_decoding_has_at_least_forty_hostile_pictures() -> None:
    assert len(DECODED) + len(REFUSED) >= 40


@pytest.mark.parametrize("name", DECODED)
def test_decoding_gives_the_right_pixels(name: str, tmp_path: Path) -> None:
    make, wanted, tolerance = DECODED[name]
    path = tmp_path / name
    path.write_bytes(make())
    before = hashlib.sha256(path.read_bytes()).digest()
    for image in (decode(path), decode(str(path)), decode(path.read_bytes())):
        assert image.mode == "RGB"
        assert type(image) is Image.Image  # nothing left of the file
        for place, colour in wanted.items():
            off = np.abs(np.subtract(image.getpixel(place), colour)).max()
            assert off <= tolerance, (place, image.getpixel(place), colour)
    assert hashlib.sha256(path.read_bytes()).digest() == before


@pytest.mark.parametrize("name", REFUSED)
def test_decoding_refuses_in_one_sentence(name: str, tmp_path: Path) -> None:
    make, reason = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(make())
    before = hashlib.sha256(path.read_bytes()).digest()
    with pytest.raises(BadImage) as caught:
        decode(path, name=f"folder/{name}")
    text = str(caught.value)
    assert text.startswith(f"folder/{name}: ")
    assert reason in text
    assert "\n" not in text
    assert 15 + len(name) < len(text) < 300
    assert hashlib.sha256(path.read_bytes()).digest() == before
    with pytest.raises(BadImage, match=r"^image bytes: "):
        decode(make())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_decoding_turns_pictures_upright(kind: str, orientation: int) -> None:
    is_corners(decode(turned(orientation, kind)))


def test_decoding_names_missing_files_folders_and_pipes(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match=r"gone\.jpg: there is no such file"):
        decode(tmp_path / "gone.jpg")
    with pytest.raises(BadImage, match="this is a folder"):
        decode(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(BadImage, match="not a regular file"):  # and does not wait for a writer
        decode(tmp_path / "pipe.jpg")
    with pytest.raises(BadImage, match="cannot be read"):
        decode("nul\0byte.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    with pytest.raises(BadImage, match="cannot be read"):
        decode(tmp_path / "loop.jpg")


def test_decoding_names_files_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(encoded(flat(RED), "JPEG"))
    path.chmod(0)
    if os.geteuid() == 0:  # nothing is forbidden to root: let open() itself refuse
        monkeypatch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(BadImage, match=r"secret\.jpg: no permission to read the file"):
        decode(path)


def test_decoding_takes_open_files_and_streams(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"skip" + encoded(corners(), "PNG"))
    with path.open("rb") as file:
        file.read(4)
        assert decode(file).size == (16, 8)
        assert not file.closed
    with path.open("rb") as file, pytest.raises(BadImage, match=r"a\.png: "):
        decode(file)
    read, write = os.pipe()
    with os.fdopen(read, "rb") as reader, os.fdopen(write, "wb") as writer:
        writer.write(encoded(corners(), "PNG"))
        writer.close()
        is_corners(decode(reader, name="standard input"))


def test_decoding_limits_pixels_before_it_decodes() -> None:
    data = encoded(flat(RED, size=(100, 50)), "PNG")
    assert decode(data, max_pixels=5000).size == (100, 50)
    with pytest.raises(BadImage, match=r"image bytes: 100 x 50 = 5,000 pixels, more than the limit of 4,999"):
        decode(data, max_pixels=4999)


def test_decoding_prints_no_warning_of_pillow_and_lets_others_keep_theirs() -> None:
    data = encoded(Image.new("1", (9500, 9500)), "PNG")  # 90 megapixels: allowed, but Pillow warns
    code = "import sys, io, warnings; from PIL import Image; from volovan.data import decode, BadImage\n"
    code += "data = sys.stdin.buffer.read()\n"
    code += "try: decode(data, max_pixels=80_000_000)\nexcept BadImage as error: print(error.reason[:11])\n"
    code += "warnings.simplefilter('always', Image.DecompressionBombWarning)\n"
    code += "Image.open(io.BytesIO(data))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, env=environment, check=True)
    assert done.stdout.decode().strip() == "9500 x 9500"
    assert done.stderr.count(b"DecompressionBombWarning: ") == 1  # of the filter that was set on purpose


def test_decoding_keeps_what_the_file_was() -> None:
    assert decode(adobe_cmyk()).info == {"format": "JPEG", "mode": "CMYK"}
    assert decode(sixteen("PNG")).info == {"format": "PNG", "mode": "I;16"}


def test_decoding_is_strict_where_pillow_was_made_lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    half = encoded(noise(), "JPEG")[:2000]
    refused = []

    def attempt() -> None:
        for _ in range(20):
            try:
                decode(half)
            except BadImage as error:
                refused.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 80
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_decoding_leaves_pillow_as_it_was() -> None:
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    for make, _ in REFUSED.values():
        with pytest.raises(BadImage):
            decode(make())
    assert before == (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)


def test_decoding_closes_files(tmp_path: Path) -> None:
    for name, (make, _) in REFUSED.items():
        (tmp_path / name).write_bytes(make())
    (tmp_path / "good.tif").write_bytes(frames("TIFF"))
    before = len(os.listdir("/proc/self/fd"))
    for path in tmp_path.iterdir():
        if path.name == "good.tif":
            decode(path)
        else:
            with pytest.raises(BadImage):
                decode(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_bad_image_survives_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(BadImage("a/b.jpg", "half of it is missing")))
    assert (str(error), error.name, error.reason) == (
        "a/b.jpg: half of it is missing", "a/b.jpg", "half of it is missing",
    )  # fmt: skip
    assert str(BadImage("caf\udce9\n.jpg", "empty")) == r"caf\xe9\n.jpg: empty"
