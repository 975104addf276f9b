"""One function that turns the bytes of any picture into RGB pixels, or refuses them in one sentence.

Decisions, each of them tested in tests/data/test_decoding.py:
- orientation: EXIF is applied; a damaged EXIF block is no reason to lose the picture.
- depth: 16 bits are divided by 257, so that white stays white (Pillow's own conversion saturates). Data of fewer bits
  in such a file (a camera of 12) come out dark: no file says how many bits they have, so it is remarked, not guessed.
- transparency: composited on white, which is what a viewer shows; the colour stored under a transparent pixel is
  arbitrary, and dropping the alpha channel would bring it out. info["alpha"] keeps the channel.
- animations and pages: the first. Colour profiles: ignored, as in every published ImageNet figure.
- large pictures: refused above MAX_PIXELS; Pillow's warning from half of that on is silenced. Its filter is appended to
  the list for the process, since setting filters for one call is not safe among threads: a filter of anybody else wins.
- a picture that is cut off is refused, never half grey, even where another library switched Pillow to leniency.
"""

import io
import os
import re
import stat
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image, ImageCms, ImageFile, JpegImagePlugin, UnidentifiedImageError

from volovan.data.errors import BadImage, printable
from volovan.data.pictures import arrays

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning, append=True)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.", append=True)  # of damage: read, or refused

T = TypeVar("T")

MAX_PIXELS = 178_956_970  # where Pillow itself refuses (Image.MAX_IMAGE_PIXELS, doubled)

# Known by their first bytes. Left out: EPS (would run Ghostscript), TGA (has no signature: random bytes pass).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "QOI", "HEIF")

# fmt: off
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2",
    ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".qoi",
    ".heic", ".heif", ".svg",  # listed so that they are refused by name and not overlooked
})
# fmt: on


Least = Callable[[int, int], tuple[float, float]]
"""(width, height) of an upright picture -> how large it has to be at least for what is wanted of it"""


def decode(
    data: bytes | str | Path | BinaryIO,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    least: Least | None = None,
) -> Image.Image:
    """Decode the first frame of a picture to RGB, 8 bits, fully loaded, upright.

    data        encoded bytes, a path, or a binary file object (read to its end, stays open)
    name        how errors call the picture; default: the path
    max_pixels  refuse larger pictures before decoding them (Pillow's own limit holds besides)
    least       asked once for a JPEG, of which a half, a quarter or an eighth of its sides is decoded where that is
                enough: the transform of JPEG gives these means of its pixels for a fraction of the time
    returns     PIL image, mode "RGB"; info has "format" and "mode" as they are in the file, "alpha" (a PIL image, L)
                where some of it is transparent, "dark" (the range of its values, as text) where 16 bits hold fewer,
                and "reduced" (2, 4 or 8) where its sides were divided
    raises      BadImage: one sentence with the name and the reason
    """
    read = partial(_rgb, least=least)
    if isinstance(data, str | Path):
        name = name or str(data)
        path = data if isinstance(data, Path) else Path(data)
        return _remarked(_use_path(path, name, max_pixels, read), name)
    if isinstance(data, bytes | bytearray | memoryview):
        name, file = name or "image bytes", io.BytesIO(data)
    else:
        name, file = name or str(getattr(data, "name", "image stream")), io.BytesIO(data.read())
    return _remarked(_use_file(file, name, max_pixels, read), name)


def to_rgb(image: Image.Image, name: str = "image") -> Image.Image:
    """As decode, of a picture that Pillow has opened already, which stays as it is; BadImage if it cannot be read."""
    try:
        with _refusing_truncated():
            return _remarked(_rgb(image.copy()), name)
    except Exception as error:  # as damaged files do, a lazily opened picture fails only now
        raise BadImage(name, f"damaged or cut off ({_one_line(error)})") from None


def decode_stored(path: Path, name: str) -> Image.Image:
    """As decode, but the numbers as they are in the file: palette indices, 16 bits, one bit. What masks need.

    .npy     see arrays.py
    returns  PIL image of any mode; info has "format", "mode", "compression" and "step", by which Pillow has multiplied
             the values (grey of two or four bits is spread to 0 .. 255)
    """
    if path.suffix.lower() == arrays.SUFFIX:
        return arrays.read_array(path, name, MAX_PIXELS)
    return _use_path(path, name, MAX_PIXELS, _stored)


def picture_size(path: Path, name: str) -> tuple[int, int]:
    """(width, height) that decode would give, from the header alone."""
    return _use_path(path, name, MAX_PIXELS, _upright_size)


def exif_turn(path: Path, name: str) -> Image.Transpose | None:
    """What decode does to the stored pixels, so that they are upright; None: nothing. From the header alone."""

    def turn(image: Image.Image) -> Image.Transpose | None:
        return None if _late_exif(image) else _TURNS.get(_orientation(image))

    return _use_path(path, name, MAX_PIXELS, turn)


