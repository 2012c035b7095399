"""Matching for set losses: which predicted mask is paired with which target (Carion et al., ECCV 2020)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

_EPSILON = 1e-12


@torch.no_grad()
def mask_cost(
    logits: Tensor,
    targets: Tensor,
    counted: Tensor | None = None,
    focal_weight: float = 20.0,
    dice_weight: float = 1.0,
    alpha: float = 0.25,
    dice_epsilon: float = 1.0,
) -> Tensor:
    """Cost of pairing mask q with target n, without gradient.

    Source: docs/methods/piclick.md#losses (MaskFormer's cost: focal term averaged over pixels, dice).

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
    # targets and, in the last column, the pixels that count: (B, HW, N + 1)
    wanted = targets.flatten(2).float()
    seen = torch.ones_like(wanted[:, :1]) if counted is None else counted.flatten(2).float()
    wanted = torch.cat([wanted * seen, seen], dim=1).transpose(1, 2)

    # focal cost of each pixel (B, Q, HW), were it object (`inside`) or background (`outside`). In place: at full size
    # every further pass over the logits costs noticeable time.
    probability = logits.float().sigmoid().flatten(2)
    missing = 1 - probability
    inside = missing.square().mul_((probability + _EPSILON).log_()).mul_(-alpha)
    outside = probability.square().mul_(missing.add_(_EPSILON).log_()).mul_(alpha - 1)
    # sums over pixels as matrix products: (B, Q, N + 1)
    with torch.autocast(logits.device.type, enabled=False):
        shown = torch.bmm(probability, wanted)
        focal = torch.bmm(inside.sub_(outside), wanted[..., :-1]) + torch.bmm(outside, wanted[..., -1:])
    size = shown[..., -1:] + wanted[..., :-1].sum(1)[:, None]
    dice = 1 - (2 * shown[..., :-1] + dice_epsilon) / (size + dice_epsilon)
    return focal_weight * focal / probability.shape[2] + dice_weight * dice


def assign(cost: Tensor, valid: Tensor) -> Tensor:
    """The cheapest one-to-one assignment of each cost matrix. The costs are copied from the device once.

    Args:
        cost: (P, B, Q, N).
        valid: (B, N) bool, False for padding.

    Returns:
        (4, M) int64 on the device of `cost`: index into P, B, Q and N of every match, ordered by P, B and Q. Each
        matrix has min(Q, number of its valid targets) matches.
    """
    # NaN would stop the solver; a loss that is not finite is handled where losses are
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
        known = torch.ones_like(target) if counted is None else counted
        wanted = torch.cat([target & known, known], dim=1).flatten(2).float().transpose(1, 2)
        with torch.autocast(logits.device.type, enabled=False):  # it would round the counts
            shared, size = torch.bmm((logits > 0).flatten(2).float(), wanted).unbind(2)  # 0 is a probability of 0.5
        return shared / (size + wanted[..., :1].sum(1) - shared + 1e-6)
