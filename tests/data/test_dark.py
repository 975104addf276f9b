"""Data of few bits in 16-bit files (microscopes, X-rays) come out dark: it is remarked, with the range found."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from volovan.data import check_data, decode, loader, open_source
from volovan.data.pictures.decoding import REMARKS


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    REMARKS.clear()
    monkeypatch.setattr(loader, "_remarked", [])


def save(path: Path, largest: int) -> Path:
    """16-bit grey from 0 to the largest value."""
    values = np.linspace(0, largest, 12 * 16).round().astype(np.uint16).reshape(12, 16)
    Image.fromarray(values).save(path)
    return path


def tiff_of_colours(path: Path, largest: int) -> Path:
    """16-bit RGB, which Pillow reads but does not write: an uncompressed TIFF, byte by byte."""
    pixels = np.full((4, 5, 3), largest, "<u2").tobytes()
    entries = [(256, 3, 5), (257, 3, 4), (258, 3, 16), (259, 3, 1), (262, 3, 2), (273, 4, 0), (277, 3, 3), (278, 3, 4)]
    entries += [(279, 4, len(pixels)), (284, 3, 1)]
    begin = 8 + 2 + 12 * len(entries) + 4
    bits = begin + len(pixels)
    table = len(entries).to_bytes(2, "little")
    for tag, kind, value in entries:
        count, value = (3, bits) if tag == 258 else (1, begin if tag == 273 else value)
        table += tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + count.to_bytes(4, "little")
        table += value.to_bytes(4, "little")
    three = b"".join((16).to_bytes(2, "little") for _ in range(3))
    path.write_bytes(b"II*\0" + (8).to_bytes(4, "little") + table + bytes(4) + pixels + three)
    return path


@pytest.mark.parametrize(
    ("largest", "said"),
    [(255, "values 0 to 255 only, so it is read at 1/256"), (1023, "0 to 1023 only, so it is read at 1/64"),
     (4095, "values 0 to 4095 only, so it is read at 1/16 of its brightness; if its data have 12 bits, save it with "
      "values multiplied by 16"), (16383, "0 to 16383 only, so it is read at 1/4")],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_few_bits_are_remarked_with_the_range(tmp_path: Path, largest: int, said: str, suffix: str) -> None:
    path = save(tmp_path / f"a.{suffix}", largest)
    assert np.asarray(decode(path)).max() == round(largest / 257)
    assert said in REMARKS[0]
    assert REMARKS[0].startswith(f"{path} has 16 bits")


@pytest.mark.parametrize("largest", [0, 16384, 65535])
def test_black_and_bright_pictures_are_not_remarked(tmp_path: Path, largest: int) -> None:
    assert "dark" not in decode(save(tmp_path / "a.png", largest)).info
    assert not REMARKS


@pytest.mark.parametrize(("largest", "remarked"), [(4095, True), (60000, False), (0, False)])
def test_colours_are_remarked_too(tmp_path: Path, largest: int, remarked: bool) -> None:
    picture = decode(tiff_of_colours(tmp_path / "a.tif", largest))
    assert picture.info.get("dark", "") == ("3840 to 4095" if remarked else "")
    assert bool(REMARKS) == remarked


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_says_it_once(tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture) -> None:
    from volovan.room.ready import Pictures

    for number in range(3):
        save(tmp_path / f"{number}.png", 4095)
    samples = Pictures(open_source(tmp_path), np.asarray)
    with caplog.at_level(logging.INFO, "volovan"):
        for _ in range(2):
            batches = list(loader.evaluation_loader(samples, batch_size=2, workers=workers))
    assert len(batches) == 2
    assert [record.message.split(" has 16 bits")[0] for record in caplog.records] == ["0.png"]


def test_check_data_names_all_of_them(tmp_path: Path) -> None:
    for name, largest in (("a/1", 4095), ("a/2", 65535), ("b/3", 1023), ("b/4", 65535)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(tmp_path / f"{name}.png", largest)
    found = check_data(str(tmp_path)).as_json()
    assert "read dark" in found
    assert "0 to 4095" in found
    assert "0 to 1023" in found
    assert "0 to 65535" not in found
