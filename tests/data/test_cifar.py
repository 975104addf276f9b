import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from volovan.data import SourceError, list_splits, open_source
from volovan.data.published.cifar import LAYOUTS, Layout

PER_FILE = 7


def batch(seed: int) -> tuple[np.ndarray, list[int], list[int]]:
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (PER_FILE, 3072), dtype=np.uint8)
    return pixels, generator.integers(0, 10, PER_FILE).tolist(), generator.integers(0, 2, PER_FILE).tolist()


def write(layout: Layout, root: Path) -> Path:
    """The files of a version as its authors wrote them, with few pictures."""
    folder = root / layout.folder
    folder.mkdir(parents=True)
    classes = [f"class{number}" for number in range(10)]
    for seed, name in enumerate((*layout.train, layout.test)):
        pixels, fine, coarse = batch(seed)
        if isinstance(layout.labels, int):
            columns = [np.array(coarse, np.uint8)[:, None]] * (layout.labels - 1) + [np.array(fine, np.uint8)[:, None]]
            (folder / name).write_bytes(np.hstack([*columns, pixels]).tobytes())
        else:
            content = {
                b"data": pixels,
                layout.labels: fine,
                b"coarse_labels": coarse,
                b"filenames": [b"x.png"] * PER_FILE,
            }
            (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    if layout.names.endswith(".txt"):
        (folder / layout.names).write_text("\n".join(classes) + "\n\n")
    else:
        key = "label_names" if layout.labels == b"labels" else "fine_label_names"
        (folder / layout.names).write_bytes(pickle.dumps({key: classes}, protocol=2))
    return folder


def python_2_batch(pixels: np.ndarray, labels: list[int]) -> bytes:
    """A pickle of protocol 0 or 2 as Python 2 wrote it: byte strings, and NumPy by its old address."""

    def text(value: bytes) -> bytes:
        return b"T" + len(value).to_bytes(4, "little") + value

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    shape = b"(" + number(len(pixels)) + number(3072) + b"t"
    kind = b"cnumpy\ndtype\n(" + text(b"u1") + number(0) + number(1) + b"tR"
    kind += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"t" + text(b"b") + b"tR"
    array += b"(" + number(1) + shape + kind + b"\x89" + text(pixels.tobytes()) + b"tb"
    listed = b"](" + b"".join(map(number, labels)) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.folder)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_cifar_gives_pixels_and_labels_of_every_version(layout: Layout, packed: bool, tmp_path: Path) -> None:
    folder = write(layout, tmp_path)
    spec = folder
    if packed:
        spec = tmp_path / f"{layout.archive}tar.gz"
        with tarfile.open(spec, "w:gz") as archive:
            archive.add(folder, layout.folder)
    assert list_splits(spec) == ("train", "test")
    train, val = open_source(spec, "train"), open_source(spec, "val")
    assert (len(train), len(val)) == (PER_FILE * len(layout.train), PER_FILE)
    assert train.classes == tuple(f"class{number}" for number in range(10))
    assert "test is used" in val.note
    pixels, fine, _ = batch(len(layout.train))
    for index in range(PER_FILE):
        assert val.target(index) == fine[index]
        assert (np.asarray(val.load(index)).transpose(2, 0, 1).ravel() == pixels[index]).all()
    assert val.name(3) == layout.archive.rsplit("-", 1)[0] + "-test[3]"


def test_cifar_is_found_in_the_folder_above(tmp_path: Path) -> None:
    write(LAYOUTS[0], tmp_path)
    assert len(open_source(tmp_path, "test")) == PER_FILE


def test_cifar_reads_what_python_2_wrote(tmp_path: Path) -> None:
    folder = write(LAYOUTS[0], tmp_path)
    pixels, labels, _ = batch(99)
    (folder / "test_batch").write_bytes(python_2_batch(pixels, labels))
    test = open_source(folder, "test")
    assert [test.target(index) for index in range(PER_FILE)] == labels
    assert (np.asarray(test.load(2)).transpose(2, 0, 1).ravel() == pixels[2]).all()


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize(
    "function", [os.system, eval, exec, __import__, getattr, np.load, np.memmap], ids=lambda function: function.__name__
)
def test_cifar_refuses_a_malicious_pickle(function: Callable[..., object], tmp_path: Path) -> None:
    folder = write(LAYOUTS[0], tmp_path)
    flag = tmp_path / "ran"
    evil = Evil(function, f"touch {flag}" if function is os.system else f"open({str(flag)!r}, 'w')")
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": evil, b"labels": []}))
    with pytest.raises(SourceError, match=r"test_batch is refused: it wants to run \w+[\w.]*; fetch it again"):
        open_source(folder, "test")
    assert not flag.exists()


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.folder)
def test_cifar_names_a_damaged_file(layout: Layout, tmp_path: Path) -> None:
    folder = write(layout, tmp_path)
    name = layout.test
    content = (folder / name).read_bytes()
    for damaged in (content[:-100], b"", b"garbage"):
        (folder / name).write_bytes(damaged)
        with pytest.raises(SourceError, match=rf"{name} .*; fetch it again|{name} .*cut off"):
            open_source(folder, "test")


def test_cifar_names_a_damaged_archive(tmp_path: Path) -> None:
    folder = write(LAYOUTS[2], tmp_path)
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, LAYOUTS[2].folder)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SourceError, match=r"cifar-10-binary\.tar\.gz is damaged or cut off .*; fetch it again"):
        open_source(path, "train")
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder / "data_batch_1.bin", "cifar-10-batches-bin/data_batch_1.bin")
    with pytest.raises(SourceError, match=r"has no cifar-10-batches-bin/data_batch_2\.bin; fetch it again"):
        open_source(path, "train")
