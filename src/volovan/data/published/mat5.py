"""Just enough of MATLAB's MAT-file level 5 to read ImageNet's meta.mat (a struct array of texts and numbers) and the
label files of Oxford Flowers (arrays of numbers). In SciPy's reader some damaged files crash the process.

Source: "MAT-File Format", The MathWorks. A file is a header of 128 bytes and data elements: a tag (type, bytes), then
the data, padded to 8 bytes; up to 4 bytes of data may sit in the tag itself.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED, _UTF8, _UTF16 = 14, 15, 16, 17
_STRUCT, _CHAR = 2, 4  # classes of a matrix; those from 6 on are numeric


@dataclass
class _Reader:
    data: bytes
    order: str  # "<" or ">"
    place: int = 0

    def element(self) -> tuple[int, bytes]:
        """(type, data) of the next element."""
        first, size = struct.unpack_from(self.order + "II", self.data, self.place)
        if first >> 16:  # small: type and size share the first four bytes
            kind, size, start, step = first & 0xFFFF, first >> 16, self.place + 4, 8
        else:
            kind, start = first, self.place + 8
            step = 8 + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(self.data):
            raise ValueError("it is cut off")
        self.place += step
        return kind, self.data[start : start + size]

    def numbers(self) -> np.ndarray:
        kind, data = self.element()
        return np.frombuffer(data, self.order + _NUMBERS[kind])


def read_synsets(content: bytes) -> list[dict[str, Any]]:
    """The records of the struct array "synsets": texts as str, numbers as arrays, anything else None.

    raises  ValueError: this is no such file
    """
    return _variable(content, "synsets", list, "struct array")


def read_numbers(content: bytes, name: str) -> np.ndarray:
    """The numbers of the array `name`, column by column as stored, in one row.

    raises  ValueError: this is no such file
    """
    return _variable(content, name, np.ndarray, "array")


def _variable(content: bytes, wanted: str, kind: type[T], what: str) -> T:
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("it is no MAT-file of level 5")
    reader = _Reader(content, order, 128)
    try:
        while reader.place < len(content):
            stored, data = reader.element()
            if stored == _COMPRESSED:
                stored, data = _Reader(zlib.decompress(data), order).element()
            if stored == _MATRIX:
                name, value = _matrix(_Reader(data, order))
                if name == wanted and isinstance(value, kind):
                    return value
    except (struct.error, KeyError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"it is damaged ({error})") from None
    raise ValueError(f'it has no {what} "{wanted}"')


def _matrix(reader: _Reader) -> tuple[str, Any]:
    """(name, value) of a matrix: list of dicts, str, array, or None for other classes."""
    if not reader.data:
        return "", None
    kind = int(reader.numbers()[0]) & 0xFF
    shape = reader.numbers()
    name = reader.element()[1].decode("ascii")
    if kind == _STRUCT:
        width = int(reader.numbers()[0])
        names = reader.element()[1]
        fields = [names[at : at + width].split(b"\0", 1)[0].decode("ascii") for at in range(0, len(names), width)]
        records = range(int(np.prod(shape)))
        return name, [
            {field: _matrix(_Reader(reader.element()[1], reader.order))[1] for field in fields} for _ in records
        ]
    if kind == _CHAR:
        stored, data = reader.element()
        if stored in (_UTF8, _UTF16):
            return name, data.decode("utf-8" if stored == _UTF8 else f"utf-16-{'le' if reader.order == '<' else 'be'}")
        return name, "".join(map(chr, np.frombuffer(data, reader.order + _NUMBERS[stored])))
    return name, reader.numbers() if kind >= 6 else None
