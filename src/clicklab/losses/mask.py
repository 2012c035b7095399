"""Pixel-wise mask losses with ignored pixels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from clicklab.records import IGNORE


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Sigmoid cross-entropy, RITM's auxiliary loss.

    Args:
        logits: (B, K, H, W).
        target: (B, K, H, W) float, 1 object, 0 background, -1 ignore.

    Returns:
        (B,) mean over all pixels; ignored ones add 0 but stay in the denominator, as in the official code.
    """
    counted = target != IGNORE
    loss = F.binary_cross_entropy_with_logits(logits.float(), target.clamp_min(0.0), reduction="none")
    return (loss * counted).flatten(1).mean(1)


def sigmoid_focal(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss as Mask2Former-like models use it on masks (Lin et al., ICCV 2017): alpha weighs object pixels.

    Args and returns as `binary_cross_entropy`, ignored pixels too.
    """
    logits = logits.float()
    counted, wanted = target != IGNORE, target.clamp_min(0.0)
    probability = logits.sigmoid()
    missed = (1 - probability) * wanted + probability * (1 - wanted)
    weight = (alpha * wanted + (1 - alpha) * (1 - wanted)) * missed**gamma
    loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * weight
    return (loss * counted).flatten(1).mean(1)


def dice(logits: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """1 - Dice of probabilities, first powers in the denominator (mmdetection's `naive_dice`).

    Args and returns as `binary_cross_entropy`; ignored pixels are left out.
    """
    counted = target != IGNORE
    probability = (logits.float().sigmoid() * counted).flatten(1)
    wanted = target.clamp_min(0.0).flatten(1)
    both = (probability * wanted).sum(1)
    return 1 - (2 * both + epsilon) / (probability.sum(1) + wanted.sum(1) + epsilon)
