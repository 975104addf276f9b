"""Pictures as files, whole and hostile, all made here: every kind of coding that a picture may have."""

import io
import struct
import zlib

import numpy as np
from PIL import ExifTags, Image

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
ODD_TURN = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0"  # orientation 99


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def flat(colour: object, mode: str = "RGB", size: tuple[int, int] = (8, 6)) -> Image.Image:
    return Image.new(mode, size, colour)


def corners() -> Image.Image:
    """16 x 8, red top left, green top right, blue bottom left, white bottom right."""
    image = Image.new("RGB", (16, 8), WHITE)
    image.paste(RED, (0, 0, 8, 4))
    image.paste(GREEN, (8, 0, 16, 4))
    image.paste(BLUE, (0, 4, 8, 8))
    return image


def turned(orientation: int, kind: str) -> bytes:
    """corners() stored as orientation says, so that a reader must turn it back."""
    transpose = Image.Transpose
    store = [None, transpose.FLIP_LEFT_RIGHT, transpose.ROTATE_180, transpose.FLIP_TOP_BOTTOM]
    store += [transpose.TRANSPOSE, transpose.ROTATE_90, transpose.TRANSVERSE, transpose.ROTATE_270]
    how = store[orientation - 1]
    image = corners() if how is None else corners().transpose(how)
    if kind == "TIFF":
        return encoded(image, kind, tiffinfo={274: orientation})
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    lossless = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}, "AVIF": {"quality": 100}}
    return encoded(image, kind, exif=exif, **lossless.get(kind, {}))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG written by hand: rows with their filter bytes, extra chunks before the pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    middle = b"".join(chunk(*one) for one in extra)
    return b"\x89PNG\r\n\x1a\n" + header + middle + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def noise(size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def adobe_cmyk() -> bytes:
    """CMYK as Photoshop writes it: Pillow, too, stores it inverted, with the Adobe marker."""
    data = encoded(flat((0, 255, 255, 0), "CMYK"), "JPEG", quality=100)
    assert b"Adobe" in data
    return data


def palette(transparency: object = None) -> bytes:
    image = Image.new("P", (8, 6), 1)
    image.putpalette([*BLACK, *RED, *BLUE] + [0] * 759)
    image.paste(2, (4, 0, 8, 6))
    return encoded(image, "PNG", **({} if transparency is None else {"transparency": transparency}))


def frames(kind: str) -> bytes:
    images = [flat(RED), flat(GREEN), flat(BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    return encoded(images[0], kind, save_all=True, append_images=images[1:], **options)


def jpeg_with_exif(block: bytes) -> bytes:
    plain = encoded(flat(RED), "JPEG", quality=100, subsampling=0)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]


def sixteen(kind: str, mode: str = "I;16") -> bytes:
    image = Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16))
    return encoded(image.convert("I") if mode == "I" else image, kind)


def tiff(array: np.ndarray, mode: str | None = None) -> bytes:
    return encoded(Image.fromarray(array) if mode is None else Image.fromarray(array).convert(mode), "TIFF")


def big_endian_tiff() -> bytes:
    entries = [(256, 4, 4), (257, 4, 1), (258, 3, 16 << 16), (259, 3, 1 << 16), (262, 3, 1 << 16), (273, 4, 122)]
    entries += [(277, 3, 1 << 16), (278, 4, 1), (279, 4, 8)]
    fields = b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in entries)
    head = b"MM\0*" + struct.pack(">I", 8) + struct.pack(">H", len(entries)) + fields + b"\0\0\0\0"
    assert len(head) == 122
    return head + struct.pack(">4H", 0, 257, 32896, 65535)


def huge_bmp() -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6)


def tiff_lab() -> bytes:
    image = Image.new("LAB", (8, 6), (255, 128, 128))  # L = 100, a = b = 0: white
    return encoded(image, "TIFF")


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
