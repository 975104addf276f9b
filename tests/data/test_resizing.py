"""Pictures resized by torch: close to Pillow, and Pillow itself where exactness or the processor asks for it."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.waves import waves

from volovan.data.pictures.resizing import Filter

VECTORS = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
SIZES = [
    ((500, 375), (224, 224)),
    ((100, 120), (224, 224)),
    ((224, 90), (224, 224)),
    ((1, 1), (8, 8)),
    ((7, 900), (33, 5)),
]


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(("side", "size"), SIZES, ids=str)
def test_quick_is_within_2_of_255_of_pillow(name, side, size):
    picture = waves(300, 300).resize(side)
    expected = picture.resize(size[::-1], Image.Resampling[name.upper()])
    given = np.asarray(picture).copy()
    assert np.array_equal(np.asarray(Filter(name).resize(picture, size)), np.asarray(expected))
    quick = Filter(name, quick=True).resize(picture, size)
    assert (quick.mode, quick.size) == ("RGB", size[::-1])
    difference = np.abs(np.asarray(quick, int) - np.asarray(expected, int))
    assert difference.max() <= 2
    assert (difference > 0).mean() < (0.25 if side[1] > 20 * size[0] else 0.02)
    assert np.array_equal(np.asarray(picture), given)


def test_a_picture_of_the_size_is_the_same():
    picture = waves(40, 30)
    assert Filter("bicubic", quick=True).resize(picture, (30, 40)) is picture


@pytest.mark.skipif(not VECTORS, reason="torch has no filters of bytes for this processor")
def test_torch_is_asked_where_it_is_quick_and_nowhere_else(monkeypatch):
    asked = []
    real = torch.nn.functional.interpolate
    monkeypatch.setattr(
        torch.nn.functional, "interpolate", lambda *args, **more: asked.append(1) or real(*args, **more)
    )
    picture = waves(60, 50)
    Filter("bilinear").resize(picture, (8, 8))
    Filter("nearest", quick=True).resize(picture, (8, 8))
    assert not asked
    Filter("bilinear", quick=True).resize(picture, (8, 8))
    assert asked
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    by_pillow = Filter("bilinear", quick=True).resize(picture, (8, 8))
    assert len(asked) == 1
    assert np.array_equal(np.asarray(by_pillow), np.asarray(picture.resize((8, 8), Image.Resampling.BILINEAR)))


@pytest.mark.parametrize("quick", [False, True])
def test_a_box_of_whole_pixels_ends_at_its_edge_and_another_takes_pillow(quick):
    picture = waves(60, 50)
    filter = Filter("bilinear", quick)
    part = filter.cut(picture, (10, 5.0, 50, 45), (20, 20))
    assert np.array_equal(np.asarray(part), np.asarray(filter.resize(picture.crop((10, 5, 50, 45)), (20, 20))))
    part = filter.cut(picture, (10.25, 5.5, 60.0000001, 50), (20, 20))
    expected = picture.resize((20, 20), Image.Resampling.BILINEAR, box=(10.25, 5.5, 60, 50))
    assert np.array_equal(np.asarray(part), np.asarray(expected))
