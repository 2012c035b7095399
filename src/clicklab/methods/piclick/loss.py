"""PiClick's set loss: every possible target wants one candidate, and three heads learn to judge the candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clicklab.losses.matching import assign, mask_cost
from clicklab.losses.set_loss import set_terms
from clicklab.masks.candidate_sets import MaskSets


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; defaults: the released configs (docs/methods/piclick.md#losses).

    Attributes:
        focal: of the focal term, in the loss and in the matching cost.
        dice: of the dice term, in the loss and in the matching cost.
        confidence: of the cross-entropy "shows a possible target, or none".
        no_object: weight of candidates without target in it (code 0.1; paper: plain BCE, which is 1.0).
        iou: of the distance between predicted and true IoU (configs 0.3, the loss class' own default is 0.5).
        onehot: of the cross-entropy that points at the best candidate (configs 0.05; paper: no such term, 0.0).
        deep_supervision: learn from the predictions before the first and after every layer (code), or only the last.
    """

    focal: float = 20.0
    dice: float = 1.0
    confidence: float = 1.0
    no_object: float = 0.1
    iou: float = 0.3
    onehot: float = 0.05
    deep_supervision: bool = True


def set_loss(
    extras: Mapping[str, Any],
    sets: MaskSets,
    target: Tensor,
    weights: LossWeights,
    mean_over_ranks: Callable[[Tensor], Tensor] = lambda count: count,
) -> dict[str, Tensor]:
    """The terms of the loss, weighted, each summed over the predictions.

    Args:
        extras: of `PiClickNet` in training mode.
        sets: possible targets at the size of `target`.
        target: (B, 1, H, W) the target meant: 1 object, 0 background, -1 ignore.
        weights: of the terms.
        mean_over_ranks: averages the number of matched masks over all devices.

    Returns:
        scalars `focal`, `dice`, `confidence`, `iou`, `onehot`; their sum is the loss.
    """
    used = slice(None) if weights.deep_supervision else slice(-1, None)
    class_logits, iou_logits, onehot_logits = (
        extras[name][used].float() for name in ("class_logits", "iou_logits", "onehot_logits")
    )
    terms = set_terms(
        extras["masks"][used], class_logits, sets, target, weights.focal, weights.dice, weights.no_object,
        mean_over_ranks,
    )  # fmt: skip
    return {
        "focal": weights.focal * terms.focal,
        "dice": weights.dice * terms.dice,
        "confidence": weights.confidence * terms.confidence,
        "iou": weights.iou * (iou_logits.sigmoid() - terms.iou).abs().mean((1, 2)).sum(),
        "onehot": weights.onehot * best_of_all(onehot_logits, terms.iou).mean(1).sum(),
    }


def match_last(logits: Tensor, confidence: Tensor, sets: MaskSets, weights: LossWeights) -> Tensor:
    """(B, Q) bool: candidates that answer for a possible target; for the mask shown during the rounds.

    Args:
        logits: (B, Q, H, W).
        confidence: (B, Q) of the same candidates.
        sets: possible targets.
        weights: of the matching cost.
    """
    cost = mask_cost(logits, sets.masks, None, weights.focal, weights.dice) - confidence[..., None]
    _, sample, query, _ = assign(cost[None], sets.valid)
    matched = torch.zeros_like(confidence, dtype=torch.bool)
    matched[sample, query] = True
    return matched


def best_of_all(logits: Tensor, iou: Tensor) -> Tensor:
    """(..., Q) to (...): cross-entropy with 0.9 for the best candidate and 0.1 for all others (no distribution)."""
    wanted = torch.where(iou == iou.amax(-1, keepdim=True), 0.9, 0.1)
    return -(wanted * F.log_softmax(logits, dim=-1)).sum(-1)
