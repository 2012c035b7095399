"""MaskMatch: two dialogues on one object, from a predicted and from a spoilt mask, shall end in the same answer.

Source: VTMR, eq. 1 and 3; docs/methods/vtmr.md#maskmatch.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clicklab.losses.matching import hard_iou
from clicklab.masks.perturb import perturb
from clicklab.records import EMPTY, IGNORE, POSITIVE, Clicks

# IoUs that targets are spoilt to; below, it is slow and misses often, and hardly any such sample counts
WANTED = (0.3, 0.98)


def mask_iou(probability: Tensor, target: Tensor) -> Tensor:
    """(B,) IoU of masks with targets, both (B, 1, H, W); 0 where both are empty."""
    return hard_iou(probability.logit(), target == 1, target != IGNORE)[:, 0]


def first_positive(clicks: Clicks) -> Clicks:
    """The first positive click of every sample, in one slot; empty where a sample has none."""
    positive = clicks.label == POSITIVE
    place = positive.to(torch.uint8).argmax(1, keepdim=True)  # of equal ones the first
    label = clicks.label.gather(1, place).masked_fill(~positive.any(1, keepdim=True), EMPTY)
    yx = clicks.yx.gather(1, place[..., None].expand(-1, -1, 2))
    return Clicks(yx.masked_fill((label == EMPTY)[..., None], -1.0), label)


def spoilt_targets(target: Tensor, iou: Tensor, rng: np.random.Generator) -> Tensor:
    """Targets spoilt until they are as good as other masks (B, 1, H, W): float32 zeros and ones.

    Args:
        target: (B, 1, H, W) in {0, 1, -1}.
        iou: (B,) of the other masks, brought into `WANTED`.
        rng: all chance comes from here. The work is done on the CPU, a millisecond per sample of 256 x 256.
    """
    truths, wanted = target[:, 0].to(torch.int8).cpu().numpy(), iou.clamp(*WANTED).tolist()
    masks = [perturb(truth, value, rng).mask for truth, value in zip(truths, wanted, strict=True)]
    return torch.from_numpy(np.stack(masks))[:, None].to(target)


def matching_loss(own: Tensor, other: Tensor, confidence: float = 0.9, two_sided: bool = False) -> Tensor:
    """How far the second answer is from the first one where that is confident (eq. 1).

    Args:
        own: (B, 1, H, W) logits of the dialogue that started from a prediction; no gradient flows into them.
        other: (B, 1, H, W) logits of the dialogue that started from a spoilt target.
        confidence: probability of object above which a pixel of `own` is learnt from.
        two_sided: learn from confident background, too (ours; eq. 1 has object only).

    Returns:
        (B,) mean over all pixels, those that do not count included.
    """
    teacher = own.detach().float().sigmoid()
    sure = teacher > confidence
    if two_sided:
        sure |= teacher < 1 - confidence
    loss = F.binary_cross_entropy_with_logits(other.float(), teacher, reduction="none")
    return (loss * sure).flatten(1).mean(1)
