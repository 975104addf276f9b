"""Label maps on the disk: keys, both layouts, conversions, and what is refused."""

import errno
import io
import json
import os
import pickle
import resource
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from volovan import labels
from volovan.data.samples import Names
from volovan.engine.distributed import Place
from volovan.files.results import MARK
from volovan.labels import LabelError
from volovan.labels.about import write_whole
from volovan.labels.convert import convert
from volovan.labels.generate import Plan, describe, generate
from volovan.labels.keys import find_key, keys_digest, label_key, unique_keys
from volovan.labels.store import missing, open_labels

LAYOUTS = ("published", "compact")


def test_names_of_the_package_are_light_until_they_are_used():
    code = (
        "import sys, volovan.labels as labels; assert not {'torch', 'numpy'} & set(sys.modules); "
        "assert labels.label_key('train/a.jpg') == 'a' and 'torch' not in sys.modules; "
        "assert labels.open_labels and labels.LabelError"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match=r"no attribute 'opened'; it has LabelError, label_key, open_labels"):
        labels.opened  # noqa: B018


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("train/n01440764/n01440764_10026.JPEG", "n01440764/n01440764_10026"),
        ("n01440764/n01440764_10026.JPEG", "n01440764/n01440764_10026"),
        ("ILSVRC2012_img_train.tar!n01440764/n01440764_10026.JPEG", "n01440764/n01440764_10026"),
        ("cat/photo.of.tom.jpg", "cat/photo"),
        ("train/a.jpg", "a"),
        ("a.jpg", "a"),
        ("/data/pictures/cat/a.jpg", "cat/a"),
        ("train-000000.tar.gz!cat_1.jpg", "train-000000/cat_1"),
        ("train-000000.tar!deep/cat/1.seg.png", "cat/1"),
        ("digits[17]", "digits/17"),
        ("cifar-10-train[49999]", "cifar-10-train/49999"),
        ("org/set:train[3]", "train/3"),
        ("cat/a[3].jpg", "cat/a[3]"),
        ("../a:b.jpg", "a%3Ab"),
        ("cat/..jpg", "cat/jpg"),
    ],
)
def test_key_of_a_picture(name, key):
    assert label_key(name) == key


def test_keys_are_the_same_from_the_root_and_from_the_split(tmp_path):
    from PIL import Image

    from volovan.data import open_source

    for split in ("train", "val"):
        for number in range(3):
            folder = tmp_path / split / "cat"
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    root, split = open_source(tmp_path, "train"), open_source(tmp_path / "train")
    names = [[source.name(i) for i in range(len(source))] for source in (root, split)]
    assert names[0] != names[1]
    assert list(map(label_key, names[0])) == list(map(label_key, names[1])) == ["cat/0", "cat/1", "cat/2"]


def test_pictures_that_share_a_key_are_named():
    with pytest.raises(LabelError, match=r"x/cat/a\.b\.jpg and cat/a\.c\.jpg would share the label map 'cat/a'"):
        unique_keys(Names(["dog/a.jpg", "x/cat/a.b.jpg", "cat/b.jpg", "cat/a.c.jpg"]))
    assert list(unique_keys(Names(["dog/a.jpg", "cat/a.jpg"]))) == ["dog/a", "cat/a"]


def test_find_key_in_sorted_names():
    names = Names(sorted(f"c{i % 7}/ä{i}" for i in range(50)))
    assert [find_key(names, name) for name in names] == list(range(50))
    assert [find_key(names, other) for other in ("", "c0/ä", "zz", "c3/ä4")] == [-1] * 4
    assert find_key(Names([]), "a") == -1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=["float16", "float32"])
def test_maps_are_read_back_bit_equal(tmp_path, make_maps, write_maps, layout, dtype):
    maps = make_maps(dtype=dtype, grids=((6, 6), (3, 9), (7, 2)))
    store = pickle.loads(pickle.dumps(write_maps(tmp_path, maps, layout, coverage="image")))
    assert (len(store), list(store.keys), store.top, store.coverage) == (40, sorted(maps), 5, "image")
    for key, written in maps.items():
        read = store.read(key)
        assert (read.dtype, read.shape) == (dtype, written.shape)
        assert read.numpy().tobytes() == written.numpy().tobytes()
        assert key in store
    assert "n00000000/none" not in store


