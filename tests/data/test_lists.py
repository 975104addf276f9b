"""Lists of pictures as people have them: what their columns are called, and how they name the files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from volovan.data import Source, SourceError, check_data, list_splits, open_images, open_source

Jpeg = Callable[..., bytes]


@pytest.fixture
def listed(tmp_path: Path, jpeg: Jpeg) -> Callable[..., Path]:
    """listed(text, name="list.csv"): a list beside pics/a.jpg ... pics/d.jpg."""
    (tmp_path / "pics").mkdir()
    for number, name in enumerate("abcd"):
        (tmp_path / "pics" / f"{name}.jpg").write_bytes(jpeg(number))

    def write(text: str, name: str = "list.csv") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def seen(source: Source) -> dict[str, str | None]:
    """{picture: its class}, each of them read."""
    found = {}
    for index in range(len(source)):
        source.load(index)
        label = source.target(index)
        found[source.name(index)] = None if label is None else source.classes[label]
    return found


TWO = {"pics/a.jpg": "cat", "pics/b.jpg": "dog"}


@pytest.mark.parametrize(
    "text",
    [
        "image_id,label\npics/a.jpg,cat\npics/b.jpg,dog",
        "id_code,diagnosis\npics/a.jpg,cat\npics/b.jpg,dog",
        "Image,Id\npics/a.jpg,cat\npics/b.jpg,dog",
        "lesion_id,image_id,dx,age\n1,pics/a.jpg,cat,40\n2,pics/b.jpg,dog,50",
        "id,breed\npics/a,cat\npics/b,dog",
        "id,breed\na,cat\nb,dog",
        "Image Index;Finding Label\na.jpg;cat\nb.jpg;dog",
        "uid,label,file\n1,cat,a.jpg\n2,dog,b.jpg",
        "what,label\npics/a.jpg,cat\npics/b.jpg,dog",
        "path,label\npics\\a.jpg,cat\npics\\b.jpg,dog",
        "filename,cat,dog\npics/a.jpg,1,0\npics/b.jpg,0.0,1.0",
        "cat,pics/a.jpg\ndog,pics/b.jpg",
        "pics/a,cat\npics/b,dog",
        "path,label\nPics/A.JPG,cat\nB,dog",
    ],
)
def test_a_list_is_read_whatever_its_columns_and_paths_are_called(listed: Callable[..., Path], text: str) -> None:
    assert seen(open_source(listed(text))) == TWO


@pytest.mark.parametrize("name", ["list.txt", "list.csv"])
def test_a_text_list_holds_a_path_and_a_label(listed: Callable[..., Path], jpeg: Jpeg, name: str) -> None:
    assert seen(open_source(listed("pics/a.jpg cat\npics/b.jpg\tdog\n".replace("\t", " "), name))) == TWO
    path = listed("pics/a.jpg 0\npics/my b.jpg  10\n", name)
    (path.parent / "pics" / "my b.jpg").write_bytes(jpeg(7))
    assert seen(open_source(path)) == {"pics/a.jpg": "0", "pics/my b.jpg": "10"}
    assert seen(open_source(listed("image label\npics/a.jpg tabby cat\nb.jpg dog", name))) == {
        "pics/a.jpg": "tabby cat",
        "pics/b.jpg": "dog",
    }
    assert seen(open_source(listed("pics/a.jpg\npics/b.jpg\n", name))) == {"pics/a.jpg": None, "pics/b.jpg": None}
    with pytest.raises(SourceError, match=r"line 2 has 3 numbers after the path, expected one label; .* `labels`"):
        open_source(listed("pics/a.jpg 1\npics/b.jpg 0 1 1\n", name))
    with pytest.raises(SourceError, match="line 2 has no label, but line 1 has a label"):
        open_source(listed("pics/a.jpg 1\npics/b.jpg\n", name))


def test_pictures_of_a_text_list_are_looked_at(listed: Callable[..., Path]) -> None:
    path = str(listed("pics/a.jpg 0\npics/b.jpg 1\n", "some.txt"))
    assert [source.name(index) for source in [open_images([path])] for index in range(len(source))] == [*TWO]


def test_splits_of_a_list_hold_each_its_own(listed: Callable[..., Path]) -> None:
    path = listed("Subset,ID,Species\ntrain,a,cat\nvalid,b,dog\n")
    assert list_splits(path) == ("train", "val")
    assert seen(open_source(path, "val")) == {"pics/b.jpg": "dog"}
    assert open_source(path, "val").note == (
        "1 of 1 listed pictures are found under another path, such as b: pics/b.jpg."
    )


@pytest.mark.parametrize(
    ("cells", "classes", "said"),
    [
        (["cat|dog", "dog"], ("cat", "dog"), ""),
        (["New York|Rome", "Rome"], ("New York", "Rome"), ""),
        (["haze primary", "clear primary", "haze", "clear"], ("clear", "haze", "primary"), "at white space"),
        (["cat;dog", "dog", "cat"], ("cat", "dog"), "at semicolons"),
        (['"cat, dog"', "dog", "cat"], ("cat", "dog"), "at commas"),
        (["New York", "New Jersey", "Boston"], ("Boston", "New Jersey", "New York"), "'New York' is one class"),
        (['"tench, Tinca tinca"', "goldfish"], ("goldfish", "tench, Tinca tinca"), "'tench, Tinca tinca' is one class"),
    ],
)
def test_labels_of_a_picture_are_told_apart(listed, cells, classes, said):
    rows = "".join(f"{number}.png,{cell}\n" for number, cell in enumerate(cells))
    source = open_source(listed("image,tags\n" + rows))
    assert (source.kind, source.classes) == ("labels", classes)
    assert said in source.note if said else "part" not in source.note


def test_known_classes_part_labels(listed):
    path = listed("image,labels\n1.png,cat dog\n2.png,big cat\n")
    for third, counts in (("big cat", [2, 1]), ("big", [2, 2])):
        (path.parent / "classes.txt").write_text(f"cat\ndog\n{third}\n")
        assert [open_source(path).target(number).sum() for number in (0, 1)] == counts
    (path.parent / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(SourceError, match="big cat"):
        open_source(path)


def test_columns_of_flags_are_several_labels(listed: Callable[..., Path]) -> None:
    path = listed("name,image,MEL,NV\nx,a,1,0\ny,b,1,1\n".replace("name,", "").replace("x,", "").replace("y,", ""))
    source = open_source(path)
    assert (source.kind, source.classes) == ("labels", ("MEL", "NV"))
    assert [source.target(index).tolist() for index in range(2)] == [[1, 0], [1, 1]]
    one_each = listed("image,NV,MEL\na,1,0\nb,0,1\n")
    assert (open_source(one_each).kind, open_source(one_each).classes) == ("class", ("NV", "MEL"))
    assert open_source(one_each, kind="labels").kind == "labels"
    assert "Each of the 2 columns NV, MEL is taken as a class." in open_source(one_each).note


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo,bar\npics/a.jpg,cat", r"list\.csv line 1 \(foo, bar\) is neither a picture that is there nor a heading"),
        ("e,cat\npics/a.jpg,cat", r"list\.csv line 1 \(e, cat\) is neither"),
        ("label,note\ncat,x", r"line 1 names no column of pictures \(label, note\); call it path"),
        ("path,label,label\npics/a.jpg,cat,dog", "has two columns called 'label'; rename or remove one"),
        ("pics/a.jpg,cat,0.9", "line 1 has split '0.9', expected train, val or test; if its column holds something"),
        ("path,label\npics/a.jpg,0\npics/b.jpg,1.5", r"pics/b\.jpg has label 1\.5, .* the column `value`"),
    ],
)
def test_a_list_is_refused_by_its_line(listed: Callable[..., Path], text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(listed(text))


def test_the_remedy_of_an_unknown_heading_works(listed: Callable[..., Path]) -> None:
    rows = "a.jpg,cat\nb.jpg,dog\n"
    with pytest.raises(SourceError, match="call the columns path, label and, if wanted, split in the first line"):
        open_source(listed(f"Bild,Tier\n{rows}"))
    assert seen(open_source(listed(f"path,label\n{rows}"))) == TWO
    unlabelled = open_source(listed("image,age,sex\na.jpg,30,f\nb.jpg,40,m\n"))
    assert (unlabelled.kind, unlabelled.note.partition(" 2 of")[0]) == (
        "none",
        "No column is known as that of the label (age, sex); call the one that is `label`.",
    )
    assert seen(open_source(listed("image,age,label\na.jpg,30,cat\nb.jpg,40,dog\n"))) == TWO


def test_a_name_that_two_pictures_have_is_refused(listed: Callable[..., Path], jpeg: Jpeg) -> None:
    path = listed("id,label\na,cat\nb,dog\n")
    (path.parent / "more").mkdir()
    (path.parent / "more" / "b.png").write_bytes(jpeg(8))
    with pytest.raises(SourceError, match=r"lists b, which is more/b\.png or pics/b\.jpg; write the whole path"):
        open_source(path)
    assert seen(open_source(listed("id,label\na,cat\npics/b,dog\n"))) == TWO


def test_a_picture_that_is_nowhere_is_named(listed: Callable[..., Path]) -> None:
    report = check_data(str(listed("id,label\na,cat\nb,dog\nc,cat\nd,dog\ne,dog\n")))
    assert [(sample.name, sample.remark) for sample in report.broken] == [("e", "there is no such file")]


def test_labels_with_a_point_are_in_the_order_of_numbers(listed: Callable[..., Path]) -> None:
    source = open_source(listed("path,label\na.jpg,10.0\nb.jpg,2.0\nc.jpg,0.\nd.jpg,1.0\n"))
    assert [source.target(index) for index in range(4)] == [10, 2, 0, 1]
    assert source.classes == tuple(map(str, range(11)))
