"""Names of results: those of the pictures, so that both pair up again."""

import pytest

from volovan.data.file_names import file_names


@pytest.mark.parametrize(
    "name",
    ["my photo.jpg", "b (1).png", "f#1.png", "k=v [x].png", "ünïcode 猫.webp", "a.b.c.jpeg"],
    ids=["space", "brackets", "hash", "equals", "script", "dots"],
)
def test_a_picture_keeps_its_own_name(name):
    assert file_names([f"folder/{name}"]) == [name.rpartition(".")[0]]


def test_names_that_would_be_the_same_get_numbers_that_no_other_picture_has():
    assert file_names(["x/A.png", "y/a.jpg", "z/a_2.png", "w/a.gif"]) == ["A", "a_3", "a_2", "a_4"]


def test_what_a_file_system_refuses_is_replaced():
    assert file_names(['a:b?"c".png', "tar.gz!in/side.png", "-", "/.png"]) == ["a_b_c_", "side", "stdin", "png"]
