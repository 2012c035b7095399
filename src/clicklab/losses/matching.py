"""Set losses: which predicted mask answers for which of several possible targets (Carion et al., ECCV 2020)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

_EPSILON = 1e-12


def mask_cost(
    logits: Tensor,
    targets: Tensor,
    counted: Tensor | None = None,
    focal_weight: float = 20.0,
    dice_weight: float = 1.0,
    alpha: float = 0.25,
    dice_epsilon: float = 1.0,
) -> Tensor:
    """What it costs to let mask q answer for target n; lower is better.

    Source: card piclick, sections 8.5 and 9.3 (MaskFormer's cost: focal term averaged over pixels, dice).

    Args:
        logits: (B, Q, H, W).
        targets: (B, N, H, W) bool.
        counted: (B, 1, H, W) bool, False for ignored pixels; None counts all.
        focal_weight, dice_weight: of the two terms.
        alpha: weight of object pixels in the focal term.
        dice_epsilon: added to numerator and denominator of the dice term.

    Returns:
        (B, Q, N) float32.
    """
    probability, wanted = logits.float().sigmoid().flatten(2), targets.flatten(2).float()
    inside = -alpha * (1 - probability).square() * (probability + _EPSILON).log()
    outside = -(1 - alpha) * probability.square() * (1 - probability + _EPSILON).log()
    if counted is not None:
        seen = counted.flatten(2).float()
        probability, inside, outside, wanted = probability * seen, inside * seen, outside * seen, wanted * seen
    wanted = wanted.transpose(1, 2)
    # one product instead of two: sum of `inside` on the target and of `outside` off it
    focal = (torch.bmm(inside - outside, wanted) + outside.sum(2, keepdim=True)) / probability.shape[2]
    size = probability.sum(2)[:, :, None] + wanted.sum(1)[:, None]
    dice = 1 - (2 * torch.bmm(probability, wanted) + dice_epsilon) / (size + dice_epsilon)
    return focal_weight * focal + dice_weight * dice


def assign(cost: Tensor, valid: Tensor) -> Tensor:
    """The cheapest one-to-one assignment of every matrix; the device is waited for once for all of them.

    Args:
        cost: (P, B, Q, N).
        valid: (B, N) bool, False for targets that only fill up the batch.

    Returns:
        (4, M) int64 on the device of `cost`: index into P, B, Q and N of every match, ordered by P, B and Q. Each
        matrix has min(Q, number of its valid targets) matches.
    """
    # not-a-number would end the run; such a step is the business of the loss, not of the assignment
    padded = cost.detach().float().nan_to_num(nan=1e6, posinf=1e6, neginf=-1e6)
    host = padded.masked_fill(~valid[:, None], torch.inf).cpu().numpy()
    columns = [np.flatnonzero(np.isfinite(sample[0])) for sample in host[0]]
    found = []
    for p, matrices in enumerate(host):
        for b, matrix in enumerate(matrices):
            rows, chosen = linear_sum_assignment(matrix[:, columns[b]])
            found.append(np.stack([np.full_like(rows, p), np.full_like(rows, b), rows, columns[b][chosen]]))
    matches = np.concatenate(found, axis=1).astype(np.int64)
    return torch.from_numpy(matches).to(cost.device, non_blocking=True)


def hard_iou(logits: Tensor, target: Tensor, counted: Tensor | None = None) -> Tensor:
    """IoU of thresholded masks with one target, without gradient.

    Args:
        logits: (B, Q, H, W); a pixel belongs to the mask where its probability is above 0.5.
        target: (B, 1, H, W) bool.
        counted: (B, 1, H, W) bool, False for ignored pixels; None counts all.

    Returns:
        (B, Q) float32, 0 where both are empty.
    """
    with torch.no_grad():
        seen = logits.float().sigmoid() > 0.5
        if counted is not None:
            seen, target = seen & counted, target & counted
        shared = (seen & target).sum((2, 3)).float()
        return shared / ((seen | target).sum((2, 3)).float() + 1e-6)