@pytest.mark.parametrize("layout", LAYOUTS)
def test_conversion_there_and_back_is_bit_equal(tmp_path, make_maps, write_maps, layout, contents):
    maps = make_maps()
    write_maps(tmp_path / "first", maps, layout, keys=keys_digest(sorted(maps)))
    other = convert(tmp_path / "first", tmp_path / "other")
    assert other.layout != layout
    back = convert(tmp_path / "other", tmp_path / "back")
    for key, written in maps.items():
        for store in (other, back):
            assert store.read(key).numpy().tobytes() == written.numpy().tobytes()
    if layout == "published":
        first, again = contents(tmp_path / "first"), contents(tmp_path / "back")
        assert again.pop(MARK)
        assert first == again
    assert (back.coverage, back.about.num_classes) == ("centre", 1000)


def test_a_published_folder_without_labels_json(tmp_path, make_maps, write_maps):
    """As the authors hand it out: files only, so nothing is known but what they hold."""
    maps = make_maps()
    write_maps(tmp_path / "first", maps, "published")
    (tmp_path / "first" / "labels.json").unlink()
    store = open_labels(tmp_path / "first")
    assert (store.coverage, store.classes, store.about, store.top, len(store)) == (None, None, None, 5, 40)
    compact = convert(tmp_path / "first", tmp_path / "compact")
    assert (compact.coverage, compact.classes, compact.top, len(compact)) == (None, None, 5, 40)
    assert all(torch.equal(compact.read(key), map) for key, map in maps.items())


def test_converted_labels_are_what_label_would_have_begun(tmp_path, tiny_teacher, digits):
    """So labelling goes on in the converted folder. Keys are in order there: those of ten digits are in the source."""
    place, plan = Place(torch.device("cpu")), Plan(size=32, batch_size=8, workers=0, layout="published")
    generate(tiny_teacher, digits(10), tmp_path / "one", plan, place, lambda line: None)
    store = convert(tmp_path / "one", tmp_path / "two")
    plan = replace(plan, layout="compact")
    assert store.about.shard_pictures == describe(tiny_teacher, store.keys, plan).shard_pictures
    made = generate(tiny_teacher, digits(10), tmp_path / "two", plan, place, lambda line: None)
    assert (made.made, made.kept) == (0, 10)


def test_a_folder_is_not_converted_into_itself(tmp_path, make_maps, write_maps):
    write_maps(tmp_path, make_maps(count=2), "published")
    with pytest.raises(LabelError, match=r"IN and OUT are the same folder, .*; name another one with --out"):
        convert(tmp_path, tmp_path / "x" / "..")


