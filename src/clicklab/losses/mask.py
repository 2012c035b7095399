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
