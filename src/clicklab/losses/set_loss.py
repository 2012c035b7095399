"""Set loss of methods that answer several masks: every possible target wants one of them (Carion et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clicklab.losses.mask import dice, sigmoid_focal
from clicklab.losses.matching import assign, hard_iou, mask_cost
from clicklab.masks.candidate_sets import MaskSets
from clicklab.records import IGNORE

Size = tuple[int, int]


@dataclass(frozen=True)
class SetTerms:
    """Terms without weights, each summed over the predictions.

    Attributes:
        focal, dice: scalars, of the masks that answer for a possible target.
        confidence: scalar, cross-entropy of "answers for a possible target, or for none".
        iou: (P, B, Q) IoU of every mask with the target meant, without gradient.
    """

    focal: Tensor
    dice: Tensor
    confidence: Tensor
    iou: Tensor


def set_terms(
    masks: Sequence[Tensor],
    class_logits: Tensor,
    sets: MaskSets,
    target: Tensor,
    focal_weight: float,
    dice_weight: float,
    no_object: float,
    mean_over_ranks: Callable[[Tensor], Tensor] = lambda count: count,
) -> SetTerms:
    """Matches every prediction by itself and sums up what the matches cost.

    Args:
        masks: P times logits (B, Q, h, w); they are judged at the size of `target`.
        class_logits: (P, B, Q, 2), class 0 "a possible target", class 1 "none".
        sets: possible targets at the size of `target`.
        target: (B, 1, H, W) the target meant: 1 object, 0 background, -1 ignore.
        focal_weight, dice_weight: of the two terms in the matching cost; the probability of class 0 counts once.
        no_object: weight of masks without target in the confidence term.
        mean_over_ranks: averages the number of matched masks over all devices.
    """
    masks, class_logits = [maps.float() for maps in masks], class_logits.float()
    counted = target != IGNORE
    cost, iou = zip(*(_judge(maps, sets, target, counted, focal_weight, dice_weight) for maps in masks), strict=True)
    matches = assign(torch.stack(cost) - class_logits.softmax(-1)[..., :1], sets.valid)
    per_prediction = matches.shape[1] // len(masks)  # every prediction has the same number of matches
    total = mean_over_ranks(torch.full((), float(per_prediction), device=target.device)).clamp_min(1.0)
    focal_sum, dice_sum = _mask_terms(masks, sets, counted, matches.view(4, len(masks), -1))
    confidence = _confidence_term(class_logits, matches, no_object)
    return SetTerms(focal_sum / total, dice_sum / total, confidence, torch.stack(iou))


@torch.no_grad()
def _judge(
    masks: Tensor, sets: MaskSets, target: Tensor, counted: Tensor, focal_weight: float, dice_weight: float
) -> tuple[Tensor, Tensor]:
    """Mask cost (B, Q, N) and IoU with the target meant (B, Q) of one prediction, at full size."""
    logits = _at_size(masks, (target.shape[-2], target.shape[-1]))
    return mask_cost(logits, sets.masks, counted, focal_weight, dice_weight), hard_iou(logits, target == 1, counted)


def _mask_terms(masks: list[Tensor], sets: MaskSets, counted: Tensor, matches: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of focal and dice over the matched masks; only those are brought to full size with gradient."""
    size = (counted.shape[-2], counted.shape[-1])
    focal_sum = dice_sum = counted.new_zeros((), dtype=torch.float32)
    for maps, (_, sample, query, number) in zip(masks, matches.unbind(1), strict=True):
        logits = _at_size(maps[sample, query][:, None], size)
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


def _at_size(masks: Tensor, size: Size) -> Tensor:
    """(B, Q, h, w) logits to (B, Q, H, W), aligned as the networks do it (PiClick's code)."""
    return F.interpolate(masks, size=size, mode="bilinear", align_corners=True)