def test_the_files_of_an_older_torch_are_read(tmp_path, make_maps):
    maps = make_maps(count=1)
    (tmp_path / "c").mkdir()
    torch.save(next(iter(maps.values())), tmp_path / "c" / "a.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(open_labels(tmp_path).read("c/a"), next(iter(maps.values())))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_many_classes_stay_exact(tmp_path, make_maps, write_maps, dtype):
    """ImageNet-22K: the logits may be float16 all the same, since class indices lie beside them as integers."""
    maps = make_maps(classes=21841, dtype=torch.float32)
    for one in maps.values():
        one[0] = one[0].to(getattr(torch, dtype))
    store = write_maps(tmp_path / "compact", maps, "compact", classes=21841, dtype=dtype)
    shard = load_file(tmp_path / "compact" / "shard-00000.safetensors")
    assert (shard["logits"].dtype, shard["classes"].dtype) == (np.dtype(dtype), np.int16)
    published = convert(tmp_path / "compact", tmp_path / "published")
    back = convert(tmp_path / "published", tmp_path / "back")
    for key, one in maps.items():
        assert all(torch.equal(each.read(key), one) for each in (store, published, back))
        assert store.read(key).dtype == torch.float32


def test_float16_counts_to_2048(tiny_teacher):
    assert (torch.tensor(2048.0).half().item(), torch.tensor(2049.0).half().item()) == (2048, 2048)
    published = Plan(size=32, layout="published")

    def made_with(classes, plan):
        return describe(replace(tiny_teacher, num_classes=classes), Names([]), plan).dtype

    with pytest.raises(LabelError, match=r"21,841 classes, and float16 holds whole numbers up to 2,048 exactly"):
        made_with(21841, published)
    with pytest.raises(LabelError, match="use --dtype float32 or --layout compact"):
        made_with(2050, published)
    assert made_with(2049, published) == made_with(21841, replace(published, layout="compact")) == "float16"
    assert made_with(21841, replace(published, dtype="float32")) == "float32"


def test_maps_of_different_types_do_not_mix(tmp_path, make_maps, write_maps):
    maps = make_maps(count=3)
    key = list(maps)[1]
    maps[key] = maps[key].float()
    with pytest.raises(
        LabelError, match=f"label map '{key}' is float32 with 5 classes at a position, expected float16"
    ):
        write_maps(tmp_path, maps, "compact", shards=1)


def test_class_indices_above_int16_are_kept_as_int32(tmp_path, make_maps, write_maps):
    maps = make_maps(classes=100_000, dtype=torch.float32)
    store = write_maps(tmp_path, maps, "compact", classes=100_000)
    assert all(torch.equal(store.read(key), one) for key, one in maps.items())


def test_missing_names_the_pictures_without_a_map(tmp_path, make_maps, write_maps):
    store = write_maps(tmp_path, make_maps(count=3), "compact")
    names = ["train/n00000001/n00000001_1.JPEG", "train/n00000001/n00000001_9.JPEG"]
    assert missing(store, names) == names[1:]
    with pytest.raises(LabelError, match=r"index\.safetensors: there is no label map 'n00000001/n00000001_9'"):
        store.read(label_key(names[1]))
    published = convert(tmp_path, tmp_path / "p")
    with pytest.raises(LabelError, match=r"n00000001_9\.pt: there is no label map 'n00000001/n00000001_9'"):
        published.read(label_key(names[1]))


# ---------------------------------------------------------------------------------------------------------------------
# damage


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_flipped_bit_is_noticed_where_it_is(tmp_path, make_maps, write_maps, layout):
    maps = make_maps(count=4)
    store = write_maps(tmp_path, maps, layout, shards=1)
    keys = list(maps)
    values = maps[keys[2]][0].numpy().tobytes()
    file = tmp_path / (f"{keys[2]}.pt" if layout == "published" else "shard-00000.safetensors")
    flip(file, file.read_bytes().index(values) + 100)
    for number, key in enumerate(keys):
        if number == 2:
            with pytest.raises(LabelError, match=f"label map '{key}' is damaged") as caught:
                store.read(key)
            assert str(file) in str(caught.value)
            assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
        else:
            assert torch.equal(store.read(key), maps[key])


def test_a_store_that_knows_the_form_of_its_files_reads_and_refuses_as_before(tmp_path):
    """Files like one that was read are not given to torch again: other types, shapes, strides and damage still show."""
    draw = torch.Generator().manual_seed(0)
    made = {
        "a": torch.rand(2, 5, 3, 4, generator=draw),
        "b": torch.rand(2, 5, 3, 4, generator=draw),
        "c": torch.rand(2, 5, 4, 3, generator=draw).transpose(2, 3),
        "d": torch.rand(2, 5, 4, 3, generator=draw).transpose(2, 3),
        "e": torch.rand(2, 5, 3, 4, generator=draw).half(),
        "f": torch.rand(4, 5, 3, 4, generator=draw)[2:],
        "g": torch.rand(4, 5, 3, 4, generator=draw)[2:],
    }
    for key, label_map in made.items():
        torch.save(label_map, tmp_path / f"{key}.pt")
    torch.save(made["a"], tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    store = open_labels(tmp_path)
    for key in sorted(made) * 2 + ["old"]:
        found = store.read(key)
        assert found.dtype == made.get(key, found).dtype
        assert torch.equal(found, made.get(key, made["a"]))
        found.zero_()  # what was read is the caller's own
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as given,
        zipfile.ZipFile(tmp_path / "z.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in given.namelist():
            bomb.writestr(name, bytes(1 << 24) if name.endswith("data/0") else given.read(name))
    with pytest.raises(LabelError, match=r"is damaged \(it is compressed, which torch.save never does"):
        store.read("z")
    content = (tmp_path / "b.pt").read_bytes()
    values = content.index(made["b"].numpy().tobytes())
    for place in (values, values + 479, content.index(b"_rebuild_tensor_v2")):
        (tmp_path / "b.pt").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(LabelError, match="is damaged"):
            store.read("b")


def test_every_truncation_of_a_published_file_is_refused(tmp_path, make_maps, write_maps):
    maps = make_maps(count=1)
    store = write_maps(tmp_path, maps, "published")
    key = next(iter(maps))
    content = (tmp_path / f"{key}.pt").read_bytes()
    for length in range(0, len(content), 97):
        (tmp_path / f"{key}.pt").write_bytes(content[:length])
        with pytest.raises(LabelError, match=f"label map '{key}'"):
            store.read(key)


@pytest.mark.parametrize("file", ["shard-00000.safetensors", "index.safetensors", "labels.json"])
@pytest.mark.parametrize("harm", ["gone", "empty", "half", "text"])
def test_a_damaged_compact_folder_is_refused(tmp_path, make_maps, write_maps, file, harm):
    maps = make_maps()
    write_maps(tmp_path, maps, "compact")
    path = tmp_path / file
    content = path.read_bytes()
    path.unlink()
    if harm != "gone":
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "text": b"hello " * 50}[harm])
    with pytest.raises(LabelError) as caught:
        open_labels(tmp_path).read(next(iter(maps)))
    assert file in str(caught.value) or harm == "gone"
    assert str(tmp_path) in str(caught.value)


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil-was-here",)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, monkeypatch, new):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    torch.save(
        {"map": torch.zeros(2, 5, 3, 3), "more": Evil()}, tmp_path / "a/b.pt", _use_new_zipfile_serialization=new
    )
    with pytest.raises(LabelError, match=r"a/b\.pt: label map 'a/b' is refused, since reading it would run code"):
        open_labels(tmp_path)
    assert not (tmp_path / "evil-was-here").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"a": torch.zeros(2, 5, 3, 3)}, "is a dict, expected one tensor"),
        (torch.zeros(2, 5, 3), r"is float32 \(2, 5, 3\), expected float16 or float32 \(2, top, h, w\)"),
        (torch.zeros(3, 5, 3, 3), r"is float32 \(3, 5, 3, 3\)"),
        (torch.zeros(2, 5, 3, 3, dtype=torch.int64), r"is int64 \(2, 5, 3, 3\)"),
        (torch.zeros(2, 5, 0, 3), r"is float32 \(2, 5, 0, 3\)"),
    ],
    ids=["dict", "axes", "planes", "integers", "empty"],
)
def test_what_is_no_map_is_refused(tmp_path, content, said):
    (tmp_path / "a").mkdir()
    torch.save(content, tmp_path / "a" / "b.pt")
    with pytest.raises(LabelError, match=said):
        open_labels(tmp_path)


