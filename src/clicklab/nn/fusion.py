"""Maps of several sizes brought to one size and added or fused: what pyramid heads end in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clicklab.nn.linear import token_linear


def fused(maps: Sequence[Tensor], fusion: nn.Conv2d, size: tuple[int, int]) -> Tensor:
    """A 1 x 1 convolution over maps (B, C, h, w) of any h and w, resized and stacked: (B, E, H, W).

    Resize and convolution commute, so each map is fused at its own size. The order of papers and released codes, resize
    and stack first, costs three to four times the arithmetic and memory for the same sum.

    Args:
        maps: in the order in which `fusion` has its channels.
        fusion: the convolution, without padding or groups.
        size: (H, W); other maps are resized bilinearly (align_corners=False).
    """
    weights = fusion.weight.flatten(1).split([one.shape[1] for one in maps], dim=1)
    biases = [fusion.bias, *[None] * (len(maps) - 1)]  # added once
    parts = [
        token_linear(one.movedim(1, -1), weight, bias).movedim(-1, 1)
        for one, weight, bias in zip(maps, weights, biases, strict=True)
    ]
    return upsampled_sum(parts, size)


def upsampled_sum(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Bilinear resizes (align_corners=False) of maps (B, C, h, w) of any h and w, added up: (B, C, H, W)."""
    there = [one for one in maps if one.shape[-2:] == size]
    others = [one for one in maps if one.shape[-2:] != size]
    if others and maps[0].device.type == "cuda":
        there.append(sum_as_product(others, size))
    else:
        there += [F.interpolate(one, size=size, mode="bilinear", align_corners=False) for one in others]
    return sum(there[1:], start=there[0])


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
