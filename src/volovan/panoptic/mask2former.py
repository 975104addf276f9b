"""Mask2Former (Cheng et al., arXiv 2112.01527): N queries, each of which says a class, or none, and a mask.

    pixel decoder        maps of strides 32, 16, 8 that know of each other, and mask features F of stride 4
    transformer decoder  x_0 the learned queries; nine layers, over the strides 32, 16, 8 in turn,
                             x = LN(x + attention to the map, where the mask of the query is at least 0.5)
                             x = LN(x + attention among the queries),  x = LN(x + FFN(x))
                         a query whose mask is nowhere so sure attends everywhere
    predictions          of x_0 and behind each layer: classes = linear(LN(x)), mask = MLP(LN(x)) . F, of stride 4

The transformer decoder is that of transformers, which equals the paper (no dropout, norm behind each part); the pixel
decoder (`pixel_decoder.py`), the beginnings of weights, and what becomes of the predictions, are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from volovan.panoptic.pixel_decoder import GROUPS, PixelDecoder, sines


class Predictions(NamedTuple):
    """What the queries say.

    classes  (B, N, K + 1) logits, the last of no object
    masks    (B, N, h, w) logits, at stride 4 of the pictures padded to multiples of 32
    """

    classes: Tensor
    masks: Tensor


class Mask2FormerHead(nn.Module):
    """Maps of strides 4, 8, 16, 32 to predictions.

    in_chans        channels of the maps
    queries         how many segments there can be, 100 and 200 in the published rows
    width           channels within, a multiple of 32
    heads           of all attentions
    encoder_layers  of the pixel decoder, with encoder_ffn channels within an FFN
    decoder_layers  of the transformer decoder, with decoder_ffn
    """

    def __init__(
        self,
        in_chans: Sequence[int],
        num_classes: int,
        queries: int = 100,
        width: int = 256,
        heads: int = 8,
        encoder_layers: int = 6,
        encoder_ffn: int = 1024,
        decoder_layers: int = 9,
        decoder_ffn: int = 2048,
    ):
        super().__init__()
        least = {"queries": queries, "heads": heads, "encoder_layers": encoder_layers, "decoder_layers": decoder_layers}
        for name, value in least.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; at least 1 is expected")
        if width < 1 or width % GROUPS or width % heads:
            raise ValueError(f"width is {width}; a multiple of {GROUPS} and of the {heads} heads is expected")
        self.pixel_decoder = PixelDecoder(in_chans, width, heads, encoder_layers, encoder_ffn)
        self.transformer_module = make_decoder(width, heads, queries, decoder_layers, decoder_ffn)
        self.class_predictor = nn.Linear(width, num_classes + 1)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """The decoder of transformers computes the same in either mode; in training that of 5.17 draws a number in each
        layer, and parts the graph of torch.compile with it."""
        super().train(mode)
        self.transformer_module.eval()
        return self

    def forward(self, maps: Sequence[Tensor]) -> list[Predictions]:
        """Of the learned queries, and behind each layer: the last are the answer, a loss learns from all."""
        levels, mask_features = self.pixel_decoder(maps)
        found = self.transformer_module(multi_scale_features=levels, mask_features=mask_features)
        return [
            Predictions(self.class_predictor(queries.transpose(0, 1)), masks)
            for queries, masks in zip(found.intermediate_hidden_states, found.masks_queries_logits, strict=True)
        ]


def make_decoder(width: int, heads: int, queries: int, layers: int, ffn: int) -> nn.Module:
    """The transformer decoder of transformers, begun as the original is, which leaves some to torch."""
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerTransformerModule  # slow to import

    config: Any = SimpleNamespace(  # what it reads of the settings there
        hidden_dim=width,
        mask_feature_size=width,
        num_attention_heads=heads,
        num_queries=queries,
        decoder_layers=layers + 1,  # there it counts the predictions
        dim_feedforward=ffn,
        activation_function="relu",
        dropout=0.0,
        pre_norm=False,
        enforce_input_projection=False,
        output_attentions=False,
        output_hidden_states=False,
        return_dict=True,
    )
    decoder = Mask2FormerTransformerModule(in_features=width, config=config)
    decoder.position_embedder = Places(width)  # type: ignore[assignment]
    for parameter in decoder.decoder.layers.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
    return decoder


class Places(nn.Module):
    """What says where each cell of a map is, as the pixel decoder has it; that of transformers is the same, but cannot
    be exported for maps of any size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, shape: torch.Size, device: torch.device, dtype: torch.dtype, mask: None = None) -> Tensor:
        """(B, C, h, w) -> (1, width, h, w)."""
        like = torch.empty(0, self.width, dtype=dtype, device=device)
        rows, columns = shape[2:]
        return sines((rows, columns), like).unflatten(0, (rows, columns)).permute(2, 0, 1)[None]
