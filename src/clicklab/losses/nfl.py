"""Normalised focal loss (Sofiiuk et al., "AdaptIS", ICCV 2019), the loss of RITM and all its descendants."""

from __future__ import annotations

import torch
from torch import Tensor

from clicklab.records import IGNORE

_EPSILON = 1e-12


def normalized_focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.5, gamma: float = 2.0) -> Tensor:
    """Focal loss whose weights sum to the number of counted pixels, so that it does not fade in training.

    Args:
        logits: (B, K, H, W).
        target: (B, K, H, W) float, 1 object, 0 background, -1 ignore.
        alpha: weight of object pixels, 1 - alpha that of background; 0.5 in all official runs, 0.25 as default there.
        gamma: focusing exponent, > 0.

    Returns:
        (B,) mean over the counted pixels; 0 for a sample without any.
    """
    loss, counted = focal_map(logits, target, alpha, gamma)
    return loss.flatten(1).sum(1) / (counted.flatten(1).sum(1) + _EPSILON)


def focal_map(logits: Tensor, target: Tensor, alpha: float, gamma: float) -> tuple[Tensor, Tensor]:
    """The loss of every pixel, (B, K, H, W), 0 where ignored, and which pixels count. Arguments as above."""
    counted = target != IGNORE
    probability = logits.float().sigmoid()
    balance = torch.where(target > 0.5, alpha, 1.0 - alpha) * counted
    truth = torch.where(counted, 1.0 - (target - probability).abs(), 1.0)
    focus = (1.0 - truth) ** gamma
    # The normalising factor is a constant to the gradient, as in the official code.
    scale = counted.sum(dim=(-2, -1), keepdim=True) / (focus.detach().sum(dim=(-2, -1), keepdim=True) + _EPSILON)
    return -balance * focus * scale * (truth + _EPSILON).clamp_max(1.0).log(), counted
