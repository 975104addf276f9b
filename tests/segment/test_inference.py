"""Whole pictures and windows, scales and mirrored copies, band by band: held against the plain way to do it."""

import multiprocessing
import resource
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from volovan.models.pyramid import pad_to_stride, resize_to_picture
from volovan.room.bands import Held, Resized
from volovan.segment import inference
from volovan.segment.inference import Windows, input_size, segment
from volovan.segment.recipe import TestSettings as Settings  # pytest would take it for a test


class Net(nn.Module):
    """What a segmenter is to inference: logits at stride 4 of the padded picture, from a little around each pixel."""

    def __init__(self, classes: int = 5, stride: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, stride, stride)
        self.around = nn.Conv2d(8, classes, 3, padding=1)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images, deep=False):
        self.seen.append(tuple(images.shape))
        logits = self.around(self.patch(pad_to_stride(images)).relu())
        return [logits] if deep else resize_to_picture(logits, images.shape[-2:])


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval().requires_grad_(False)


def picture(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.interpolate(torch.randn(1, 3, height // 4, width // 4, generator=generator), (height, width))[0]


def in_bands(rows, height):
    return torch.cat(
        [rows.rows(begin, min(begin + height, rows.size[0])) for begin in range(0, rows.size[0], height)], 1
    )


def agree(found, logits):
    """Whether an answer is the argmax of logits (K, H, W), but where the best two are as good as equal."""
    best = logits.topk(2, dim=0).values
    return bool(((found == logits.argmax(0)) | (best[0] - best[1] < 1e-5)).all())


SIZES = [((23, 31), (92, 124)), ((23, 31), (97, 55)), ((40, 16), (13, 61)), ((7, 9), (7, 50)), ((1, 1), (5, 6))]


@pytest.mark.parametrize(("source", "target"), SIZES, ids=str)
@pytest.mark.parametrize("height", [1, 7, 1000])
def test_resized_bands_equal_one_resize(source, target, height):
    values = torch.randn(3, *source, generator=torch.Generator().manual_seed(1))
    whole = F.interpolate(values[None], target, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(in_bands(Resized(Held(values), target), height), whole, atol=5e-6, rtol=0)


@pytest.mark.parametrize("size", [(97, 131), (64, 64), (33, 200)], ids=str)
def test_windows_that_cover_the_picture_equal_the_whole(net, size):
    image = picture(*size)
    whole = net(image[None])[0]
    covering = Windows(net, Held(image), (512, 512), (341, 341))
    torch.testing.assert_close(in_bands(covering, 10), whole, atol=1e-6, rtol=0)
    slide = Settings(mode="slide", window=512, multiple=1)
    answer = segment(net, image, size, slide)
    assert torch.equal(answer, segment(net, image, size, Settings(multiple=1)))
    assert agree(answer, whole)


def averaged(net, image, window, stride):
    """Windows written as loops over all starts, with a full map of sums and one of counts."""
    height, width = image.shape[1:]
    sums, counts = torch.zeros(5, height, width), torch.zeros(height, width)
    top = 0
    while True:
        y = min(top, height - window)
        left = 0
        while True:
            x = min(left, width - window)
            sums[:, y : y + window, x : x + window] += net(image[None, :, y : y + window, x : x + window])[0]
            counts[y : y + window, x : x + window] += 1
            if left + window >= width:
                break
            left += stride
        if top + window >= height:
            break
        top += stride
    return sums / counts


@pytest.mark.parametrize(("window", "stride"), [(64, 64), (64, 40), (48, 7), (50, 33)], ids=str)
def test_windows_are_averaged_as_written_out_loops_do(net, window, stride):
    image = picture(124, 172)
    want = averaged(net, image, window, stride)
    found = Windows(net, Held(image), (window, window), (stride, stride), batch=3)
    torch.testing.assert_close(in_bands(found, 9), want, atol=2e-6, rtol=0)
    settings = Settings(mode="slide", window=window, stride=stride, multiple=1)
    assert agree(segment(net, image, (124, 172), settings), want)


def test_windows_are_computed_once_in_batches_of_the_setting(net):
    settings = Settings(mode="slide", window=64, stride=32, multiple=1, window_batch=4)
    segment(net, picture(128, 192), (128, 192), settings)
    assert [shape[0] for shape in net.seen] == [4, 1] * 3  # 5 windows across, 3 rows of them


def test_a_side_smaller_than_the_window_shrinks_the_window(net):
    segment(net, picture(40, 300), (40, 300), Settings(mode="slide", window=64, stride=64, multiple=1))
    assert {shape[2:] for shape in net.seen} == {(40, 64)}


def test_scales_and_mirrored_copies_average_probabilities_at_the_size_of_the_picture(net):
    image, size = picture(96, 144), (90, 151)
    settings = Settings(scales=(0.5, 1.0, 1.75), flip=True, multiple=32)
    total = torch.zeros(5, *size)
    for scale in settings.scales:
        seen = tuple(-(-int(side * scale + 0.5) // 32) * 32 for side in (96, 144))
        scaled = F.interpolate(image[None], seen, mode="bilinear", antialias=True)
        for flip in (False, True):
            logits = net(scaled.flip(3) if flip else scaled)
            logits = F.interpolate(logits, size, mode="bilinear")
            total += (logits.flip(3) if flip else logits).softmax(1)[0]
    assert agree(segment(net, image, size, settings), total / 6)


def test_the_height_of_a_band_changes_nothing(net, monkeypatch):
    image = picture(100, 140)
    settings = Settings(mode="slide", window=64, stride=40, scales=(0.75, 1.5), flip=True)
    answers = []
    for size in (1, 30_000, 2**30):
        monkeypatch.setattr(inference, "BAND_BYTES", size)
        answers.append(segment(net, image, (100, 140), settings))
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


@pytest.mark.parametrize(
    ("size", "settings", "scale", "want"),
    [
        ((360, 480), {"multiple": 1}, 1.0, (360, 480)),
        ((360, 480), {}, 1.0, (384, 480)),
        ((360, 480), {"multiple": 1}, 0.5, (180, 240)),
        ((512, 683), {"size": (2048, 512)}, 1.0, (512, 704)),  # the short side decides, 683 rounded up
        ((683, 512), {"size": (2048, 512)}, 1.0, (704, 512)),
        ((300, 3000), {"size": (2048, 512)}, 1.0, (224, 2048)),  # the long side decides: 204.8 -> 205 -> 224
        ((512, 683), {"size": (512, 2048)}, 0.5, (256, 352)),
        ((1024, 2048), {"size": (2048, 1024)}, 1.75, (1792, 3584)),
    ],
    ids=str,
)
def test_input_size_follows_the_published_pipeline(size, settings, scale, want):
    assert input_size(size, Settings(**settings), scale) == want


def test_half_precision_logits_are_averaged_in_single(net):
    image = picture(96, 96)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = Windows(net, Held(image), (64, 64), (32, 32)).rows(0, 10)
    assert rows.dtype == torch.float32


def peak_of(classes: int, settings: Settings, queue) -> None:
    torch.set_num_threads(1)
    net, image = Net(classes).eval(), torch.zeros(3, 2048, 4096)
    segment(net, image[:, :600, :600], (600, 600), settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = segment(net, image, (2048, 4096), settings)
    queue.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, tuple(answer.shape)))


SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


@pytest.mark.parametrize(
    ("classes", "more", "bound"),
    [
        (19, {}, 160),
        pytest.param(150, {}, 420, marks=pytest.mark.slow),
        pytest.param(19, {"scales": SCALES, "flip": True}, 900, marks=pytest.mark.slow),
    ],
    ids=["19", "150", "19-scales"],
)
def test_a_picture_of_4096x2048_stays_below_its_bound(classes, more, bound, child):
    """Megabytes beyond the picture and the network's own activations (docs/segmentation.md); all logits of 19 classes
    would be 640, of 150 classes 5,000, at six scales 5,500 and 43,000."""
    queue = multiprocessing.get_context("fork").Queue()
    process = child(partial(peak_of, classes, Settings(mode="slide", **more), queue))
    kilobytes, shape = queue.get(timeout=550)
    process.join()
    assert shape == (2048, 4096)
    assert kilobytes / 1024 < bound, kilobytes / 1024
