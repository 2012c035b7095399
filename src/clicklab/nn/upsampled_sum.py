"""The sum of maps of several sizes, each brought to the same size: what pyramid heads end in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def upsampled_sum(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Bilinear resizes (align_corners=False) of maps (B, C, h, w) of any h and w, added up: (B, C, H, W)."""
    if maps[0].device.type == "cuda":
        return sum_as_product(maps, size)
    resized = [F.interpolate(one, size=size, mode="bilinear", align_corners=False) for one in maps]
    return sum(resized[1:], start=resized[0])


def sum_as_product(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """The same in two matrix products, columns and then rows, for CUDA, where they take a fifth of the time.

    The rows of all maps are multiplied and added in one product, whose gradient needs no atomic additions either.

    Args:
        maps: as above; read in channels-last order.
        size: (H, W).

    Returns:
        (B, C, H, W) in channels-last order.
    """
    height, width = size
    tall, weights = [], []
    for one in maps:
        batch, channels, rows, columns = one.shape
        flat = one.permute(0, 2, 3, 1).reshape(batch, rows, columns * channels)
        tall.append((_weights(rows, height, one) @ flat).view(batch, height, columns, channels))
        weights.append(_weights(columns, width, one))
    return (torch.cat(weights, dim=1) @ torch.cat(tall, dim=2)).permute(0, 3, 1, 2)


def _weights(inputs: int, outputs: int, like: Tensor) -> Tensor:
    """(outputs, inputs) of a linear resize: what PyTorch makes of unit vectors."""
    units = torch.eye(inputs, device=like.device)[None]
    return F.interpolate(units, size=outputs, mode="linear", align_corners=False)[0].T.to(like.dtype)
