"""PiClick's set loss: every possible target wants one candidate, and three heads learn to judge the candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clicklab.clicks.object_sets import MaskSets
from clicklab.losses.mask import dice, sigmoid_focal
from clicklab.losses.matching import assign, hard_iou, mask_cost
from clicklab.methods.piclick.net import upsample
from clicklab.records import IGNORE


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; defaults: the released configs (card piclick, section 9.3).

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
    masks: list[Tensor] = [maps.float() for maps in extras["masks"][used]]
    class_logits, iou_logits, onehot_logits = (
        extras[name][used].float() for name in ("class_logits", "iou_logits", "onehot_logits")
    )
    counted = target != IGNORE
    cost, true_iou = zip(*(_judge(maps, sets, target, counted, weights) for maps in masks), strict=True)
    matches = assign(torch.stack(cost) - class_logits.softmax(-1)[..., :1], sets.valid)
    per_prediction = matches.shape[1] // len(masks)  # every prediction has the same number of matches
    total = mean_over_ranks(torch.tensor(float(per_prediction), device=target.device)).clamp_min(1.0)
    focal_sum, dice_sum = _mask_terms(masks, sets, counted, matches.view(4, len(masks), -1))
    return {
        "focal": weights.focal * focal_sum / total,
        "dice": weights.dice * dice_sum / total,
        "confidence": weights.confidence * _confidence_term(class_logits, matches, weights.no_object),
        "iou": weights.iou * (iou_logits.sigmoid() - torch.stack(true_iou)).abs().mean((1, 2)).sum(),
        "onehot": weights.onehot * best_of_all(onehot_logits, torch.stack(true_iou)).mean(1).sum(),
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


@torch.no_grad()
def _judge(
    masks: Tensor, sets: MaskSets, target: Tensor, counted: Tensor, weights: LossWeights
) -> tuple[Tensor, Tensor]:
    """Mask cost (B, Q, N) and IoU with the target meant (B, Q) of one prediction, at full size."""
    logits = upsample(masks, (target.shape[-2], target.shape[-1]))
    cost = mask_cost(logits, sets.masks, counted, weights.focal, weights.dice)
    return cost, hard_iou(logits, target == 1, counted)


def _mask_terms(masks: list[Tensor], sets: MaskSets, counted: Tensor, matches: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of focal and dice over the matched masks; only those are brought to full size with gradient."""
    size = (counted.shape[-2], counted.shape[-1])
    focal_sum = dice_sum = counted.new_zeros((), dtype=torch.float32)
    for maps, (_, sample, query, number) in zip(masks, matches.unbind(1), strict=True):
        logits = upsample(maps[sample, query][:, None], size)
        wanted = sets.masks[sample, number][:, None].float().masked_fill(~counted[sample], IGNORE)
        focal_sum = focal_sum + sigmoid_focal(logits, wanted).sum()
        dice_sum = dice_sum + dice(logits, wanted).sum()
    return focal_sum, dice_sum


def _confidence_term(logits: Tensor, matches: Tensor, no_object: float) -> Tensor:
    """Cross-entropy of (P, B, Q, 2), class 0 where matched; a weighted mean per prediction, summed over them."""
    p, sample, query, _ = matches
    missing = torch.ones(logits.shape[:-1], dtype=torch.long, device=logits.device)
    missing[p, sample, query] = 0
    weight = torch.where(missing == 1, no_object, 1.0)
    loss = F.cross_entropy(logits.flatten(0, 2), missing.flatten(), reduction="none").view_as(weight)
    return ((loss * weight).sum((1, 2)) / weight.sum((1, 2))).sum()
