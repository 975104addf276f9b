import pickle

import numpy as np
import pytest

from volovan.data import SourceError, list_splits, open_source


def test_generated_pictures_follow_from_split_and_number():
    first, again = open_source("generated:7x20", "train"), open_source("generated:7x20", "train")
    val = open_source("generated:7x20", "val")
    assert list_splits("generated:7x20") == ("train", "val")
    assert (len(first), len(val), len(first.classes)) == (20, 20, 7)
    for index in (0, 13):
        assert np.array_equal(first.load(index), again.load(index))
        assert not np.array_equal(first.load(index), val.load(index))
    assert np.array_equal(pickle.loads(pickle.dumps(first)).load(3), first.load(3))
    assert not np.array_equal(first.load(0), first.load(7))  # of the same class


def test_generated_pictures_have_names_labels_and_a_realistic_size():
    source = open_source("generated:3x40", "train")
    assert [source.target(index) for index in range(4)] == [0, 1, 2, 0]
    assert source.name(4) == "g00001/train_00000004.png"
    sizes = [source.load(index).size for index in range(40)]
    assert set(sizes) == {(500, 375), (375, 500)}
    assert 20 <= sizes.count((500, 375)) < 40
    assert source.raw(0) is None
    small = open_source("generated:3x30@64x32", "val")
    assert {small.load(index).size for index in range(30)} == {(64, 32), (32, 64)}


def test_a_class_shows_in_its_stripes():
    """Pictures of a class share direction and width of their stripes, the strongest lines of the spectrum."""

    def strongest(source, index):
        spectrum = np.abs(np.fft.rfft2(np.asarray(source.load(index).convert("L"), float)))
        spectrum[:12, :12] = spectrum[-12:, :12] = 0  # the coarse colours
        return np.unravel_index(spectrum.argmax(), spectrum.shape)

    source = open_source("generated:8x48@256x256", "train")
    places = [{strongest(source, number + 8 * turn) for turn in range(6)} for number in (0, 4)]  # the finest stripes
    assert all(len(place) == 1 for place in places)
    assert places[0] != places[1]


@pytest.mark.parametrize("spec", ["generated:", "generated:5", "generated:0x5", "generated:5x5@0x3", "generated:axb"])
def test_generated_refuses_what_it_cannot_read(spec):
    with pytest.raises(SourceError, match=r"expected generated:CLASSESxCOUNT"):
        open_source(spec, "train")
