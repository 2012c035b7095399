"""The one way in which networks of this family bring maps to another size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, C, h, w) to (B, C, *size), bilinearly with aligned corners, as the official codes do it."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
