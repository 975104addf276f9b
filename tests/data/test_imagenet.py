import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from volovan.data import SourceError, list_splits, open_source
from volovan.data.published.mat5 import read_synsets

Jpeg = Callable[..., bytes]

SYNSETS = ("n01440764", "n02119789", "n04487394")  # in the order of class numbers
ID_OF = {"n02119789": 1, "n04487394": 2, "n01440764": 3}  # ILSVRC2012_ID: another order
VAL = ("n04487394", "n01440764", "n02119789", "n02119789", "n01440764")  # of picture 1, 2, ...


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in members.items():
            add(archive, name, content)
    return file.getvalue()


def meta_mat(compressed: bool = True) -> bytes:
    """synsets as in the development kit: leaves first, then inner nodes with children, texts, empty matrices."""
    savemat = pytest.importorskip("scipy.io").savemat
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O"), ("children", "O")]
    rows = [(float(number), synset, "a fish, café", 0.0, np.zeros((0, 0))) for synset, number in ID_OF.items()]
    rows.append((4.0, "n00001740", "entity", 2.0, np.array([[1, 2]], np.uint16)))
    file = io.BytesIO()
    savemat(file, {"other": [[1.0]], "synsets": np.array(rows, dtype=kinds)}, do_compression=compressed)
    return file.getvalue()


def labels_by_kaggle(root: Path) -> None:
    lines = [f"ILSVRC2012_val_{number:08},{synset} 1 2 3 4 {synset} 5 6 7 8 " for number, synset in enumerate(VAL, 1)]
    # Not in the order of numbers, as in the file of Kaggle.
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "\n".join(reversed(lines)) + "\n")


def truth() -> str:
    return "".join(f"{ID_OF[synset]}\n" for synset in VAL)


def labels_by_kit(root: Path) -> None:
    folder = root / "ILSVRC2012_devkit_t12" / "data"
    folder.mkdir(parents=True)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(truth())
    (folder / "meta.mat").write_bytes(meta_mat())


def labels_by_packed_kit(root: Path) -> None:
    start = "ILSVRC2012_devkit_t12/data/"
    members = {
        start + "ILSVRC2012_validation_ground_truth.txt": truth().encode(),
        start + "meta.mat": meta_mat(compressed=False),
    }
    (root / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(tar(members, "w:gz"))


def labels_by_map(root: Path) -> None:
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text(truth())
    (root / "map_clsloc.txt").write_text("".join(f"{synset} {number} name\n" for synset, number in ID_OF.items()))


@pytest.fixture
def train(tmp_path: Path, jpeg: Jpeg) -> Path:
    for synset in SYNSETS:
        (tmp_path / "train" / synset).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "train" / synset / f"{synset}_{number}.JPEG").write_bytes(jpeg(number))
    return tmp_path


@pytest.fixture
def flat(train: Path, jpeg: Jpeg) -> Path:
    (train / "val").mkdir()
    for number in range(1, len(VAL) + 1):
        (train / "val" / f"ILSVRC2012_val_{number:08}.JPEG").write_bytes(jpeg(number))
    return train


@pytest.mark.parametrize("labels", [labels_by_kaggle, labels_by_kit, labels_by_packed_kit, labels_by_map])
def test_imagenet_labels_flat_val_by_sorted_synsets(flat: Path, labels: Callable[[Path], None], jpeg: Jpeg) -> None:
    labels(flat)
    assert list_splits(flat) == ("train", "val")
    train, val = open_source(flat, "train"), open_source(flat, "val")
    assert train.classes == val.classes == SYNSETS
    assert [train.target(index) for index in range(6)] == [0, 0, 1, 1, 2, 2]
    assert [SYNSETS[val.target(index) or 0] for index in range(5)] == list(VAL)
    assert val.name(0) == "val/ILSVRC2012_val_00000001.JPEG"
    assert val.raw(4) == jpeg(5)


