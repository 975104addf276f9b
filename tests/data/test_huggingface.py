import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from volovan.data import BadImage, SourceError, list_splits, open_source

datasets = pytest.importorskip("datasets")
Jpeg = Callable[..., bytes]


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "library")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.fixture
def table(jpeg: Jpeg) -> Callable[..., Any]:
    def make(labels: list[Any], feature: Any = None, image: str = "img") -> Any:
        features = {
            "id": datasets.Value("int64"),
            image: datasets.Image(),
            "label": feature or datasets.ClassLabel(names=["cat", "dog"]),
        }
        rows = {
            "id": list(range(len(labels))),
            image: [{"bytes": jpeg(number), "path": None} for number in range(len(labels))],
            "label": labels,
        }
        return datasets.Dataset.from_dict(rows, features=datasets.Features(features))

    return make


def test_huggingface_opens_what_was_saved(table: Callable[..., Any], tmp_path: Path, jpeg: Jpeg) -> None:
    both = datasets.DatasetDict({"train": table([0, 1, 1]), "validation": table([1])})
    both.save_to_disk(tmp_path / "saved")
    assert list_splits(tmp_path / "saved") == ("train", "val")
    train = pickle.loads(pickle.dumps(open_source(tmp_path / "saved", "train")))
    assert train.classes == ("cat", "dog")
    assert [train.target(index) for index in range(3)] == [0, 1, 1]
    assert (train.name(2), train.raw(2), train.load(2).size) == ("saved:train[2]", jpeg(2), (12, 9))
    assert len(open_source(tmp_path / "saved", "val")) == 1
    table([0] * 20 + [1] * 20).save_to_disk(tmp_path / "one")
    assert len(open_source(tmp_path / "one", "train")) + len(open_source(tmp_path / "one", "val")) == 40


def test_huggingface_opens_parquet(table: Callable[..., Any], tmp_path: Path, jpeg: Jpeg) -> None:
    (tmp_path / "data").mkdir()
    table([0, 1]).to_parquet(tmp_path / "data" / "train-00000-of-00002.parquet")
    table([1]).to_parquet(tmp_path / "data" / "train-00001-of-00002.parquet")
    table([1]).to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    train = open_source(tmp_path, "train")
    assert [train.target(index) for index in range(3)] == [0, 1, 1]
    assert train.classes == ("cat", "dog")
    assert train.raw(1) == jpeg(1)
    assert "test is used" in open_source(tmp_path, "val").note
    assert len(open_source(tmp_path / "data" / "test-00000-of-00001.parquet")) == 1


def test_huggingface_opens_parquet_of_others(tmp_path: Path, jpeg: Jpeg) -> None:
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    rows = arrow.table({"picture": [{"bytes": jpeg(1), "path": "a.jpg"}, None], "target": ["wolf", "ant"]})
    parquet.write_table(rows, tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet")
    assert (source.classes, source.target(0), source.raw(0)) == (("ant", "wolf"), 1, jpeg(1))
    with pytest.raises(BadImage, match=r"^x\.parquet\[1\]: the cell is empty"):
        source.load(1)
    parquet.write_table(arrow.table({"picture": [jpeg(1)], "n": [1]}), tmp_path / "y.parquet")
    plain = open_source(tmp_path / "y.parquet")
    assert (plain.classes, plain.target(0), plain.load(0).size) == ((), None, (12, 9))


def test_huggingface_takes_labels_as_numbers_texts_or_none(table: Callable[..., Any], tmp_path: Path) -> None:
    table([3, 0], datasets.Value("int32")).save_to_disk(tmp_path / "numbers")
    table(["b", "a"], datasets.Value("string")).save_to_disk(tmp_path / "texts")
    table([1, None]).save_to_disk(tmp_path / "gaps")
    table([0, 1]).remove_columns("label").save_to_disk(tmp_path / "without")
    found = {name: open_source(tmp_path / name) for name in ("numbers", "texts", "gaps", "without")}
    assert {name: [source.target(0), source.target(1)] for name, source in found.items()} == {
        "numbers": [3, 0],
        "texts": [1, 0],
        "gaps": [1, None],
        "without": [None, None],
    }
    assert found["texts"].classes == ("a", "b")


def test_huggingface_names_what_is_wrong(table: Callable[..., Any], tmp_path: Path, jpeg: Jpeg) -> None:
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "texts")
    with pytest.raises(SourceError, match="texts has no column of pictures, only text"):
        open_source(tmp_path / "texts")
    broken = datasets.Dataset.from_dict(
        {"image": [{"bytes": jpeg()[:200], "path": None}]}, features=datasets.Features({"image": datasets.Image()})
    )
    broken.save_to_disk(tmp_path / "broken")
    with pytest.raises(BadImage, match=r"^broken\[0\]: damaged or cut off"):
        open_source(tmp_path / "broken").load(0)
    (tmp_path / "z.parquet").write_bytes(b"no")
    with pytest.raises(SourceError, match=r"z\.parquet cannot be read"):
        open_source(tmp_path / "z.parquet")
    with pytest.raises(SourceError, match=r"hf:nobody/nothing cannot be loaded .*; check name and network"):
        open_source("hf:nobody/nothing")