def _use_path(path: Path, name: str, max_pixels: int, use: Callable[[Image.Image], T]) -> T:
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise BadImage(name, "this is a folder, not a picture; in Python stream() takes folders")
        if not stat.S_ISREG(kind):  # opening a pipe would wait for ever
            raise BadImage(name, "this is not a regular file")
        with path.open("rb") as file:
            return _use_file(file, name, max_pixels, use)
    except FileNotFoundError:
        raise BadImage(name, "there is no such file") from None
    except PermissionError:
        raise BadImage(name, "no permission to read the file") from None
    except BadImage:
        raise
    except (OSError, ValueError) as error:
        raise BadImage(name, f"the file cannot be read ({_one_line(error)})") from None


def _use_file(file: BinaryIO, name: str, max_pixels: int, use: Callable[[Image.Image], T]) -> T:
    """use(image) of the opened picture; whatever goes wrong becomes a BadImage."""
    head = file.read(1024)
    file.seek(0)
    try:
        with _refusing_truncated(), _open(file) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise BadImage(
                    name,
                    f"{width} x {height} = {width * height:,} pixels, more than the limit of {max_pixels:,} "
                    "(a decompression bomb?); make it smaller or raise max_pixels",
                )
            return use(image)
    except BadImage as error:
        raise BadImage(name, error.reason) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(name, f"too many pixels for Pillow ({_one_line(error)})") from None
    except UnidentifiedImageError:
        reason = next(reason for begin, reason in _BEGINNINGS if re.match(begin, head, re.DOTALL))
        raise BadImage(name, reason) from None
    except MemoryError:
        raise BadImage(name, "not enough memory to decode it") from None
    except Exception as error:  # damaged files make Pillow's plugins raise nearly anything
        raise BadImage(name, f"damaged or cut off ({_one_line(error)})") from None


def _open(file: BinaryIO) -> Image.Image:
    """Pillow's core formats first: init() imports forty plugins, a quarter of a second in each new loader process."""
    for learn in (Image.preinit, Image.init):
        learn()  # fills Image.OPEN once; without it a format that this Pillow lacks is a KeyError
        with suppress(UnidentifiedImageError):
            return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
    raise UnidentifiedImageError


# pixels


def _rgb(image: Image.Image, least: Least | None = None) -> Image.Image:
    reduced = _reduce(image, least) if least else 1
    tile = getattr(image, "tile", None) or [("", (0, 0, 0, 0), 0, "")]
    deep = ";16" in str(tile[0][3])  # colours of which Pillow keeps the upper 8 bits
    image.load()
    flat = _to_rgb(image)
    rgb = _upright(flat, image)
    rgb.info = {"format": image.format, "mode": image.mode}
    if reduced > 1:
        rgb.info["reduced"] = reduced
    if dark := _dark(image, flat, deep):
        rgb.info["dark"] = dark
    if image.mode != "F" and not _is_deep_grey(image) and image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
        if np.asarray(alpha).min() < 255:
            rgb.info["alpha"] = _upright(alpha, image)
    return rgb


