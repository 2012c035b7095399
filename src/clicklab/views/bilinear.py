"""A bilinear resize at some places only, equal to the bit to `clicklab.views.frames.resize` of everything.

A view of 192 x 256 that is laid back on a photo of 12 megapixels costs more than the network that answered in it. What
is asked of the result needs little of it: `clicklab.inference.cell_mask` the pixels near a threshold, the next view as
many pixels as it has itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from clicklab.views.boxes import Size

SMALL_KERNEL = 128  # up to this sum of height and width PyTorch resizes with another kernel, in another order


@dataclass(frozen=True)
class Taps:
    """Where the values along one axis come from: value k is `lerp` of the source's `first[k]` and `second[k]`.

    Attributes:
        first: (n,) int64.
        second: (n,) int64, the next one, or the same at the end.
        first_weight: (n,) float32.
        second_weight: (n,) float32.
    """

    first: Tensor
    second: Tensor
    first_weight: Tensor
    second_weight: Tensor

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, source: int, target: int) -> Taps:
        """Of a resize from `source` to `target` pixels with align_corners=True, in PyTorch's arithmetic (float32)."""
        scale = torch.tensor(source - 1, dtype=torch.float32) / max(target - 1, 1)
        place = torch.arange(target, dtype=torch.float32) * scale
        first = place.long().clamp(max=source - 1)
        weight = (place - first).clamp(0, 1)
        return cls(first, (first + 1).clamp(max=source - 1), 1 - weight, weight)

    def at(self, places: Tensor) -> Taps:
        """Those of some of the values."""
        return Taps(self.first[places], self.second[places], self.first_weight[places], self.second_weight[places])


def lerp(first: Tensor, second: Tensor, first_weight: Tensor, second_weight: Tensor) -> Tensor:
    """`first * first_weight + second * second_weight`, fused where PyTorch's resize is fused (`equals_resize`)."""
    return torch.addcmul(second * second_weight, first, first_weight)


def values_at(grid: Tensor, size: Size, rows: Tensor, columns: Tensor) -> Tensor:
    """`resize(grid[None], size)[0][rows][:, columns]`.

    Args:
        grid: (h, w) float32.
        size: (H, W).
        rows: (R,) int64, from 0 to H - 1.
        columns: (C,) int64, from 0 to W - 1.
    """
    down, across = Taps.of(grid.shape[0], size[0]).at(rows), Taps.of(grid.shape[1], size[1]).at(columns)
    before, behind = (grid.index_select(1, places) for places in (across.first, across.second))
    lines = lerp(before, behind, across.first_weight, across.second_weight)
    upper, lower = (lines.index_select(0, places) for places in (down.first, down.second))
    return lerp(upper, lower, down.first_weight[:, None], down.second_weight[:, None])


def resized_from(values: Tensor, down: Taps, across: Taps) -> Tensor:
    """The last step of a resize whose sources are known.

    Args:
        values: (2h, 2w): rows `down.first` then `down.second`, columns `across.first` then `across.second`.
        down: h taps.
        across: w taps.

    Returns:
        (h, w).
    """
    height, width = len(down.first), len(across.first)
    lines = lerp(values[:, :width], values[:, width:], across.first_weight, across.second_weight)
    return lerp(lines[:height], lines[height:], down.first_weight[:, None], down.second_weight[:, None])


@cache
def equals_resize() -> bool:
    """Whether the arithmetic here is that of PyTorch's resize on this processor, which fuses or not as it was built."""
    grid = torch.rand(37, 53, generator=torch.Generator().manual_seed(0))
    for size in ((211, 307), (1000, 90), (29, 401)):
        whole = F.interpolate(grid[None, None], size=size, mode="bilinear", align_corners=True)[0, 0]
        if not torch.equal(values_at(grid, size, torch.arange(size[0]), torch.arange(size[1])), whole):
            return False
    return True