def test_huggingface_loads_a_name(table: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, split: str) -> Any:
        asked.append((name, split))
        return table([0, 1])

    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name: ["train", "validation"])
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert open_source("hf:someone/birds", "val").name(1) == "someone/birds:validation[1]"
    assert len(open_source("hf:someone/birds:train[:1%]")) == 2
    assert asked == [("someone/birds", "validation"), ("someone/birds", "train[:1%]")]


def test_huggingface_says_how_to_get_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(SourceError, match=r"need the library datasets; pip install 'volovan\[hf\]'"):
        open_source("hf:beans")


def test_what_macos_adds_is_no_table(table: Callable[..., Any], tmp_path: Path) -> None:
    table([0, 1, 1]).to_parquet(tmp_path / "train-0.parquet")
    (tmp_path / "._train-0.parquet").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    assert len(open_source(tmp_path)) == 3


@pytest.fixture
def listed(table: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """listed(cells, feature, kind="class"): the whole source of a column `label` of such cells."""

    def save(cells: list[Any], feature: Any, kind: str = "class") -> Any:
        folder = tmp_path / f"saved{len(list(tmp_path.iterdir()))}"
        table(cells, feature).save_to_disk(folder)
        return open_source(folder, kind=kind)

    return save


def _targets(source: Any) -> list[list[float]]:
    return [source.target(index).tolist() for index in range(len(source))]


def test_huggingface_reads_lists_as_several_labels(listed: Callable[..., Any]) -> None:
    named = listed([[0], [0, 2], [], None], datasets.List(datasets.ClassLabel(names=["a", "b", "c"])))
    assert (named.kind, named.classes) == ("labels", ("a", "b", "c"))
    assert _targets(named) == [[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 0, 0]]
    words = listed([["dog", "cat"], ["cat"]], datasets.List(datasets.Value("string")))
    assert (words.classes, _targets(words)) == (("cat", "dog"), [[1, 1], [1, 0]])
    numbers = listed([[10], [2, 10]], datasets.List(datasets.Value("int64")))
    assert (len(numbers.classes), _targets(numbers)[1][2], _targets(numbers)[1][10]) == (11, 1, 1)
    flags = listed([[1, 0, 1], [0, 0, 1]], datasets.List(datasets.Value("int64")))
    assert (flags.classes, _targets(flags)) == (("0", "1", "2"), [[1, 0, 1], [0, 0, 1]])
    assert len(pickle.loads(pickle.dumps(flags))) == 2


def test_huggingface_reads_fractions_as_numbers(listed: Callable[..., Any]) -> None:
    ages = listed([1.5, 30.0], datasets.Value("float32"))
    assert (ages.kind, ages.classes, _targets(ages)) == ("numbers", ("label",), [[1.5], [30.0]])
    whole = listed([2.0, 10.0], datasets.Value("float64"))  # as pandas writes numbers of classes beside gaps
    assert (whole.kind, whole.target(1), len(whole.classes)) == ("class", 10, 11)
    years = listed([1990, 2001], datasets.Value("int64"), kind="numbers")
    assert (years.kind, _targets(years)) == ("numbers", [[1990], [2001]])
    with pytest.raises(SourceError, match=r"\[1\]: label is '', expected a number such as 3\.5"):
        listed([1.5, None], datasets.Value("float32"))
    with pytest.raises(SourceError, match=r"\[0\] has label 1\.5, expected a class name or a whole number"):
        listed(["1.5", "2"], datasets.Value("string"))


def test_huggingface_says_which_splits_are_not_used(table: Callable[..., Any], tmp_path: Path) -> None:
    both = {"train": table([0, 1]), "validation": table([1]), "unsupervised": table([1])}
    datasets.DatasetDict(both).save_to_disk(tmp_path / "saved")
    assert "Not used: the splits unsupervised." in open_source(tmp_path / "saved", "train").note
