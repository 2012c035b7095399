"""All-MLP segmentation head of SegFormer (Xie et al., NeurIPS 2021), as SimpleClick uses it on its pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.nn.linear import PixelLinear, token_linear
from clicklab.nn.upsampled_sum import upsampled_sum


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
        return self.conv_seg(self.dropout(F.relu(self._fused(maps))))

    def _fused(self, maps: Sequence[Tensor]) -> Tensor:
        """Upsampling and a 1x1 convolution commute, so each map is fused at its own size: the official order, upsample
        and concatenate first, costs four times the arithmetic and memory of the finest map for the same sum.
        """
        weights = self.fusion_conv.weight.flatten(1).chunk(len(self.convs), dim=1)
        biases = [self.fusion_conv.bias, *[None] * (len(self.convs) - 1)]  # added once
        parts = []
        for conv, x, weight, bias in zip(self.convs, maps, weights, biases, strict=True):
            parts.append(token_linear(F.relu(conv(x)).movedim(1, -1), weight, bias).movedim(-1, 1))
        finest, *coarse = parts
        return finest + upsampled_sum(coarse, (finest.shape[-2], finest.shape[-1])) if coarse else finest
