import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from volovan.data import BadImage, SourceError, check_data, list_splits, open_images, open_source
from volovan.data import cache as cache_module
from volovan.data.checks.report import render
from volovan.data.formats.shards import expand_braces, read_shard

Jpeg = Callable[..., bytes]


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    mode = {".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def shards(tmp_path: Path, jpeg: Jpeg) -> Callable[..., Path]:
    """shards("train-{000..001}.tar", count=3): a folder of shards, class of sample n is n % 2."""

    def make(pattern: str = "train-000.tar", count: int = 4, classes: str = "cat\ndog\n") -> Path:
        folder = tmp_path / "shards"
        folder.mkdir(exist_ok=True)
        if classes:
            (folder / "classes.txt").write_text(classes)
        for number, name in enumerate(expand_braces(pattern)):
            members = {}
            for sample in range(count):
                members[f"{name[:5]}_{number}_{sample}.jpg"] = jpeg(100 * number + sample)
                members[f"{name[:5]}_{number}_{sample}.cls"] = b"%d\n" % (sample % 2)
            write_tar(folder / name, members)
        return folder

    return make


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz", "tar.xz", "tar.bz2"])
def test_shards_give_every_sample_at_random(shards: Callable[..., Path], jpeg: Jpeg, suffix: str) -> None:
    folder = shards(f"train-{{000..002}}.{suffix}")
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in folder.iterdir()}
    source = open_source(folder, "train")
    assert (len(source), source.classes) == (12, ("cat", "dog"))
    for index in (11, 0, 6):
        shard, sample = divmod(index, 4)
        assert source.name(index) == f"train-00{shard}.{suffix}!train_{shard}_{sample}.jpg"
        assert source.target(index) == sample % 2
        assert source.raw(index) == jpeg(100 * shard + sample)
        assert source.load(index).size == (12, 9)
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in folder.iterdir()} == before


def test_shards_open_by_file_glob_and_braces(shards: Callable[..., Path]) -> None:
    folder = shards("train-{000..011}.tar.gz", count=2)
    assert len(open_source(f"{folder}/train-*.tar.gz", "train")) == 24
    assert len(open_source(f"{folder}/train-{{000..009}}.tar.gz", "train")) == 20
    assert len(open_source(folder / "train-003.tar.gz")) == 2
    assert open_images([str(folder / "train-003.tar.gz")]).name(0) == "train-003.tar.gz!train_3_0.jpg"
    with pytest.raises(SourceError, match=r"train-012\.tar\.gz: no file has such a name"):
        open_source(f"{folder}/train-{{010..012}}.tar.gz")
    with pytest.raises(SourceError, match="has no val split, it has train"):
        open_source(f"{folder}/train-*.tar.gz", "val")


def test_shards_give_test_where_val_is_missing_and_say_so(shards: Callable[..., Path]) -> None:
    shards("train-000.tar")
    folder = shards("test-000.tar", count=6)
    assert list_splits(folder) == ("train", "test")
    val = open_source(folder, "val")
    assert (len(val), val.note) == (6, "There is no val split: test is used in its place.")
    assert [len(open_source(folder, split)) for split in (None, "train", "test")] == [10, 4, 6]
    assert open_source(folder).name(0).startswith("train")


def test_shards_without_split_names_hold_out(shards: Callable[..., Path]) -> None:
    folder = shards("data-000.tar", count=60)
    train, val = open_source(folder, "train"), open_source(folder, "val")
    assert len(train) + len(val) == 60
    assert {val.target(index) for index in range(len(val))} == {0, 1}