def _reduce(image: Image.Image, least: Least) -> int:
    """By what the sides of an opened JPEG will be divided; nothing is decoded yet."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or image.format != "JPEG":
        return 1
    sideways = _TURNS.get(_orientation(image)) in SIDEWAYS
    width, height = image.size
    wide, tall = reversed(least(height, width)) if sideways else least(width, height)
    enough = min(width / max(wide, 1), height / max(tall, 1))
    reduced = next(divisor for divisor in (8, 4, 2, 1) if divisor == 1 or enough >= divisor)
    if reduced == 1 or image.draft(None, (width // reduced, height // reduced)) is None:
        return 1
    return reduced


REMARKS: deque[str] = deque(maxlen=8)
"""sentences on pictures that were decoded since somebody has taken them: loaders hand them to the user"""
_BRIGHT = 1 << 14  # of 16 bits: where the largest value is below, a picture has lost two bits or more


def _remarked(picture: Image.Image, name: str) -> Image.Image:
    if held := picture.info.get("dark"):
        bits = max(8, int(held.split()[-1]).bit_length())
        REMARKS.append(
            f"{printable(name)} has 16 bits, but values {held} only, so it is read at 1/{1 << (16 - bits)} of its "
            f"brightness; if its data have {bits} bits, save it with values multiplied by {1 << (16 - bits)} "
            "(volovan check-data names all such pictures)"
        )
    return picture


def _dark(image: Image.Image, flat: Image.Image, deep: bool) -> str:
    """The range of 16-bit values, "0 to 4095", if they stay far below white; "" if not, and of other pictures."""
    if _is_deep_grey(image):
        values = np.asarray(image)
        low, high, least = int(values.min()), int(values.max()), 1
    elif deep and not image.has_transparency_data:
        values = np.asarray(flat)
        low, high, least = int(values.min()) << 8, int(values.max()) << 8 | 255, 256
    else:
        return ""
    return f"{low} to {high}" if least <= high < _BRIGHT else ""


def _is_deep_grey(image: Image.Image) -> bool:
    """16-bit grey, also where Pillow holds it in 32 bits."""
    return image.mode == "I" or image.mode.startswith("I;16")


_STEPS = {"L;2": 85, "L;4": 17}  # Pillow's names of grey with two and four bits


def _stored(image: Image.Image) -> Image.Image:
    tile = getattr(image, "tile", None)  # of file formats: where the pixels lie, and how they are packed
    step = _STEPS.get(str(tile[0][3]), 1) if tile else 1
    image.load()
    upright = _upright(image, image)
    compression = image.info.get("compression")
    upright.info = {"format": image.format, "mode": image.mode, "compression": compression, "step": step}
    return upright


def _to_rgb(image: Image.Image) -> Image.Image:
    if _is_deep_grey(image):
        values = np.asarray(image)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise BadImage(
                "", f"32-bit grey values from {low} to {high}: where white lies is unknown; save it with 16 bits"
            )
        return Image.fromarray(np.round(values.astype(np.float32) / 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":  # 0 to 1 by the usual convention, else 0 to 255
        values = np.asarray(image)
        least, most = float(values.min()), float(values.max())
        if not (least >= 0 and most <= 255):  # also not a number
            raise BadImage(
                "", f"float grey values from {least:g} to {most:g}, expected 0 to 1 or 0 to 255; rescale and save again"
            )
        return Image.fromarray(np.round(values * (255 if most <= 1 else 1)).astype(np.uint8)).convert("RGB")
    if image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, inMode="LAB", outMode="RGB"))
        if converted is None:
            raise BadImage("", "Lab colours cannot be converted by this Pillow")
        return converted
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        return canvas.convert("RGB")
    return image.convert("RGB")


_TURNS = {  # EXIF orientation -> what makes it upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


SIDEWAYS = tuple(turn for orientation, turn in _TURNS.items() if orientation >= 5)
"""those that change width and height"""


def _upright(rgb: Image.Image, original: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(original))  # after load(): TIFF has turned itself and removed the tag
    return rgb if turn is None else rgb.transpose(turn)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if not _late_exif(image) and _TURNS.get(_orientation(image)) in SIDEWAYS else (width, height)


def _late_exif(image: Image.Image) -> bool:
    """Whether Pillow would decode all of it to look behind the pixels."""
    return image.format == "PNG" and "exif" not in image.info


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # a damaged EXIF block says nothing about the picture
        return 1
    return orientation if isinstance(orientation, int) else 1


# Pillow's global switch for half pictures


_switch = threading.Lock()
_decoding = 0
_lenient_before = False


@contextmanager
def _refusing_truncated() -> Iterator[None]:
    """Strict while any thread decodes, then as it was: other libraries set LOAD_TRUNCATED_IMAGES for the process."""
    global _decoding, _lenient_before
    with _switch:
        if _decoding == 0:
            _lenient_before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        _decoding += 1
    try:
        yield
    finally:
        with _switch:
            _decoding -= 1
            if _decoding == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = _lenient_before


def _after_fork() -> None:
    """A child has no threads that decode, and must not inherit a lock that one of them held."""
    global _switch, _decoding
    _switch = threading.Lock()
    if _decoding:
        _decoding, ImageFile.LOAD_TRUNCATED_IMAGES = 0, _lenient_before


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# reasons


_DAMAGED = "but the header is damaged or cut off"
_BEGINNINGS = (  # of files that Pillow does not know
    (rb"\Z", "the file is empty (0 bytes)"),
    (rb"\0+\Z", "only zero bytes, no picture was ever written to it"),
    (rb"version https://git-lfs", "a Git LFS pointer; fetch the file itself with git lfs pull"),
    (rb"%PDF", "a PDF document; save its page as PNG"),
    (rb"%!PS", "a PostScript drawing; convert it to PNG"),
    (rb"8BPS", "a Photoshop file; export it as PNG or JPEG"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"PK\x03\x04", "a zip archive"),
    (rb"\x89PNG", f"begins as a PNG, {_DAMAGED}"),
    (rb"\xff\xd8", f"begins as a JPEG, {_DAMAGED}"),
    (rb"GIF8", f"begins as a GIF, {_DAMAGED}"),
    (rb"BM", f"begins as a BMP, {_DAMAGED}"),
    (rb"II\*\0|MM\0\*", f"begins as a TIFF, {_DAMAGED}, or it holds an unusual kind of pixel"),
    (rb"....ftyp(hei[cxms]|hevc|mif1|msf1)", "an HEIC picture, which Pillow cannot read; convert it to JPEG"),
    (rb"....ftypavi[fs]", "an AVIF picture, damaged or not supported by this Pillow; convert it to JPEG"),
    (rb"....ftyp", "a video; extract its frames first"),
    (rb"RIFF....WEBP", "begins as a WebP, but is damaged or cut off"),
    (rb"RIFF", "a sound or video file"),
    (rb"(?i).*<svg", "an SVG drawing, which has no pixels; convert it to PNG"),
    (rb"(?i)[\xef\xbb\xbf\s]*<(!doctype )?html", "a web page (HTML), not a picture; the download failed?"),
    (rb"[\t\r\n\x20-\xff]{256}|[\t\r\n\x20-\xff]*\Z", "text, not a picture"),
    (rb"", "not a picture in a known format (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000, PPM, ICO, QOI)"),
)


def _one_line(error: BaseException) -> str:
    return printable(" ".join(str(error).split()) or type(error).__name__)[:200]
