"""Multi-scale deformable attention in plain PyTorch (Zhu et al., "Deformable DETR", ICLR 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.nn.linear import TokenLinear

Size = tuple[int, int]


def sample_levels(value: Tensor, sizes: Sequence[Size], locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples: out[q] = sum over l, p of weights[q, l, p] * value_l(locations[q, l, p]).

    Args:
        value: (B, sum of h * w, heads, d) maps of all levels, row by row, one level after the other.
        sizes: (h, w) of the levels.
        locations: (B, N, heads, levels, points, 2), x and y from 0 (left or upper border) to 1; outside is zero. Its
            number type is that of the result, because half precision would miss the pixel.
        weights: (B, N, heads, levels, points).

    Returns:
        (B, N, heads * d).
    """
    exporting = torch.compiler.is_exporting()  # ONNX has GridSample, but no embedding bag that onnxruntime takes
    if value.device.type == "cpu" and not torch.is_grad_enabled() and not exporting:
        return sums_of_rows(value, sizes, locations, weights)
    batch, _, heads, dim = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    grid = (2 * locations - 1).transpose(1, 2).flatten(0, 1)  # (B * heads, N, levels, points, 2)
    share = weights.transpose(1, 2).reshape(batch * heads, 1, queries, len(sizes), points)
    total = grid.new_zeros(batch * heads, dim, queries)
    levels = value.to(grid.dtype).split([height * width for height, width in sizes], dim=1)
    for number, ((height, width), tokens) in enumerate(zip(sizes, levels, strict=True)):
        plane = tokens.permute(0, 2, 3, 1).reshape(batch * heads, dim, height, width)
        found = F.grid_sample(plane, grid[:, :, number], mode="bilinear", padding_mode="zeros", align_corners=False)
        total = total + (found * share[..., number, :]).sum(-1)
    return total.view(batch, heads * dim, queries).transpose(1, 2)


def sums_of_rows(value: Tensor, sizes: Sequence[Size], locations: Tensor, weights: Tensor) -> Tensor:
    """`sample_levels` for a CPU, three to four times as fast (gradients would take as long): for each query one sum
    over the four pixels round every location of all levels, the d numbers of a pixel side by side in memory.
    """
    batch, _, heads, dim = value.shape
    levels = value.to(locations.dtype).split([height * width for height, width in sizes], dim=1)
    # zeros round every map, two pixels of them at the end: the neighbours of a location at its far border
    framed = [F.pad(one.unflatten(1, size), (0, 0, 0, 0, 1, 2, 1, 2)) for one, size in zip(levels, sizes, strict=True)]
    lengths = [one.shape[1] * one.shape[2] for one in framed]
    extent = locations.new_tensor([(width, height) for height, width in sizes])[:, None]
    place = (locations * extent - 0.5).clamp_min(-1.0).minimum(extent)
    corner = place.floor()
    column, line = corner.int().unbind(-1)
    right, down = (place - corner).unbind(-1)

    width = torch.tensor([one.shape[2] for one in framed], dtype=torch.int32)[:, None]
    before = torch.tensor([sum(lengths[:number]) for number in range(len(sizes))], dtype=torch.int32)[:, None]
    sample = (torch.arange(batch, dtype=torch.int32) * sum(lengths))[:, None, None, None, None]
    first = sample + before + width + 1  # inside the zeros
    row = (line * width + column + first) * heads + torch.arange(heads, dtype=torch.int32)[:, None, None]
    around = torch.stack([torch.zeros_like(width), torch.ones_like(width), width, width + 1], dim=-1)
    below = weights * down
    above = weights - below
    shares = torch.stack([above - above * right, above * right, below - below * right, below * right], dim=-1)

    table = torch.cat([one.flatten(1, 2) for one in framed], dim=1).view(-1, dim)
    rows = (row[..., None] + around * heads).flatten(0, 2).flatten(1)
    sums = F.embedding_bag(rows, table, mode="sum", per_sample_weights=shares.flatten(0, 2).flatten(1))
    return sums.view(batch, -1, heads * dim)


class DeformableAttention(nn.Module):
    """Every token looks at a few learnt places around itself on every level.

    Args:
        dim: width of the tokens, a multiple of `heads`.
        heads: attention heads.
        levels: number of maps.
        points: places per head and level.

    Raises:
        ValueError: if `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int = 8, levels: int = 3, points: int = 4) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"width {dim} of a deformable attention must be a multiple of its {heads} heads")
        self.shape = (heads, levels, points)
        self.sampling_offsets = TokenLinear(dim, heads * levels * points * 2)
        self.attention_weights = TokenLinear(dim, heads * levels * points)
        self.value_proj = TokenLinear(dim, dim)
        self.output_proj = TokenLinear(dim, dim)
        self.initialise()

    def initialise(self) -> None:
        """As published: head h looks in direction h of a circle, point p at p + 1 pixels, all equally strongly."""
        heads, levels, points = self.shape
        angle = torch.arange(heads) * (2 * math.pi / heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, points + 1)[:, None]
        ring = direction[:, None, None] * steps.expand(levels, points, 1)
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(ring.flatten())
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, query: Tensor, tokens: Tensor, reference: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Answers to the queries, without residual.

        Args:
            query: (B, N, D) decides where to look and how strongly.
            tokens: (B, sum of h * w, D) what is looked at, the levels one after the other.
            reference: (N, 2) home of each query, x and y in 0..1 of the maps.
            sizes: (h, w) of the levels.

        Returns:
            (B, N, D).
        """
        heads, levels, points = self.shape
        value = self.value_proj(tokens).unflatten(-1, (heads, -1))
        offsets = self.sampling_offsets(query).unflatten(-1, (heads, levels, points, 2))
        pixels = torch.tensor([(width, height) for height, width in sizes], dtype=query.dtype)
        pixels = pixels.to(query.device, non_blocking=True)  # nobody has to wait for six numbers
        locations = reference[:, None, None, None] + (offsets / pixels[:, None]).to(reference.dtype)
        weights = self.attention_weights(query).unflatten(-1, (heads, levels * points)).softmax(-1)
        return self.output_proj(sample_levels(value, sizes, locations, weights.unflatten(-1, (levels, points))))
