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
            dtype is that of the result, because half precision would miss the pixel.
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
    """`sample_levels` for a CPU, three to four times as fast; gradients would take as long.

    The maps become one table with a row of d numbers for each pixel and head. A bilinear sample is a weighted sum of
    four of its rows, and a query one weighted sum of the 4 * levels * points rows round all its locations.

    Args and returns as `sample_levels`.
    """
    batch, _, heads, dim = value.shape
    lengths = [height * width for height, width in sizes]
    levels = value.to(locations.dtype).split(lengths, dim=1)
    maps = [level.unflatten(1, size) for level, size in zip(levels, sizes, strict=True)]  # (B, h, w, heads, d) each

    # Zeros round every map, one pixel before it and two behind it: a location may lie outside by as much, and its
    # neighbours are then zeros, not pixels of the next line or map.
    framed = [F.pad(one, (0, 0, 0, 0, 1, 2, 1, 2)) for one in maps]
    table = torch.cat([one.flatten(1, 2) for one in framed], dim=1).view(-1, dim)
    framed_sizes = [(one.shape[1], one.shape[2]) for one in framed]

    # column and line of each location in pixels of its level: (B, N, heads, levels, points, 2)
    extent = locations.new_tensor([(width, height) for height, width in sizes])[:, None]
    place = (locations * extent - 0.5).clamp_min(-1.0).minimum(extent)
    corner = place.floor()

    # the four pixels round it: (B, N, heads, levels, points, 4)
    rows = _rows_around(corner.int(), framed_sizes)
    shares = _bilinear_shares(place - corner, weights)

    # every query is one bag: (B * N * heads, levels * points * 4)
    rows, shares = (one.flatten(0, 2).flatten(1) for one in (rows, shares))
    sums = F.embedding_bag(rows, table, mode="sum", per_sample_weights=shares)
    return sums.view(batch, -1, heads * dim)


def _rows_around(corner: Tensor, framed_sizes: Sequence[Size]) -> Tensor:
    """Rows of the table that hold the four pixels round a location: left and right above, left and right below.

    Args:
        corner: (B, N, heads, levels, points, 2) int, column and line of the pixel to the left above; -1 is the frame.
        framed_sizes: (h, w) of the maps with their frames of zeros, which lie in the table one after the other.

    Returns:
        (B, N, heads, levels, points, 4) int32.
    """
    batch, _, heads = corner.shape[:3]
    lengths = [height * width for height, width in framed_sizes]
    starts = [sum(lengths[:level]) for level in range(len(lengths))]
    width = torch.tensor([width for _, width in framed_sizes], dtype=torch.int32)[:, None]  # (levels, 1)
    start = torch.tensor(starts, dtype=torch.int32)[:, None]
    sample_start = (torch.arange(batch, dtype=torch.int32) * sum(lengths))[:, None, None, None, None]

    # pixel (0, 0) of a map lies one line and one column inside its frame
    column, line = corner.unbind(-1)
    first = sample_start + start + width + 1
    pixel = first + line * width + column
    head = torch.arange(heads, dtype=torch.int32)[:, None, None]
    row = pixel * heads + head

    steps = torch.stack([torch.zeros_like(width), torch.ones_like(width), width, width + 1], dim=-1)  # in pixels
    return row[..., None] + steps * heads


def _bilinear_shares(fraction: Tensor, weights: Tensor) -> Tensor:
    """How much the pixels of `_rows_around` count, in the same order.

    Args:
        fraction: (B, N, heads, levels, points, 2), how far a location lies to the right of and below its corner.
        weights: (B, N, heads, levels, points) of the locations.

    Returns:
        (B, N, heads, levels, points, 4).
    """
    right, down = fraction.unbind(-1)
    below = weights * down
    above = weights - below
    right_above = above * right
    right_below = below * right
    return torch.stack([above - right_above, right_above, below - right_below, right_below], dim=-1)


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
