"""create_panoptic: parameters of the published rows, every trunk and size, parts against transformers, export."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
)

from networks import FAMILIES, TINY
from volovan.panoptic.deformable import DeformableAttention, middles
from volovan.panoptic.mask2former import Predictions
from volovan.panoptic.network import PanopticModel, create_panoptic
from volovan.panoptic.pixel_decoder import PixelDecoder
from volovan.panoptic.targets import Segments

SMALL = {"width": 64, "queries": 7, "encoder_layers": 2, "encoder_ffn": 32, "decoder_layers": 3, "decoder_ffn": 32}


def build(family: str = "van", seed: int = 0, **options: Any) -> PanopticModel:
    torch.manual_seed(seed)
    trunk = {key: value for key, value in TINY[family].items() if key != "img_size"}
    return create_panoptic(family, "mask2former", 5, trunk_options=trunk, head_options=SMALL | options).eval()


@FAMILIES
@pytest.mark.parametrize("size", [(64, 96), (33, 70), (97, 64)])
def test_every_trunk_at_any_size(family: str, size: tuple[int, int]) -> None:
    found = build(family)(torch.randn(2, 3, *size))
    assert isinstance(found, Predictions)
    assert found.classes.shape == (2, 7, 6)
    assert found.masks.shape == (2, 7, -(-size[0] // 32) * 8, -(-size[1] // 32) * 8)
    assert found.masks.isfinite().all()


@FAMILIES
def test_every_parameter_learns(family: str) -> None:
    model = build(family).train()
    rows = torch.zeros(2, 64, 64, dtype=torch.int32)
    rows[:, :20] = 1
    there = [Segments(own, torch.tensor([0, 3])) for own in rows]
    parts = model(torch.randn(2, 3, 64, 64), there)
    assert parts.keys() == {"class", "mask", "dice"}
    sum(parts.values()).backward()
    still = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not still


def test_the_default_is_coco() -> None:
    with torch.device("meta"):
        model = create_panoptic()
    assert model.config.trunk["name"] == "van_b2"
    assert model.head.class_predictor.out_features == 134
    assert model.config.num_classes == 133


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 48}, "a multiple of 32 and of the 8 heads"),
        ({"heads": 5}, "a multiple of 32 and of the 5 heads"),
        ({"queries": 0}, "queries is 0; at least 1"),
        ({"encoder_layers": 0}, "encoder_layers is 0"),
        ({"querys": 3}, "no option 'querys'.*queries"),
    ],
)
def test_options_that_cannot_be(options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build(**options)


# Against transformers


def randomise(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)


def test_deformable_attention_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    theirs = Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention(32, 8, 3, 4)
    ours = DeformableAttention(32, 8, 3, 4)
    randomise(theirs)
    ours.load_state_dict(theirs.state_dict())  # the same names
    shapes = [(2, 3), (4, 5), (7, 9)]
    total = sum(rows * columns for rows, columns in shapes)
    x, where = torch.randn(2, total, 32), torch.randn(2, total, 32)
    places = middles(shapes, x.device)
    expected, _ = theirs(
        x,
        encoder_hidden_states=x,
        position_embeddings=where,
        reference_points=places[None, :, None].expand(2, -1, 3, -1),
        spatial_shapes_list=shapes,
    )
    torch.testing.assert_close(ours(x + where, x, places, shapes), expected)


def test_deformable_attention_by_loops() -> None:
    """Two heads, two maps, two points in float64, each value read by hand."""
    torch.manual_seed(1)
    attention = DeformableAttention(4, 2, 2, 2).double()
    randomise(attention)
    shapes = [(2, 3), (3, 2)]
    x, places = torch.randn(1, 12, 4).double(), middles([(2, 3), (3, 2)], torch.device("cpu")).double()
    found = attention(x, x, places, shapes)[0]
    values, offsets = attention.value_proj(x)[0], attention.sampling_offsets(x)[0].view(12, 2, 2, 2, 2)
    weights = attention.attention_weights(x)[0].view(12, 2, 4).softmax(-1).view(12, 2, 2, 2)

    def cell(level: int, row: int, column: int, head: int) -> Tensor:
        rows, columns = shapes[level]
        inside = 0 <= row < rows and 0 <= column < columns
        at = level * 6 + row * columns + column
        return values[at, 2 * head : 2 * head + 2] if inside else torch.zeros(2).double()

    for query in range(12):
        summed = torch.zeros(4).double()
        for head in range(2):
            for level, (rows, columns) in enumerate(shapes):
                for point in range(2):
                    across, down = offsets[query, head, level, point].tolist()
                    column = places[query, 0].item() * columns + across - 0.5
                    row = places[query, 1].item() * rows + down - 0.5
                    left, top = int(column // 1), int(row // 1)
                    for i, wy in ((top, 1 - (row - top)), (top + 1, row - top)):
                        for j, wx in ((left, 1 - (column - left)), (left + 1, column - left)):
                            share = weights[query, head, level, point] * wx * wy
                            summed[2 * head : 2 * head + 2] += share * cell(level, i, j, head)
        expected = attention.output_proj(summed)
        torch.testing.assert_close(found[query], expected, atol=1e-5, rtol=1e-5)  # places are float32


def test_the_pixel_decoder_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    config: Any = SimpleNamespace(
        feature_size=64,
        mask_feature_size=64,
        encoder_feedforward_dim=48,
        encoder_layers=2,
        num_attention_heads=8,
        dropout=0.0,
        common_stride=4,
        feature_strides=(4, 8, 16, 32),
        output_attentions=False,
        output_hidden_states=False,
        return_dict=True,
    )
    theirs = Mask2FormerPixelDecoder(config, [8, 16, 32, 64])
    ours = PixelDecoder((8, 16, 32, 64), 64, 8, 2, 48)
    randomise(theirs)
    ours.load_state_dict(theirs.state_dict())
    sizes = ((24, 32), (12, 16), (6, 8), (3, 4))
    maps = [torch.randn(2, width, *size) for width, size in zip((8, 16, 32, 64), sizes, strict=True)]
    expected = theirs(maps)
    levels, mask_features = ours(maps)
    torch.testing.assert_close(mask_features, expected.mask_features, atol=1e-4, rtol=1e-4)
    for own, other in zip(levels, expected.multi_scale_features, strict=True):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-4)


def test_heads_of_a_new_attention_look_into_eight_directions() -> None:
    attention = DeformableAttention(64, 8, 3, 4)
    offsets = attention.sampling_offsets.bias.view(8, 3, 4, 2)
    expected = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    torch.testing.assert_close(offsets[:, 2, 0], torch.tensor(expected, dtype=torch.float32), atol=1e-6, rtol=0)
    torch.testing.assert_close(offsets[:, 0, 3], 4 * offsets[:, 0, 0])


def test_a_query_without_mask_attends_everywhere() -> None:
    """Masks of the queries are made to be nowhere, at one query somewhere: what each attends to is looked at."""
    model = build()
    decoder = model.head.transformer_module.decoder
    seen: list[Tensor] = []
    decoder.layers[0].register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["encoder_attention_mask"]), with_kwargs=True
    )
    logits = torch.full((1, 7, 16, 24), -3.0)
    logits[0, 2, :8, :12] = 3.0
    decoder.mask_predictor.register_forward_hook(lambda _, args, out: (logits, forbidden(logits, args[2])))

    def forbidden(masks: Tensor, size: tuple[int, int]) -> Tensor:
        small = nn.functional.interpolate(masks, size=size, mode="bilinear", align_corners=False)
        return (small.sigmoid().flatten(2).unsqueeze(1).repeat(1, 8, 1, 1).flatten(0, 1) < 0.5).detach()

    model(torch.randn(1, 3, 64, 96))
    kept = ~seen[0].view(8, 7, 2, 3)  # of stride 32
    assert kept[:, [0, 1, 3, 4, 5, 6]].all()
    inside = torch.zeros(2, 3, dtype=torch.bool)
    inside[0, :2] = True  # twelve of 24 columns are one and a half of three: the middle of the second lies on the edge
    assert torch.equal(kept[:, 2], inside.expand(8, 2, 3))


# Export and compile, of as few layers as show it: tracing takes seconds for each

FEWEST = {"encoder_layers": 1, "decoder_layers": 1}


@pytest.mark.slow
def test_an_export_takes_other_sizes() -> None:
    model = build(**FEWEST)
    dynamic = torch.export.Dim.DYNAMIC
    exported = torch.export.export(
        model, (torch.randn(2, 3, 96, 160),), dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},)
    )
    for shape in ((2, 3, 96, 160), (3, 3, 128, 64)):
        images = torch.randn(shape)
        for own, expected in zip(exported.module()(images), model(images), strict=True):
            torch.testing.assert_close(own, expected)


@pytest.mark.parametrize("training", [pytest.param(False, marks=pytest.mark.slow), True])
def test_it_is_one_graph(training: bool) -> None:
    model = build(**FEWEST).train(training)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    images = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(compiled(images).masks, model(images).masks)


def test_a_place_is_read_to_the_cell_in_bfloat16_too() -> None:
    """On a map of stripes one cell wide each cell reads itself; a place of bfloat16 would be off by part of a cell."""
    columns = 300
    attention = DeformableAttention(8, 1, 1, 1)
    with torch.no_grad():
        for linear in (attention.sampling_offsets, attention.attention_weights):
            linear.weight.zero_()
            linear.bias.zero_()
        for linear in (attention.value_proj, attention.output_proj):
            linear.weight.copy_(torch.eye(8))
            linear.bias.zero_()
    x = (torch.arange(columns) % 2).float()[None, :, None].expand(1, columns, 8).contiguous()
    places = middles([(1, columns)], torch.device("cpu"))
    for dtype in (torch.bfloat16, torch.float32):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            found = attention(x, x, places, [(1, columns)])
        assert (found.float() - x).abs().max() < 0.02, dtype


def test_bfloat16_keeps_its_places() -> None:
    model = build()
    images = torch.randn(1, 3, 64, 96)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(images)
    assert found.masks.isfinite().all()
    assert middles([(256, 256)], torch.device("cpu")).dtype == torch.float32
