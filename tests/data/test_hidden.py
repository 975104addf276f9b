"""What systems keep beside the files of a user (macOS: ._NAME for each, __MACOSX) is never taken for one of them."""

import io
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from volovan.data import open_source
from volovan.files.hidden import is_hidden
from volovan.labels.published import SUFFIX, files_below, serialise
from volovan.models.weights.reading import WeightsError, safe_read

LITTER = b"\0\5\26\7\0\2\0\0Mac OS X        "


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (12, 10), (number, 2 * number, 0)).save(file, "JPEG")
    return file.getvalue()


def pack(path: Path, members: dict[str, bytes]) -> Path:
    """A tar as macOS makes it: every member with its shadow, before it."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members.items():
            folder, slash, base = name.rpartition("/")
            for member, data in ((f"{folder}{slash}._{base}", LITTER), (name, content)):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("beginning", ["", "./", "pictures/"])
@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_shadows_in_a_shard_are_no_samples(tmp_path, beginning, ending):
    members = {f"{beginning}{n}.jpg": picture(n) for n in range(4)}
    members |= {f"{beginning}{n}.cls": str(n % 2).encode() for n in range(4)}
    source = open_source(pack(tmp_path / f"mac{ending}", members))
    assert [source.name(n) for n in range(len(source))] == [f"mac{ending}!{beginning}{n}.jpg" for n in range(4)]
    assert [source.target(n) for n in range(4)] == [0, 1, 0, 1]


def test_shadows_in_a_tar_of_tars_are_no_samples(tmp_path):
    inner = {}
    for synset in ("n00000001", "n00000002"):
        made = pack(tmp_path / "one.tar", {f"{synset}_{n}.JPEG": picture(n) for n in range(3)})
        inner[f"{synset}.tar"] = made.read_bytes()
    source = open_source(pack(tmp_path / "fall11_whole.tar", inner))
    assert (len(source), source.classes) == (6, ("n00000001", "n00000002"))
    assert [source.load(n).size for n in range(6)] == [(12, 10)] * 6


def test_shadows_of_label_maps_and_weights_are_neither(tmp_path):
    (tmp_path / f"cat{SUFFIX}").write_bytes(serialise(torch.zeros(2, 3, 4, 4)))
    (tmp_path / f"._cat{SUFFIX}").write_bytes(LITTER)
    assert list(files_below(tmp_path)) == ["cat"]
    save_file({"weight": torch.zeros(2)}, tmp_path / "net.safetensors")
    (tmp_path / "._net.safetensors").write_bytes(LITTER)
    with pytest.raises(WeightsError, match=r"is a folder; name one of its files: (cat\S+, )?net.safetensors$"):
        safe_read(tmp_path)


@pytest.mark.parametrize(
    ("name", "hidden"),
    [("a/b.jpg", False), ("./a.jpg", False), ("../a.jpg", False), ("._a.jpg", True), ("a/._b.jpg", True),
     ("__MACOSX/a.jpg", True), (".git/a.jpg", True), ("a.b/c.jpg", False), ("x/.DS_Store", True)],
)  # fmt: skip
def test_hidden_names(name, hidden):
    assert is_hidden(name) == hidden


@pytest.mark.parametrize("folder", ["@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", "lost+found"])
def test_folders_of_systems_hold_no_classes_and_no_pictures(tmp_path, folder):
    for place in ("cat", "dog", f"cat/{folder}/0.jpg", folder):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "0.jpg" if place in ("cat", "dog") else tmp_path / place / "small.jpg").write_bytes(
            picture(1)
        )
    source = open_source(tmp_path)
    assert (source.classes, len(source)) == (("cat", "dog"), 2)
