"""The half of ClickLite that runs for every click: guidance from clicks and mask, and the way back to full size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIMILARITIES = 5  # maps of `similarity_maps`


class DepthwiseBlock(nn.Module):
    """A kernel per channel, then a 1 x 1 convolution, added to what came in."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pointwise(F.relu(self.depthwise(x)))


class GuideStep(nn.Module):
    """Half the size: a kernel of stride 2 per channel, then a 1 x 1 convolution and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, 2, groups=inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        # padded as the encoder pads, so that both look at the same places
        return F.relu(self.pointwise(self.depthwise(F.pad(x, (0, 1, 0, 1)))))


def similarity_maps(keys: Tensor, maps: Tensor) -> Tensor:
    """How alike each place is to what was clicked, and to the mask shown last.

    The keys under all positive clicks, under all negative ones and under the mask have a mean each; a map is the cosine
    of every place's key to such a mean, 0 everywhere where there is none. Two differences follow: positive minus
    negative, mask minus negative.

    Args:
        keys: (B, C, h, w) of length 1 over C.
        maps: (B, 3 or more, 8 h, 8 w): disks of both signs and the mask, in 0..1.

    Returns:
        (B, 5, h, w).
    """
    height, width = keys.shape[-2:]
    flat = keys.flatten(2)  # (B, C, P)
    weight = F.avg_pool2d(maps[:, :3], 8).flatten(2)  # (B, 3, P): share of each cell that is marked
    mean = torch.einsum("bcp,bkp->bkc", flat, weight / weight.sum(-1, keepdim=True).clamp_min(1e-4))
    cosine = torch.einsum("bcp,bkc->bkp", flat, F.normalize(mean, dim=-1))
    cosine = cosine * (weight.amax(-1, keepdim=True) > 0).to(cosine)
    positive, negative, mask = cosine.split(1, dim=1)
    return torch.cat([cosine, positive - negative, mask - negative], dim=1).unflatten(2, (height, width))


def larger(maps: Tensor) -> Tensor:
    """Twice the size, bilinear."""
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)
