"""Set loss against sums written out mask by mask."""

import torch
import torch.nn.functional as F

from clicklab.losses.mask import dice, sigmoid_focal
from clicklab.losses.matching import hard_iou
from clicklab.losses.set_loss import set_terms
from clicklab.masks.candidate_sets import MaskSets


def quadrants():
    """Two possible targets of the first sample, one of the second; the last row is ignored."""
    masks = torch.zeros(2, 2, 16, 16, dtype=torch.bool)
    masks[0, 0, :8], masks[0, 1, :, :8], masks[1, 0, 8:] = True, True, True
    target = masks[:, :1].float()
    target[:, :, -1] = -1
    return MaskSets(masks, torch.tensor([[True, True], [True, False]])), target


def answers(sets, shift):
    """Masks of four queries in which query (n + shift) % 4 clearly shows target n."""
    draw = torch.Generator().manual_seed(shift)
    logits = torch.randn(2, 4, 16, 16, generator=draw) - 3
    for b, n in ((0, 0), (0, 1), (1, 0)):
        logits[b, (n + shift) % 4] = torch.where(sets.masks[b, n], 4.0, -4.0)
    return logits


def test_terms_are_sums_over_the_matches():
    sets, target = quadrants()
    masks = [answers(sets, shift) for shift in (0, 2)]
    class_logits = torch.randn(2, 2, 4, 2, generator=torch.Generator().manual_seed(9)) / 10
    terms = set_terms(masks, class_logits, sets, target, 20.0, 1.0, 0.1, lambda count: count * 2)
    focal = overlap = confidence = 0.0
    for p, shift in ((0, 0), (1, 2)):
        matched = torch.zeros(2, 4, dtype=torch.bool)
        for b, n in ((0, 0), (0, 1), (1, 0)):
            query = (n + shift) % 4
            matched[b, query] = True
            wanted = sets.masks[b, n].float().masked_fill(target[b, 0] == -1, -1.0)[None, None]
            focal += sigmoid_focal(masks[p][b, query][None, None], wanted) / 6  # 3 matches, twice that over the ranks
            overlap += dice(masks[p][b, query][None, None], wanted) / 6
        log_p = class_logits[p].log_softmax(-1)
        weight = torch.where(matched, 1.0, 0.1)
        confidence -= (weight * torch.where(matched, log_p[..., 0], log_p[..., 1])).sum() / weight.sum()
    torch.testing.assert_close(terms.focal[None], focal)
    torch.testing.assert_close(terms.dice[None], overlap)
    torch.testing.assert_close(terms.confidence, confidence)
    for p in (0, 1):
        assert torch.equal(terms.iou[p], hard_iou(masks[p], target == 1, target != -1))


def test_only_matched_masks_learn():
    sets, target = quadrants()
    masks = answers(sets, 1).requires_grad_()
    terms = set_terms([masks], torch.zeros(1, 2, 4, 2), sets, target, 20.0, 1.0, 0.1)
    (terms.focal + terms.dice).backward()
    learns = masks.grad.abs().amax((2, 3)) > 0
    assert learns.tolist() == [[False, True, True, False], [False, True, False, False]]


def one_target(side=16):
    """One sample, one possible target: the upper half; the lowest four rows are ignored."""
    masks = torch.zeros(1, 1, side, side, dtype=torch.bool)
    masks[0, 0, : side // 2] = True
    target = masks.float()
    target[..., -4:, :] = -1
    return MaskSets(masks, torch.ones(1, 1, dtype=torch.bool)), target


def learning(masks, class_logits, sets, target):
    """(B, Q) bool: the masks that answer for a target, which are those that learn."""
    masks = masks.clone().requires_grad_()
    terms = set_terms([masks], class_logits[None], sets, target, 20.0, 1.0, 0.1)
    (terms.focal + terms.dice).backward()
    return masks.grad.abs().amax((2, 3)) > 0


def test_ignored_pixels_do_not_decide_who_answers():
    sets, target = one_target()
    right = torch.where(sets.masks[0, 0], 3.0, -3.0)
    masks = torch.stack([right, right])[None].clone()
    masks[0, 0, -4:] = 9.0  # wrong where nobody looks
    masks[0, 1, 9] = 1.0  # a little wrong where it counts
    assert learning(masks, torch.zeros(1, 2, 2), sets, target).tolist() == [[True, False]]


def test_small_masks_are_judged_and_learn_at_full_size_with_aligned_corners():
    sets, target = one_target()
    masks = torch.randn(1, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 3
    full = F.interpolate(masks, size=(16, 16), mode="bilinear", align_corners=True)
    small, large = (set_terms([one], torch.zeros(1, 1, 3, 2), sets, target, 20.0, 1.0, 0.1) for one in (masks, full))
    for name in ("focal", "dice", "confidence", "iou"):
        torch.testing.assert_close(getattr(small, name), getattr(large, name))
