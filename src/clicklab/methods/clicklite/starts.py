"""How training dialogues begin: from nothing, from a spoilt mask, or from the true mask with a click that agrees."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clicklab.methods.base import User
from clicklab.records import Batch, Clicks


class StartingMasks:
    """Gives each sample of a batch its first mask and its first click.

    Args:
        spoilt: share of samples that start from a spoilt mask.
        true_masks: share of samples that start from the true mask.
    """

    def __init__(self, spoilt: float, true_masks: float) -> None:
        if min(spoilt, true_masks) < 0 or spoilt + true_masks > 1:
            raise ValueError(f"spoilt and true_masks are {spoilt} and {true_masks}: shares of at most 1 together")
        self.spoilt, self.true_masks = spoilt, true_masks

    def __call__(self, batch: Batch, user: User) -> Batch:
        """The batch with one click per sample, which answers the starting mask."""
        kind = torch.rand(len(batch), 1, 1, 1, device=batch.image.device)
        is_spoilt, is_true = kind < self.spoilt, kind >= 1 - self.true_masks
        truth = (batch.target == 1).to(batch.prev_mask)
        shown = torch.where(is_spoilt, spoil(truth), 0.0)
        # an agreeing click is one that answers the opposite: nothing found, or everything
        opposite = (torch.rand_like(kind) < 0.5).to(shown).expand_as(shown)
        shown = torch.where(is_true, opposite, shown)
        empty = batch.replace(clicks=Clicks.empty(len(batch), device=batch.image.device))
        answered = user.respond(empty, shown)
        return answered.replace(prev_mask=torch.where(is_true, truth, shown))


def spoil(truth: Tensor) -> Tensor:
    """Masks (B, 1, H, W) in {0, 1} with outlines that wander, bites taken out and blots put on.

    The outline is blurred, smooth noise of two sizes is added, and a threshold makes a mask of it again.
    """
    height, width = truth.shape[-2:]
    strength = 0.05 + 0.4 * torch.rand(len(truth), 1, 1, 1, device=truth.device)
    noise = torch.zeros_like(truth)
    for cells in (6, 16):
        grid = torch.randn(len(truth), 1, cells, cells, device=truth.device)
        noise += F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=False)
    blurred = F.avg_pool2d(truth, 17, 1, 8, count_include_pad=False)
    return (0.5 * (blurred + truth) + strength * noise > 0.5).to(truth)
