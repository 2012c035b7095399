"""Pixel decoder of Mask2Former (Cheng et al., CVPR 2022): deformable attention over three scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.nn.deformable_attention import DeformableAttention, Size
from clicklab.nn.fusion import upsampled_sum
from clicklab.nn.linear import TokenLinear
from clicklab.nn.sine_maps import SineMaps

NORM_GROUPS = 32


class EncoderLayer(nn.Module):
    """Post-norm layer over (B, N, D): deformable self-attention, then two linear layers with ReLU."""

    def __init__(self, dim: int, hidden: int, heads: int, levels: int) -> None:
        super().__init__()
        self.attn = DeformableAttention(dim, heads, levels)
        self.norm1 = nn.LayerNorm(dim)
        self.fc1 = TokenLinear(dim, hidden)
        self.fc2 = TokenLinear(hidden, dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor, reference: Tensor, sizes: Sequence[Size]) -> Tensor:
        x = self.norm1(x + self.attn(x + position, x, reference, sizes))
        return self.norm2(x + self.fc2(F.relu(self.fc1(x))))


class PixelDecoder(nn.Module):
    """Turns four pyramid maps into a fine map of mask features and three memories for a mask-query decoder.

    Args:
        in_dims: channels of the pyramid, finest first; the finest only joins at the end.
        dim: width D, a multiple of 32 and of `heads`.
        hidden: width inside the layers.
        layers: number of encoder layers.
        heads: attention heads.

    Raises:
        ValueError: if `dim` is no multiple of 32.
    """

    def __init__(self, in_dims: Sequence[int], dim: int, hidden: int, layers: int = 6, heads: int = 8) -> None:
        super().__init__()
        if dim % NORM_GROUPS:
            raise ValueError(f"the width of the pixel decoder must be a multiple of {NORM_GROUPS}, got {dim}")
        finest, *others = in_dims
        coarse_first = others[::-1]
        self.input_convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, dim, 1), nn.GroupNorm(NORM_GROUPS, dim)) for channels in coarse_first
        )
        self.sine = SineMaps(dim)
        self.level_encoding = nn.Parameter(torch.randn(len(coarse_first), dim))
        self.layers = nn.ModuleList(EncoderLayer(dim, hidden, heads, len(coarse_first)) for _ in range(layers))
        self.lateral = nn.Sequential(nn.Conv2d(finest, dim, 1, bias=False), nn.GroupNorm(NORM_GROUPS, dim))
        self.output = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, bias=False), nn.GroupNorm(NORM_GROUPS, dim), nn.ReLU()
        )
        self.mask_feature = nn.Conv2d(dim, dim, 1)
        self._initialise()

    def _initialise(self) -> None:
        for name, parameter in self.layers.named_parameters():
            if parameter.ndim > 1 and ".attn." not in name:
                nn.init.xavier_normal_(parameter)
        for conv in self.input_convs:
            nn.init.xavier_uniform_(conv[0].weight)  # ty: ignore[not-subscriptable]
            nn.init.zeros_(conv[0].bias)  # ty: ignore[not-subscriptable]
        for conv in (self.lateral[0], self.output[0], self.mask_feature):
            nn.init.kaiming_uniform_(conv.get_parameter("weight"), a=1)
        nn.init.zeros_(self.mask_feature.get_parameter("bias"))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Refines the pyramid.

        Args:
            maps: the pyramid, finest first.

        Returns:
            mask features (B, D, h, w) at the size of the finest map, and the others refined, coarsest first.
        """
        finest, *others = maps

        # the three coarse maps at width D, coarsest first, as one sequence of tokens (B, N, D)
        levels = [conv(x) for conv, x in zip(self.input_convs, others[::-1], strict=True)]
        sizes: list[Size] = [(level.shape[-2], level.shape[-1]) for level in levels]
        tokens = torch.cat([level.flatten(2) for level in levels], dim=2).transpose(1, 2)

        # what a token's place adds to queries (N, D), and where it samples around (N, 2)
        codes = [self.sine(size, tokens) + code for size, code in zip(sizes, self.level_encoding, strict=True)]
        position = torch.cat(codes)
        reference = torch.cat([_centres(size, tokens) for size in sizes])
        for layer in self.layers:
            tokens = layer(tokens, position, reference, sizes)

        # back to maps: (B, D, h, w) for each level
        pieces = tokens.transpose(1, 2).split([height * width for height, width in sizes], dim=2)
        memories = [piece.unflatten(2, size) for piece, size in zip(pieces, sizes, strict=True)]

        # the finest map joins the finest memory
        joined = upsampled_sum([self.lateral(finest), memories[-1]], (finest.shape[-2], finest.shape[-1]))
        return self.mask_feature(self.output(joined)), memories


def _centres(size: Size, like: Tensor) -> Tensor:
    """(h * w, 2) x and y of the cell centres of a map, in 0..1."""
    rows, columns = ((torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n for n in size)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)
