"""All-MLP decoder of SegFormer (Xie et al., NeurIPS 2021) with its fused features, which FocalClick's refiner reads.

Unlike `clicklab.nn.mlp_head`, which SimpleClick uses, levels are projected without activation and fused with a norm.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.nn.fold_norms import NormedLayers
from clicklab.nn.fusion import fused
from clicklab.nn.linear import TokenLinear


class SegFormerHead(NormedLayers):
    """Maps of four scales to logits and features at the finest of them (paper, section 3.2).

    Args:
        in_dims: channels of the maps, finest first.
        channels: width of the fused features; 256 with B0, 512 with B3 in FocalClick.
        dropout: probability of dropping a channel of the fused features.
    """

    norm_of = {"fuse": "norm"}  # noqa: RUF012

    def __init__(self, in_dims: Sequence[int], channels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.levels = nn.ModuleList(TokenLinear(dim, channels) for dim in in_dims)
        self.fuse = nn.Conv2d(channels * len(in_dims), channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout2d(dropout)
        self.predict = nn.Conv2d(channels, 1, 1)
        nn.init.kaiming_normal_(self.fuse.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, 1, h, w) and features (B, channels, h, w) at the size of `maps[0]`."""
        size = (maps[0].shape[-2], maps[0].shape[-1])
        levels = [level(x.movedim(1, -1)).movedim(-1, 1) for level, x in zip(self.levels, maps, strict=True)]
        # the authors stack the coarsest level first
        features = self.dropout(F.relu(self.norm(fused(levels[::-1], self.fuse, size))))
        return self.predict(features), features
