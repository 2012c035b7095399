"""All-MLP segmentation head of SegFormer (Xie et al., NeurIPS 2021), as SimpleClick uses it on its pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.nn.fusion import fused
from clicklab.nn.linear import PixelLinear


class MLPHead(nn.Module):
    """Feature maps of several scales to one logit map at the finest of them.

    Args:
        in_dims: channels of the maps, finest first.
        channels: width inside the head.
        dropout: probability of dropping a channel before the last layer.
    """

    def __init__(self, in_dims: Sequence[int], channels: int, dropout: float = 0.1) -> None:
        super().__init__()
        convs = [PixelLinear(dim, channels) for dim in in_dims]
        self.convs = nn.ModuleList(convs)
        self.fusion_conv = nn.Conv2d(channels * len(in_dims), channels, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = nn.Conv2d(channels, 1, 1)
        for conv in (*convs, self.fusion_conv):  # conv_seg keeps PyTorch's default, as in the official code
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.get_parameter("bias"))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (B, 1, h, w) at the size of `maps[0]`."""
        size = (maps[0].shape[-2], maps[0].shape[-1])
        levels = [F.relu(conv(x)) for conv, x in zip(self.convs, maps, strict=True)]
        return self.conv_seg(self.dropout(F.relu(fused(levels, self.fusion_conv, size))))
