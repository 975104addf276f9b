"""Network, loss, answers and score together: one drawn picture is learned within seconds."""

import pytest
import torch

from networks import TINY
from volovan.data.panoptic.segments import Panoptic, Segment
from volovan.panoptic.inference import find_classes, find_objects, find_segments
from volovan.panoptic.metrics import compare
from volovan.panoptic.network import create_panoptic
from volovan.panoptic.recipe import LossSettings
from volovan.panoptic.targets import segments_of

THINGS = (True, False, False)
SMALL = {"width": 64, "queries": 8, "encoder_layers": 1, "encoder_ffn": 64, "decoder_layers": 3, "decoder_ffn": 64}


@pytest.mark.parametrize("family", ["van", "lvvit"])
def test_a_picture_is_learned(family: str) -> None:
    """Two boxes of a thing before sky and road, 60 x 90 in the corner of 64 x 96, answered at twice the size."""
    torch.manual_seed(0)
    trunk = {key: value for key, value in TINY[family].items() if key != "img_size"}
    model = create_panoptic(family, num_classes=3, trunk_options=trunk, head_options=SMALL)
    ids = torch.full((60, 90), 11, dtype=torch.int32)
    ids[30:], ids[10:40, 10:30], ids[20:50, 50:80] = 12, 13, 14
    segments = (Segment(11, 1), Segment(12, 2), Segment(13, 0), Segment(14, 0))
    truth = Panoptic(ids.numpy(), segments)
    images = torch.zeros(1, 3, 64, 96)
    images[0, :, :60, :90] = torch.stack([(ids == id).float() for id in (11, 12, 13)])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(60):
        parts = model(images, [segments_of(truth)], LossSettings(points=400))
        optimiser.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    with torch.no_grad():
        classes, masks = (part[0] for part in model.eval()(images))
    seen, size = (60, 90), (120, 180)
    found = find_segments(classes, masks, seen, size, THINGS)
    twice = Panoptic(ids.repeat_interleave(2, 0).repeat_interleave(2, 1).numpy(), segments)
    own = compare(found.panoptic, twice, 3)
    assert own.tp.tolist() == [2, 1, 1]
    assert (own.quality()[0] > 0.95).all()
    objects = find_objects(classes, masks, seen, size, things=THINGS)
    assert (objects.scores > 0.5).sum() == 2
    assert sorted(raster.x // 10 for raster in objects.masks[:2]) in ([1, 9], [1, 10], [2, 9], [2, 10])
    labels = {11: 1, 12: 2, 13: 0, 14: 0}
    wanted = torch.from_numpy(twice.ids).apply_(labels.get)
    assert (find_classes(classes, masks, seen, size) == wanted).float().mean() > 0.97
