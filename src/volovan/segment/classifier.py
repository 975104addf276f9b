"""The end that all heads share: dropout of whole channels, then a 1 x 1 convolution to the classes."""

from torch import Tensor, nn


class PixelClassifier(nn.Module):
    """(B, C, h, w) to logits (B, num_classes, h, w)."""

    def __init__(self, in_chans: int, num_classes: int, dropout: float = 0.1):
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.conv = nn.Conv2d(in_chans, num_classes, 1)
        nn.init.normal_(self.conv.weight, std=0.01)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.dropout(x))
