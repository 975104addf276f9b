"""Names of results: those of the pictures, so that both pair up again."""

import pytest

from volovan.data.pictures.file_names import file_names


@pytest.mark.parametrize(
    "name",
    ["my photo.jpg", "b (1).png", "f#1.png", "k=v [x].png", "ünïcode 猫.webp", "a.b.c.jpeg"],
    ids=["space", "brackets", "hash", "equals", "script", "dots"],
)
def test_a_picture_keeps_its_own_name_and_folder(name):
    assert file_names([name, f"a/b.c/{name}"]) == [name.rpartition(".")[0], f"a/b.c/{name.rpartition('.')[0]}"]


def test_paths_that_would_be_the_same_get_numbers_that_no_other_picture_has():
    assert file_names(["A.png", "a.jpg", "a_2.png", "a.gif"]) == ["A", "a_3", "a_2", "a_4"]
    assert file_names(["x/a.png", "X/a.png", "y/a.png"]) == ["x/a", "X/a_2", "y/a"]


def test_what_a_file_system_refuses_is_replaced():
    assert file_names(['a:b?"c".png', "tar.gz!in/side.png", "/.png"]) == ["a_b_c_", "tar.gz/in/side", "png"]


@pytest.mark.parametrize("path", ["/etc/x.png", "../../x.png", "./x.png", "C:\\p\\x.png", "..\\x.png", "a/.. /x.png"])
def test_no_name_leads_out_of_the_folder_of_results(path):
    (name,) = file_names([path])
    assert name.endswith("x")
    assert not name.startswith("/")
    assert not {"..", "."} & set(name.split("/"))