@pytest.mark.parametrize(
    ("suffix", "content", "reason"),
    [
        ("json", b"{broken", "is not valid JSON"),
        ("json", b"[" * 100_000, "is not valid JSON"),
        ("json", b'{"label": ["cat"]}', "holds a list as label"),
        ("json", b"[1]", "holds a list as label"),
        ("json", b'{"label": true}', "holds true or false as label"),
        ("json", b'{"label": 1.5}', "holds a fraction as label"),
        ("json", b'{"label": "\\ud800"}', "is not UTF-8 text"),
        ("json", b'"\xff"', "is not UTF-8 text"),
        ("cls", b" \n", "is empty"),
        ("cls", "café".encode("latin1"), "is not UTF-8 text"),
        ("cls", "cat".encode("utf-16-le"), "is not UTF-8 text"),
    ],
)
def test_shards_refuse_labels_that_cannot_be_read(
    tmp_path: Path, jpeg: Jpeg, suffix: str, content: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {f"{place}.{end}": data for place in "ab" for end, data in (("jpg", jpeg(ord(place))), ("cls", b"cat"))}
    path = write_tar(tmp_path / "x.tar", members | {"d.jpg": jpeg(7), f"d.{suffix}": content})
    message = rf"^x\.tar!d\.{suffix}: the label file {reason}"
    with pytest.raises(SourceError, match=message):
        open_source(path)
    monkeypatch.setattr("volovan.data.formats.shards._KEEP_INDEX_FROM", 0)
    for _ in range(2):  # the index is written, then read
        with pytest.raises(SourceError, match=message):
            open_source(path)
    assert len(open_images([str(path)])) == 3  # to predict, no label is needed
    report = check_data(str(path))
    assert [(sample.name, sample.label) for sample in report.bad_labels] == [("x.tar!d.jpg", None)]
    assert (reason in report.bad_labels[0].remark, report.ok) == (True, False)
    assert "Labels that cannot be read: 1" in render(report)


def test_shards_numbers_are_numbers(tmp_path: Path, jpeg: Jpeg) -> None:
    members = {"a.jpg": jpeg(1), "a.cls": b"10", "b.jpg": jpeg(2), "b.json": b'{"label": 2}'}
    source = open_source(write_tar(tmp_path / "x.tar", members))
    assert (len(source.classes), source.target(0), source.target(1)) == (11, 10, 2)
    assert "classes without pictures" in source.note
    path = write_tar(tmp_path / "x.tar", members | {"c.jpg": jpeg(3), "c.cls": b"-1"})
    with pytest.raises(SourceError, match=r"^x\.tar!c\.jpg has label -1, expected a class number from 0"):
        open_source(path)


def test_shards_read_labels_of_every_kind(tmp_path: Path, jpeg: Jpeg) -> None:
    members = {
        "a/one.png": jpeg(1),
        "a/one.txt": b"dog",
        "two.seg.jpg": jpeg(2),
        "two.json": json.dumps({"label": "cat", "width": 3}).encode(),
        "three.jpeg": jpeg(3),
        "four.cls": b"dog",
        "four.txt": b"a long caption of the picture",
        "four.webp": jpeg(4),
        "stray.json": b"{}",
    }
    source = open_source(write_tar(tmp_path / "x.tar", members))
    assert source.classes == ("cat", "dog")
    assert [source.name(i) for i in range(4)] == [
        "x.tar!a/one.png",
        "x.tar!two.seg.jpg",
        "x.tar!three.jpeg",
        "x.tar!four.webp",
    ]
    assert [source.target(i) for i in range(4)] == [1, 0, None, 1]


def test_shards_number_classes_over_all_splits(tmp_path: Path, jpeg: Jpeg) -> None:
    write_tar(tmp_path / "train-0.tar", {"a.jpg": jpeg(), "a.txt": b"zebra"})
    write_tar(tmp_path / "val-0.tar", {"b.jpg": jpeg(), "b.txt": b"ant"})
    assert open_source(tmp_path, "train").classes == open_source(tmp_path, "val").classes == ("ant", "zebra")
    assert open_source(tmp_path, "train").target(0) == 1


def test_shards_name_a_broken_member(tmp_path: Path, jpeg: Jpeg) -> None:
    source = open_source(write_tar(tmp_path / "x.tar", {"a.jpg": jpeg(), "b.jpg": b"", "c.jpg": b"hello there"}))
    with pytest.raises(BadImage, match=r"^x\.tar!b\.jpg: the file is empty"):
        source.load(1)
    with pytest.raises(BadImage, match=r"^x\.tar!c\.jpg: text, not a picture"):
        source.load(2)


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz"])
def test_shards_that_are_cut_off_are_named(shards: Callable[..., Path], cache: Path, suffix: str) -> None:
    path = shards(f"train-000.{suffix}", count=20) / f"train-000.{suffix}"
    whole = path.read_bytes()
    lengths = [len(whole) // 2, len(whole) - 20] if suffix != "tar" else range(512, 512 * 30, 512 * 3)
    for length in lengths:
        path.write_bytes(whole[:length])
        with pytest.raises(SourceError, match=rf"train-000\.{suffix} .*cut off.*; fetch it again"):
            open_source(path)
        assert not list(cache.iterdir())
    path.write_bytes(whole)
    assert len(open_source(path)) == 20


def test_shards_that_are_none_are_named(tmp_path: Path, jpeg: Jpeg) -> None:
    (tmp_path / "a.tar").write_bytes(jpeg())
    (tmp_path / "b.tar").write_bytes(b"")
    write_tar(tmp_path / "c.tar", {"a.cls": b"1"})
    write_tar(tmp_path / "d.tar", {"a.jpg": jpeg(), "a.png": jpeg()})
    with pytest.raises(SourceError, match=r"a\.tar is not a tar archive"):
        open_source(tmp_path / "a.tar")
    with pytest.raises(SourceError, match=r"b\.tar is not a tar archive"):
        open_source(tmp_path / "b.tar")
    with pytest.raises(SourceError, match=r"c\.tar holds no pictures"):
        open_source(tmp_path / "c.tar")
    with pytest.raises(SourceError, match=r"d\.tar has two pictures of the sample a: a\.jpg, a\.png"):
        open_source(tmp_path / "d.tar")


def test_shard_that_shrinks_after_opening_is_a_bad_image(shards: Callable[..., Path]) -> None:
    path = shards("train-000.tar") / "train-000.tar"
    source = open_source(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BadImage, match=r"train-000\.tar!train_0_3\.jpg: the shard has become shorter"):
        source.load(3)


# ---------------------------------------------------------------------------------------------------------------------
# the cache


def test_cache_unpacks_once_and_again_after_a_change(shards: Callable[..., Path], cache: Path) -> None:
    path = shards("train-000.tar.gz") / "train-000.tar.gz"
    open_source(path)
    (kept,) = cache.iterdir()
    made = kept.stat().st_mtime_ns
    open_source(path)
    assert kept.stat().st_mtime_ns == made
    shards("train-000.tar.gz", count=6)
    assert len(open_source(path)) == 6
    assert len(list(cache.iterdir())) == 2


def test_cache_keeps_the_index_of_large_archives(tmp_path: Path, jpeg: Jpeg, cache: Path) -> None:
    members = {f"pad{n}.bin": bytes(1 << 20) for n in range(5)} | {"ä.jpg": jpeg(), "ä.cls": b"1", "z.jpg": jpeg(1)}
    path = write_tar(tmp_path / "big.tar", members)
    first, second = open_source(path), open_source(path)
    assert [kept.suffix for kept in cache.iterdir()] == [".npz"]
    for source in (first, second):
        assert [(source.name(i), source.target(i), source.raw(i)) for i in range(2)] == [
            ("big.tar!ä.jpg", 1, jpeg()),
            ("big.tar!z.jpg", None, jpeg(1)),
        ]


def test_cache_survives_a_race(shards: Callable[..., Path], cache: Path) -> None:
    path = shards("train-000.tar.gz", count=50) / "train-000.tar.gz"
    with ProcessPoolExecutor(4) as pool:
        found = [job.result() for job in [pool.submit(read_shard, path) for _ in range(8)]]
    assert {len(shard.names) for shard in found} == {50}
    assert len(list(cache.iterdir())) == 1


def test_cache_on_a_full_disk_says_so(
    shards: Callable[..., Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = shards("train-000.tar.gz") / "train-000.tar.gz"
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(SourceError, match=r"\(No space left on device\); free some space, or set VOLOVAN_CACHE"):
        open_source(path)
    assert not list(cache.iterdir())


def test_cache_that_cannot_be_made_says_so(
    shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VOLOVAN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(SourceError, match=r"could not be written .*, or set VOLOVAN_CACHE to a folder"):
        open_source(shards("train-000.tar.gz"))


def test_cache_clears_what_was_left_half_written(shards: Callable[..., Path], cache: Path) -> None:
    for name, age in (("old", 2 * 86_400), ("new", 60)):
        (cache / f".{name}.part").mkdir()
        now = (cache / f".{name}.part").stat().st_mtime
        os.utime(cache / f".{name}.part", (now - age, now - age))
    open_source(shards("train-000.tar.gz"))
    assert {path.name for path in cache.glob(".*.part")} == {".new.part"}


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOLOVAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/x")
    assert cache_module.cache_folder() == Path("/var/x/volovan")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_module.cache_folder() == Path.home() / ".cache" / "volovan"


def test_gzip_under_the_name_of_a_tar_is_read(tmp_path: Path, jpeg: Jpeg) -> None:
    plain = write_tar(tmp_path / "x.tar", {"a.jpg": jpeg()})
    (tmp_path / "y.tar").write_bytes(gzip.compress(plain.read_bytes()))
    assert open_source(tmp_path / "y.tar").raw(0) == jpeg()


@pytest.mark.slow
@pytest.mark.skipif("VOLOVAN_DATA" not in os.environ, reason="VOLOVAN_DATA does not name the folder of data packs")
def test_shards_of_the_cifar_pack() -> None:
    folder = Path(os.environ["VOLOVAN_DATA"], "cifar10")
    train, val = open_source(folder, "train"), open_source(folder, "val")
    assert (len(train), len(val), val.classes[0]) == (50_000, 8_000, "airplane")
    for source in (train, val):
        for index in range(0, len(source), 999):
            assert source.classes[source.target(index) or 0] == source.name(index).split("_")[1]
            assert source.load(index).size == (32, 32)