@pytest.mark.parametrize("labels", [labels_by_kaggle, labels_by_kit])
def test_imagenet_is_read_from_its_archives(tmp_path: Path, jpeg: Jpeg, labels: Callable[[Path], None]) -> None:
    parts = {
        f"{synset}.tar": tar({f"{synset}_{number}.JPEG": jpeg(10 * place + number) for number in range(3)})
        for place, synset in enumerate(SYNSETS)
    }
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(tar(dict(reversed(parts.items()))))
    pictures = {f"ILSVRC2012_val_{number:08}.JPEG": jpeg(number) for number in range(1, 6)}
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(tar(pictures))
    labels(tmp_path)
    train, val = open_source(tmp_path, "train"), open_source(tmp_path, "val")
    assert train.classes == val.classes == SYNSETS
    assert len(train) == 9
    for index in range(9):
        place, number = 2 - index // 3, index % 3
        assert train.target(index) == place
        assert train.raw(index) == jpeg(10 * place + number)
    assert train.name(0) == "ILSVRC2012_img_train.tar!n04487394/n04487394_0.JPEG"
    assert [SYNSETS[val.target(index) or 0] for index in range(5)] == list(VAL)
    (tmp_path / "ILSVRC2012_img_train.tar").unlink()
    assert open_source(tmp_path, "val").classes == SYNSETS


def test_imagenet_is_found_as_kaggle_packs_it(flat: Path) -> None:
    root = flat / "unzipped"
    (root / "ILSVRC" / "Data" / "CLS-LOC" / "test").mkdir(parents=True)
    for name in ("train", "val"):
        (flat / name).rename(root / "ILSVRC" / "Data" / "CLS-LOC" / name)
    val = root / "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG"
    (root / "ILSVRC/Data/CLS-LOC/test/ILSVRC2012_test_00000001.JPEG").write_bytes(val.read_bytes())
    labels_by_kaggle(root)
    assert [len(open_source(root, split)) for split in ("train", "val", "test")] == [6, 5, 1]
    assert open_source(root, "test").target(0) is None


def test_imagenet_in_class_folders_is_as_usual(train: Path, jpeg: Jpeg) -> None:
    (train / "val" / SYNSETS[1]).mkdir(parents=True)
    (train / "val" / SYNSETS[1] / "ILSVRC2012_val_00000003.JPEG").write_bytes(jpeg())
    assert (open_source(train, "val").target(0), open_source(train, "val").classes) == (1, SYNSETS)


def test_imagenet_names_what_is_missing(flat: Path) -> None:
    with pytest.raises(SourceError, match=r"has no labels for val; put ILSVRC2012_devkit_t12\.tar\.gz"):
        open_source(flat, "val")
    (flat / "ILSVRC2012_validation_ground_truth.txt").write_text(truth())
    with pytest.raises(SourceError, match=r"but neither meta\.mat nor map_clsloc\.txt"):
        open_source(flat, "val")
    (flat / "meta.mat").write_bytes(b"MATLAB" * 40)
    with pytest.raises(SourceError, match=r"meta\.mat cannot be read: it is no MAT-file"):
        open_source(flat, "val")
    (flat / "meta.mat").write_bytes(meta_mat()[:-30])
    with pytest.raises(SourceError, match=r"meta\.mat cannot be read: it is cut off"):
        open_source(flat, "val")
    (flat / "meta.mat").write_bytes(meta_mat())
    (flat / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n")
    with pytest.raises(SourceError, match=r"ILSVRC2012_val_00000003\.JPEG has no label"):
        open_source(flat, "val")
    (flat / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n77\n")
    with pytest.raises(SourceError, match="table of classes do not fit"):
        open_source(flat, "val")
    (flat / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n4\n1\n1\n")
    with pytest.raises(SourceError, match="is of n00001740, which is not in train"):
        open_source(flat, "val")


def test_imagenet_names_a_cut_train_archive(tmp_path: Path, jpeg: Jpeg) -> None:
    whole = tar({f"{synset}.tar": tar({f"{synset}_0.JPEG": jpeg()}) for synset in SYNSETS})
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(whole[:12_000])
    with pytest.raises(SourceError, match=r"ILSVRC2012_img_train\.tar is damaged or cut off"):
        open_source(tmp_path, "train")


@pytest.mark.parametrize("compressed", [True, False])
def test_mat_file_reads_as_scipy_does(compressed: bool) -> None:
    records = read_synsets(meta_mat(compressed))
    assert [(int(record["ILSVRC2012_ID"][0]), record["WNID"]) for record in records[:3]] == [
        (number, synset) for synset, number in ID_OF.items()
    ]
    assert [record["words"] for record in records] == ["a fish, café"] * 3 + ["entity"]
    assert records[3]["children"].tolist() == [1, 2]
    assert records[0]["children"].size == 0
