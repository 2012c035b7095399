"""Group norm with one group for maps on a GPU, where PyTorch's kernel is slow for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class SampleNorm(nn.GroupNorm):
    """`nn.GroupNorm(1, channels)` with the same parameters and keys: zero mean and unit variance of a whole sample.

    PyTorch's CUDA kernel has a single block of threads for each sample, where a card runs hundreds, and takes maps out
    of channels-last order, in which the layers after this one are faster. Here the sums are shared and the order stays.

    Args:
        channels: of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)

    def forward(self, input: Tensor) -> Tensor:  # nn.GroupNorm's name for it
        if input.device.type == "cuda":
            return whole_sample_norm(input, self.weight, self.bias, self.eps)
        return super().forward(input)


def whole_sample_norm(maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """(B, C, h, w) normalised sample by sample, then scaled and moved channel by channel.

    Returns:
        float32 under autocast, as it has its norms, else in the dtype of `maps`; in their memory order.
    """
    answer = _WholeSampleNorm.apply(maps, weight, bias, eps)
    return answer if torch.is_autocast_enabled(maps.device.type) else answer.to(maps.dtype)


class _WholeSampleNorm(torch.autograd.Function):
    """With the gradient worked out: autograd's own goes over the maps twice as often and keeps them in float32."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        exact = maps.to(torch.promote_types(maps.dtype, torch.float32))
        variance, mean = torch.var_mean(exact, dim=(1, 2, 3), correction=0, keepdim=True)
        rate = (variance + eps).rsqrt()
        ctx.save_for_backward(maps, weight, mean, rate)
        scale = weight[:, None, None] * rate
        return torch.addcmul(bias[:, None, None] - mean * scale, exact, scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (grad,) = grads
        maps, weight, mean, rate = ctx.saved_tensors
        channel = weight[:, None, None]
        # per sample and channel: sums of the gradient, and of it times the normalised maps
        plain = grad.sum(dim=(2, 3), keepdim=True)
        with_maps = ((grad * maps).sum(dim=(2, 3), keepdim=True) - mean * plain) * rate
        size = maps[0].numel()
        shift = (plain * channel).sum(dim=1, keepdim=True) / size
        slope = (with_maps * channel).sum(dim=1, keepdim=True) / size
        constant = rate * (rate * slope * mean - shift)
        to_maps = torch.addcmul(torch.addcmul(constant, maps, -slope * rate.square()), grad, rate * channel)
        return to_maps.to(maps.dtype), with_maps.sum(0).flatten(), plain.sum(0).flatten(), None
