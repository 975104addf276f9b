"""Masks and maps that are .npy files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volovan.data.checks.recognise import recognise
from volovan.data.errors import BadImage
from volovan.data.masks.coding import IGNORE, Coding, plain_ids, read_mask
from volovan.data.masks.maps import read_map
from volovan.data.sources import open_source

CODING = Coding(("sky", "road", "car"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)), plain_ids(3))
IDS = np.array([[0, 1, 2], [2, 2, IGNORE]])
SOFT = np.array([[0, 77, 255], [12, 200, 30]], np.uint8)


@pytest.mark.parametrize("kind", ["uint8", "int64", "uint16", "float64", "int32"])
@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (2, 3, 1)])
def test_arrays_hold_ids_whatever_their_type(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "m.npy", IDS.astype(kind).reshape(shape))
    assert np.array_equal(read_mask(tmp_path / "m.npy", "m", CODING), IDS)


def test_arrays_of_yes_and_no_and_of_colours(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", IDS == 2)
    assert np.array_equal(read_mask(tmp_path / "m.npy", "m", CODING), IDS == 2)
    assert np.array_equal(read_map(tmp_path / "m.npy", "m"), np.where(IDS == 2, 255, 0))
    np.save(tmp_path / "m.npy", np.dstack([IDS.astype(np.uint8)] * 3))
    assert np.array_equal(read_mask(tmp_path / "m.npy", "m", CODING), IDS)


@pytest.mark.parametrize(
    "values", [SOFT, SOFT.astype(np.int64), SOFT / 255, SOFT.astype(np.float32), SOFT.astype("u2") * 257]
)
def test_arrays_are_maps(tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "m.npy", values)
    assert np.array_equal(read_map(tmp_path / "m.npy", "m"), SOFT)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros((2, 3, 5)), r"an array of float64 with the shape \(2, 3, 5\), expected numbers \(height, width\)"),
        (np.zeros(7), r"with the shape \(7,\), expected"),
        (np.zeros((0, 3)), r"with the shape \(0, 3\), expected|no array of numbers"),
        (np.array([["a", "b"]]), r"an array of <U1 with the shape \(1, 2\), expected numbers"),
        (np.array([[0.5, 1.0]]), "pixels of the kind F, expected ids"),
        (np.array([[np.nan, 1.0]]), "numbers that are not finite; write 255"),
        (np.array([[-1, 1]]), "ids from -1 to 1, expected 0 to 65535"),
        (np.array([[0, 2**40]]), "numbers from 0 to 1099511627776, expected 0 to 65535"),
        (np.array([[0, 9]]), "id 9 in 1 pixels, expected 0 to 2"),
    ],
)
def test_arrays_that_are_no_masks_are_refused(tmp_path: Path, values: np.ndarray, why: str) -> None:
    np.save(tmp_path / "m.npy", values)
    with pytest.raises(BadImage, match=f"^m: {why}" if not why.startswith("with") else why):
        read_mask(tmp_path / "m.npy", "m", CODING)


class Runs:
    """What a hostile file would hold."""

    def __reduce__(self) -> Any:
        return (Path("ran").touch, ())


def test_no_pickle_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "m.npy", np.array([[Runs()]], object), allow_pickle=True)
    with pytest.raises(BadImage, match=r"^m: no array of numbers can be read from it"):
        read_mask(tmp_path / "m.npy", "m", CODING)
    (tmp_path / "m.npy").write_bytes(b"\x93NUMPY\x01\x00\x10\x00")
    with pytest.raises(BadImage, match=r"^m: no array of numbers can be read from it"):
        read_mask(tmp_path / "m.npy", "m", CODING)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(BadImage, match=r"^m: there is no such file"):
        read_mask(tmp_path / "gone.npy", "m", CODING)


def test_a_folder_of_arrays(tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(jpeg(number, (3, 2)))
        np.save(tmp_path / "masks" / f"{number}.npy", IDS)
    assert recognise(str(tmp_path))[0] == "mask"
    source = open_source(tmp_path, kind="mask")
    assert source.classes == ("class 0", "class 1", "class 2")
    assert np.array_equal(source.target(2), IDS)
