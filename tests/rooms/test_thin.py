"""However thin a picture is, a network of any room sees no more of it than of an ordinary one with as many pixels."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from volovan.classify.transforms import EvalTransform as ClassTransform
from volovan.data.pictures.thin import LONGEST, widened
from volovan.models.pyramid import STRIDES
from volovan.saliency.data import EvalTransform as SalientTransform
from volovan.segment.data import TrainTransform
from volovan.segment.inference import segment, smoothed
from volovan.segment.recipe import AugmentSettings, TestSettings

STATS = (0.5, 0.5, 0.5)
SHAPES = [(1, 30_000), (30_000, 1), (3, 20_000), (20_000, 3), (40, 12_000)]
"""(height, width)"""
MOST = LONGEST * STRIDES[-1] ** 2
"""pixels of a picture at the bound that is padded to whole strides"""


def halves(size: tuple[int, int]) -> Image.Image:
    """Black, and white in the second half of the longer side."""
    height, width = size
    picture = Image.new("RGB", (width, height))
    second = (width // 2, 0) if width > height else (0, height // 2)
    picture.paste("white", (*second, width, height))
    return picture


class Counting(nn.Module):
    """Two classes, dark and bright, at stride 4 of the padded picture; counts the pixels that it is given."""

    seen = 0

    def forward(self, images: Tensor, deep: bool) -> list[Tensor]:
        height, width = (-(-side // 32) * 32 for side in images.shape[-2:])
        self.seen += len(images) * height * width
        padded = nn.functional.pad(
            images.mean(1, keepdim=True), (0, width - images.shape[-1], 0, height - images.shape[-2])
        )
        grey = nn.functional.avg_pool2d(padded, 4) if min(images.shape[-2:]) >= 4 else padded[..., ::4, ::4]
        return [torch.cat([-grey, grey], 1)]


@pytest.mark.parametrize("mode", ["whole", "slide"])
@pytest.mark.parametrize("size", SHAPES)
def test_segmentation_squashes_what_is_thin(size: tuple[int, int], mode: str) -> None:
    net, picture = Counting(), halves(size)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 127.5 - 1
    answer = segment(net, pixels, size, TestSettings(mode=mode, window=64, stride=64))
    assert answer.shape == size
    assert net.seen <= max(2 * MOST, 2 * size[0] * size[1])
    along = answer[0] if size[1] > size[0] else answer[:, 0]
    quarter = len(along) // 4
    assert (along[:quarter] == 0).all()
    assert (along[-quarter:] == 1).all()


@pytest.mark.parametrize("size", SHAPES)
def test_every_transform_bounds_what_is_thin(size: tuple[int, int]) -> None:
    picture, mask = halves(size), np.zeros(size, "uint8")
    limit = max(MOST, size[0] * size[1])
    seen = [
        SalientTransform(None, STATS, STATS)(picture),
        TrainTransform(AugmentSettings(crop=None, resize=None, scale=(1.0, 1.0)), STATS, STATS)(picture, mask)[0],
        ClassTransform((64, 64), STATS, STATS)(picture),
    ]
    for tensor in seen:
        height, width = (-(-side // 32) * 32 for side in tensor.shape[1:])
        assert height * width <= limit


@pytest.mark.parametrize("size", [(32, 1024), (1, 1000), (500, 700), (2000, 63)])
def test_other_pictures_stay_as_they_are(size: tuple[int, int]) -> None:
    assert widened(size, STRIDES[-1]) == size
    assert SalientTransform(None, STATS, STATS)(halves(size)).shape[1:] == size


def test_a_single_column_shrinks_like_a_single_row() -> None:
    row = torch.linspace(-1, 1, 100).expand(3, 1, 100)
    assert torch.equal(smoothed(row.transpose(1, 2), (25, 1)), smoothed(row, (1, 25)).transpose(1, 2))
    wide = row.transpose(1, 2).repeat(1, 1, 6)
    torch.testing.assert_close(smoothed(wide, (25, 1)), smoothed(row, (1, 25)).transpose(1, 2))
    assert float(smoothed(wide, (1, 1)).abs().max()) < 1e-6
