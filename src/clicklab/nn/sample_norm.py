"""Group norm with one group for maps on a GPU, where PyTorch's kernel is slow for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SampleNorm(nn.GroupNorm):
    """`nn.GroupNorm(1, channels)` with the same parameters and keys: zero mean and unit variance of a whole sample.

    PyTorch's CUDA kernel gives each sample to one of the processor's hundred blocks and takes maps out of channels-last
    order, in which the layers after this one are several times as fast. Here the sums are shared by all blocks and the
    order stays.

    Args:
        channels: of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)

    def forward(self, input: Tensor) -> Tensor:  # nn.GroupNorm's name for it
        if input.device.type == "cpu":
            return super().forward(input)
        return whole_sample_norm(input, self.weight, self.bias, self.eps)


def whole_sample_norm(maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """(B, C, h, w) normalised sample by sample, then scaled and moved channel by channel; float32, as with autocast."""
    exact = maps.float()
    variance, mean = torch.var_mean(exact, dim=(1, 2, 3), correction=0, keepdim=True)
    scale = weight[:, None, None] * (variance + eps).rsqrt()
    return torch.addcmul(bias[:, None, None] - mean * scale, exact, scale)
