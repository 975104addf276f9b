"""Which output of a network a class of the data is: names decide."""

import unicodedata

import pytest

from volovan.files.classes import match_classes, output_names, quoted, wnids


def test_names_decide_and_not_positions():
    match = match_classes(("dog", "cat"), ("bird", "cat", "dog"))
    assert match.numbers == match.places == (2, 1)
    assert match.unwanted == (0,)
    assert not match.unknown
    assert not match.same
    assert match_classes(("a", "b"), ("a", "b")).same
    assert not match_classes(("a", "b"), ("a", "b", "c")).same


def test_as_many_classes_of_other_names_are_not_taken_by_position():
    match = match_classes(("blue", "crimson"), ("blue", "red"))
    assert match.numbers == (0, None)
    assert match.unknown == ("crimson",)
    assert match.places == (0,)
    assert not match.by_number


@pytest.mark.parametrize(
    ("wanted", "known", "numbers"),
    [
        (("class 0", "class 1", "class 2"), ("a", "b", "c"), (0, 1, 2)),
        (("a", "b", "c"), ("0", "1", "2"), (0, 1, 2)),
        (("2", "0", "1"), ("a", "b", "c"), (2, 0, 1)),
        (("a", "b", "c"), ("2", "0", "1"), (1, 2, 0)),
        (("class 0", "class 1"), ("1", "0"), (1, 0)),
    ],
)
def test_numbers_decide_where_one_side_has_no_names(wanted, known, numbers):
    match = match_classes(wanted, known)
    assert match.by_number
    assert match.numbers == numbers


@pytest.mark.parametrize(
    ("wanted", "known"),
    [
        (("0", "1"), ("a", "b", "c")),  # not as many
        (("1", "2", "3"), ("a", "b", "c")),  # do not count from 0
        (("0", "1", "x"), ("a", "b", "c")),
    ],
)
def test_numbers_that_may_mean_something_else_are_names(wanted, known):
    match = match_classes(wanted, known)
    assert not match.by_number
    assert match.unknown == wanted


def test_numbers_on_both_sides_are_names():
    match = match_classes(("0", "1", "2"), tuple(map(str, range(10))))
    assert match.numbers == (0, 1, 2)
    assert not match.by_number


def test_accents_may_be_written_in_either_way():
    names = [unicodedata.normalize(form, "caf\N{LATIN SMALL LETTER E WITH ACUTE}") for form in ("NFC", "NFD")]
    assert names[0] != names[1]
    assert match_classes(names[:1], names[1:]).numbers == (0,)


def test_synsets_are_found_among_the_thousand_classes_of_imagenet_whatever_these_are_called():
    chosen = (wnids()[7], wnids()[3])
    for known in (wnids(), output_names(1000), tuple(map(str, range(1000)))):
        match = match_classes(chosen, known)
        assert match.numbers == (7, 3)
        assert not match.by_number
    assert match_classes(output_names(1000), wnids()).same  # and the other way round
    assert match_classes(("n00000000",), output_names(1000)).unknown == ("n00000000",)


def test_published_weights_meet_a_thousand_other_names_by_number():
    match = match_classes([f"thing {number}" for number in range(1000)], output_names(1000))
    assert match.by_number
    assert match.same


def test_names_in_a_sentence_are_a_few():
    assert quoted(("a", "b")) == "'a', 'b'"
    assert quoted("abcdefg") == "'a', 'b', 'c', 'd', 'e' ..."
