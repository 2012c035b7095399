"""Simple feature pyramid: four scales from the one scale of a plain ViT (Li et al. 2022; layers of SimpleClick)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from clicklab.nn.linear import PixelLinear
from clicklab.nn.sample_norm import SampleNorm


def _double(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)


class SimpleFPN(nn.Module):
    """(B, D, h, w) to four maps of 4, 2, 1 and 1/2 times h x w; at patch 16 the scales 1/4, 1/8, 1/16 and 1/32.

    Args:
        in_dim: width D of the backbone.
        out_dims: channels of the four maps, finest first.
    """

    def __init__(self, in_dim: int, out_dims: Sequence[int]) -> None:
        super().__init__()
        if len(out_dims) != 4:
            raise ValueError(f"neck_dims wants four channel numbers, finest scale first, got {list(out_dims)}")
        first, second, third, fourth = out_dims
        wide = max(2 * first, in_dim // 2)
        quarter = nn.Sequential(
            _double(in_dim, wide), SampleNorm(wide), nn.GELU(), _double(wide, wide // 2), SampleNorm(wide // 2),
            PixelLinear(wide // 2, first), SampleNorm(first), nn.GELU(),
        )  # fmt: skip
        wide = max(second, in_dim // 2)
        eighth = nn.Sequential(
            _double(in_dim, wide), SampleNorm(wide), PixelLinear(wide, second), SampleNorm(second), nn.GELU()
        )  # fmt: skip
        sixteenth = nn.Sequential(PixelLinear(in_dim, third), SampleNorm(third), nn.GELU())
        wide = max(fourth, 2 * in_dim)
        half = nn.Conv2d(in_dim, wide, kernel_size=2, stride=2)
        last = nn.Sequential(half, SampleNorm(wide), PixelLinear(wide, fourth), SampleNorm(fourth), nn.GELU())
        self.levels = nn.ModuleList([quarter, eighth, sixteenth, last])

    def forward(self, features: Tensor) -> list[Tensor]:
        """The four maps, finest first.

        Raises:
            ValueError: if the coarsest would be empty.
        """
        if min(features.shape[-2:]) < 2:
            height, width = features.shape[-2:]
            raise ValueError(f"a grid of {height}x{width} patches is too small: the pyramid wants 2x2 at least")
        return [level(features) for level in self.levels]
