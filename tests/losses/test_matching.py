"""Matching cost and assignment against plain formulas and against all permutations; focal and dice; official values."""

from itertools import permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clicklab.losses.mask import dice, sigmoid_focal
from clicklab.losses.matching import assign, hard_iou, mask_cost


def blobs(batch, number, seed, size=(9, 11)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, number, *size, generator=generator) * 3


def test_cost_is_the_formula():
    logits, targets = blobs(2, 3, 0).double() / 3, blobs(2, 4, 1) > 1
    found = mask_cost(logits, targets)
    for b in range(2):
        for q in range(3):
            p = logits[b, q].sigmoid()
            for n in range(4):
                t = targets[b, n].double()
                focal = -(t * 0.25 * (1 - p) ** 2 * p.log() + (1 - t) * 0.75 * p**2 * (1 - p).log()).mean()
                overlap = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
                assert found[b, q, n].item() == pytest.approx((20 * focal + overlap).item(), rel=1e-5)


def test_ignored_pixels_do_not_count():
    logits, targets, counted = blobs(1, 3, 0), blobs(1, 2, 1) > 1, blobs(1, 1, 2) > 0
    noise = torch.where(counted, logits, -logits)
    assert torch.equal(mask_cost(noise, targets, counted), mask_cost(logits, targets, counted))
    assert torch.equal(hard_iou(noise, targets[:, :1], counted), hard_iou(logits, targets[:, :1], counted))
    wanted = torch.where(counted, targets[:, :1].float(), -1.0)
    for loss in (sigmoid_focal, dice):
        assert torch.equal(loss(noise[:, :1], wanted), loss(logits[:, :1], wanted))


@pytest.mark.parametrize("queries", [2, 4])
def test_assignment_is_the_cheapest_of_all(queries):
    generator = torch.Generator().manual_seed(3)
    cost = torch.rand(3, 2, queries, 3, generator=generator)
    cost[..., 1] = -5  # the cheapest of all, but only filled up in the second sample
    valid = torch.tensor([[True, True, True], [True, False, True]])
    matches = assign(cost, valid)
    for p in range(3):
        for b in range(2):
            mine = matches[2:, (matches[0] == p) & (matches[1] == b)]
            columns = valid[b].nonzero()[:, 0].tolist()
            small = min(queries, len(columns))
            assert mine.shape[1] == small
            assert set(mine[1].tolist()) <= set(columns)
            best = min(
                sum(cost[p, b, q, n].item() for q, n in zip(rows, chosen, strict=True))
                for rows in permutations(range(queries), small)
                for chosen in permutations(columns, small)
            )
            assert cost[p, b, mine[0], mine[1]].sum().item() == pytest.approx(best)


def test_a_broken_cost_does_not_stop_the_run():
    matches = assign(torch.full((1, 1, 2, 2), torch.nan), torch.ones(1, 2, dtype=torch.bool))
    assert matches.shape == (4, 2)


def test_hard_iou():
    seen, target = torch.zeros(1, 2, 4, 4) - 1, torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    seen[0, 0, :2] = 1
    target[0, 0, 1:3] = True
    np.testing.assert_allclose(hard_iou(seen, target), [[4 / 12, 0]], rtol=1e-6)


def test_focal_and_dice():
    logits, target = blobs(3, 1, 4).double(), (blobs(3, 1, 5) > 0).double()
    p = logits.sigmoid()
    focal = -(target * 0.25 * (1 - p) ** 2 * p.log() + (1 - target) * 0.75 * p**2 * (1 - p).log())
    torch.testing.assert_close(sigmoid_focal(logits, target).double(), focal.mean((1, 2, 3)), rtol=1e-5, atol=0)
    shared, size = (p * target).sum((1, 2, 3)), p.sum((1, 2, 3)) + target.sum((1, 2, 3))
    wanted = 1 - (2 * shared + 1e-3) / (size + 1e-3)
    torch.testing.assert_close(dice(logits, target).double(), wanted, rtol=1e-5, atol=0)


def test_a_probability_of_one_half_is_no_object():
    target = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    logits = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]])
    assert hard_iou(logits, target).item() == pytest.approx(1 / 4)


def test_ignored_pixels_count_in_the_denominator_of_the_focal_term():
    logits = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)
    target = torch.tensor([1.0, 0.0, -1.0, -1.0]).view(1, 1, 2, 2)
    missed = torch.tensor([-1.0, 2.0]).sigmoid()
    terms = torch.tensor([0.25, 0.75]) * missed**2 * F.softplus(torch.tensor([-1.0, 2.0]))
    torch.testing.assert_close(sigmoid_focal(logits, target), terms.sum()[None] / 4)
