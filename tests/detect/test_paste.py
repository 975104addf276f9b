"""Maps of 28 x 28 in the picture, and their runs: against grid_sample, pycocotools and the whole picture."""

import resource
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as oracle

from detections import whole
from volovan.data.objects.runs import read_runs
from volovan.data.objects.shapes import Affine, Raster
from volovan.detect.found import found_in, inverse
from volovan.detect.objects import Detections
from volovan.detect.paste import STRIP, paste
from volovan.room.runs import rle, runs_of, text_of

SIZE = (57, 83)


def sampled(box: list[float], own: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values in the whole picture, by grid_sample, in float64."""
    height, width = size
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
    y = (torch.arange(height, dtype=torch.float64) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    return F.grid_sample(torch.from_numpy(own).double()[None, None], grid, align_corners=False)[0, 0].numpy()


def boxes_and_maps(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Boxes with fractions, some over the edges of the picture; maps that are smooth."""
    draw = np.random.default_rng(seed)
    low = draw.uniform(-8, np.array(size[::-1]) - 4, (count, 2))
    boxes = np.concatenate((low, low + draw.uniform(0.7, 50, (count, 2))), axis=1)
    coarse = torch.from_numpy(draw.random((count, 1, 5, 5), dtype=np.float32))
    return boxes, F.interpolate(coarse, (28, 28), mode="bilinear")[:, 0].numpy()


def test_masks_are_those_of_grid_sample_in_the_whole_picture():
    boxes, maps = boxes_and_maps(60)
    some = 0
    for box, own, raster in zip(boxes.tolist(), maps, paste(boxes, maps, *SIZE), strict=True):
        values = sampled(box, own, SIZE)
        clear = np.abs(values - 0.5) > 1e-4
        found = whole(raster, SIZE)
        assert np.array_equal(found[clear], (values >= 0.5)[clear])
        some += found.sum()
    assert some > 5000


def test_large_objects_are_pasted_in_strips_without_a_seam():
    box, size = [3.3, 5.1, 1490.2, 1395.7], (1400, 1500)
    own = boxes_and_maps(1, seed=4)[1]
    (raster,) = paste(np.array([box]), own, *size)
    assert raster.mask.size > 4 * STRIP
    values = sampled(box, own[0], size)
    clear = np.abs(values - 0.5) > 1e-4
    assert np.array_equal(whole(raster, size)[clear], (values >= 0.5)[clear])


@pytest.mark.parametrize("box", [(10, 10, 10, 30), (10.3, 5, 10.3, 5), (-9, -9, -1, -1), (90, 5, 99, 9)], ids=str)
def test_a_box_without_pixels_has_an_empty_mask(box):
    (raster,) = paste(np.array([box], float), np.ones((1, 28, 28), np.float32), *SIZE)
    assert not raster.mask.any()
    assert oracle.decode(rle(raster, *SIZE)).sum() == 0


def test_a_full_map_fills_its_box_and_one_pixel_is_one_pixel():
    full = np.ones((3, 28, 28), np.float32)
    boxes = np.array([[2, 3, 40, 30], [7, 9, 8, 10], [0, 17, 31, 57]], float)
    for box, raster in zip(boxes.astype(int).tolist(), paste(boxes, full, *SIZE), strict=True):
        expected = np.zeros(SIZE, bool)
        expected[box[1] : box[3], box[0] : box[2]] = True
        assert np.array_equal(whole(raster, SIZE), expected)


def test_what_a_network_found_comes_back_into_the_picture():
    to = Affine(2.0, 0.5, 0.0, 3.0)  # the network saw it twice as wide, half as high
    seen = torch.tensor([[20.0, 8.0, 60.0, 13.0], [-3.0, 3.0, 400.0, 40.0]])
    maps = torch.ones(2, 28, 28)
    found = found_in(Detections(seen, torch.tensor([0.9, 0.8]), torch.tensor([4, 1]), maps), to, SIZE)
    assert found.boxes.tolist() == [[10, 10, 30, 20], [0, 0, 83, 57]]
    assert found.labels.tolist() == [4, 1]
    assert found.masks[0].box() == (10, 10, 30, 20)
    assert np.allclose(inverse(to).points(to.points(found.boxes.reshape(-1, 2))), found.boxes.reshape(-1, 2))
    assert len(found_in(Detections(seen[:0], seen[:0, 0], seen[:0, 0].long(), maps[:0]), to, SIZE).masks) == 0


def test_a_mirrored_network_gives_mirrored_masks():
    left = torch.zeros(1, 28, 28)
    left[:, :, :14] = 1
    found = found_in(
        Detections(torch.tensor([[53.0, 10, 73, 30]]), torch.ones(1), torch.zeros(1).long(), left),
        Affine(-1.0, 1.0, 83.0, 0.0),
        SIZE,
    )
    assert found.boxes.tolist() == [[10, 10, 30, 30]]
    assert found.masks[0].box() == (20, 10, 30, 30)


# Runs


def random_rasters(count: int) -> list[Raster]:
    """Anywhere, also over the edges of the picture, full columns and the whole picture included."""
    draw = np.random.default_rng(7)
    found = [Raster(np.ones(SIZE, bool)), Raster(np.zeros(SIZE, bool)), Raster(np.zeros((0, 0), bool), 5, 5)]
    found += [
        Raster(np.ones((57, 3), bool), 80),
        Raster(np.ones((57, 2), bool), 0),
        Raster(np.ones((1, 1), bool), 82, 56),
    ]
    for _ in range(count):
        rows, columns = draw.integers(1, 60, 2)
        mask = draw.random((rows, columns)) < draw.choice([0.05, 0.5, 0.97])
        found.append(Raster(mask, int(draw.integers(-20, 80)), int(draw.integers(-20, 55))))
    tall = draw.random((57, 30)) < 0.5
    tall[0] = tall[-1] = True  # runs go on from column to column
    return [*found, Raster(tall, 11, 0), Raster(np.pad(tall, ((4, 4), (0, 0)), constant_values=True), -3, -4)]


def in_picture(raster: Raster) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    for row, column in np.argwhere(raster.mask):
        y, x = row + raster.y, column + raster.x
        if 0 <= y < SIZE[0] and 0 <= x < SIZE[1]:
            mask[y, x] = True
    return mask


def test_runs_and_text_are_those_of_pycocotools():
    for raster in random_rasters(60):
        mask = in_picture(raster)
        expected = oracle.encode(np.asfortranarray(mask.astype(np.uint8)))
        own = rle(raster, *SIZE)
        assert own == {"size": list(SIZE), "counts": expected["counts"].decode()}
        assert np.array_equal(oracle.decode(own), mask)
        runs = runs_of(raster, *SIZE)
        assert oracle.frPyObjects({"size": list(SIZE), "counts": runs.tolist()}, *SIZE)["counts"] == expected["counts"]
        read = np.zeros(SIZE, bool)
        read_runs(own, *SIZE).paint(read, True)
        assert np.array_equal(read, mask)  # the reader of the data
        assert runs[1::2].sum() == mask.sum()


def test_text_holds_large_numbers():
    runs = np.array([0, 1, 2**31 - 5, 7, 3, 2**30, 1])
    size = [1, int(runs.sum())]
    expected = oracle.frPyObjects({"size": size, "counts": runs.tolist()}, *size)
    assert text_of(runs) == expected["counts"].decode()


# Memory


def many(count: int, side: float) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    low = draw.uniform(0, 2048 - side, (count, 2))
    boxes = np.concatenate((low, low + draw.uniform(side / 4, side, (count, 2))), axis=1)
    disc = np.hypot(*np.mgrid[-1:1:28j, -1:1:28j]) < 0.9
    return boxes, np.broadcast_to(disc.astype(np.float32), (count, 28, 28))


def peak_of(work) -> float:
    """Bytes that Python and numpy held at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_2000_objects_in_a_large_picture_take_the_pixels_of_their_boxes_and_no_more():
    boxes, maps = many(2000, 300)
    pixels = np.ceil(boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    assert peak_of(lambda: list(paste(boxes, maps, 2048, 2048))) < pixels.sum() + 6 * 4 * STRIP
    # Written down one by one: one box, not all of them.
    assert peak_of(lambda: [runs_of(one, 2048, 2048).sum() for one in paste(boxes, maps, 2048, 2048)]) < 8 * 4 * STRIP


def test_objects_as_large_as_the_picture_never_take_a_float_for_each_pixel():
    boxes = np.array([[0, 0, 2048, 2048]] * 3, float)
    maps = many(3, 300)[1]
    assert peak_of(lambda: [one.mask.sum() for one in paste(boxes, maps, 2048, 2048)]) < 2.5 * 2048**2


def test_2000_objects_as_a_process_of_its_own(tmp_path):
    """What the system says, since torch's own memory is not traced: text of 2,000 masks, in 120 MB above the start."""
    script = """
import resource, sys
import numpy as np
from volovan.detect.paste import paste
from volovan.room.runs import rle
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
draw = np.random.default_rng(3)
low = draw.uniform(0, 1748, (2000, 2))
boxes = np.concatenate((low, low + draw.uniform(75, 300, (2000, 2))), axis=1)
maps = np.broadcast_to(np.hypot(*np.mgrid[-1:1:28j, -1:1:28j]) < 0.9, (2000, 28, 28))
before = peak()
texts = [rle(one, 2048, 2048) for one in paste(boxes, maps, 2048, 2048)]
assert len(texts) == 2000
print((peak() - before) / (1 if sys.platform == "darwin" else 1024))
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 0
    unit = 1 if sys.platform != "darwin" else 1024**2
    assert float(found.stdout) / unit < 120