def test_a_zip_of_something_else_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("hello.txt", "hello")
    (tmp_path / "a" / "b.pt").write_bytes(packed.getvalue())
    with pytest.raises(LabelError, match=r"label map 'a/b' is (damaged|refused)"):
        open_labels(tmp_path)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "see that it can be written")],
    ids=["full", "read_only"],
)
def test_what_cannot_be_written_has_its_own_remedy(tmp_path, monkeypatch, number, remedy):
    def fail(source, target):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("volovan.files.whole.os.replace", fail)
    with pytest.raises(LabelError, match=f"x could not be written .*; {remedy} and call volovan label again"):
        write_whole(tmp_path, "x", b"hello")


def test_folders_that_hold_no_labels_are_refused(tmp_path, make_maps, write_maps):
    with pytest.raises(LabelError, match="there is no such folder; make label maps with volovan label"):
        open_labels(tmp_path / "none")
    with pytest.raises(LabelError, match=r"holds no label maps; expected <class>/<picture>\.pt below it"):
        open_labels(tmp_path)
    write_maps(tmp_path, make_maps(), "compact")
    state = json.loads((tmp_path / "labels.json").read_text())
    (tmp_path / "labels.json").write_text(json.dumps({**state, "shards": None}))
    with pytest.raises(LabelError, match="these label maps are not finished; call volovan label once more"):
        open_labels(tmp_path)
    (tmp_path / "labels.json").write_text(json.dumps({**state, "format": "volovan-labels-9"}))
    with pytest.raises(LabelError, match="is not of the format volovan-labels-1"):
        open_labels(tmp_path)


def test_class_indices_that_are_no_numbers_are_not_packed(tmp_path, make_maps, write_maps):
    for wrong in (0.5, -1.0, float("nan"), float("inf")):
        maps = make_maps(count=2)
        key = list(maps)[1]
        maps[key][1, 2, 3, 4] = wrong
        with pytest.raises(LabelError, match=f"label map '{key}' has class indices that are not whole numbers"):
            write_maps(tmp_path, maps, "compact", shards=1)


# ---------------------------------------------------------------------------------------------------------------------
# long runs


@pytest.mark.parametrize("layout", LAYOUTS)
def test_many_reads_keep_no_file_open(tmp_path, make_maps, write_maps, layout):
    maps = make_maps(count=20)
    store = write_maps(tmp_path, maps, layout)
    keys = list(maps)
    store.read(keys[0])
    files = len(os.listdir("/proc/self/fd"))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(4_000 if layout == "compact" else 600):
        store.read(keys[number % 20])
    assert len(os.listdir("/proc/self/fd")) == files
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 20_000  # KiB


def test_a_store_works_in_processes_at_the_same_time(tmp_path, make_maps, write_maps, fork):
    """Forked processes share open files; reads at the same time must not disturb each other."""
    maps = make_maps(count=40)
    store = write_maps(tmp_path, maps, "compact")

    def read_all(offset):
        keys = list(maps)
        for number in range(1000):
            key = keys[(number * 7 + offset) % 40]
            assert torch.equal(store.read(key), maps[key])

    processes = [fork(read_all, offset) for offset in range(3)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
