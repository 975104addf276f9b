"""Safe reading: what real training scripts leave in files is read, code is refused, damage is named."""

import argparse
import collections
import gzip
import io
import os
import pickle
import random
import sys
import tarfile
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_safetensors

from volovan.models.weights.reading import WeightsError, safe_read

TENSORS = {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(7)}
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def saved(path, content, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def bytes_of(content, zipped=True):
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def training_leftovers():
    return {
        "epoch": 299,
        "arch": "volo_d1",
        "args": argparse.Namespace(
            lr=np.float64(1.6e-3), output=Path("out/run"), dtype=torch.float16, device=torch.device("cpu")
        ),
        "metric": np.float32(84.2),
        "best": np.int64(3),
        "flag": np.bool_(True),
        "history": np.arange(4.0),
        "names": np.array(["a", "b"]),
        "objects": np.array([1, "x", None], dtype=object),
        "kind": np.dtype("float32"),
        "numpy_random": np.random.RandomState(0).get_state(),
        "python_random": random.Random(0).getstate(),
        "torch_random": torch.get_rng_state(),
        "counts": collections.Counter("aab"),
        "ordered": collections.OrderedDict(a=1),
        "frozen": frozenset([1]),
        "window": slice(1, 2),
        "type": float,
    }


@FORMATS
def test_reading_takes_leftovers_of_training_scripts(tmp_path, zipped):
    content = safe_read(saved(tmp_path / "a.pth", {"state_dict": TENSORS, **training_leftovers()}, zipped)).content
    assert torch.equal(content["state_dict"]["w"], TENSORS["w"])
    assert content["args"].lr == 1.6e-3
    assert str(content["args"].output) == "out/run"
    assert content["metric"] == np.float32(84.2)
    assert np.array_equal(content["history"], np.arange(4.0))
    assert list(content["objects"]) == [1, "x", None]


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_reading_knows_both_names_of_numpy_internals(tmp_path, core):
    data = bytes_of({"m": np.float64(2.5), "a": np.arange(3)}, zipped=False)
    old = data.replace(b"numpy._core", core).replace(b"numpy.core", core)
    assert core in old
    (tmp_path / "a.pth").write_bytes(old)
    content = safe_read(tmp_path / "a.pth").content
    assert content["m"] == 2.5
    assert list(content["a"]) == [0, 1, 2]


@FORMATS
def test_reading_takes_loss_histories_of_mmengine(tmp_path, monkeypatch, zipped):
    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self):
            self._log_history = np.arange(3.0)
            self._statistics_methods = {"min": HistoryBuffer.smallest}

        @classmethod
        def smallest(cls):
            raise AssertionError("code of the file ran")

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    module.HistoryBuffer = HistoryBuffer
    with monkeypatch.context() as patch:
        for name in ("mmengine", "mmengine.logging"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        patch.setitem(sys.modules, module.__name__, module)
        path = saved(tmp_path / "a.pth", {"message_hub": {"loss": HistoryBuffer()}, "state_dict": TENSORS}, zipped)
    assert torch.equal(safe_read(path).content["state_dict"]["n"], TENSORS["n"])


class Malicious:
    """Pickles to a call of os.system."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("write", ["zip", "legacy", "plain"])
def test_reading_refuses_code_without_running_it(tmp_path, write):
    marker, path = tmp_path / "ran", tmp_path / "model.pth"
    content = {"state_dict": TENSORS, "extra": Malicious(marker)}
    if write == "plain":
        path.write_bytes(pickle.dumps(content["extra"], protocol=2))
    else:
        saved(path, content, zipped=write == "zip")
    with pytest.raises(WeightsError, match=r"asks for \w+\.system, which is not on the list of inert types"):
        safe_read(path)
    assert not marker.exists()
    os.system(f"touch {marker}")  # the same call does leave the mark
    assert marker.exists()


@pytest.mark.parametrize(
    ("call", "name"), [((eval, ("1+1",)), "eval"), ((exec, ("x=1",)), "exec"), ((__import__, ("os",)), "__import__")]
)
def test_reading_refuses_builtins_that_run_code(tmp_path, call, name):
    class Calls:
        def __reduce__(self):
            return call

    with pytest.raises(WeightsError, match=f"asks for .*{name}"):
        safe_read(saved(tmp_path / "a.pth", {"x": Calls()}))


def test_reading_replaces_getattr_by_nothing(tmp_path):
    class Asks:
        def __reduce__(self):
            return getattr, ("text", "upper")

    assert safe_read(saved(tmp_path / "a.pth", {"x": Asks()})).content == {"x": None}


def test_reading_refuses_whole_modules(tmp_path):
    with pytest.raises(WeightsError, match=r"asks for torch\.nn\.modules\.linear\.Linear.*save only its state_dict"):
        safe_read(saved(tmp_path / "a.pth", {"model": torch.nn.Linear(2, 2)}))


def test_reading_leaves_the_allow_list_of_the_caller_alone(tmp_path):
    path = saved(tmp_path / "a.pth", {"args": argparse.Namespace(a=1), "w": TENSORS["w"]})
    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        before = set(torch.serialization.get_safe_globals())
        safe_read(path)
        assert set(torch.serialization.get_safe_globals()) == before
    finally:
        torch.serialization.clear_safe_globals()


def archive(name, text=b"x"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, text)
    return buffer.getvalue()


def tarball():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("storages"))
    return buffer.getvalue()


BROKEN = {
    "empty": (b"", "empty"),
    "web page": (b"\n<!DOCTYPE html><html>404</html>", "web page"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
    "text": (b"hello world", "starts with b'hello wo'"),
    "gzip": (gzip.compress(b"a"), "gzip"),
    "tar": (tarball(), "tar archive"),
    "other zip": (archive("a.txt"), "without weights"),
    "torchscript": (archive("m/constants.pkl"), "TorchScript"),
    "zip cut": (bytes_of(TENSORS)[:700], "truncated"),
    "zip cut at the end": (bytes_of(TENSORS)[:-3], "truncated"),
    "legacy cut": (bytes_of(TENSORS, zipped=False)[:200], "truncated"),
    "legacy cut at the end": (bytes_of(TENSORS, zipped=False)[:-5], "truncated"),
    "safetensors cut": (to_safetensors(TENSORS)[:-3], "truncated"),
    "safetensors cut in the header": (to_safetensors(TENSORS)[:40], "truncated"),
    "newer pickle": (pickle.dumps({"a": 1}, protocol=4), "default protocol of torch.save"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_reading_names_what_is_wrong_in_one_sentence(tmp_path, name):
    content, words = BROKEN[name]
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=words) as error:
        safe_read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_reading_survives_flipped_bytes(tmp_path, kind):
    whole = to_safetensors(TENSORS) if kind == "safetensors" else bytes_of(TENSORS, zipped=kind == "zip")
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        path = tmp_path / "weights.pth"
        path.write_bytes(damaged)
        try:
            safe_read(path)
        except WeightsError:
            refused += 1
    assert refused > 20


def test_reading_goes_by_content_not_by_name(tmp_path):
    (tmp_path / "model.pth.tar").write_bytes(to_safetensors(TENSORS))
    saved(tmp_path / "model.safetensors", TENSORS)
    for path in tmp_path.iterdir():
        assert torch.equal(safe_read(path).content["w"], TENSORS["w"])


def test_reading_a_folder_names_the_files_in_it(tmp_path):
    saved(tmp_path / "best.pth", TENSORS)
    with pytest.raises(WeightsError, match=r"is a folder; name one of its files: best\.pth"):
        safe_read(tmp_path)
    with pytest.raises(WeightsError, match="does not exist"):
        safe_read(tmp_path / "nothing.pth")
