"""Every layout on a few pictures; what does not fit is named."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from volovan.classify.transforms import EvalTransform
from volovan.data.errors import SourceError
from volovan.data.samples import UNLABELLED, FileSource
from volovan.engine.settings import SettingsError
from volovan.files.classes import wnids
from volovan.suite import readers
from volovan.suite.readers import (
    LabelSets,
    SuiteSamples,
    class_folders,
    corruption_folders,
    read_classes,
    read_corruptions,
    read_subset,
    read_val,
)
from volovan.suite.sets import SETS, choose, locate, locate_real_labels, open_sets
from volovan.suite.vizwiz import read_vizwiz

SEEN = EvalTransform((8, 8), (0.5,) * 3, (0.5,) * 3)


def draw(path, grey=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5), (grey, grey, grey)).save(path)


def labels_of(row, source):
    """{file name: accepted classes} of the pictures that count."""
    names = [source.name(index).rpartition("/")[2] for index in range(len(source))]
    return {name: sorted(row.labels[index].tolist()) for index, name in enumerate(names) if row.counts[index]}


# ---- class folders --------------------------------------------------------------------------------------------------


def test_folders_of_v2_are_numbers_and_not_places_in_the_order_of_names(tmp_path):
    for number in (0, 1, 2, 10, 100, 999):
        draw(tmp_path / str(number) / f"of_{number}.jpeg")
    (work,) = read_classes(tmp_path, "v2-top-images")
    assert labels_of(work.rows[0], work.source) == {f"of_{n}.jpeg": [n] for n in (0, 1, 2, 10, 100, 999)}
    assert work.subset is None


def test_folders_called_by_wnid_have_its_number(tmp_path):
    for number in (0, 7, 999):
        draw(tmp_path / wnids()[number] / f"of_{number}.jpg")
    (tmp_path / "README.txt").write_text("beside the folders, as in ImageNet-A")
    (work,) = read_classes(tmp_path, "sketch")
    assert labels_of(work.rows[0], work.source) == {"of_0.jpg": [0], "of_7.jpg": [7], "of_999.jpg": [999]}


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("cats", "has a folder 'cats'; expected ImageNet's wnids"),
        ("n99999999", "has a folder 'n99999999'"),
        ("1000", "has a folder 1000; expected 0 to 999"),
        ("n01440764", "holds no pictures; expected"),
    ],
)
def test_folder_that_is_no_class_is_refused(tmp_path, folder, said):
    (tmp_path / folder).mkdir()
    if folder != "n01440764":
        draw(tmp_path / folder / "1.jpg")
    with pytest.raises(SourceError, match=said):
        class_folders(tmp_path)


def test_subset_refuses_a_class_that_is_not_in_it(tmp_path):
    draw(tmp_path / "n01498041" / "ray.jpg")
    assert len(read_subset(tmp_path, "a")[0].subset) == 200
    draw(tmp_path / "n01440764" / "tench.jpg")
    with pytest.raises(
        SourceError, match="has pictures of n01440764, which is not one of the 200 classes of ImageNet-A"
    ):
        read_subset(tmp_path, "a")


# ---- ImageNet val and ReaL ------------------------------------------------------------------------------------------


@pytest.fixture
def val(tmp_path):
    """val/ with pictures 1 to 3 in two class folders, out of the order of numbers."""
    for wnid, number in (("n01440764", 3), ("n01440764", 1), ("n15075141", 2)):
        draw(tmp_path / "val" / wnid / f"ILSVRC2012_val_{number:08}.JPEG")
    return tmp_path


def test_val_and_real_are_one_pass_with_labels_of_their_own(val, tmp_path):
    (tmp_path / "real.json").write_text("[[5, 6], [], [999]]")
    (work,) = read_val(val, ("val", "real"), tmp_path / "real.json")
    assert work.name == "val and real"
    one, two, three = (f"ILSVRC2012_val_{number:08}.JPEG" for number in (1, 2, 3))
    assert labels_of(work.rows[0], work.source) == {one: [0], two: [999], three: [0]}
    assert labels_of(work.rows[1], work.source) == {one: [5, 6], three: [999]}  # 2 has no label: it does not count


def test_real_takes_the_installed_labels_where_the_user_has_none(val):
    (work,) = read_val(val, ("real",))
    assert [row.name for row in work.rows] == ["real"]
    # The first pictures of ReaL: none, two labels, two labels.
    found = labels_of(work.rows[0], work.source)
    assert found == {"ILSVRC2012_val_00000002.JPEG": [795, 970], "ILSVRC2012_val_00000003.JPEG": [230, 231]}


def test_flat_val_takes_its_labels_from_the_table_of_kaggle(tmp_path):
    for number in (1, 2):
        draw(tmp_path / "val" / f"ILSVRC2012_val_{number:08}.JPEG")
    lines = [
        "ImageId,PredictionString",
        "ILSVRC2012_val_00000001,n15075141 1 1 2 2",
        "ILSVRC2012_val_00000002,n01440764 1 1 2 2",
    ]
    (tmp_path / "LOC_val_solution.csv").write_text("\n".join(lines))
    (work,) = read_val(tmp_path, ("val",))
    found = labels_of(work.rows[0], work.source)
    assert found == {"ILSVRC2012_val_00000001.JPEG": [999], "ILSVRC2012_val_00000002.JPEG": [0]}


def test_real_needs_the_original_names(tmp_path):
    draw(tmp_path / "val" / "n01440764" / "renamed.jpg")
    with pytest.raises(SourceError, match=r"renamed.jpg: ReaL's labels go by the original names"):
        read_val(tmp_path, ("val", "real"))
    assert len(read_val(tmp_path, ("val",))) == 1


def test_picture_of_val_without_a_label_is_refused(tmp_path, monkeypatch):
    source = FileSource(tmp_path, ["1.jpg", "2.jpg"], [0, UNLABELLED], wnids())
    monkeypatch.setattr(readers, "open_source", lambda folder, split: source)
    with pytest.raises(SourceError, match=r"2\.jpg has no label; every picture of val needs one"):
        read_val(tmp_path, ("val",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "real.json line 1 cannot be read as JSON"),
        ("[" * 100_000, "real.json cannot be read as JSON"),
        ('{"a": 1}', "no real.json"),
        (
            "[[1000]]",
            r"real.json: the entry of picture 1 is \[1000\]; expected a list of whole class numbers from 0 to",
        ),
        ("[[-1]]", r"real.json: the entry of picture 1 is \[-1\]; expected"),
        ("[[5], [1.7]]", r"real.json: the entry of picture 2 is \[1.7\]; expected"),
        ("[[5], [3.0]]", r"real.json: the entry of picture 2 is \[3.0\]; expected"),
        ("[[true]]", r"real.json: the entry of picture 1 is \[true\]; expected"),
        ("[[5], [], [null]]", r"real.json: the entry of picture 3 is \[null\]; expected"),
        ('[["x"]]', r"real.json: the entry of picture 1 is \[\"x\"\]; expected"),
        ("[[5], 7]", r"real.json: the entry of picture 2 is 7; expected"),
        ("[[1e400]]", r"real.json: the entry of picture 1 is \[Infinity\]; expected"),
    ],
    ids=[
        "no JSON",
        "nested",
        "mapping",
        "too large",
        "negative",
        "fraction",
        "3.0",
        "true",
        "null",
        "text",
        "bare",
        "inf",
    ],
)
def test_broken_real_labels_are_named(tmp_path, text, said):
    draw(tmp_path / "val" / "n01440764" / "ILSVRC2012_val_00000001.JPEG")
    (tmp_path / "real.json").write_text(text)
    with pytest.raises(SourceError, match=said):
        read_val(tmp_path, ("real",), tmp_path / "real.json")


# ---- ImageNet-C -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["", "weather"], ids=["flat", "as the archives unpack"])
def test_corruption_has_a_row_for_each_severity(tmp_path, group):
    for severity in range(1, 6):
        for number in (0, 8):
            draw(tmp_path / group / "fog" / str(severity) / wnids()[number] / f"{severity}_{number}.JPEG")
    (work,) = read_corruptions(tmp_path, "c")
    assert work.name == "c-fog"
    assert work.cut
    for severity, row in enumerate(work.rows, start=1):
        assert row.name == f"c-fog-{severity}"
        assert labels_of(row, work.source) == {f"{severity}_0.JPEG": [0], f"{severity}_8.JPEG": [8]}


def test_corruptions_come_in_the_order_of_the_paper(tmp_path):
    for name in ("spatter", "fog", "digital/pixelate", "gaussian_noise", "sunshine"):
        (tmp_path / name).mkdir(parents=True)
    assert list(corruption_folders(tmp_path)) == ["gaussian_noise", "fog", "pixelate", "spatter"]


def test_folder_without_corruptions_is_refused_at_once(tmp_path):
    with pytest.raises(SourceError, match="holds none of the corruptions; expected"):
        read_corruptions(tmp_path, "c")


# ---- VizWiz ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def vizwiz(suite_root, tmp_path):
    """A copy of the generated set that a test may change."""
    return shutil.copytree(suite_root / "vizwiz-classification", tmp_path / "vizwiz")


def test_vizwiz_splits_by_its_flags(vizwiz):
    (work,) = read_vizwiz(vizwiz, "vizwiz")
    chosen = {row.name: np.flatnonzero(row.counts).tolist() for row in work.rows}
    assert chosen == {
        "vizwiz": [0, 1, 2, 3, 4, 5],
        "vizwiz-clean": [0, 1, 2],
        "vizwiz-obscured": [3],
        "vizwiz-dark": [4],
        "vizwiz-blurred": [3, 4],
        "vizwiz-bright": [4],
        "vizwiz-rotated": [4],
        "vizwiz-framing": [4],
        "vizwiz-any-flaw": [3, 4],
    }
    assert work.subset == tuple(range(0, 1000, 50))
    assert len(work.rows[0].labels[1]) == 2


def test_vizwiz_without_labels_is_for_its_server(vizwiz):
    (vizwiz / "labels.json").unlink()
    (work,) = read_vizwiz(vizwiz, "vizwiz")
    assert work.upload
    assert work.rows == ()
    assert len(work.source) == 6


def test_vizwiz_takes_its_classes_from_the_map_of_the_authors(vizwiz):
    (vizwiz / "annotations.json").unlink()
    numbers = {str(number): place for place, number in enumerate(range(0, 1000, 50))}
    (vizwiz / "annotations").mkdir()
    (vizwiz / "annotations" / "IN_to_VizWiz.json").write_text(json.dumps(numbers))
    assert read_vizwiz(vizwiz, "vizwiz")[0].subset == tuple(range(0, 1000, 50))


@pytest.mark.parametrize("split", ["images/val", "val", ""], ids=["images/val", "val", "beside the table"])
def test_vizwiz_finds_pictures_where_the_zips_put_them(vizwiz, split):
    (vizwiz / split).mkdir(parents=True, exist_ok=True)
    for path in list((vizwiz / "images").glob("*.png")):
        path.rename(vizwiz / split / path.name)
    assert read_vizwiz(vizwiz, "vizwiz")[0].source.load(5).size == (32, 40)


def test_vizwiz_names_what_does_not_fit(vizwiz):
    (vizwiz / "images" / "VizWiz_val_00000004.png").unlink()
    with pytest.raises(SourceError, match=r"lacks 1 of 6 pictures, the first is VizWiz_val_00000004.png"):
        read_vizwiz(vizwiz, "vizwiz")
    table = json.loads((vizwiz / "annotations.json").read_text())
    table["categories"][0]["id"] = 1  # numbers from 1, as those of ILSVRC's kit
    (vizwiz / "annotations.json").write_text(json.dumps(table))
    with pytest.raises(SourceError, match="category 1 is called n01440764, which is not ImageNet's class 1"):
        read_vizwiz(vizwiz, "vizwiz")
    for path in vizwiz.glob("*.json"):
        path.unlink()
    with pytest.raises(SourceError, match="has no table of VizWiz-Classification"):
        read_vizwiz(vizwiz, "vizwiz")


def test_vizwiz_labels_are_whole_numbers(vizwiz):
    table = json.loads((vizwiz / "labels.json").read_text())
    for labels in ([True], [50.0], "50", None):
        table["VizWiz_val_00000001.png"]["labels"] = labels
        (vizwiz / "labels.json").write_text(json.dumps(table))
        with pytest.raises(SourceError, match=r"VizWiz_val_00000001.png: its labels are .*, expected a list of class"):
            read_vizwiz(vizwiz, "vizwiz")


# ---- where sets are looked for --------------------------------------------------------------------------------------


def test_every_set_is_found_in_the_root(suite_root):
    found = {name: locate(name, [suite_root]) for name in SETS}
    assert {name for name, path in found.items() if path is None} == {"v2-top-images"}
    assert found["a"].name == "ImageNet_A"  # upper case and `_` do not matter
    assert locate_real_labels([suite_root]) == suite_root / "real.json"


def test_root_may_be_imagenet_itself_and_the_first_root_wins(suite_root, tmp_path):
    assert locate("val", [suite_root / "imagenet"]) == suite_root / "imagenet"
    assert locate("val", [tmp_path]) is None
    (tmp_path / "sketch").mkdir()
    assert locate("sketch", [suite_root, tmp_path]) == suite_root / "sketch"
    assert locate("sketch", [tmp_path, suite_root]) == tmp_path / "sketch"


def test_val_and_real_are_opened_together(suite_root):
    assert list(open_sets(("val", "real", "a"), [suite_root])) == ["val", "a"]
    (work,) = open_sets(("real",), [suite_root])["real"]
    assert [row.name for row in work.rows] == ["real"]


def test_sets_are_chosen_by_name():
    assert choose(None) == tuple(SETS)
    assert choose("a, V2,val") == ("val", "v2-matched-frequency", "v2-threshold-0.7", "v2-top-images", "a")
    with pytest.raises(SettingsError, match=r"there is no set 'sketsh'; did you mean sketch\?"):
        choose("val,sketsh")


# ---- a part of a set ------------------------------------------------------------------------------------------------


def test_limit_takes_pictures_from_the_whole_set(tmp_path):
    for number in range(10):
        draw(tmp_path / str(number) / "1.jpg")
    (work,) = read_classes(tmp_path, "v2-top-images")
    whole = SuiteSamples(work, SEEN)
    part = SuiteSamples(work, SEEN, limit=5)
    assert [whole.name(index) for index in range(len(whole))] == [f"{number}/1.jpg" for number in range(10)]
    assert [part.name(index) for index in range(len(part))] == ["0/1.jpg", "2/1.jpg", "4/1.jpg", "6/1.jpg", "8/1.jpg"]
    assert part.read(4)["index"] == 8
    assert part.read(4)["accepted"].nonzero().tolist() == [[0, 8]]
    assert len(SuiteSamples(work, SEEN, limit=99)) == 10


def test_limit_counts_for_each_severity(suite_root):
    work = next(read_corruptions(suite_root / "imagenet-c", "c"))
    part = SuiteSamples(work, SEEN, limit=1)
    counted = np.array([part.read(index)["counts"].tolist() for index in range(len(part))])
    assert counted.tolist() == np.eye(5, dtype=bool).tolist()


def test_label_sets_hold_lists_of_any_length():
    sets = LabelSets([[3], [], [1, 2]])
    assert [sets[index].tolist() for index in range(3)] == [[3], [], [1, 2]]
